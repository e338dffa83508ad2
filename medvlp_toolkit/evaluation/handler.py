"""Base handler of evaluations: collects an evaluator's output, computes metrics and writes a results folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from torch import nn

from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.evaluation.results.label_origin import label_origin
from medvlp_toolkit.evaluation.results.results import METRICS_FILE, RUN_FILE, Results
from medvlp_toolkit.evaluation.results.run_record import run_record
from medvlp_toolkit.evaluation.results.tables import print_summary
from medvlp_toolkit.evaluation.scoring_progress import ScoringProgress
from medvlp_toolkit.images import StoredFormat
from medvlp_toolkit.progress import duration
from medvlp_toolkit.weights.description import Description

if TYPE_CHECKING:
    from rich.table import Table

logger = logging.getLogger(__name__)

_DESCRIPTION = ("patient_id", "split", "sex", "age", "view")


class Evaluation:
    """Base of evaluations: attaches to the evaluator, and writes the results folder with its run record.

    A subclass collects the output of each batch (:meth:`collect`), and computes metrics and writes its own files in
    :meth:`finish`, which ends with :meth:`write`: ``run.json``, without which a folder is incomplete, is written last.

    Args:
        dataset: the evaluated data set; its ``store`` describes the images.
        output_dir: the results folder; None writes nothing.
        title: describes what was evaluated.
        config: the configuration, for ``run.json``.
        checkpoint: the evaluated weights' file, for ``run.json``.
        seconds: name -> seconds of earlier phases, or a callable that returns this when the results are written.
        bundle: name of the recipe, for ``run.json``.
    """

    network: nn.Module

    def __init__(
        self,
        dataset: Any,
        output_dir: str | Path | None,
        title: str = "",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        seconds: Mapping[str, float] | Callable[[], Mapping[str, float]] | None = None,
        bundle: str = "",
    ) -> None:
        self.dataset = dataset
        self.writes = output_dir is not None
        self.output_dir = Path(output_dir or ".")
        self.title, self.bundle = title, bundle
        self.config = dict(config or {})
        self.checkpoint = checkpoint
        self.seconds = seconds

    def attach(self, engine: Engine) -> None:
        ScoringProgress(self.about).attach(engine)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self.collect(e.state.output))
        engine.add_event_handler(Events.COMPLETED, self._complete)

    def _start(self, engine: Any) -> None:
        self.network = unwrap(engine.network)
        self._compare_formats()
        self.begin()

    def _complete(self, engine: Engine) -> None:
        if self.writes:
            passed = duration(time.perf_counter() - self._started)
            logger.info("scored in %s; computing metrics and their intervals", passed)
        self.replace_results()
        self.finish(engine)

    def _compare_formats(self) -> None:
        """Warn where the store's images were read in another way than those trained on."""
        trained = None if self.checkpoint is None else Description.beside(self.checkpoint)
        stored = self.dataset.store.stored_format
        if trained is None or trained.images is None or stored is None:
            return
        differences = stored.differences(StoredFormat.from_mapping(trained.images))
        if differences:
            logger.warning(
                "%s: its images were not stored as those of the training (%s): %s; scores may differ from those of a "
                "store prepared like it",
                self.dataset.store.path,
                trained.source,
                "; ".join(differences),
            )

    def about(self) -> str:
        """What is done with the data set, for the first log line."""
        return "evaluating" + (f" {self.checkpoint} on" if self.checkpoint else "")

    def begin(self) -> None:
        """Reset the state of an earlier run."""
        self._started = time.perf_counter()

    def collect(self, output: Any) -> None:
        """Collect the output of a batch."""

    def finish(self, engine: Engine) -> None:
        """Measure, write and print."""
        raise NotImplementedError

    def replace_results(self) -> None:
        """Mark the folder as incomplete until :meth:`write` has written everything."""
        if self.writes:
            (self.output_dir / RUN_FILE).unlink(missing_ok=True)

    def write(
        self,
        device: Any,
        table: Any,
        metrics: dict[str, Any],
        paths: Mapping[str, Path] | None = None,
        cases: Any = None,
        tables: Sequence[Table] = (),
    ) -> None:
        """The results folder and the printed summary.

        Args:
            device: the device of the evaluation.
            table: of the scores, see :meth:`~medvlp_toolkit.evaluation.Results.write`; ``cases`` likewise.
            metrics: the metrics; ``seconds`` are added if it has none.
            paths: name -> other files written.
            tables: printed in addition to those of the metrics.
        """
        before = self.seconds() if callable(self.seconds) else self.seconds
        passed = {**(before or {}), "evaluation": round(time.perf_counter() - self._started, 1)}
        metrics.setdefault("seconds", passed)
        named = {"title": self.title, "bundle": self.bundle}
        about: dict[str, Any] = {name: value for name, value in named.items() if value}
        origin = label_origin(self.dataset)
        if origin is not None:
            metrics["labels"] = about["labels"] = origin
        run = run_record(self.config, self.checkpoint, device, metrics["seconds"], **about)
        Results.write(self.output_dir, table, metrics, run, cases)
        page = self.output_dir / "report.html"
        follows: dict[str, Path | str] = {
            "next, all of it on one page": f"medvlp report {self.output_dir} --out {page}"
        }
        written: dict[str, Path | str] = {"metrics": self.output_dir / METRICS_FILE, **(paths or {}), **follows}
        print_summary(metrics, written, self.title, tables)

    def described(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Columns of the store for a scores table."""
        return {name: self.dataset.store.values(name, rows) for name in _DESCRIPTION}


#: Name in the first layout, kept for one release.
FinetuningEvaluation = Evaluation
