"""The interface of a measure: its input per batch and at the end, and its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.zero_shot.label_maps import map_labels
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies, Truth


@dataclass(frozen=True, eq=False)
class ScoredBatch:
    """A batch scored by an evaluator's step; maps and annotations are computed on first use."""

    output: Mapping[str, Any]
    studies: EvaluatedStudies
    mapper: HeatMapper

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(B,) rows of the store."""
        rows: NDArray[np.int64] = self.output["row"].cpu().numpy()
        return rows

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """(B, Q) scores."""
        scores: NDArray[np.float32] = self.output["scores"].float().cpu().numpy()
        return scores

    @cached_property
    def maps(self) -> NDArray[np.float32] | None:
        """(B, Q, *grid) heat maps; None if there is no attention."""
        return self.mapper.maps(self.output)

    @cached_property
    def position_scores(self) -> NDArray[np.float32] | None:
        """(B, Q, P) position scores; None if the step returns none."""
        scores = self.output.get("position_scores")
        return None if scores is None else scores.float().cpu().numpy()

    @cached_property
    def annotated(self) -> list[tuple[int, int, str, int, Truth]]:
        """Findings with a known location in the evaluated images: index in the batch, row, label, column, truth."""
        found = []
        for i, row in enumerate(self.rows.tolist()):
            for label in self.studies.labels if self.studies.is_evaluated(row) else ():
                truth = self.studies.truth(row, label)
                if truth is not None:
                    found.append((i, row, label, self.studies.column_of(label), truth))
        return found


@dataclass(eq=False)
class ScoredSet:
    """All scores of an evaluation: ``scores`` (S, Q), ``rows`` (S,) of the store, ``tested`` (S,) False for rows used
    only to choose thresholds; the results ``folder`` and the evaluation's ``title``.

    A measure adds the files that it wrote to ``files``, by description, and may set the table of ``cases.parquet``.
    """

    studies: EvaluatedStudies
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    tested: NDArray[np.bool_]
    folder: Path
    title: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    cases: Any = None

    @property
    def patients(self) -> list[Any] | None:
        """Ids of the test patients."""
        return self.studies.store.values("patient_id", self.rows[self.tested])

    def of_labels(self, labels: Sequence[str]) -> tuple[NDArray[np.int8] | None, NDArray[np.float32]]:
        """Targets (if any) and scores (S, L) of the given labels."""
        chosen = {name: self.studies.labels[name] for name in labels}
        mapped, names = map_labels(self.scores, self.studies.entities, chosen)
        return self.studies.targets(self.rows, names), mapped


class Measure:
    """One measure of :class:`~medvlp_toolkit.evaluation.ZeroShotEvaluation`."""

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        """Reset for a new run with the heat maps of ``mapper``."""
        self.studies, self.mapper = studies, mapper

    def collect(self, batch: ScoredBatch) -> None:
        """Collect what this measure needs from a batch."""

    def finish(self, scored: ScoredSet) -> dict[str, Any]:
        """Entries of ``metrics.json``, after the last batch."""
        raise NotImplementedError
