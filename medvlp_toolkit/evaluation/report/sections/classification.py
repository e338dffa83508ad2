"""Classification: figures per finding, operating points, curves, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.report import charts
from medvlp_toolkit.evaluation.report.bars import bar_cell, interval_cell
from medvlp_toolkit.evaluation.report.parts import (
    Cell,
    Charts,
    Column,
    Heading,
    Legend,
    Metrics,
    Models,
    Part,
    Row,
    Section,
    Table,
    Text,
    at,
    counts,
    ends,
    figure,
    level_of,
    numbers,
    readable,
    rows_at,
    significant,
    small_interval,
    union,
    words,
)
from medvlp_toolkit.evaluation.report.verdicts import EXPLAINED, TOO_FEW, mean_of, verdict, verdict_cell
from medvlp_toolkit.evaluation.results.results import Results
from medvlp_toolkit.evaluation.results.tables import interval, number

#: Keys of ``metrics.json`` that hold classification: the section's title, and its name in the navigation.
CLASSIFICATIONS = {
    "zero_shot": ("Zero-shot classification", "Findings"),
    "zero_shot_held_out": ("Findings kept out of training", "Held out"),
    "fine_tuned": ("Fine-tuned classification", "Fine-tuned"),
    "from_scores": ("Classification, from the table of scores", "Findings"),
}


def classification(models: Models) -> list[Section]:
    """A section for each kind of classification measured, and one for all curves and one for calibration."""
    there = [key for key in CLASSIFICATIONS if any(rows_at(block, "labels") for block in models.metrics(key))]
    sections = [_findings(models, key) for key in there]
    curves, calibration = [], []
    for key in there:
        title: list[Part] = [Heading(CLASSIFICATIONS[key][0])] if len(there) > 1 else []
        drawn, bins = _charts(models, models.metrics(key))
        curves += [*title, drawn] if drawn.figures else []
        calibration += [*title, bins] if bins.figures else []
    if curves:
        lead = Text(
            "Left: ROC, dashed is chance. Right: precision against recall, dashed is the share of images that show "
            "the finding."
        )
        sections.append(Section("curves", "Curves", "Curves", [lead, Legend(), *curves], long=True))
    if calibration:
        lead = Text(
            "Of the images given a probability, how many have the finding? On the dashed line the probability is "
            "accurate; below it the model claims too much. Larger dots stand for more images, whiskers are 95 % "
            "intervals; bars: how many images have such a probability (square-root scale)."
        )
        parts: list[Part] = [lead, Legend(), *calibration]
        sections.append(Section("calibration", "Calibration", "Calibration", parts, long=True))
    return sections


def _findings(models: Models, key: str) -> Section:
    title, link = CLASSIFICATIONS[key]
    blocks = models.metrics(key)
    labels = union([rows_at(block, "labels") for block in blocks])
    low = axis_start([row for block in blocks for row in rows_at(block, "labels").values()])
    excluded = [label for label in labels if label in at(blocks[0], "excluded", default=[])]
    rows = []
    for label in labels:
        measured = [at(block, "labels", label, default={}) for block in blocks]
        out, few = label in excluded, any(at(row, "few") for row in measured)
        tags = ["not in the mean"] if out else ["few"] if few else []
        rows.append(Row(readable(label), _figures(measured, low), "faint" if tags else "", tags))
    means = [mean_of(block) for block in blocks]
    of = " / ".join(dict.fromkeys(str(at(mean, "labels", default=0)) for mean in means))
    rows.append(Row(f"mean of {of}", _figures(means, low), "total"))
    columns = [
        Column("Present"),
        Column("AUC", "bar", small=f"axis from {low:g} to 1"),
        Column(level_of(blocks)),
        Column("Verdict", "text"),
        Column("AP (chance)", explained="Average precision: area under the precision-recall curve. "
               "Chance is the share of images that show the finding."),
        Column("ECE", explained="Expected calibration error: how far probabilities are off in the mean"),
    ]  # fmt: skip
    parts: list[Part] = [Text(_lead(key)), Legend(), Table(f"{title}: figures per finding", columns, rows, "Finding")]
    if excluded:
        listed = ", ".join(map(readable, excluded))
        parts.append(Text(f"Not in the mean, because too few images show them or lack them: {listed}.", "note"))
    parts += [Heading("Operating points"), *_operating_points(blocks, labels)]
    return Section(key, link, title, parts)


def _lead(key: str) -> str:
    leads = {
        "zero_shot_held_out": "No loss of the training named these findings; their description alone scores them. ",
        "from_scores": "The evaluation measured nothing; these figures were computed for this page from its targets "
        "and scores. ",
    }
    return (
        f"{leads.get(key, '')}The area under the ROC curve (AUC) per finding: 1 is perfect, 0.5 (the thin mark) is "
        f"chance. Bars are confidence intervals over patients. {EXPLAINED}"
    )


def _figures(rows: Sequence[Metrics], low: float) -> list[Cell]:
    delong = ", ".join(interval(ends(row, "auc_delong_interval"), 3) for row in rows)
    judged = any(figure(row, "auc") is not None for row in rows)
    auc = bar_cell(rows, "auc", axis=(low, 1.0), references=[0.5], name="AUC") if judged else words([TOO_FEW])
    return [
        counts(rows, "positives", "n") if any(at(row, "n") is not None for row in rows) else Cell([]),
        auc,
        interval_cell(rows, "auc_interval", explained=f"DeLong, patients clustered: {delong}"),
        verdict_cell([verdict(row, "auc", 0.5) for row in rows]),
        numbers(rows, "average_precision", 2, _prevalence),
        numbers(rows, "ece"),
    ]


def _prevalence(row: Metrics) -> str:
    n, positives = figure(row, "n"), figure(row, "positives")
    return f"({number(positives / n)})" if n and positives is not None else ""


def axis_start(rows: Sequence[Metrics], highest: float = 0.4) -> float:
    """A round number below every AUC and interval of the rows, at most ``highest``."""
    low = [end for row in rows for end in ends(row, "auc_interval") or ()]
    found = [value for row in rows if (value := figure(row, "auc")) is not None]
    return float(np.floor(10 * min([highest, *low, *found])) / 10)


_RATES = {
    "sensitivity": Column("Sensitivity"),
    "specificity": Column("Specificity"),
    "ppv": Column("PPV", explained="Positive predictive value, at the prevalence of this set"),
    "npv": Column("NPV", explained="Negative predictive value, at the prevalence of this set"),
}


def threshold_split(block: Any) -> str | None:
    """The split on which thresholds were chosen, None where none was."""
    points = [at(row, "operating_point", "split") for row in rows_at(block, "labels").values()]
    return next((str(split) for split in points if split is not None), None)


def _operating_points(blocks: Sequence[Any], labels: Sequence[str]) -> list[Part]:
    splits = [threshold_split(block) for block in blocks]
    named = list(dict.fromkeys(split for split in splits if split))
    if not named:
        best = ", ".join(number(figure(at(block, "macro"), "f1_threshold_on_test")) for block in blocks)
        return [
            Text(
                "No operating point is given: no other split was named to choose thresholds on (threshold_split), and "
                "thresholds tuned on the very images they are judged on would flatter. As published evaluations do it "
                f"all the same, the best F1 on these images is {best} in the mean.",
                "note",
            )
        ]
    rows = []
    for label in labels:
        points = [at(block, "labels", label, "operating_point", default={}) for block in blocks]
        cells = [numbers(points, "threshold", 3, write=significant)]
        cells += [numbers(points, rate, 2, partial(small_interval, key=rate)) for rate in _RATES]
        tags = [] if any(figure(point, "threshold") is not None for point in points) else ["too few to choose one"]
        rows.append(Row(readable(label), cells, tags=tags))
    split = " and ".join(named)
    return [
        Text(f"Each threshold was chosen on split {split} (highest F1 there) and applied here unchanged."),
        Table(
            f"Sensitivity, specificity and predictive values at thresholds of split {split}",
            [Column("Threshold"), *_RATES.values()],
            rows,
            "Finding",
        ),
    ]


def _charts(models: Models, blocks: Sequence[Any]) -> tuple[Charts, Charts]:
    """ROC and precision-recall curves, and calibration, of every label that has them."""
    curves: list[tuple[str, str, Sequence[str]]] = []
    calibration: list[tuple[str, str, Sequence[str]]] = []
    for label in union([rows_at(block, "labels") for block in blocks]):
        rows = [at(block, "labels", label, default={}) for block in blocks]
        name = readable(label)
        drawn = _ranking_curves(models.results, rows, label, name)
        if drawn:
            small = f"AUC {_of(rows, 'auc', 3)} · AP {_of(rows, 'average_precision', 2)}"
            curves.append((name, small, drawn))
        bins = [(which, bins) for which, row in enumerate(rows, start=1) if (bins := _bins(row))]
        if bins:
            told = f"Calibration of {name}: observed share against probability, expected calibration error "
            chart = charts.reliability_chart(bins, told + _of(rows, "ece", 3))
            calibration.append((name, f"ECE {_of(rows, 'ece', 3)} · Brier {_of(rows, 'brier', 3)}", [chart]))
    return Charts(curves), Charts(calibration)


def _of(rows: Sequence[Any], key: str, digits: int) -> str:
    return " / ".join(number(figure(row, key), digits) for row in rows)


def _bins(row: Metrics) -> list[dict[str, float]]:
    found = at(row, "reliability", default=[])
    needed = {"low", "high", "n", "mean_score", "observed"}
    return [entry for entry in found if isinstance(entry, dict) and all(figure(entry, k) is not None for k in needed)]


def _ranking_curves(results: Sequence[Results], rows: Sequence[Metrics], label: str, name: str) -> list[str]:
    roc, precision, prevalence = [], [], None
    for which, (result, row) in enumerate(zip(results, rows, strict=True), start=1):
        if figure(row, "auc") is None or label not in result.labels:
            continue
        truth, score = _scores(result, label)
        if 0 < truth.sum() < len(truth):
            roc.append(charts.roc(truth, score, which))
            precision.append(charts.precision_recall(truth, score, which))
            prevalence = float(truth.mean()) if prevalence is None else prevalence
    if not roc:
        return []
    described = f"ROC curve of {name}, area {_of(rows, 'auc', 3)}"
    average = _of(rows, "average_precision", 3)
    told = f"Precision-recall curve of {name}, average precision {average}, prevalence {number(prevalence, 3)}"
    return [
        charts.square_chart(roc, "1 − specificity", "sensitivity", described, diagonal=True),
        charts.square_chart(precision, "sensitivity (recall)", "precision", told, level=prevalence),
    ]


def _scores(results: Results, label: str) -> tuple[NDArray[Any], NDArray[Any]]:
    truth = results.scores[f"target:{label}"].to_numpy()
    score = results.scores[f"score:{label}"].to_numpy()
    known = truth >= 0
    return truth[known], score[known]
