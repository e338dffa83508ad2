"""A third party's package that does everything as it should."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp_toolkit.data.records import Finding, Presence, Report


class AcmeFilter:
    """Finds the word 'effusion' and nothing else.

    Args:
        word: what to look for.

    Example::

        report_filter:
          _target_: medvlp_toolkit.report_filters.acme
          word: effusion
    """

    positions: Sequence[str] = ()

    def __init__(self, word: str = "effusion") -> None:
        self.word = word
        self.entities = (word,)

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        found = []
        for report in reports:
            start = report.text.lower().find(self.word)
            span = (start, start + len(self.word))
            found.append([Finding(self.word, Presence.PRESENT, span=span)] if start >= 0 else [])
        return found


def shouting(text: str, times: int = 1) -> str:
    """Say it loudly."""
    return text.upper() + "!" * times


def acme_tower(depth: int, width: int = 8) -> dict[str, int]:
    """Stands in for an encoder."""
    return {"depth": depth, "width": width}
