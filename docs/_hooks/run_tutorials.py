"""Run tutorials, cell by cell, in a new folder, and write what they show: ``run_tutorials.py [NAME ...]``.

Python cells share one namespace, as in a notebook; a cell ends with what its last expression is. Bash cells stop at the
first command that fails. Both run in the same folder, in which ``bundles`` are those of this checkout. ``pip install``
installs into that folder, so that the environment stays as it is.
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutorials import FOLDER, OUTPUTS, Cell, cells, names

ROOT = FOLDER.parents[1]
WIDTH = 100
# What a terminal shows in colour, and the part of a line that a progress bar writes over.
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n]*\r(?!\n)")
_PACKAGES = re.compile(r"[^\s'\"]*/site-packages/")
_PIP = """#!{python}
import os, subprocess, sys
given = [os.path.abspath(word) for word in sys.argv[2:] if word != "-e"]
command = [{python!r}, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
sys.exit(subprocess.call([*command, "--disable-pip-version-check", "--upgrade", "--target", {site!r}, *given]))
"""


class Tutorial:
    """A running tutorial: its folder, its names, and the pictures that its cells have shown."""

    def __init__(self, name: str, folder: Path, out: Path) -> None:
        self.name, self.folder, self.out = name, folder, out
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.pictures = 0

    def set_up(self) -> None:
        """The folder, and what a terminal in it would have."""
        programs, site = self.folder / ".programs", self.folder / ".site"
        programs.mkdir(exist_ok=True)
        site.mkdir(exist_ok=True)
        if not (self.folder / "bundles").exists():
            (self.folder / "bundles").symlink_to(ROOT / "bundles")
        (programs / "pip").write_text(_PIP.format(python=sys.executable, site=str(site)))
        (programs / "pip").chmod(0o755)
        os.chdir(self.folder)
        os.environ |= {
            "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "PYTHONWARNINGS": "ignore:parsing config_file:UserWarning",
            "COLUMNS": str(WIDTH),
            "HF_HUB_OFFLINE": "1",
        }
        sys.path.insert(0, str(site))

    def run(self, cell: Cell) -> dict[str, Any]:
        images: list[str] = []
        began, processor_seconds = time.monotonic(), used()[0]
        if cell.language == "bash":
            # A notebook's `%%bash`; what is written to standard error belongs to it.
            done = subprocess.run(
                ["bash", "-e", "-c", cell.code],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            printed, failed = done.stdout, done.returncode != 0
        else:
            printed, failed = self._captured(lambda: self._execute(cell.code, images))
        text = plain(printed.replace(f"{self.folder}/", ""))
        if failed:
            raise SystemExit(f"{self.name}: this cell failed\n\n{cell.code}\n{text}")
        return {
            "digest": cell.digest,
            "seconds": round(time.monotonic() - began, 1),
            "processor_seconds": round(used()[0] - processor_seconds, 1),
            "memory_mib": used()[1],
            "load": round(os.getloadavg()[0], 1),
            "text": text,
            "images": images,
        }

    def _execute(self, code: str, images: list[str]) -> None:
        tree = ast.parse(code)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, self.name, "exec"), self.namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), self.name, "eval"), self.namespace)
            self._display(value, images)

    def _display(self, value: Any, images: list[str]) -> None:
        save: Callable[[Path], None] | None = getattr(value, "savefig", None) or getattr(value, "save", None)
        if save is not None:
            self.pictures += 1
            images.append(f"{self.name}_{self.pictures}.png")
            save(self.out / images[-1])
        elif value is not None:
            print(repr(value))

    @staticmethod
    def _captured(call: Callable[[], None]) -> tuple[str, bool]:
        """What a call prints, also from C and from processes that it starts, and whether it failed."""
        import traceback

        with tempfile.TemporaryFile(mode="w+") as stream:
            sys.stdout.flush()
            sys.stderr.flush()
            kept = os.dup(1), os.dup(2)
            for place in (1, 2):
                os.dup2(stream.fileno(), place)
            failed = False
            try:
                call()
            except BaseException:
                traceback.print_exc()
                failed = True
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                for place, descriptor in zip((1, 2), kept, strict=True):
                    os.dup2(descriptor, place)
                    os.close(descriptor)
            stream.seek(0)
            return stream.read(), failed


def run(name: str, out: Path, keep: Path | None = None) -> None:
    """Run a tutorial in this process and write its outputs.

    Args:
        name: of the tutorial.
        out: folder of the outputs.
        keep: folder to run in that is kept. Commands that ran in it before are not run again, up to the first cell that
            has changed; Python cells are, for their names.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob(f"{name}_*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix=f"{name}_") as temporary:
        folder = (keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / ".ran.json"
        before = json.loads(record.read_text()) if record.is_file() else []
        tutorial, ran = Tutorial(name, folder, out.resolve()), []
        tutorial.set_up()
        for number, cell in enumerate(found := cells(name), 1):
            known = (
                before[number - 1] if number <= len(before) and before[number - 1]["digest"] == cell.digest else None
            )
            if known is None:
                before = []
            if known is None or cell.language == "python":
                output = tutorial.run(cell)
            ran.append(known or output)
            record.write_text(json.dumps(ran))
            print(f"{name}: cell {number} of {len(found)}, {ran[-1]['seconds']} s", flush=True)
        os.chdir(ROOT)
    (out / f"{name}.json").write_text(json.dumps(measured(ran), indent=1, ensure_ascii=False) + "\n")


def plain(printed: str) -> str:
    """What was printed, as a page shows it: without a terminal's controls, and with no place of one machine."""
    text = _PACKAGES.sub("site-packages/", _CONTROLS.sub("", printed)).rstrip()
    return "\n".join(line.rstrip() for line in text.splitlines())


def measured(ran: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "seconds": round(sum(cell["seconds"] for cell in ran), 1),
        "processor_seconds": round(sum(cell["processor_seconds"] for cell in ran), 1),
        "memory_mib": max(cell["memory_mib"] for cell in ran),
        "machine": {
            "cores": os.cpu_count(),
            "load": max(cell["load"] for cell in ran),
            "python": platform.python_version(),
            "torch": importlib.metadata.version("torch"),
        },
        "cells": ran,
    }


def used() -> tuple[float, int]:
    """Seconds of processor time of this process and those that have ended, and the most memory of one in MiB."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in usage), max(use.ru_maxrss for use in usage) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Run tutorials and write what their cells show.")
    parser.add_argument("names", nargs="*", default=names(), help=f"of {', '.join(names())}; all of them by default")
    parser.add_argument("--out", type=Path, default=FOLDER / OUTPUTS, help="folder of the outputs")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="run in this folder, from the first cell that has changed"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - set(names()):
        parser.error(f"no tutorial {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    if len(given.names) == 1:
        run(given.names[0], given.out, given.keep)
        return
    if given.keep is not None:
        parser.error("--keep is for one tutorial; name it")
    for name in given.names:  # a process each: what one has imported and defined is not the next one's
        subprocess.run([sys.executable, __file__, name, "--out", str(given.out)], check=True)


if __name__ == "__main__":
    main()
