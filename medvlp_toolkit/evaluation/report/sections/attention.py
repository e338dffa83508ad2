"""Where the model looks: pointing and overlap, and the patient's left and right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

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
    figure,
    level_of,
    numbers,
    readable,
    rows_at,
    significant,
    small_interval,
    union,
)
from medvlp_toolkit.evaluation.report.verdicts import EXPLAINED, verdict, verdict_cell
from medvlp_toolkit.evaluation.results.tables import number
from medvlp_toolkit.evaluation.zero_shot.attention_threshold import in_multiples

_OVERLAPS = {
    "dice": Column("Dice"),
    "iou": Column("IoU"),
    "recall": Column("Recall"),
    "precision": Column("Precision"),
    "contrast_to_noise": Column("CNR", explained="Contrast-to-noise ratio"),
}
_CURVE = ("multiple", *charts.OVERLAPS)


def grounding(models: Models) -> list[Section]:
    """Pointing beside what blind pointing scores, overlap, and overlap over thresholds."""
    blocks = models.metrics("grounding")
    entries: list[tuple[str, str, list[Metrics]]] = []
    for key in ("findings", "groups"):
        groups = [rows_at(block, key) for block in blocks]
        entries += [(key, name, [group.get(name, {}) for group in groups]) for name in union(groups)]
    entries = [entry for entry in entries if any(figure(row, "n") for row in entry[2])]
    if not entries:
        return []
    kinds = {"groups": "total", "findings": ""}
    pointing = [Row(readable(name), _pointing(measured), kinds[key]) for key, name, measured in entries]
    overlap = [Row(readable(name), _overlap(measured), kinds[key]) for key, name, measured in entries]
    columns = [
        Column("Images"),
        Column("Pointing", "bar"),
        Column(level_of(blocks[0] or blocks[-1])),
        Column("Chance", explained="The share that a point drawn anywhere scores"),
        Column("Best fixed", explained="The share that the best point scores, named in every image without looking"),
        Column("Verdict", "text"),
    ]
    hit = "the cell" if at(blocks[0], "protocol", "upsampling", default="nearest") == "nearest" else "the pixel"
    lead = (
        f"A hit: {hit} of highest attention touches the true region. A model that looks must beat the best fixed "
        "point, the one point that would score most if it were named in every image (thin mark, right); chance is the "
        f"left mark. {EXPLAINED}"
    )
    multiple = threshold_multiple(blocks[0])
    threshold = figure(at(blocks[0], "protocol"), "threshold")
    limit = (
        f"{number(multiple, 3)} times even attention" if multiple is not None else f"attention {significant(threshold)}"
    )
    parts: list[Part] = [
        *(Text(lead), Legend(), Table("Pointing per finding", columns, pointing, "Finding"), Heading("Overlap")),
        Text(f"Of the pixels above {limit} with the true region, each with its interval."),
        Table("Overlap per finding", list(_OVERLAPS.values()), overlap, "Finding"),
    ]
    by_kind = sorted(entries, key=lambda entry: entry[0] == "findings")
    parts += _over_thresholds(models, by_kind, multiple)
    return [Section("grounding", "Attention", "Does attention point at the finding?", parts)]


def fixed_point_verdict(row: Any) -> str:
    """Pointing against the best fixed point."""
    return verdict(row, "pointing", figure(row, "best_fixed_point"), "one fixed point")


def _pointing(rows: Sequence[Metrics]) -> list[Cell]:
    blind = [figure(rows[0], "chance"), figure(rows[0], "best_fixed_point")]
    return [
        counts(rows, "n"),
        bar_cell(rows, "pointing", 2, references=blind, name="pointing"),
        interval_cell(rows, "pointing_interval", 2),
        numbers(rows, "chance", 2),
        numbers(rows, "best_fixed_point", 2),
        verdict_cell([fixed_point_verdict(row) for row in rows]),
    ]


def _overlap(rows: Sequence[Metrics]) -> list[Cell]:
    return [numbers(rows, key, 2, partial(small_interval, key=key)) for key in _OVERLAPS]


def threshold_multiple(block: Any) -> float | None:
    """The threshold of the table in multiples of even attention, None where it was one of absolute attention."""
    threshold = figure(at(block, "protocol"), "threshold")
    if threshold is None or at(block, "protocol", "scale_threshold") is not True:
        return None
    return in_multiples(threshold)


def _over_thresholds(
    models: Models, entries: Sequence[tuple[str, str, list[Metrics]]], mark: float | None
) -> list[Part]:
    figures: list[tuple[str, str, Sequence[str]]] = []
    for _, name, rows in entries:
        drawn, best = [], []
        for model, row in zip(models.short, rows, strict=True):
            curve = at(row, "over_thresholds", default={})
            if not all(isinstance(at(curve, key), list) and at(curve, key) for key in _CURVE):
                continue
            best.append(number(max(curve["dice"])))
            of = f" by {model}" if models.compared else ""
            told = f"Overlap of {readable(name)}{of} over thresholds, best Dice {best[-1]}"
            drawn.append(charts.threshold_chart(curve, mark, told))
        if drawn:
            figures.append((readable(name), f"best Dice {' / '.join(best)}", drawn))
    if not figures:
        return []
    said = "The dashed line is the threshold used above." if mark is not None else ""
    beside = f" Left: {models.names[0]}; right: {models.names[1]}." if models.compared else ""
    legend = Legend([_OVERLAPS[key].name for key in charts.OVERLAPS])
    return [Heading("Overlap over thresholds"), Text(said + beside), legend, Charts(figures)]


def laterality(models: Models) -> list[Section]:
    """Whether findings are put on the correct side, by each evidence."""
    blocks = models.metrics("laterality")
    evidence = union([rows_at(block) for block in blocks])
    if not evidence:
        return []
    lead = (
        "One-sided findings that are there: does the model put them on the patient's correct side? The thin mark is "
        "the baseline of always choosing the more common side."
    )
    parts: list[Part] = [Text(lead), Legend()]
    for name in evidence:
        measured = [at(block, name, default={}) for block in blocks]
        findings = union([rows_at(result, "findings") for result in measured])
        entries = [(label, [at(result, "findings", label, default={}) for result in measured]) for label in findings]
        rows = [Row(readable(label), side_cells(found)) for label, found in entries]
        rows.append(Row("all", side_cells([at(result, "all", default={}) for result in measured]), "total"))
        parts += [Heading(f"By {name}"), Table(f"Correct side by {name}", side_columns(measured), rows, "Finding")]
    return [Section("laterality", "Left or right", "Left or right?", parts)]


def side_columns(measured: Any) -> list[Column]:
    """Columns of :func:`side_cells`."""
    level = {str(place): part for place, part in enumerate(measured)}
    return [Column("Images"), Column("Correct", "bar"), Column(level_of(level)), Column("Verdict", "text")]


def side_cells(rows: Sequence[Metrics]) -> list[Cell]:
    """Correct sides against always choosing the more common one."""
    return [
        counts(rows, "n"),
        bar_cell(rows, "accuracy", 2, references=[figure(rows[0], "majority")], name="correct", intervals="interval"),
        interval_cell(rows, "interval", 2),
        verdict_cell([verdict(row, "accuracy", figure(row, "majority")) for row in rows]),
    ]
