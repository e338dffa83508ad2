"""A report filter's counts of its own work: unknown or unread reports, dropped answers, requests.

The counts are shown at the end of a run; a count with a rate is also shown in the progress bar.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from medvlp_toolkit.data.contracts import CountsMissing, Tallying


class RunningTally:
    """The counts of one run, collected from a filter during the run and from its copies in other processes."""

    def __init__(self, report_filter: Any) -> None:
        self._report_filter = report_filter
        self._tallying = report_filter if isinstance(report_filter, Tallying) else None
        self._rate_of: str | None = getattr(report_filter, "rate_of", None)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.counts: Counter[str] = Counter()

    def take(self) -> None:
        """Add the counts since the last call of the filter in this process."""
        if self._tallying is not None:
            with self._lock:
                self.counts.update(self._tallying.take_tally())

    def add(self, counts: Mapping[str, int]) -> None:
        """Add the counts of a copy in another process."""
        with self._lock:
            self.counts.update(counts)

    def rate(self) -> str:
        """ "12.0 requests/s", or an empty text for a filter without a rate."""
        if self._rate_of is None:
            return ""
        self.take()
        seconds = max(time.monotonic() - self._began, 1e-6)
        return f"{self.counts[self._rate_of] / seconds:,.1f} {self._rate_of}/s"

    def lines(self) -> list[str]:
        """One line per description, in the order of first occurrence."""
        self.take()
        if self._tallying is None and isinstance(self._report_filter, CountsMissing):
            self.counts["unknown to the filter"] = self._report_filter.missing
        rates = {self._rate_of: f" ({self.rate()})"}
        return [f"{what}: {count:,}{rates.get(what, '')}" for what, count in self.counts.items() if count]
