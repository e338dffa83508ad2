"""A progress bar with rate and remaining time, shown only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

_SHOWN_EVERY = 0.5  # seconds; slow work would otherwise seem to have stopped


class _Live:
    """Text that is recomputed each time it is shown."""

    def __init__(self, asked: Callable[[], str] | None) -> None:
        self.asked = asked

    def __str__(self) -> str:
        return self.asked() if self.asked else ""


class Progress:
    """Counts studies on standard error; ``total`` is None while their number is unknown.

    ``show`` None shows the bar if standard error is a terminal; ``detail`` is called repeatedly, by another
    thread, for further text.
    """

    def __init__(
        self, what: str, total: int | None, show: bool | None, detail: Callable[[], str] | None = None
    ) -> None:
        self.what, self.total, self.detail = what, total, detail
        self.show = sys.stderr.isatty() if show is None else show
        self.bar: Any = None
        self.task: Any = None
        self.count = self.given = 0
        self.started = self.shown = time.monotonic()

    def __enter__(self) -> Self:
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
            )
            self.bar.start()
            self.task = self.bar.add_task(self.what, total=self.total, rate="", detail=_Live(self.detail))
        return self

    def advance(self, count: int = 1, counted: bool = True) -> None:
        """``counted`` is False for work of an earlier run, which is excluded from the rate."""
        self.count += count
        self.given += 0 if counted else count
        if self.bar is None:
            return
        now = time.monotonic()
        if self.count % 64 == 0 or count > 1 or now - self.shown > _SHOWN_EVERY:
            self.shown = now
            rate = (self.count - self.given) / max(now - self.started, 1e-6)
            self.bar.update(self.task, completed=self.count, rate=f"{rate:,.0f}/s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=self.count)
            self.bar.stop()
