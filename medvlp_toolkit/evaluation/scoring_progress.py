"""Progress of an evaluator over its batches: what is scored, a bar or log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sized
from typing import Any

from ignite.engine import Engine, Events

from medvlp_toolkit.progress import Progress
from medvlp_toolkit.run_lines import counted

logger = logging.getLogger(__name__)

_EVERY = 30.0  # seconds between log lines


class ScoringProgress:
    """Logs what an evaluator begins with, and shows how far it is.

    Args:
        what: is being done, ``scoring``; or called when it begins, gives that.
        each: what a data set without study ids counts.
    """

    def __init__(self, what: str | Callable[[], str], each: str = "item") -> None:
        self.what, self.each = what, each
        self._progress: Progress | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.COMPLETED, self._stop)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: Any) -> None:
        what = self.what if isinstance(self.what, str) else self.what()
        batches, dataset = engine.state.epoch_length, getattr(engine.state.dataloader, "dataset", None)
        self._progress = Progress(what, batches, every=_EVERY, share=0, unit="batch", rate=False, transient=True)
        self._progress.__enter__()
        on = f" {counted(dataset, self.each)}" if isinstance(dataset, Sized) else ""
        place = getattr(engine.state, "device", None)
        batch = f" in {batches} batch{'es' if batches != 1 else ''}" if batches else ""
        logger.info("%s%s%s%s", what, on, batch, "" if place is None else f", on {place}")

    def _advance(self, engine: Engine) -> None:
        if self._progress is not None:
            self._progress.advance()

    def _stop(self, engine: Engine) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._stop(engine)
        raise error
