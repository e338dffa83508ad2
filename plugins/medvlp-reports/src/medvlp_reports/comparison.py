"""Agreement of two report filters on the same reports, without annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.records import Finding, Presence, Report


class Said(IntEnum):
    """A filter's result for an entity in a report; of several statements the strongest counts."""

    NOTHING = 0
    ABSENT = 1
    UNCERTAIN = 2
    PRESENT = 3


_SAID = {Presence.ABSENT: Said.ABSENT, Presence.UNCERTAIN: Said.UNCERTAIN, Presence.PRESENT: Said.PRESENT}


@dataclass(frozen=True)
class Difference:
    """An entity of a report on which two filters disagree, with the findings concerned.

    ``of`` is ``presence``, or ``position`` if both find it present at different positions.
    """

    report: Report
    entity: str
    of: Literal["presence", "position"]
    first: tuple[Finding, ...]
    second: tuple[Finding, ...]


@dataclass
class Comparison:
    """Counts the results of two filters for the entities that both have.

    ``counts`` (E, 4, 4): per entity, reports by the results (``Said``) of the first and of the second. ``same_place``
    of ``both_present`` findings have the same positions. ``one_sided`` are entities that only one of the two has.
    """

    entities: tuple[str, ...]
    one_sided: tuple[str, ...] = ()
    counts: NDArray[np.int64] = field(init=False)
    reports: int = 0
    both_present: int = 0
    same_place: int = 0

    def __post_init__(self) -> None:
        self.counts = np.zeros((len(self.entities), 4, 4), dtype=np.int64)
        self._index = {entity: number for number, entity in enumerate(self.entities)}

    @classmethod
    def of(cls, first: Iterable[str], second: Iterable[str]) -> Comparison:
        """A comparison over the entities that both filters declare.

        Raises ValueError if they have none in common.
        """
        known, others = list(dict.fromkeys(first)), set(second)
        shared = tuple(entity for entity in known if entity in others)
        if not shared:
            raise ValueError("the two filters have no entity in common: nothing can be compared")
        return cls(shared, tuple(sorted(others.symmetric_difference(known))))

    def add(self, report: Report, first: Sequence[Finding], second: Sequence[Finding]) -> list[Difference]:
        """Count a report; returns the differences."""
        self.reports += 1
        by_entity: dict[str, tuple[list[Finding], list[Finding]]] = {}
        for side, findings in enumerate((first, second)):
            for finding in findings:
                if finding.entity in self._index:
                    by_entity.setdefault(finding.entity, ([], []))[side].append(finding)
        differing = []
        for entity, (one, other) in by_entity.items():
            said = strongest(one), strongest(other)
            self.counts[self._index[entity], said[0], said[1]] += 1
            of: Literal["presence", "position"] = "presence"
            if said == (Said.PRESENT, Said.PRESENT):
                of = "position"
                same = _places(one) == _places(other)
                self.both_present += 1
                self.same_place += same
            else:
                same = said[0] == said[1]
            if not same:
                differing.append(Difference(report, entity, of, tuple(one), tuple(other)))
        return differing

    def table(self, entity: str | None = None) -> NDArray[np.int64]:
        """(4, 4) counts of one entity, or of all, including cases that neither mentions."""
        if entity is None:
            table, cells = self.counts.sum(axis=0), self.reports * len(self.entities)
        else:
            table, cells = self.counts[self._index[entity]].copy(), self.reports
        table[Said.NOTHING, Said.NOTHING] = cells - table.sum()
        return np.asarray(table)


def agreement(table: NDArray[np.int64], mentioned: bool = False) -> float:
    """The share of cases in which both agree; ``mentioned``: among those that either mentions."""
    same, cases = int(np.trace(table)), int(table.sum())
    if mentioned:
        same, cases = same - int(table[0, 0]), cases - int(table[0, 0])
    return same / cases if cases else float("nan")


def kappa(table: NDArray[np.int64]) -> float:
    """Cohen's kappa (Cohen, 1960): agreement beyond chance; NaN if both always give the same single result."""
    cases = table.sum()
    if not cases:
        return float("nan")
    expected = float((table.sum(axis=0) / cases) @ (table.sum(axis=1) / cases))
    return (agreement(table) - expected) / (1 - expected) if expected < 1 else float("nan")


def strongest(findings: Iterable[Finding]) -> Said:
    """Present takes precedence over uncertain, uncertain over absent; a linker's mention counts as present."""
    said = (Said.PRESENT if finding.presence is None else _SAID[finding.presence] for finding in findings)
    return max(said, default=Said.NOTHING)


def _places(findings: Iterable[Finding]) -> set[str | None]:
    """The positions of present findings; a missing position counts as unspecific."""
    present = {finding.position for finding in findings if finding.presence in (Presence.PRESENT, None)}
    return present - {None} or {None}
