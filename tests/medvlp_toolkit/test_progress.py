"""The progress bar, and what a report filter counts beside it."""

from __future__ import annotations

import io
import logging
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


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for progress, and no terminal."""
    made = Clock()
    monkeypatch.setattr("medvlp_toolkit.progress.time.monotonic", made)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    return made


@pytest.mark.parametrize(
    ("total", "seconds", "lines"),
    [
        (100, 1.0, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),  # every 10 %, as 10 s are over by then
        (100, 0.25, [40, 80]),  # every 10 s, later than every 10 %
        (20, 0.1, []),  # over before a line is worth it
        (None, 1.0, [10, 20, 30]),  # how much there is to do is not known
    ],
)
def test_without_a_terminal_a_line_is_logged_every_ten_seconds_or_tenth(
    total: int | None, seconds: float, lines: list[int], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), Progress("packing", total) as progress:
        for _ in range(total or 30):
            clock.now += seconds
            progress.advance()
    assert [int(record.message.split()[1].split("/")[0]) for record in caplog.records] == lines


def test_a_line_says_how_far_it_is_how_fast_and_what_is_left(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("packing", 400, detail=lambda: "3 requests/s") as progress:
        progress.advance(200, counted=False)
        clock.now = 20.0
        progress.advance(50)
    assert [record.message for record in caplog.records] == [
        "packing  250/400 (62 %)  2.5/s  3 requests/s  1 min 00 s left"
    ]


def test_no_line_where_progress_is_not_wanted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("packing", 100, show=False) as progress:
        clock.now = 60.0
        progress.advance(90)
    assert caplog.records == []


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
