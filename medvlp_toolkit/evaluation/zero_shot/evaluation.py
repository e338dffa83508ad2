"""Zero-shot evaluation: collects the evaluator's scores, runs the measures, and writes the results folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.handler import Evaluation
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.results.names import NAMES_FILE, write_names
from medvlp_toolkit.evaluation.results.results import PROBABILITIES_FILE, write_probabilities
from medvlp_toolkit.evaluation.zero_shot.classification import score_table
from medvlp_toolkit.evaluation.zero_shot.measure import Measure, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies, tested_rows


class ZeroShotEvaluation(Evaluation):
    """Zero-shot evaluation of a store's labels, boxes and sides, each by its own measure.

    A handler of an evaluator whose step is :class:`~medvlp_toolkit.evaluation.ScoringStep`. After the last batch it
    writes ``scores.parquet``, ``probabilities.csv``, the measures' own files, ``metrics.json`` and ``run.json`` to
    ``output_dir``, and prints the tables. If the network returns no attention, the metrics that need it are omitted
    with one log line.

    Args:
        studies: the studies with their labels and annotations.
        measures: name -> measure.
        attention_layers: the fusion module's layer for heat maps, several to average, or None for all (as published).
        grid: token grid of the attention; None takes the image encoder's.
        output_dir, title, config, checkpoint, seconds, bundle: see :class:`~medvlp_toolkit.evaluation.Evaluation`.
    """

    def __init__(
        self,
        studies: EvaluatedStudies,
        output_dir: str | Path,
        measures: Mapping[str, Measure],
        attention_layers: int | Sequence[int] | None = None,
        grid: Sequence[int] | None = None,
        title: str = "",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        seconds: Mapping[str, float] | Callable[[], Mapping[str, float]] | None = None,
        bundle: str = "",
    ) -> None:
        super().__init__(studies.dataset, output_dir, title, config, checkpoint, seconds, bundle)
        self.studies = studies
        self.measures = list(measures.values())
        self.attention_layers, self.grid = attention_layers, grid

    def begin(self) -> None:
        super().begin()
        self._scores: list[NDArray[np.float32]] = []
        self._rows: list[NDArray[np.int64]] = []
        what = "heat maps, grounding and the sides of attention"
        self._mapper = HeatMapper(self.network, self.attention_layers, self.grid, what)
        for measure in self.measures:
            measure.begin(self.studies, self._mapper)

    def collect(self, output: Mapping[str, Any]) -> None:
        batch = ScoredBatch(output, self.studies, self._mapper)
        self._scores.append(batch.scores)
        self._rows.append(batch.rows)
        for measure in self.measures:
            measure.collect(batch)

    def finish(self, engine: Engine) -> None:
        scores, rows = np.concatenate(self._scores), np.concatenate(self._rows)
        tested = tested_rows(self.studies.store, rows, self.studies.threshold_split)
        scored = ScoredSet(self.studies, scores, rows, tested, self.output_dir, self.title)
        table = self._table(ScoredSet(self.studies, scores[tested], rows[tested], tested[tested], self.output_dir))
        every = self.output_dir / PROBABILITIES_FILE
        images = self.studies.store.image_ids(rows[tested])
        write_probabilities(every, images, scores[tested], list(self.studies.entities))
        pooled = self.studies.pooling(rows[tested]).described()
        metrics: dict[str, Any] = {"pooling": pooled} if pooled else {}
        for measure in self.measures:
            metrics |= measure.finish(scored)
        named = write_names(self.output_dir / NAMES_FILE, list(self.studies.entities), self.studies.names)
        metrics["names"] = {id_: name for id_, name in self.studies.names.items() if id_ in self.studies.entities}
        paths = {"probability of every entity per image": every, "names of the entities": named, **scored.files}
        self.write(engine.state.device, table, metrics, paths, scored.cases)
        engine.state.metrics["macro_auc"] = metrics.get("zero_shot", {}).get("macro", {}).get("auc")

    def _table(self, tested: ScoredSet) -> Any:
        """Scores of the labels if there are any, else of every entity with unknown targets."""
        names: Sequence[str] = list(self.studies.labels)
        targets, scores = tested.of_labels(names)
        if targets is None or not names:
            names, scores = self.studies.entities, tested.scores
            targets = np.full(scores.shape, -1, dtype=np.int8)
        pooling = self.studies.pooling(tested.rows)
        groups = pooling.columns(self.studies.values(self.studies.subgroups, tested.rows))
        return score_table(
            pooling.study_ids,
            pooling.targets(targets),
            pooling.scores(scores),
            names,
            groups=groups,
            image_id=pooling.image_ids(self.studies.store.image_ids(tested.rows)),
            **pooling.columns(self.described(tested.rows)),
        )
