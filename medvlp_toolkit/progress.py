"""Progress of long work: a bar on a terminal, elsewhere a log line now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from medvlp_toolkit.terminal import show_log_lines

logger = logging.getLogger(__name__)

_SHOWN_EVERY = 0.5  # seconds; slow work would else seem to stand still


class _Live:
    """Text that is recomputed each time it is shown."""

    def __init__(self, asked: Callable[[], str] | None) -> None:
        self.asked = asked

    def __str__(self) -> str:
        return self.asked() if self.asked else ""


class Progress:
    """Counts work that is done, on standard error or in the log.

    May be entered again after it was left, as training does for each epoch: count and clock continue.

    Args:
        what: is being done.
        total: None while it is not known.
        show: True shows a bar, False nothing, None a bar on a terminal and log lines elsewhere.
        detail: asked ever again, by another thread, for what else to show.
        every: seconds between log lines, at least.
        share: of ``total`` between log lines, at least.
        unit: written before the count: ``step``.
        rate: whether the count per second is shown.
        transient: whether the bar disappears when it is left.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        show: bool | None = None,
        detail: Callable[[], str] | None = None,
        *,
        every: float = 10.0,
        share: float = 0.1,
        unit: str = "",
        rate: bool = True,
        transient: bool = False,
    ) -> None:
        self.what, self.total, self.detail = what, total, detail
        self.every, self.share, self.unit, self.rate, self.transient = every, share, unit, rate, transient
        terminal = sys.stderr.isatty()
        self.show = terminal if show is None else show
        self.logs = show is None and not terminal
        self.bar: Any = None
        self.task: Any = None
        self.count = self.given = self.logged_count = 0
        self.started = self.shown = self.logged = time.monotonic()
        self._begun = False

    def __enter__(self) -> Self:
        if not self._begun:
            self._begun = True
            self.started = self.logged = time.monotonic()
        if self.logs:
            show_log_lines()
        if self.show:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=self.transient,
            )
            self.bar.start()
            self.task = self.bar.add_task(
                self.what, total=self.total, completed=self.count, rate="", detail=_Live(self.detail)
            )
        return self

    def advance(self, count: int = 1, counted: bool = True) -> None:
        """``counted`` is False for work of an earlier run, which is excluded from the rate."""
        self.count += count
        self.given += 0 if counted else count
        now = time.monotonic()
        if self.logs and counted and self._is_due(now):
            self.logged, self.logged_count = now, self.count
            logger.info("%s", self.line(now))
        if self.bar is not None and (self.count % 64 == 0 or count > 1 or now - self.shown > _SHOWN_EVERY):
            self.shown = now
            self.bar.update(self.task, completed=self.count, rate=self._rate(now))

    def _is_due(self, now: float) -> bool:
        further = self.count - self.logged_count
        return now - self.logged >= self.every and (self.total is None or further >= self.share * self.total)

    def line(self, now: float | None = None) -> str:
        """What there is to say, in one line: ``packing  120/297 (40 %)  12/s  15 s left``."""
        now = time.monotonic() if now is None else now
        of = f"/{self.total:,} ({100 * self.count // max(self.total, 1)} %)" if self.total is not None else ""
        parts = [self.what, f"{self.unit} {self.count:,}{of}".strip(), self._rate(now)]
        parts += [self.detail() if self.detail else "", self.left(now)]
        return "  ".join(part for part in parts if part)

    def left(self, now: float | None = None) -> str:
        """``3 min 05 s left``; empty where it cannot be estimated, or nothing is left."""
        done = self.count - self.given
        if self.total is None or done <= 0 or self.count >= self.total:
            return ""
        passed = (time.monotonic() if now is None else now) - self.started
        return f"{duration((self.total - self.count) * passed / done)} left"

    def _rate(self, now: float) -> str:
        if not self.rate:
            return ""
        each = (self.count - self.given) / max(now - self.started, 1e-6)
        return f"{each:,.0f}/s" if each >= 10 or each == 0 else f"{each:.1f}/s"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=self.count)
            self.bar.stop()
            self.bar = None


def duration(seconds: float) -> str:
    """``48.2 s``, ``3 min 05 s``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
