"""Probes: change the query or the image in a way whose correct effect is known, and measure the model's response.

A model may rank well although it responds to a name but not to its description, scores "no effusion" like effusion, or
does not distinguish left from right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.statistics.counting import UNKNOWN
from medvlp_toolkit.evaluation.statistics.macro_auc import macro_auc

Scores = NDArray[np.floating]
Metrics = dict[str, Any]

_SPREAD_WORTH_SAYING = 0.05
_SIDE_WORTH_SAYING = 0.6


def prompt_sensitivity(
    targets: NDArray[Any], scores: Mapping[str, Scores], labels: Sequence[str], patient_of: NDArray[np.intp]
) -> Metrics:
    """Sensitivity of the scores to the wording of a description.

    Args:
        targets: (S, L) 1 present, 0 absent, -1 unknown.
        scores: phrasing -> (S, L).
        labels: L names.
        patient_of: (S,) index of each image's patient.

    Returns:
        ``variants``: phrasing -> :func:`.macro_auc`; ``spread``: label ->
        ``low``, ``high``, ``spread`` of its AUC over the phrasings; ``mean_spread``.
    """
    variants = {name: macro_auc(targets, values, labels, patient_of) for name, values in scores.items()}
    spread = {}
    for label in labels:
        aucs = [row["labels"][label]["auc"] for row in variants.values()]
        if aucs and None not in aucs:
            spread[label] = {"low": min(aucs), "high": max(aucs), "spread": max(aucs) - min(aucs)}
    mean = float(np.mean([row["spread"] for row in spread.values()])) if spread else None
    return {"variants": variants, "spread": spread, "mean_spread": mean}


def negation(targets: NDArray[Any], negated: Scores, labels: Sequence[str], patient_of: NDArray[np.intp]) -> Metrics:
    """Whether negated descriptions score high where the finding is absent.

    Args:
        targets: (S, L) 1 present, 0 absent, -1 unknown.
        negated: (S, L) scores of the negated descriptions.

    Returns:
        As :func:`.macro_auc`, of absence: 1 if the negation is understood, 0 if it is ignored.
    """
    absent = np.where(targets == UNKNOWN, UNKNOWN, 1 - targets)
    return macro_auc(absent, negated, labels, patient_of)


def changed_images(
    targets: NDArray[Any], scores: Mapping[str, Scores], labels: Sequence[str], patient_of: NDArray[np.intp]
) -> Metrics:
    """AUC on changed images, and the model's predictions there.

    Returns:
        image -> :func:`.macro_auc` with ``claimed``: the labels whose mean
        probability is above one half.
    """
    rows = {}
    for name, values in scores.items():
        claimed = [label for label, mean in zip(labels, values.mean(axis=0), strict=True) if mean > 0.5]
        rows[name] = {**macro_auc(targets, values, labels, patient_of), "claimed": claimed}
    return rows


def cautions(probes: Mapping[str, Any]) -> list[str]:
    """Sentences on failed probes."""
    found = []
    variants = probes["prompts"]["variants"]
    aucs = {name: row["auc"] for name, row in variants.items() if row["auc"] is not None}
    if aucs and max(aucs.values()) - min(aucs.values()) > _SPREAD_WORTH_SAYING:
        low, high = min(aucs, key=aucs.__getitem__), max(aucs, key=aucs.__getitem__)
        found.append(
            f"wording matters: mean AUC {aucs[high]:.2f} with “{high}”, {aucs[low]:.2f} with “{low}” "
            "for the same findings."
        )
    understood = probes["negation"]["auc"]
    if understood is not None and understood < 0.5:
        found.append(f"“no …” is scored as if there were no “no” (AUC against absence {understood:.2f}, 1 is right).")
    images = probes["image_probes"]
    blank = images.get("blank")
    if blank and blank["claimed"]:
        claimed = ", ".join(label.replace("_", " ") for label in blank["claimed"])
        found.append(f"on a blank image it predicts {claimed}.")
    shown, mirrored = images.get("as it is"), images.get("mirrored")
    if shown and mirrored and shown["auc"] is not None and shown["auc"] - mirrored["auc"] > _SPREAD_WORTH_SAYING:
        found.append(f"on mirrored images the mean AUC falls from {shown['auc']:.2f} to {mirrored['auc']:.2f}.")
    lost = [
        f"{name} {row['accuracy']:.2f} of {row['n']}"
        for name, row in probes.get("laterality", {}).items()
        if row["n"] and row["accuracy"] < _SIDE_WORTH_SAYING
    ]
    if lost:
        found.append(f"left and right are not distinguished: {'; '.join(lost)} (guessing 0.50).")
    return found
