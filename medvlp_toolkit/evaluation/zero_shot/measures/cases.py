"""Cases for ``medvlp report``: of every finding the surest right and wrong ones, with image, map and report."""

from __future__ import annotations

from typing import Any

import numpy as np

from medvlp_toolkit.data.boxes import bounding_boxes
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.heat_maps import Upsampling
from medvlp_toolkit.evaluation.maps.volume_slices import slice_overlay
from medvlp_toolkit.evaluation.zero_shot.cases import Case, Kind, SurestCases, case_table
from medvlp_toolkit.evaluation.zero_shot.measures.measure import Measure, Outcome, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies


class Cases(Measure):
    """``cases.parquet``. It holds patients' images and reports.

    Args:
        each: of every finding so many of each kind; 0 keeps no patient's image or text.
        upsampling: how maps are spread (:func:`~medvlp_toolkit.evaluation.upsample`).
    """

    def __init__(self, each: int = 3, upsampling: Upsampling = "nearest") -> None:
        self.each = each
        self.upsampling: Upsampling = upsampling

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._surest = SurestCases(self.each)

    def collect(self, batch: ScoredBatch) -> None:
        labels = list(self.studies.labels)
        targets = self.studies.targets(batch.rows, labels) if self.each else None
        if targets is None:
            return
        for column, label in enumerate(labels):
            q = self.studies.column_of(label)
            for i, row in enumerate(batch.rows.tolist()):
                score = float(batch.scores[i, q])
                wanted = self._surest.wanted(label, int(targets[i, column]), score)
                for kind in wanted if self.studies.is_evaluated(row) else ():
                    heat = None if batch.maps is None else batch.maps[i, q].copy()
                    self._surest.keep(label, kind, score, {"row": row, "score": score, "heat": heat})

    def finish(self, scored: ScoredSet) -> Outcome:
        if not self.studies.store.has_images:
            return Outcome()
        cases = [self._case(finding, kind, **payload) for finding, kind, payload in self._surest.chosen()]
        return Outcome(cases=case_table(cases) if cases else None)

    def _case(self, finding: str, kind: Kind, row: int, score: float, heat: Any) -> Case:
        store = self.studies.store
        truth = self.studies.truth(row, finding) if kind != "claimed" else None
        image, note, shift = np.asarray(store.images[row]), "", () if heat is None else self.mapper.shift
        boxes = bounding_boxes(truth) if isinstance(truth, np.ndarray) and truth.ndim == 2 else truth
        if image.ndim == 4:
            if heat is None:  # the middle slice
                heat = np.zeros(image.shape[1:], np.float32)
                heat[..., image.shape[3] // 2] = 1
            overlay = slice_overlay(image, heat, finding, score, truth, shift)
            image, heat, boxes, note = overlay.image, overlay.heat, overlay.boxes, overlay.note
            shift = tuple(overlay.shift)
        text = store.studies.column("text")[row].as_py() or ""
        return Case(
            finding,
            self.studies.labels[finding],
            kind,
            score,
            image,
            heat,
            () if boxes is None or isinstance(boxes, np.ndarray) else boxes,
            text,
            store.findings_of(row) if text else [],
            note,
            self.upsampling,
            shift,
        )
