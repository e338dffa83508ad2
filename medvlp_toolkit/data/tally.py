"""What a report filter says of its own work: reports it does not know or read, answers it dropped, requests it makes.

The counts are shown at the end of a run; a count that has a rate is shown beside the progress bar too.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from medvlp_toolkit.data.contracts import CountsMissing, Tallying


class RunningTally:
    """The counts of one run, taken from a filter as it goes and from the copies in other processes."""

    def __init__(self, report_filter: Any) -> None:
        self._report_filter = report_filter
        self._tallying = report_filter if isinstance(report_filter, Tallying) else None
        self._rate_of: str | None = getattr(report_filter, "rate_of", None)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.counts: Counter[str] = Counter()

    def take(self) -> None:
        """Add what the filter in this process has counted since the last time."""
        if self._tallying is not None:
            with self._lock:
                self.counts.update(self._tallying.take_tally())

    def add(self, counts: Mapping[str, int]) -> None:
        """Add what a copy in another process has counted."""
        with self._lock:
            self.counts.update(counts)

    def rate(self) -> str:
        """ "12.0 requests/s", or nothing for a filter without a rate."""
        if self._rate_of is None:
            return ""
        self.take()
        seconds = max(time.monotonic() - self._began, 1e-6)
        return f"{self.counts[self._rate_of] / seconds:,.1f} {self._rate_of}/s"

    def lines(self) -> list[str]:
        """One line a description, in the order they were first counted."""
        self.take()
        if self._tallying is None and isinstance(self._report_filter, CountsMissing):
            self.counts["unknown to the filter"] = self._report_filter.missing
        rates = {self._rate_of: f" ({self.rate()})"}
        return [f"{what}: {count:,}{rates.get(what, '')}" for what, count in self.counts.items() if count]
