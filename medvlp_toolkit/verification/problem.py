"""A problem: what is wrong, where, and how to fix it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Place:
    """A line of a file; ``line`` is 0 for the whole file or a value of the command line."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake.

    Args:
        file: its file, relative to the bundle if inside it; ``--set`` for the command line.
        line: in that file, from 1; 0 for the file as a whole.
        id: of the configuration item, ``train::trainer::max_epochs``; empty if there is none.
        message: what was found and what was expected.
        fix: the proposed fix.
    """

    file: str
    line: int
    id: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        where = str(Place(self.file, self.line))
        report = f"{where}: {self.id}: {self.message}" if self.id else f"{where}: {self.message}"
        return f"{report}; {self.fix}" if self.fix else report


def nearest(name: str, known: Iterable[Any], cutoff: float = 0.6) -> str:
    """``did you mean 'x'?`` for the nearest of ``known``, or an empty text."""
    found = difflib.get_close_matches(name, [str(one) for one in known], n=1, cutoff=cutoff)
    return f"did you mean '{found[0]}'?" if found else ""


def nearest_id(wanted: str, ids: Iterable[str]) -> str:
    """The nearest configuration id, by the whole id and by its last part, which users remember best."""
    ids = sorted(set(ids), key=lambda known: (known.count("::"), known))
    leaf = wanted.rpartition("::")[2]

    def likeness(known: str) -> float:
        whole = difflib.SequenceMatcher(None, wanted, known).ratio()
        last = difflib.SequenceMatcher(None, leaf, known.rpartition("::")[2]).ratio()
        return max(whole, last)

    scored = [(likeness(known), known) for known in ids]
    good = [(score, known) for score, known in scored if score >= 0.65]
    if not good:
        return ""
    best = sorted(good, key=lambda pair: -pair[0])[:2]
    chosen = [known for score, known in best if score >= best[0][0] - 0.3]
    return f"did you mean {' or '.join(repr(known) for known in chosen)}?"


def shown(path: Path, bundle: Path) -> str:
    """A path for messages, relative to the bundle if inside it."""
    try:
        return path.resolve().relative_to(bundle.resolve()).as_posix()
    except ValueError:
        return str(path)
