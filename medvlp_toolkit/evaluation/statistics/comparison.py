"""Comparison of two models on the same images: difference per label, interval and p, corrected over the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from medvlp_toolkit.evaluation.results.results import Results, ResultsError
from medvlp_toolkit.evaluation.statistics.counting import FEW, UNKNOWN, clusters
from medvlp_toolkit.evaluation.statistics.delong import auc_spread, holm, influence_variance, two_sided_p
from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap

Metrics = dict[str, Any]


def compare_results(
    first: Results,
    second: Results,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    names: tuple[str, str] = ("the first results", "the second results"),
) -> Metrics:
    """Paired comparison of the AUCs of two results on the same images.

    Args:
        first, second: results; a difference is second − first.
        replicates, seed, level: of the bootstrap over patients, with the same resamples for both.
        names: of the two, for messages.

    Returns:
        ``labels``: per label of both ``n``, ``positives``, ``few``, ``first`` and ``second`` (AUCs), ``difference``,
        ``interval`` (paired bootstrap), ``p`` (DeLong's paired test, patients clustered), ``p_holm`` (Holm over the
        labels: the chance of even one false claim) and ``q`` (Benjamini and Hochberg: the share of false claims).
        Labels without both classes have None. ``macro``: the same for the mean over the labels that have at least
        :data:`~medvlp_toolkit.evaluation.FEW` images of either kind, without correction. ``only_first``
        and ``only_second``: labels that cannot be compared. ``patients``, ``replicates``, ``seed``, ``level``.

    Raises:
        ResultsError: when the two differ in images or truth, or share no label.
    """
    order = _same_images(first, second, names)
    shared = [label for label in first.labels if label in second.labels]
    if not shared:
        raise ResultsError(
            f"{names[0]} and {names[1]} share no label ({', '.join(first.labels[:5])} … and "
            f"{', '.join(second.labels[:5])} …); compare evaluations of the same labels"
        )
    targets = first.target_matrix()
    other_targets = second.target_matrix()[order]
    scores, other_scores = first.score_matrix(), second.score_matrix()[order]
    patients = first.scores["patient_id"].to_pylist()
    bootstrap = PatientBootstrap(
        [f"row\0{i}" if p is None else p for i, p in enumerate(patients)], len(patients), replicates, seed, level
    )
    rows: Metrics = {}
    differences: list[NDArray[np.float64]] = []
    influences: list[NDArray[np.float64]] = []
    for label in shared:
        truth = targets[:, first.labels.index(label)]
        if (truth != other_targets[:, second.labels.index(label)]).any():
            raise ResultsError(
                f"{names[0]} and {names[1]} disagree on which images show {label!r}: they were evaluated against "
                "different labels; evaluate both on the same store"
            )
        pair = np.stack([scores[:, first.labels.index(label)], other_scores[:, second.labels.index(label)]])
        known = np.flatnonzero(truth != UNKNOWN)
        rows[label], resampled, influence = _row(truth[known], pair[:, known], known, bootstrap)
        if not rows[label]["few"]:
            differences.append(resampled)
            influences.append(influence)
    _correct(rows)
    usable = [row for row in rows.values() if not row["few"]]
    macro: Metrics = {"labels": len(usable)}
    if usable:
        mean_influence = np.mean(influences, axis=0)
        macro["first"] = float(np.mean([row["first"] for row in usable]))
        macro["second"] = float(np.mean([row["second"] for row in usable]))
        macro["difference"] = macro["second"] - macro["first"]
        macro["interval"] = bootstrap.interval(np.mean(differences, axis=0))
        macro["p"] = two_sided_p(macro["difference"], influence_variance(mean_influence))
    return {
        "labels": rows,
        "macro": macro,
        "only_first": [label for label in first.labels if label not in shared],
        "only_second": [label for label in second.labels if label not in shared],
        "patients": bootstrap.patients,
        "replicates": replicates,
        "seed": seed,
        "level": level,
    }


def compare_shares(
    first: Results,
    second: Results,
    column: str,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    names: tuple[str, str] = ("the first results", "the second results"),
) -> Metrics:
    """Paired comparison of the share of rows that each model got right, such as questions answered.

    Args:
        first, second: results; a difference is first − second.
        column: ``target:<column>`` is 1 where a row is right.
        replicates, seed, level: of the bootstrap over patients; both models meet the same resamples.
        names: what messages call the two.

    Returns:
        ``first`` and ``second`` (shares), ``difference``, ``interval``, ``only_first`` and ``only_second`` (rows that
        one alone got right), ``patients``, ``replicates``, ``seed``, ``level``.

    Raises:
        ResultsError: when the two are not of the same rows.
    """
    order = _same_images(first, second, names)
    right, other = (
        results.target_matrix()[rows, results.labels.index(column)] == 1
        for results, rows in ((first, np.arange(first.scores.num_rows)), (second, order))
    )
    patients = first.scores["patient_id"].to_pylist()
    bootstrap = PatientBootstrap(clusters(patients, len(patients)), len(patients), replicates, seed, level)
    return {
        "first": float(right.mean()),
        "second": float(other.mean()),
        "difference": float(right.mean() - other.mean()),
        "interval": bootstrap.interval(bootstrap.mean(right.astype(float) - other)),
        "only_first": int((right & ~other).sum()),
        "only_second": int((other & ~right).sum()),
        "patients": bootstrap.patients,
        "replicates": replicates,
        "seed": seed,
        "level": level,
    }


def _same_images(first: Results, second: Results, names: tuple[str, str]) -> NDArray[np.intp]:
    """Rows of the second table in the order of the first."""
    ids, others = first.row_ids, second.row_ids
    if set(ids) != set(others):
        shared = len(set(ids) & set(others))
        raise ResultsError(
            f"{names[0]} has {len(ids)} images and {names[1]} {len(others)}, {shared} of them in both: a paired "
            "comparison needs the same images; evaluate both on the same store and split"
        )
    place = {study: row for row, study in enumerate(others)}
    order = np.array([place[study] for study in ids], dtype=np.intp)
    patients = first.scores["patient_id"].to_pylist()
    other_patients = second.scores["patient_id"].to_pylist()
    if patients != [other_patients[row] for row in order]:
        raise ResultsError(f"{names[0]} and {names[1]} give the same images to different patients; evaluate both again")
    return order


def _row(
    truth: NDArray[np.int8], pair: NDArray[np.float32], known: NDArray[np.intp], bootstrap: PatientBootstrap
) -> tuple[Metrics, NDArray[np.float64], NDArray[np.float64]]:
    positives = int((truth == 1).sum())
    row: Metrics = {"n": len(truth), "positives": positives, "few": min(positives, len(truth) - positives) < FEW}
    row |= dict.fromkeys(("first", "second", "difference", "interval", "p", "p_holm", "q"))
    influence = np.zeros(bootstrap.patients)
    if not 0 < positives < len(truth):
        return row, np.full(bootstrap.replicates, np.nan), influence
    spread = auc_spread(truth, pair, bootstrap.patient_of[known])
    row["first"], row["second"] = map(float, spread.auc)
    row["difference"] = row["second"] - row["first"]
    covariance = spread.covariance
    row["p"] = two_sided_p(row["difference"], float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    resampled = bootstrap.auc(pair[1], truth, known) - bootstrap.auc(pair[0], truth, known)
    row["interval"] = bootstrap.interval(resampled)
    influence[: spread.influence.shape[1]] = spread.influence[1] - spread.influence[0]
    return row, resampled, influence


def _correct(rows: Metrics) -> None:
    """Correct over all tested labels, including those with few images."""
    tested = [row for row in rows.values() if row["p"] is not None]
    values = [row["p"] for row in tested]
    for row, corrected, q in zip(tested, holm(values), false_discovery_control(values) if values else (), strict=True):
        row["p_holm"], row["q"] = corrected, float(q)
