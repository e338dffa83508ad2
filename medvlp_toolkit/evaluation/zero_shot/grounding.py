"""Grounding of attention: the pointing game, overlap and contrast against ground truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medvlp_toolkit.data.boxes import AnyBox, Mask, box_mask
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.heat_maps import Upsampling, upsample
from medvlp_toolkit.evaluation.maps.map_files import clear_maps, map_on_file, map_path, write_nifti
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_overlays
from medvlp_toolkit.evaluation.maps.volume_slices import overlay_of
from medvlp_toolkit.evaluation.results.names import readable
from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap, wilson
from medvlp_toolkit.evaluation.zero_shot.attention_threshold import (
    PUBLISHED_MULTIPLE,
    PUBLISHED_THRESHOLD,
    attention_threshold,
)
from medvlp_toolkit.evaluation.zero_shot.blind_pointing import best_fixed_point, chance, touched_cells
from medvlp_toolkit.evaluation.zero_shot.measure import Measure, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies

#: Thresholds of the curve, in multiples of even attention.
MULTIPLES = (0.25, 0.5, 1.0, PUBLISHED_MULTIPLE, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)

_OVERLAP = ("iou", "dice", "recall", "precision")
_SCORES = ("pointing", *_OVERLAP, "contrast_to_noise")

Metrics = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class GroundingCase:
    """One finding in one image that shows it.

    ``heat`` (*grid) is its map, summing to 1 (:func:`~medvlp_toolkit.evaluation.attention_maps`);
    ``truth`` its boxes, or its mask (*size) of bool.
    """

    label: str
    heat: NDArray[np.floating]
    truth: Sequence[AnyBox] | Mask
    patient_id: str | None = None


class Grounding(Measure):
    """``grounding`` of the findings with boxes or masks, and pictures of some of them in ``overlays``.

    Args:
        focal: labels over which pointing is also averaged; choose them before tuning the model.
        upsampling: ``nearest`` as published (the whole cell of highest attention counts), or ``linear`` (its peak).
        overlays: number of pictures to draw, distributed over the labels; for volumes, also maps as NIfTI in the space
            of the store's volumes.
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

    def finish(self, scored: ScoredSet) -> Metrics:
        pictures = self._draw(scored.folder / "overlays", scored.title)
        if pictures:
            scored.files["where it looked"] = pictures[0]
        if not self._cases:
            return {}
        cases = [case for case, _, _ in self._cases]
        groups = {"focal": self.focal} if self.focal else None
        shift = self.mapper.shift
        measured = grounding_metrics(cases, groups=groups, upsampling=self.upsampling, shift=shift)
        return {"grounding": measured}

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
        clear_maps(folder)  # `write_overlays` removes earlier pictures
        pictures = [self._picture(folder, number, *entry) for number, entry in enumerate(chosen, start=1)]
        return write_overlays(folder, pictures, title, upsampling=self.upsampling)

    def _picture(self, folder: Path, number: int, case: GroundingCase, row: int, score: float) -> Overlay:
        """The image and its map; for a volume, the slice of highest attention, and the whole map as NIfTI."""
        image, shift = np.asarray(self.studies.store.images[row]), self.mapper.shift
        name = readable(case.label, self.studies.names)
        affine = self.studies.affine_of(row)
        if affine is not None:
            placed = map_on_file(case.heat, {"image": image, "affine": affine}, shift)
            write_nifti(map_path(folder, number, case.label, "nifti"), *placed)
        return overlay_of(image, case.heat, case.label, score, case.truth, shift, affine, name)


