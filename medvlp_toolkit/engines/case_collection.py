"""Keeps the surest cases of an evaluation while it runs, and fetches their images and reports when it has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.store import PackedStore
from medvlp_toolkit.evaluation.boxes import AnyBox, Mask, bounding_boxes
from medvlp_toolkit.evaluation.cases import Case, SurestCases, case_table
from medvlp_toolkit.evaluation.heat_maps import Upsampling
from medvlp_toolkit.evaluation.volume_slices import slice_overlay

if TYPE_CHECKING:
    import pyarrow as pa


class CaseCollection:
    """The surest cases of every finding, right and wrong.

    Args:
        store: where images and reports are.
        entities: label -> what the model and the reports' findings call it.
        each: how many of every finding and kind.
        upsampling, token_shift: how maps are spread (:func:`~medvlp_toolkit.evaluation.heat_maps.upsample`).
    """

    def __init__(
        self,
        store: PackedStore,
        entities: Mapping[str, str],
        each: int,
        upsampling: Upsampling = "nearest",
        token_shift: Sequence[float] = (),
    ) -> None:
        self.store = store
        self.entities = entities
        self.upsampling: Upsampling = upsampling
        self.token_shift = tuple(token_shift)
        self.surest = SurestCases(each)

    def offer(
        self, row: int, label: str, target: int, score: float, heat: NDArray[np.float32] | None, truth: Any
    ) -> None:
        """Offer one finding in the image of a row; ``truth`` is called for its boxes or mask when it is kept."""
        for kind in self.surest.wanted(label, target, score):
            payload = {"row": row, "score": score, "heat": None if heat is None else heat.copy(), "truth": truth}
            self.surest.keep(label, kind, score, payload)

    def table(self) -> pa.Table | None:
        """The cases with images, maps and reports; None where none was kept."""
        if not self.store.has_images:
            return None
        cases = [self._case(finding, kind, payload) for finding, kind, payload in self.surest.chosen()]
        return case_table(cases) if cases else None

    def _case(self, finding: str, kind: Any, payload: dict[str, Any]) -> Case:
        row: int = payload["row"]
        truth: Sequence[AnyBox] | Mask | None = payload["truth"](row, finding) if kind != "claimed" else None
        image, heat = np.asarray(self.store.images[row]), payload["heat"]
        note, shift = "", self.token_shift
        boxes = bounding_boxes(truth) if isinstance(truth, np.ndarray) and truth.ndim == 2 else truth
        if image.ndim == 4:
            if heat is None:
                heat = np.zeros(image.shape[1:], np.float32)
                heat[..., image.shape[3] // 2] = 1
            overlay = slice_overlay(image, heat, finding, payload["score"], truth, self.token_shift)
            image, heat, boxes, note = overlay.image, overlay.heat, overlay.boxes, overlay.note
            shift = tuple(overlay.shift)
        text = self.store.studies.column("text")[row].as_py() or ""
        findings = self.store.findings_of(row) if text else []
        known_boxes: Sequence[AnyBox] = () if boxes is None or isinstance(boxes, np.ndarray) else boxes
        return Case(
            finding,
            self.entities[finding],
            kind,
            payload["score"],
            image,
            heat,
            known_boxes,
            text,
            findings,
            note,
            self.upsampling,
            shift,
        )
