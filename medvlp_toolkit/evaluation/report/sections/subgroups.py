"""Subgroups: the mean AUC within parts of the set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medvlp_toolkit.evaluation.report.bars import bar_cell, interval_cell
from medvlp_toolkit.evaluation.report.parts import (
    Cell,
    Column,
    Folded,
    Heading,
    Legend,
    Models,
    Part,
    Row,
    Section,
    Table,
    Text,
    at,
    count,
    counts,
    figure,
    level_of,
    numbers,
    readable,
    rows_at,
    union,
    words,
)
from medvlp_toolkit.evaluation.report.sections.classification import axis_start
from medvlp_toolkit.evaluation.report.verdicts import TOO_FEW, verdict, verdict_cell


def subgroups(models: Models) -> list[Section]:
    """A table per division of the images, and one of each finding beneath it."""
    groups = models.metrics("subgroups")
    names = union([rows_at(group) for group in groups])
    if not names:
        return []
    lead = (
        "Mean AUC within parts of the set, over the findings that at least 10 images of the part show and 10 do not. "
        "Intervals are DeLong's, patients clustered. Small parts have wide intervals: a difference within them means "
        "nothing."
    )
    parts: list[Part] = [Text(lead), Legend()]
    for name in names:
        parts += _division(models, name)
    return [Section("subgroups", "Subgroups", "Subgroups", parts, long=True)]


def _division(models: Models, name: str) -> list[Part]:
    groups = [rows_at(group, name) for group in models.metrics("subgroups")]
    low = axis_start([row for group in groups for row in group.values()], 0.9)
    rows = []
    for value in union(groups):
        measured = [group.get(value, {}) for group in groups]
        judged = any(figure(row, "auc") is not None for row in measured)
        few = [", ".join(map(readable, at(row, "few", default=[]))) or "none" for row in measured]
        auc = bar_cell(measured, "auc", axis=(low, 1.0), references=[0.5] if low <= 0.5 else [], name="mean AUC")
        cells = [
            counts(measured, "n"),
            counts(measured, "patients"),
            auc if judged else words([TOO_FEW]),
            interval_cell(measured, "auc_interval"),
            verdict_cell([verdict(row, "auc", 0.5) for row in measured]),
            words(few),
        ]
        rows.append(Row(value, cells, "" if judged else "faint"))
    columns = [
        Column("Images"),
        Column("Patients"),
        Column("Mean AUC", "bar", small=f"axis from {low:g} to 1"),
        Column(level_of(models.metrics("subgroups"))),
        Column("Verdict", "text"),
        Column("Left out of the mean", "text"),
    ]
    title = readable(name)
    each = Folded(f"Each finding by {title}", [_each(groups, title)])
    return [Heading(title.capitalize()), Table(f"Mean AUC by {title}", columns, rows, title.capitalize()), each]


def _each(groups: Sequence[Any], title: str) -> Table:
    values = union(groups)
    labels = union([rows_at(row, "labels") for group in groups for row in group.values()])

    def cell(label: str, value: str) -> Cell:
        rows = [at(group, value, "labels", label, default={}) for group in groups]
        return numbers(rows, "auc", 3, lambda row: f"{count(at(row, 'positives'))}/{count(at(row, 'n'))}")

    rows = [Row(readable(label), [cell(label, value) for value in values]) for label in labels]
    return Table(f"AUC per finding by {title}", [Column(value) for value in values], rows, "Finding")
