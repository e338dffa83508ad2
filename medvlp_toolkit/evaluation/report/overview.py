"""The page's summary in words: one sentence on the result, and cautions. Nothing here is recomputed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from medvlp_toolkit.evaluation.results.tables import interval, number

Metrics = Mapping[str, Any]

#: Keys of ``metrics.json`` that hold classification, and what the page calls them.
CLASSIFICATIONS = {
    "zero_shot": "Zero-shot classification",
    "zero_shot_held_out": "Findings kept out of training",
    "fine_tuned": "Fine-tuned classification",
}

_POOR_AUC = 0.7
_POOR_CALIBRATION = 0.1


def key_figures(metrics: Metrics) -> list[dict[str, str]]:
    """The few figures at the top of the page: ``name``, ``value``, ``detail``."""
    figures = []
    for key, title in CLASSIFICATIONS.items():
        macro = (metrics.get(key) or {}).get("macro")
        if macro and macro.get("auc") is not None:
            detail = f"95 % CI {interval(macro.get('auc_interval'), 3)} · mean of {_count(macro['labels'], 'finding')}"
            name = "Mean AUC" if key != "zero_shot_held_out" else "Mean AUC, findings kept out of training"
            figures.append({"name": name, "value": number(macro["auc"], 3), "detail": detail, "title": title})
    groups = (metrics.get("grounding") or {}).get("groups") or {}
    row = groups.get("focal") or groups.get("all")
    if row and row.get("pointing") is not None:
        which = "focal findings" if "focal" in groups else "all findings"
        detail = f"{which}, {row['n']:,} images · best fixed point {number(row['best_fixed_point'])}"
        figures.append({"name": "Attention points at it", "value": number(row["pointing"]), "detail": detail})
    for evidence, result in (metrics.get("laterality") or {}).items():
        row = result["all"]
        if row["n"]:
            detail = f"by {evidence}, {row['n']:,} one-sided findings · guessing {number(row['majority'])}"
            figures.append({"name": "Left or right", "value": number(row["accuracy"], 3), "detail": detail})
            break
    segmentation = metrics.get("segmentation")
    if segmentation:
        detail = f"{segmentation['label']}, {segmentation['n']:,} images"
        figures.append({"name": "Dice", "value": number(segmentation["dice"], 3), "detail": detail})
    return figures


def sentence(metrics: Metrics, images: int, patients: int) -> str:
    """Explains the headline figure to a reader who does not know the measure."""
    pooling = metrics.get("pooling") or {}
    counted = f"{images:,} images"
    if pooling.get("pool"):
        counted = (
            f"{pooling['studies']:,} studies ({pooling['images']:,} images, the {pooling['pool']} of each study's)"
        )
    summary = f"{counted} of {_count(patients, 'patient')}."
    for key in ("zero_shot", "fine_tuned", "zero_shot_held_out"):
        macro = (metrics.get(key) or {}).get("macro")
        if macro and macro.get("auc") is not None:
            summary += (
                f" Of two images, one with a finding and one without it, the model scores the right one higher in "
                f"{100 * macro['auc']:.1f} % of cases, on average over {_count(macro['labels'], 'finding')}"
                " (50 % is chance)."
            )
            break
    return summary


def cautions(metrics: Metrics) -> list[str]:
    """Cautions for the reader, the most serious first."""
    found: list[str] = []
    names = partial(_names, names=metrics.get("names") or {})
    for key, title in CLASSIFICATIONS.items():
        block = metrics.get(key) or {}
        rows: Metrics = block.get("labels") or {}
        judged = {label: row for label, row in rows.items() if row.get("auc") is not None}
        chance = [label for label, row in judged.items() if _holds(row.get("auc_interval"), 0.5)]
        below = [label for label, row in judged.items() if (row.get("auc_interval") or (1, 1))[1] < 0.5]
        poor = [label for label, row in judged.items() if row["auc"] < _POOR_AUC and label not in chance + below]
        few = [label for label in block.get("few") or [] if label in judged]
        if below:
            found.append(f"{title}: {names(below)} scored worse than chance.")
        if chance:
            found.append(f"{title}: {names(chance)} cannot be distinguished from chance.")
        if poor:
            found.append(f"{title}: {names(poor)} ranked poorly (AUC below {_POOR_AUC}).")
        if block.get("excluded"):
            found.append(f"{title}: {names(block['excluded'])} not in the mean: too few images present or absent.")
        if few:
            found.append(f"{title}: {names(few)} rest on fewer than 10 images present or absent.")
        crooked = [label for label, row in judged.items() if (row.get("ece") or 0) > _POOR_CALIBRATION]
        if crooked:
            found.append(f"{title}: probabilities of {names(crooked)} are off by more than 10 points on average.")
    found += _grounding_cautions(metrics.get("grounding") or {}, names)
    found += [f"Probe: {text}" for text in (metrics.get("probes") or {}).get("cautions") or []]
    return found


def _grounding_cautions(grounding: Metrics, names: Callable[[list[str]], str]) -> list[str]:
    rows: Metrics = grounding.get("findings") or {}
    blind = [
        label
        for label, row in rows.items()
        if row.get("pointing") is not None and row["pointing"] <= row["best_fixed_point"]
    ]
    if not blind:
        return []
    return [f"Attention points at {names(blind)} no better than one fixed point in every image."]


def _holds(ends: Any, value: float) -> bool:
    return ends is not None and ends[0] <= value <= ends[1]


def _names(labels: list[str], most: int = 8, *, names: Mapping[str, str]) -> str:
    shown = [names.get(label, label.replace("_", " ")) for label in labels[:most]]
    if len(labels) > most:
        return f"{', '.join(shown)} and {len(labels) - most} more"
    return ", ".join(shown[:-1]) + f" and {shown[-1]}" if len(shown) > 1 else shown[0]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
