"""Run tutorials, cell by cell, in a new folder, and write what they show: ``run_tutorials.py [NAME ...]``.

Python cells share one namespace, as in a notebook; a cell ends with what its last expression is. Bash cells stop at the
first command that fails. Both run in the same folder, in which ``bundles`` are those of this checkout. ``pip install``
installs into that folder, so that the environment stays as it is.
"""

from __future__ import annotations

import argparse
import ast
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
        programs.mkdir()
        site.mkdir()
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
        began = time.monotonic()
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
        text = _CONTROLS.sub("", printed).replace(f"{self.folder}/", "").rstrip()
        text = "\n".join(line.rstrip() for line in text.splitlines())
        if failed:
            raise SystemExit(f"{self.name}: this cell failed\n\n{cell.code}\n{text}")
        seconds = round(time.monotonic() - began, 1)
        return {"digest": cell.digest, "seconds": seconds, "text": text, "images": images}

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


def run(name: str, out: Path) -> None:
    """Run a tutorial in this process and write its outputs."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob(f"{name}_*.png"):
        old.unlink()
    with tempfile.TemporaryDirectory(prefix=f"{name}_") as folder:
        tutorial = Tutorial(name, Path(folder).resolve(), out.resolve())
        tutorial.set_up()
        load, ran = round(os.getloadavg()[0], 1), []
        for number, cell in enumerate(found := cells(name), 1):
            ran.append(tutorial.run(cell))
            print(f"{name}: cell {number} of {len(found)}, {ran[-1]['seconds']} s", flush=True)
        os.chdir(ROOT)
    (out / f"{name}.json").write_text(json.dumps(measured(ran, load), indent=1, ensure_ascii=False) + "\n")


def measured(ran: list[dict[str, Any]], load: float) -> dict[str, Any]:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    import importlib.metadata

    return {
        "seconds": round(sum(cell["seconds"] for cell in ran), 1),
        "processor_seconds": round(sum(use.ru_utime + use.ru_stime for use in used), 1),
        "memory_mib": max(use.ru_maxrss for use in used) // 1024,
        "machine": {
            "cores": os.cpu_count(),
            "load": load,
            "python": platform.python_version(),
            "torch": importlib.metadata.version("torch"),
        },
        "cells": ran,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Run tutorials and write what their cells show.")
    parser.add_argument("names", nargs="*", default=names(), help=f"of {', '.join(names())}; all of them by default")
    parser.add_argument("--out", type=Path, default=FOLDER / OUTPUTS, help="folder of the outputs")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names()):
        parser.error(f"no tutorial {', '.join(sorted(unknown))}; there are {', '.join(names())}")
    if len(given.names) == 1:
        run(given.names[0], given.out)
        return
    for name in given.names:  # a process each: what one has imported and defined is not the next one's
        subprocess.run([sys.executable, __file__, name, "--out", str(given.out)], check=True)


if __name__ == "__main__":
    main()
