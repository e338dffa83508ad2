"""Tutorials: pages whose cells, the blocks of ``python`` and ``bash``, ran in order; the site shows what they gave.

``make tutorials`` runs them (``run_tutorials.py``) and writes ``docs/tutorials/outputs/``. A page that has changed
since stops a strict build.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "tutorials"
OUTPUTS = "outputs"
#: Languages whose blocks are cells; others (``yaml``, ``text``) are only shown.
LANGUAGES = ("python", "bash")
_CELL = re.compile(rf"^```({'|'.join(LANGUAGES)})\n(.*?)^```\n", re.DOTALL | re.MULTILINE)

logger = logging.getLogger("mkdocs.hooks.tutorials")


@dataclass(frozen=True)
class Cell:
    language: str
    code: str

    @property
    def digest(self) -> str:
        """What an output is known by: it belongs to this code and no other."""
        return hashlib.sha256(f"{self.language}\n{self.code}".encode()).hexdigest()[:16]


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def cells(name: str) -> list[Cell]:
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    return [Cell(language, code) for language, code in _CELL.findall(text)]


def outputs(name: str) -> dict[str, Any]:
    """What the last run wrote; without cells if there was none."""
    path = FOLDER / OUTPUTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"cells": []}


def is_current(name: str) -> bool:
    """Whether the outputs are those of the page as it stands."""
    return [cell.digest for cell in cells(name)] == [cell["digest"] for cell in outputs(name)["cells"]]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    name = Path(page.file.src_uri).stem
    if Path(page.file.src_uri).parent.name != FOLDER.name:
        return markdown
    if not is_current(name):
        logger.warning("%s has changed since it was run; run `make tutorials`", page.file.src_uri)
        return markdown
    ran = outputs(name)
    left = iter(ran["cells"])
    shown = _CELL.sub(lambda found: found.group(0) + _as_markdown(next(left)), markdown)
    title, _, rest = shown.partition("\n\n")
    return f"{title}\n\n{_measured(ran)}\n\n{rest}"


def _as_markdown(output: dict[str, Any]) -> str:
    parts = [f"```{{.text .output}}\n{output['text']}\n```\n"] if output["text"] else []
    parts += [f"![What the cell shows]({OUTPUTS}/{image})\n" for image in output["images"]]
    return "".join(f"\n{part}" for part in parts)


def _measured(ran: dict[str, Any]) -> str:
    machine, memory = ran["machine"], f"{ran['memory_mib']:,} MiB"
    return (
        f"*Outputs are those of a run of this page: {_minutes(ran['seconds'])} by the clock, "
        f"{_minutes(ran['processor_seconds'])} of processor time, at most {memory} in a process; "
        f"{machine['cores']} cores at a load of {machine['load']:.0f}, no GPU, Python {machine['python']}, "
        f"torch {machine['torch']}.*"
    )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
