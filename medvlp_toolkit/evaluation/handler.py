"""Collects what an evaluator gives and, at the end, measures it and writes a results folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.results.run_record import run_record
from medvlp_toolkit.evaluation.results.tables import print_summary

_DESCRIPTION = ("patient_id", "split", "sex", "age", "view")


class FinetuningEvaluation:
    """What the handlers below share: when to collect, when to write, and what a results folder says of the run.

    Args:
        dataset: what is predicted.
        output_dir: the results folder.
        title: says what was evaluated.
        config: the configuration, for ``run.json``.
        checkpoint: the evaluated weights' file, for ``run.json``.
        seconds: name -> seconds of what came before, or called without arguments gives that when it is written.
    """

    def __init__(
        self,
        dataset: StudyDataset,
        output_dir: str | Path,
        title: str = "",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        seconds: Mapping[str, float] | Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self.dataset = dataset
        self.output_dir = Path(output_dir)
        self.title = title
        self.config = dict(config or {})
        self.checkpoint = checkpoint
        self.seconds = seconds
        self.begin()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, lambda _: self.begin())
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self.collect(e.state.output))
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def begin(self) -> None:
        """Forget an earlier run."""
        self._started = time.perf_counter()

    def collect(self, output: Mapping[str, Any]) -> None:
        """Keep what a batch gave."""
        raise NotImplementedError

    def finish(self, engine: Engine) -> None:
        """Measure, write and print."""
        raise NotImplementedError

    def write(self, engine: Engine, table: Any, metrics: dict[str, Any], paths: Mapping[str, Path]) -> None:
        """The results folder and the printed summary."""
        before = self.seconds() if callable(self.seconds) else self.seconds
        metrics["seconds"] = {**(before or {}), "evaluation": round(time.perf_counter() - self._started, 1)}
        run = run_record(self.config, self.checkpoint, getattr(engine.state, "device", None), metrics["seconds"])
        Results.write(self.output_dir, table, metrics, run)
        print_summary(metrics, {"metrics": self.output_dir / "metrics.json", **paths}, self.title)

    def described(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Columns of the store that a scores table keeps."""
        return {name: self.dataset.store.values(name, rows) for name in _DESCRIPTION}
