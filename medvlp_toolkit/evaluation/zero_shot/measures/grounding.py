"""Grounding: does attention point at the findings whose place is known; with pictures of where it looked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medvlp_toolkit.data.boxes import bounding_boxes
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.heat_maps import Upsampling
from medvlp_toolkit.evaluation.maps.map_files import write_volume_map
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_overlays
from medvlp_toolkit.evaluation.maps.volume_slices import slice_overlay
from medvlp_toolkit.evaluation.zero_shot.grounding import GroundingCase, grounding_metrics
from medvlp_toolkit.evaluation.zero_shot.measures.measure import Measure, Outcome, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies


class Grounding(Measure):
    """``grounding`` of the findings with boxes or masks, and pictures of some in the folder ``overlays``.

    Args:
        focal: labels over which pointing is also averaged, named before the model was tuned.
        upsampling: ``nearest`` as published (the whole cell of highest attention counts), or ``linear`` (its peak).
        overlays: pictures to draw, spread over the labels; of volumes, also maps as NIfTI in the space of the store's
            volumes.
    """

    def __init__(self, focal: Sequence[str] = (), upsampling: Upsampling = "nearest", overlays: int = 24) -> None:
        self.focal = tuple(focal)
        self.upsampling: Upsampling = upsampling
        self.overlays = overlays

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._cases: list[tuple[GroundingCase, int, float]] = []

    def collect(self, batch: ScoredBatch) -> None:
        if not batch.annotated or batch.maps is None:
            return
        for i, row, label, q, truth in batch.annotated:
            case = GroundingCase(label, batch.maps[i, q], truth, batch.output["patient_id"][i])
            self._cases.append((case, row, float(batch.scores[i, q])))

    def finish(self, scored: ScoredSet) -> Outcome:
        pictures = self._draw(scored.folder / "overlays", scored.title)
        files = {"where it looked": pictures[0]} if pictures else {}
        if not self._cases:
            return Outcome({}, files)
        cases = [case for case, _, _ in self._cases]
        groups = {"focal": self.focal} if self.focal else None
        shift = self.mapper.shift
        measured = grounding_metrics(cases, groups=groups, upsampling=self.upsampling, shift=shift)
        return Outcome({"grounding": measured}, files)

    def _draw(self, folder: Path, title: str) -> list[Path]:
        """Overlays of the first cases of each label in turn."""
        by_label: dict[str, list[tuple[GroundingCase, int, float]]] = {}
        for entry in self._cases:
            by_label.setdefault(entry[0].label, []).append(entry)
        chosen = [
            entries[n]
            for n in range(max((len(entries) for entries in by_label.values()), default=0))
            for entries in by_label.values()
            if n < len(entries)
        ][: self.overlays]
        pictures = [self._picture(folder, number, *entry) for number, entry in enumerate(chosen, start=1)]
        return write_overlays(folder, pictures, title, upsampling=self.upsampling)

    def _picture(self, folder: Path, number: int, case: GroundingCase, row: int, score: float) -> Overlay:
        """The image and its map; of a volume the slice of highest attention, and the whole map as NIfTI."""
        image, shift = np.asarray(self.studies.store.images[row]), self.mapper.shift
        if case.heat.ndim == 2:
            boxes = bounding_boxes(case.truth) if isinstance(case.truth, np.ndarray) else case.truth
            return Overlay(image, case.heat, case.label, score, boxes, shift=shift)
        file = folder / f"map_{number:03d}_{case.label}.nii.gz"
        write_volume_map(file, case.heat, image.shape[1:], self.studies.affines[row], shift=shift)
        return slice_overlay(image, case.heat, case.label, score, case.truth, shift)
