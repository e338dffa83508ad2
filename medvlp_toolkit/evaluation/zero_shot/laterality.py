"""Laterality: whether the model puts a finding on the correct side.

Sides are the patient's. In a radiograph the patient's left is on the image's right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from medvlp_toolkit.data.boxes import AnyBox, corners
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.volume_slices import in_ras
from medvlp_toolkit.evaluation.statistics.intervals import wilson
from medvlp_toolkit.evaluation.zero_shot.measure import Measure, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies, Truth

Side = Literal["left", "right", "none"]
SIDES: tuple[Side, ...] = ("left", "right", "none")


class Laterality(Measure):
    """``laterality`` of findings with boxes or masks on one side, by position scores and by attention.

    Args:
        position_sides: side of every position, in the order of the position scores; None compares no positions.
        not_sided: labels or entities that have no side, whatever their boxes (an enlarged heart).
    """

    def __init__(self, position_sides: Sequence[Side] | None = None, not_sided: Sequence[str] = ()) -> None:
        self.position_sides = position_sides
        self.not_sided = frozenset(not_sided)

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._any = False
        #: evidence -> label, true side and predicted side of every finding.
        self._sides: dict[str, list[tuple[str, str, str]]] = {"position scores": [], "attention": []}

    def collect(self, batch: ScoredBatch) -> None:
        for i, row, label, q, truth in batch.annotated:
            self._any = True
            if self.not_sided & {label, self.studies.labels[label]} or label in self.studies.held_out:
                continue
            affine = self.studies.affine_of(row)
            side = side_of_truth(truth, affine)
            if self.position_sides is not None and batch.position_scores is not None:
                found = side_from_positions(batch.position_scores[i : i + 1, q], self.position_sides)[0]
                self._sides["position scores"].append((label, side, str(found)))
            if batch.maps is not None:
                found = side_from_attention(in_ras(batch.maps[i, q], affine)[None])[0]
                self._sides["attention"].append((label, side, str(found)))

    def finish(self, scored: ScoredSet) -> dict[str, Any]:
        measured = {
            evidence: laterality_metrics([t for _, t, _ in sides], [f for _, _, f in sides], [n for n, _, _ in sides])
            for evidence, sides in self._sides.items()
            if sides
        }
        return {"laterality": measured} if self._any else {}


def side_from_positions(position_scores: ArrayLike, sides: Sequence[Side]) -> NDArray[np.str_]:
    """The side whose positions have the higher total score.

    Args:
        position_scores: (S, P) unnormalised log scores of one entity's positions.
        sides: side of each of the P positions (``Definitions.sides`` has them by id); ``none`` is ignored.

    Returns:
        (S,) ``left`` or ``right`` by the larger log-sum-exp (the side of larger probability), ``none`` in a tie.
    """
    scores = np.asarray(position_scores, np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(sides):
        raise ValueError(f"position_scores are (S, P) with a side per position: {scores.shape}, {len(sides)} sides")
    which = np.asarray(sides)
    if not (which == "left").any() or not (which == "right").any():
        raise ValueError("sides must include a left and a right position")
    left = logsumexp(scores[:, which == "left"], axis=1)
    right = logsumexp(scores[:, which == "right"], axis=1)
    return _sides(left - right)


def side_from_attention(heat: ArrayLike) -> NDArray[np.str_]:
    """(S, h, w) maps of radiographs -> (S,) the patient's side of the map's centre of mass.

    Maps of volumes are (S, D, H, W) in RAS. ``none`` if it is on the midline.
    """
    heat = np.asarray(heat, np.float64)
    if heat.ndim == 4:
        planes = heat.sum(axis=(2, 3))
        return _sides(-(planes @ (np.arange(heat.shape[1]) - (heat.shape[1] - 1) / 2)))
    if heat.ndim != 3:
        raise ValueError(f"side_from_attention takes maps (S, height, width) or (S, D, H, W), got {heat.shape}")
    columns = heat.sum(axis=1)
    # Distance from the midline in columns, so that symmetric maps give exactly zero.
    return _sides(columns @ (np.arange(heat.shape[2]) - (heat.shape[2] - 1) / 2))


def side_of_boxes(boxes: Sequence[AnyBox]) -> Side:
    """The patient's side on which all boxes of a radiograph have their centre, ``none`` for both or neither."""
    centres = [x + width / 2 for x, _, width, _ in map(corners, boxes)]
    return _one_side(any(centre > 0.5 for centre in centres), any(centre < 0.5 for centre in centres))


