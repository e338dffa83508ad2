"""What a report filter counts of its own work, for the end of a run: reports it does not know, answers it dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Tallying(Protocol):
    """A filter that counts what its user should know of. Descriptions hold no text of a report."""

    def take_tally(self) -> Counter[str]:
        """What happened since the last call, description → how often; a copy in another process begins empty."""


def take_tally(report_filter: Any) -> Counter[str]:
    """The filter's counts since the last call, none where it keeps none."""
    return Counter(report_filter.take_tally()) if isinstance(report_filter, Tallying) else Counter()


def tally_lines(tally: Mapping[str, int]) -> list[str]:
    """One line a description, in the order they were first counted."""
    return [f"{what}: {count:,}" for what, count in tally.items() if count]
