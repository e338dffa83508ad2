"""The progress bar, and what a report filter counts beside it."""

from __future__ import annotations

import io
import sys
from collections import Counter

import pytest

from medvlp_toolkit.data.tally import RunningTally
from medvlp_toolkit.progress import Progress


class Asking:
    """A filter that makes requests."""

    rate_of = "requests"

    def __init__(self) -> None:
        self.tally = Counter({"requests": 30, "dropped": 1, "nothing": 0})

    def take_tally(self) -> Counter[str]:
        taken, self.tally = self.tally, Counter()
        return taken


def test_a_detail_is_shown_with_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    counts = iter(range(10_000))
    with Progress("filtering", 3, True, lambda: f"{next(counts)} requests/s") as progress:
        progress.advance(3)
    assert "filtering" in terminal.getvalue()
    assert "requests/s" in terminal.getvalue()


def test_slow_work_is_shown_study_by_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    now = iter(range(1000))
    monkeypatch.setattr("medvlp_toolkit.progress.time.monotonic", lambda: float(next(now)))
    with Progress("filtering", 10, True) as progress:
        progress.advance()
        assert progress.bar.tasks[0].completed == 1


def test_counts_of_this_process_and_of_others_are_added_and_a_rate_is_shown() -> None:
    tally = RunningTally(Asking())
    tally.add({"requests": 12})
    assert tally.rate().endswith(" requests/s")
    requests, dropped = tally.lines()
    assert requests.startswith("requests: 42 (")
    assert requests.endswith(" requests/s)")
    assert dropped == "dropped: 1"


def test_a_filter_that_counts_nothing_has_no_lines() -> None:
    tally = RunningTally(object())
    tally.take()
    assert (tally.rate(), tally.lines()) == ("", [])