def grounding_scores(
    heat: ArrayLike,
    mask: Mask,
    threshold: float = PUBLISHED_THRESHOLD,
    scale_threshold: bool = True,
    upsampling: Upsampling = "nearest",
    shift: Sequence[float] = (),
) -> dict[str, float]:
    """One map against one mask.

    Args:
        heat: (*grid), summing to 1; upsampled to the mask's pixels with ``upsampling``.
        mask: (*size) bool, not empty.
        threshold: pixels strictly above it are predicted, as published.
        scale_threshold: see :func:`attention_threshold`; no effect at 196 tokens.
        upsampling: ``nearest`` as published, or ``linear``.
        shift: offset of the tokens within their cells, for ``linear``
            (:func:`~medvlp_toolkit.evaluation.upsample`).

    Returns:
        ``pointing`` 1 if any pixel of the highest value is in the mask, as published: with ``nearest`` the whole
        cell counts. 0 for a constant map. ``iou``, ``dice``, ``recall``, ``precision`` of the
        predicted pixels (precision 0 when there are none). ``contrast_to_noise``
        |mean in − mean out| / √(variance in + variance out) (Boecking et al. 2022, section 4); NaN where a
        variance or the outside is missing. It does not distinguish high from low attention in the mask.

    Raises:
        ValueError: for an empty mask or a map that is not finite.
    """
    heat = np.asarray(heat)
    if not mask.any():
        raise ValueError("the ground-truth mask is empty; only images that show the finding can be grounded")
    if not np.isfinite(heat).all():
        raise ValueError("the heat map has values that are not finite")
    limit = attention_threshold(heat.size, threshold) if scale_threshold else threshold
    pixels = upsample(heat, mask.shape, upsampling, shift)
    highest = pixels.max()
    return {
        "pointing": float(highest > pixels.min() and bool((pixels[mask] == highest).any())),
        **dict(zip(_OVERLAP, _overlap(pixels, mask, np.array([limit]))[0].tolist(), strict=True)),
        "contrast_to_noise": contrast_to_noise(pixels, mask),
    }


def overlap_curve(
    heat: ArrayLike,
    mask: Mask,
    multiples: Sequence[float] = MULTIPLES,
    upsampling: Upsampling = "nearest",
    shift: Sequence[float] = (),
) -> NDArray[np.float64]:
    """(len(multiples), 4): IoU, Dice, recall and precision at increasing multiples of uniform attention; otherwise as
    :func:`grounding_scores`."""
    heat = np.asarray(heat)
    pixels = upsample(heat, mask.shape, upsampling, shift)
    return _overlap(pixels, mask, np.sort(np.asarray(multiples, float)) / heat.size)