def side_of_mask(mask: ArrayLike) -> Side:
    """The patient's side of a mask: (height, width) of a radiograph, or (D, H, W) of a volume in RAS.

    ``none`` if its smaller part, left or right of the middle, is a fifth of it or more.
    """
    mask = np.asarray(mask, np.float64)
    if mask.ndim not in (2, 3):
        raise ValueError(f"side_of_mask takes a mask (height, width) or (D, H, W), got {mask.shape}")
    # Columns of a radiograph run to the patient's left, the first axis of a volume to the right.
    along = mask.sum(axis=0)[::-1] if mask.ndim == 2 else mask.sum(axis=(1, 2))
    offsets = np.arange(len(along)) - (len(along) - 1) / 2
    right, left = float(along[offsets > 0].sum()), float(along[offsets < 0].sum())
    return _one_side(left > 0.25 * right, right > 0.25 * left)


def side_of_truth(truth: Truth, affine: ArrayLike | None = None) -> Side:
    """The side of all of a finding's boxes or of its mask, else ``none``; ``affine`` of a volume not in RAS."""
    return side_of_mask(in_ras(truth, affine)) if isinstance(truth, np.ndarray) else side_of_boxes(truth)


def laterality_metrics(
    truth: Sequence[str], predicted: Sequence[str], labels: Sequence[str] | None = None, level: float = 0.95
) -> dict[str, Any]:
    """Accuracy of the side.

    Args:
        truth: S sides; ``none`` (both sides, midline) is left out and counted.
        predicted: S sides; ``none`` counts as wrong.
        labels: S findings, for a row each.

    Returns:
        ``all`` and, with ``labels``, ``findings`` with rows of ``n``, ``correct``, ``accuracy``, ``interval``
        (Wilson's) and ``majority``, the accuracy of always choosing the more common side; ``without_side``, the number
        left out.
    """
    if len(truth) != len(predicted) or (labels is not None and len(labels) != len(truth)):
        raise ValueError("laterality_metrics takes as many predicted sides and labels as true sides")
    foreign = sorted((set(map(str, truth)) | set(map(str, predicted))) - set(SIDES))
    if foreign:
        raise ValueError(f"sides are left, right or none; got {', '.join(foreign)}")
    true, said = np.asarray(truth, dtype=str), np.asarray(predicted, dtype=str)
    sided = true != "none"
    result: dict[str, Any] = {
        "all": _row(true[sided], said[sided], level),
        "without_side": int((~sided).sum()),
        "level": level,
    }
    if labels is not None:
        names = np.asarray(labels, dtype=str)
        result["findings"] = {
            str(name): _row(true[sided & (names == name)], said[sided & (names == name)], level)
            for name in dict.fromkeys(names.tolist())
        }
    return result


def _row(truth: NDArray[np.str_], predicted: NDArray[np.str_], level: float) -> dict[str, Any]:
    n, correct, left = len(truth), int((truth == predicted).sum()), int((truth == "left").sum())
    return {
        "n": n,
        "correct": correct,
        "accuracy": correct / n if n else None,
        "interval": wilson(correct, n, level),
        "majority": max(left, n - left) / n if n else None,
    }


def _one_side(left: bool, right: bool) -> Side:
    if left == right:
        return "none"
    return "left" if left else "right"


def _sides(leaning: NDArray[np.float64]) -> NDArray[np.str_]:
    """Positive is the patient's left."""
    return np.where(leaning > 0, "left", np.where(leaning < 0, "right", "none"))
