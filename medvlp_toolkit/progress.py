"""A progress bar with rate and remaining time on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self


class Progress:
    """Counts studies on standard error; ``total`` None while their number is not known.

    ``show`` None shows the bar if standard error is a terminal.
    """

    def __init__(self, what: str, total: int | None, show: bool | None) -> None:
        self.what, self.total = what, total
        self.show = sys.stderr.isatty() if show is None else show
        self.bar: Any = None
        self.task: Any = None
        self.count = self.given = 0
        self.started = time.monotonic()

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
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.bar.start()
            self.task = self.bar.add_task(self.what, total=self.total, rate="")
        return self

    def advance(self, count: int = 1, counted: bool = True) -> None:
        """``counted`` is False for work of an earlier run, which does not count towards the rate."""
        self.count += count
        self.given += 0 if counted else count
        if self.bar is not None and (self.count % 64 == 0 or count > 1):
            rate = (self.count - self.given) / max(time.monotonic() - self.started, 1e-6)
            self.bar.update(self.task, completed=self.count, rate=f"{rate:,.0f}/s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=self.count)
            self.bar.stop()