def _overlap(pixels: NDArray[np.floating], mask: Mask, limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(len(limits), 4): :data:`_OVERLAP` of the pixels strictly above each of the ascending limits."""
    # Count the limits strictly below each pixel; the numbers of pixels above each limit follow from one histogram.
    passed = np.searchsorted(limits.astype(pixels.dtype), pixels.ravel(), side="left")
    inside = passed[mask.ravel()]
    found, overlap = (
        np.bincount(counted, minlength=len(limits) + 1)[::-1].cumsum()[::-1][1:] for counted in (passed, inside)
    )
    area = len(inside)
    precision = np.divide(overlap, found, out=np.zeros(len(limits)), where=found > 0)
    return np.stack([overlap / (area + found - overlap), 2 * overlap / (area + found), overlap / area, precision], 1)


def contrast_to_noise(pixels: NDArray[np.floating], mask: Mask) -> float:
    """|mean in − mean out| / √(variance in + variance out) of a map (*size); NaN where undefined."""
    inside, outside = pixels[mask].astype(np.float64), pixels[~mask].astype(np.float64)
    if not inside.size or not outside.size:
        return float("nan")
    noise = float(inside.var() + outside.var())
    return float(abs(inside.mean() - outside.mean()) / np.sqrt(noise)) if noise > 0 else float("nan")


def grounding_metrics(
    cases: Sequence[GroundingCase],
    *,
    size: tuple[int, int] = (224, 224),
    threshold: float = PUBLISHED_THRESHOLD,
    scale_threshold: bool = True,
    upsampling: Upsampling = "nearest",
    shift: Sequence[float] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Metrics:
    """Grounding per finding, and over all findings or named groups of them.

    Args:
        cases: findings in images that show them.
        size: (height, width) at which boxes become masks; published 224 × 224. Masks keep their own size.
        threshold, scale_threshold, upsampling, shift: as for :func:`grounding_scores`.
        groups: name -> findings, each a row over the pooled cases (``all`` is always included).
        replicates, seed, level: of the bootstrap over patients.

    Returns:
        ``findings``: label -> row; ``groups``: name -> row; ``protocol``; ``without_truth``: cases left out because
        their boxes cover no pixel. A row has ``n``, the means of :func:`grounding_scores`, each with ``…_interval``
        (pointing: Wilson's if every case is of another patient, else the bootstrap), and baselines: ``chance`` and
        ``best_fixed_point``, pointing blindly under the same rule (whole cells count if the model's do), and
        ``truth_share``, the mean share of the image that the truth covers. In a group, each finding has its own best
        fixed point. ``over_thresholds`` has ``multiple`` (of uniform attention) and the means of ``iou``, ``dice``,
        ``recall`` and ``precision``.
    """
    kept, skipped = [], 0
    for case in cases:
        mask = case.truth if isinstance(case.truth, np.ndarray) else box_mask(case.truth, size)
        if not mask.any():
            skipped += 1
            continue
        scores = grounding_scores(case.heat, mask, threshold, scale_threshold, upsampling, shift)
        places = touched_cells(mask, case.heat.shape) if upsampling == "nearest" else mask
        curve = overlap_curve(case.heat, mask, MULTIPLES, upsampling, shift)
        kept.append(_Scored(case.label, case.patient_id, scores, places, float(mask.mean()), curve))

    blind = _blind_pointing(kept)
    options = (replicates, seed, level)
    labels = list(dict.fromkeys(case.label for case in kept))
    unseen = sorted({label for members in (groups or {}).values() for label in members} - set(labels))
    named = {"all": labels, **{name: list(members) for name, members in (groups or {}).items()}}
    return {
        "findings": {label: _row([case for case in kept if case.label == label], blind, options) for label in labels},
        "groups": {
            name: _row([case for case in kept if case.label in members], blind, options)
            for name, members in named.items()
        },
        "protocol": {
            "threshold": threshold,
            "scale_threshold": scale_threshold,
            "upsampling": upsampling,
            "size": list(size),
            "replicates": replicates,
            "seed": seed,
            "level": level,
        },
        "without_truth": skipped,
        "findings_without_cases": unseen,
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    label: str
    patient_id: str | None
    scores: dict[str, float]
    places: Mask
    share: float
    curve: NDArray[np.float64]


def _blind_pointing(cases: Sequence[_Scored]) -> dict[str, tuple[float, float]]:
    """Finding -> hit rates of chance and of its best fixed point."""
    places: dict[str, list[Mask]] = {}
    for case in cases:
        places.setdefault(case.label, []).append(case.places)
    return {label: (chance(masks), best_fixed_point(masks).hit_rate) for label, masks in places.items()}


def _row(
    cases: Sequence[_Scored], blind: Mapping[str, tuple[float, float]], options: tuple[int, int, float]
) -> Metrics:
    replicates, seed, level = options
    row: Metrics = {"n": len(cases)}
    if not cases:
        return row
    patients = [f"case\0{i}" if case.patient_id is None else case.patient_id for i, case in enumerate(cases)]
    independent = len(set(patients)) == len(patients)
    bootstrap = PatientBootstrap(patients, replicates=replicates, seed=seed, level=level) if replicates else None
    for name in _SCORES:
        values = np.array([case.scores[name] for case in cases])
        rows = np.flatnonzero(np.isfinite(values))
        row[name] = float(values[rows].mean()) if len(rows) else None
        if len(rows) < len(values):
            row[f"{name}_n"] = len(rows)
        if name == "pointing" and independent:
            row["pointing_interval"] = wilson(int(values.sum()), len(values), level)
        elif bootstrap is not None:
            row[f"{name}_interval"] = bootstrap.interval(bootstrap.mean(values[rows], rows))
    row["chance"] = float(np.mean([blind[case.label][0] for case in cases]))
    row["best_fixed_point"] = float(np.mean([blind[case.label][1] for case in cases]))
    row["truth_share"] = float(np.mean([case.share for case in cases]))
    curve = np.mean([case.curve for case in cases], axis=0).T.tolist()
    row["over_thresholds"] = {
        "multiple": list(MULTIPLES),
        **dict(zip(("iou", "dice", "recall", "precision"), curve, strict=True)),
    }
    return row
