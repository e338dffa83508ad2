"""Zero-shot classification: one table of scores, and the metrics of the whole set computed from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from medvlp_toolkit.evaluation.statistics.calibration import calibration_metrics
from medvlp_toolkit.evaluation.statistics.counting import FEW, UNKNOWN, clusters
from medvlp_toolkit.evaluation.statistics.delong import auc_spread, wald_interval
from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap
from medvlp_toolkit.evaluation.statistics.operating_points import (
    ON_TEST,
    called_present,
    operating_point,
    published_operating_point,
)
from medvlp_toolkit.evaluation.statistics.subgroups import subgroup_columns, subgroup_metrics
from medvlp_toolkit.evaluation.zero_shot.measure import Measure, ScoredSet

if TYPE_CHECKING:
    import pyarrow as pa

_UNCERTAIN = 2


Metrics = dict[str, Any]


class Classification(Measure):
    """``zero_shot`` for trained labels, with ``subgroups``, and ``zero_shot_held_out`` for held-out ones.

    If the data set also has a split ``threshold_split``, F1 and accuracy are reported at the thresholds that are best
    on it as well as at those tuned on the evaluated images themselves.

    Args:
        min_positives: labels present in fewer images are left out of the means and listed.
    """

    def __init__(self, min_positives: int = 1) -> None:
        self.min_positives = min_positives

    def finish(self, scored: ScoredSet) -> Metrics:
        studies = self.studies
        every, evaluated = studies.pooling(scored.rows), studies.pooling(scored.rows[scored.tested])
        tested, patients = scored.tested[every.first], evaluated.values(scored.patients)
        metrics: Metrics = {}
        for key, chosen in (("zero_shot", studies.trained), ("zero_shot_held_out", studies.held_out)):
            labels = list(chosen)
            targets, scores = scored.of_labels(labels)
            if not labels or targets is None:
                continue
            targets, scores = every.targets(targets), every.scores(scores)
            options = {"patient_id": patients, "min_positives": self.min_positives}
            metrics[key] = tested_metrics(targets, scores, labels, tested, studies.threshold_split, **options)
            names = ("sex", "age", "view", *studies.subgroups)
            columns = evaluated.columns(studies.values(names, scored.rows[scored.tested]))
            divisions = subgroup_columns(columns)
            if divisions and key == "zero_shot":
                metrics["subgroups"] = subgroup_metrics(
                    targets[tested], scores[tested], labels, divisions, patient_id=patients
                )
        return metrics


def score_table(
    study_id: Sequence[str],
    targets: ArrayLike,
    scores: ArrayLike,
    labels: Sequence[str],
    *,
    patient_id: Sequence[str | None] | None = None,
    split: Sequence[str | None] | str | None = None,
    sex: Sequence[str | None] | None = None,
    age: Sequence[float | None] | None = None,
    view: Sequence[str | None] | None = None,
    groups: Mapping[str, Sequence[Any] | None] | None = None,
    image_id: Sequence[str] | None = None,
) -> pa.Table:
    """The table of ``scores.parquet``: a row per study, or per image if ``image_id`` distinguishes those of a study.

    Args:
        study_id: S ids.
        targets: (S, L) 1 present, 0 absent, -1 unknown; 2 (uncertain) is written as unknown.
        scores: (S, L) probabilities, or any other scores that rank the images.
        labels: L names.
        patient_id: S ids; the study ids if not given.
        split: a name, or S of them.
        sex, age, view: S values each, None where unknown.
        groups: further divisions such as the scanner: name -> S values.
        image_id: S unique ids, if a study has several rows.

    Returns:
        Columns study_id, (image_id,) patient_id, split, sex, age, view, ``group:<name>`` text, ``target:<label>`` int8,
        ``score:<label>`` float32.
    """
    import pyarrow as pa

    targets, scores = _checked(np.asarray(targets), np.asarray(scores), labels, uncertain=True)
    if len(study_id) != len(scores):
        raise ValueError(f"score_table got {len(study_id)} study ids for {len(scores)} rows of scores")
    rows = len(scores)
    texts = {
        "study_id": study_id,
        "patient_id": study_id if patient_id is None else patient_id,
        "split": [split] * rows if split is None or isinstance(split, str) else split,
        "sex": sex,
        "view": view,
    }
    columns: dict[str, pa.Array] = {}
    for name in ("study_id", "patient_id", "split", "sex", "age", "view"):
        values = age if name == "age" else texts[name]
        if values is not None and len(values) != rows:
            raise ValueError(f"score_table got {len(values)} values of {name} for {rows} rows of scores")
        kind = pa.float32() if name == "age" else pa.string()
        columns[name] = pa.nulls(rows, kind) if values is None else pa.array(list(values), kind)
    if image_id is not None:
        columns["image_id"] = pa.array(list(image_id), pa.string())
    for name, values in (groups or {}).items():
        if values is not None and len(values) != rows:
            raise ValueError(f"score_table got {len(values)} values of {name} for {rows} rows of scores")
        if values is not None:
            texts_of = [None if value is None else str(value) for value in values]
            columns[f"group:{name}"] = pa.array(texts_of, pa.string())
    for number, label in enumerate(labels):
        columns[f"target:{label}"] = pa.array(targets[:, number].astype(np.int8))
    for number, label in enumerate(labels):
        columns[f"score:{label}"] = pa.array(scores[:, number].astype(np.float32))
    return pa.table(columns)


def classification_metrics(
    targets: ArrayLike,
    scores: ArrayLike,
    labels: Sequence[str],
    *,
    thresholds: Mapping[str, float | None] | ArrayLike | None = None,
    thresholds_from: str = "validation",
    patient_id: Sequence[str | None] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    min_positives: int = 1,
) -> Metrics:
    """Metrics of every label on the whole set, and their means.

    Args:
        targets: (S, L) 1 present, 0 absent, -1 or NaN unknown; unknown rows do not enter that label's metrics.
        scores: (S, L).
        labels: L names.
        thresholds: per label, chosen elsewhere (see :func:`best_f1_thresholds`); present means at or above it.
        thresholds_from: the split they come from, used in the names of the metrics.
        patient_id: S ids; intervals resample patients. Rows without one count as separate patients.
        replicates: bootstrap resamples; 0 omits intervals.
        seed, level: of the bootstrap.
        min_positives: labels with fewer are left out of the means and listed in ``excluded``.

    Returns:
        ``labels``: per label

        * ``n``, ``positives``; ``few``: fewer than :data:`FEW` images present or absent;
        * ``auc`` with ``auc_interval`` (bootstrap) and ``auc_delong_interval`` (closed form, patients clustered);
          ``average_precision`` with ``average_precision_interval``, to be compared with the share of positives;
        * ``ece``, ``brier`` and ``reliability`` (:func:`~medvlp_toolkit.evaluation.calibration_metrics`);
        * under the published protocol ``threshold_on_test``, ``f1_threshold_on_test``,
          ``accuracy_threshold_on_test``: F1 at the threshold that maximises it on these same rows, accuracy of
          scores strictly above it. A threshold tuned on the test set is optimistic;
        * with ``thresholds`` also the unbiased ``…_threshold_from_<split>``, and ``operating_point``
          (:func:`~medvlp_toolkit.evaluation.operating_point`).

        Metrics that need a class that a label lacks are None. ``macro``: unweighted means over the labels not in
        ``excluded``. ``excluded``: labels without both classes or with too few positives. ``few``: labels in the means
        whose own figure is unreliable. ``bootstrap``: how the intervals were computed.

    Raises:
        ValueError: for shapes that do not match, targets other than 1, 0 and -1, and scores that are not finite.
    """
    targets, scores = _checked(np.asarray(targets), np.asarray(scores), labels)
    given = _thresholds(thresholds, labels)
    bootstrap = None
    if replicates and len(targets):
        bootstrap = PatientBootstrap(clusters(patient_id, len(targets)), len(targets), replicates, seed, level)

    per_label: dict[str, Metrics] = {}
    resampled: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    excluded: list[str] = []
    patients = None if bootstrap is None else bootstrap.patient_of
    if patients is None and len(targets):
        patients = PatientBootstrap(clusters(patient_id, len(targets)), len(targets)).patient_of
    for number, label in enumerate(labels):
        rows = np.flatnonzero(targets[:, number] != UNKNOWN)
        truth, score = targets[rows, number], scores[rows, number]
        positives = int(truth.sum())
        metrics: Metrics = {"n": len(rows), "positives": positives}
        both = 0 < positives < len(rows)
        metrics["few"] = min(positives, len(rows) - positives) < FEW
        metrics["auc"] = float(roc_auc_score(truth, score)) if both else None
        metrics["auc_delong_interval"] = None
        if both and patients is not None:
            variance = float(auc_spread(truth, score, patients[rows]).covariance[0, 0])
            metrics["auc_delong_interval"] = wald_interval(metrics["auc"], variance, level)
        metrics["average_precision"] = float(average_precision_score(truth, score)) if both else None
        if bootstrap is not None:
            undefined = np.full(replicates, np.nan)
            ranking = bootstrap.ranking(score, truth, rows) if both else (undefined, undefined)
            metrics["auc_interval"] = bootstrap.interval(ranking[0])
            metrics["average_precision_interval"] = bootstrap.interval(ranking[1])
        metrics |= calibration_metrics(truth, score)
        metrics |= published_operating_point(truth, score) if both else dict.fromkeys(ON_TEST)
        if given is not None:
            metrics |= _flat(truth, score, given[number], thresholds_from)
            metrics["operating_point"] = operating_point(truth, score, given[number], thresholds_from, bootstrap, rows)
        per_label[label] = metrics
        if both and positives >= min_positives:
            if bootstrap is not None:
                resampled.append(ranking)
        else:
            excluded.append(label)

    macro = _macro(per_label, excluded)
    few = [label for label in labels if label not in excluded and per_label[label]["few"]]
    result: Metrics = {"labels": per_label, "macro": macro, "excluded": excluded, "few": few}
    if bootstrap is not None:
        # Resamples that lack a class for any label are left out, because their mean would be over fewer labels.
        mean, precision = np.mean(resampled, axis=0) if resampled else np.full((2, replicates), np.nan)
        macro["auc_interval"] = bootstrap.interval(mean)
        macro["average_precision_interval"] = bootstrap.interval(precision)
        result["bootstrap"] = {
            "replicates": replicates,
            "replicates_with_every_label": int(np.isfinite(mean).sum()),
            "patients": bootstrap.patients,
            "seed": seed,
            "level": level,
        }
    return result


def best_f1_thresholds(targets: ArrayLike, scores: ArrayLike, labels: Sequence[str]) -> dict[str, float | None]:
    """Per label, the threshold (present: at or above) with the highest F1 on these rows; None without both classes.

    Intended for a validation split; pass the result to :func:`classification_metrics` for the test split.
    """
    targets, scores = _checked(np.asarray(targets), np.asarray(scores), labels)
    chosen: dict[str, float | None] = {}
    for number, label in enumerate(labels):
        known = targets[:, number] != UNKNOWN
        truth, score = targets[known, number], scores[known, number]
        both = 0 < truth.sum() < len(truth)
        chosen[label] = published_operating_point(truth, score)["threshold_on_test"] if both else None
    return chosen


def tested_metrics(
    targets: NDArray[Any],
    scores: NDArray[Any],
    labels: Sequence[str],
    tested: NDArray[np.bool_],
    threshold_split: str | None,
    **options: Any,
) -> Metrics:
    """:func:`classification_metrics` of the test rows, at thresholds chosen on the others, if any."""
    if threshold_split is not None and not tested.all():
        options["thresholds"] = best_f1_thresholds(targets[~tested], scores[~tested], labels)
        options["thresholds_from"] = threshold_split
    return classification_metrics(targets[tested], scores[tested], labels, **options)


def _flat(truth: NDArray[Any], score: NDArray[Any], threshold: float | None, split: str) -> Metrics:
    names = [f"{name}threshold_from_{split}" for name in ("", "f1_", "accuracy_")]
    if threshold is None or not 0 < truth.sum() < len(truth):
        return dict(zip(names, (threshold, None, None), strict=True))
    present, positive = called_present(score, threshold), truth == 1
    f1 = 2 * (present & positive).sum() / (present.sum() + positive.sum())
    return dict(zip(names, (threshold, float(f1), float((present == positive).mean())), strict=True))


def _macro(per_label: Mapping[str, Metrics], excluded: Sequence[str]) -> Metrics:
    included = [metrics for label, metrics in per_label.items() if label not in excluded]
    macro: Metrics = {"labels": len(included)}
    names = next(iter(per_label.values()), {})
    for name in names:
        if name in ("auc", "average_precision", "ece") or name.startswith(("f1_", "accuracy_")):
            values = [metrics[name] for metrics in included]
            # Undefined if a label has no threshold: a mean over the others would not be comparable.
            macro[name] = float(np.mean(values)) if values and None not in values else None
    return macro


def _checked(
    targets: NDArray[Any], scores: NDArray[Any], labels: Sequence[str], uncertain: bool = False
) -> tuple[NDArray[np.int8], NDArray[Any]]:
    if targets.ndim != 2 or targets.shape != scores.shape or targets.shape[1] != len(labels):
        raise ValueError(
            f"targets and scores are (images, labels) alike with a column per label: got targets {targets.shape}, "
            f"scores {scores.shape}, {len(labels)} labels"
        )
    doubled = sorted({label for label in labels if list(labels).count(label) > 1})
    if doubled:
        raise ValueError(f"labels {', '.join(doubled)} are given more than once")
    if uncertain:
        targets = np.where(targets == _UNCERTAIN, UNKNOWN, targets)
    if targets.dtype.kind == "f":
        targets = np.where(np.isnan(targets), UNKNOWN, targets)
    foreign = np.setdiff1d(targets, (1, 0, UNKNOWN))
    if foreign.size:
        raise ValueError(f"targets are 1 (present), 0 (absent) or -1 (unknown); got {foreign[0]!s} among them")
    broken = ~np.isfinite(scores)
    if broken.any():
        number = int(broken.any(axis=0).argmax())
        raise ValueError(
            f"{int(broken[:, number].sum())} scores of {labels[number]!r} are not finite; NaN cannot be ranked"
        )
    return targets.astype(np.int8), scores


def _thresholds(
    thresholds: Mapping[str, float | None] | ArrayLike | None, labels: Sequence[str]
) -> list[float | None] | None:
    if thresholds is None:
        return None
    if isinstance(thresholds, Mapping):
        missing = [label for label in labels if label not in thresholds]
        if missing:
            raise ValueError(f"thresholds lack {', '.join(missing)}; give one per label, None if it has none")
        return [thresholds[label] for label in labels]
    values = np.asarray(thresholds, float)
    if values.shape != (len(labels),):
        raise ValueError(f"thresholds have shape {values.shape}; expected one for each of {len(labels)} labels")
    return [float(value) for value in values]
