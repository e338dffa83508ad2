"""Probes: what happens when the question or the image is changed in a way whose right answer is known."""

from __future__ import annotations

from collections.abc import Sequence

from medvlp_toolkit.evaluation.report.bars import bar_cell, interval_cell
from medvlp_toolkit.evaluation.report.parts import (
    Cell,
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
    count,
    figure,
    readable,
    rows_at,
    union,
    words,
)
from medvlp_toolkit.evaluation.report.sections.attention import side_cells, side_columns
from medvlp_toolkit.evaluation.report.verdicts import verdict, verdict_cell
from medvlp_toolkit.evaluation.results.tables import number


def probes(models: Models) -> list[Section]:
    """Phrasings, negation, changed images, left and right: each where it was asked."""
    blocks = models.metrics("probes")
    if not any(blocks):
        return []
    images = count(next((at(block, "images") for block in blocks if at(block, "images")), None))
    lead = (
        f"What happens when the question or the image is changed in a way whose right answer is known. {images} images."
    )
    parts: list[Part] = [Text(lead), Legend()]
    parts += [*_phrasings(blocks), *_negation(blocks), *_changed_images(blocks), *_sides(blocks)]
    return [Section("probes", "Probes", "Probes", parts, long=True)]


def _auc(rows: Sequence[Metrics], low: float, digits: int) -> list[Cell]:
    return [
        bar_cell(rows, "auc", digits, (low, 1.0), [0.5], "AUC"),
        interval_cell(rows, "auc_interval", digits),
        verdict_cell([verdict(row, "auc", 0.5) for row in rows]),
    ]


def _columns(name: str) -> list[Column]:
    return [Column(name, "bar"), Column("95 % CI"), Column("Verdict", "text")]


def _phrasings(blocks: Sequence[Metrics]) -> list[Part]:
    prompts = [at(block, "prompts", default={}) for block in blocks]
    names = union([rows_at(prompt, "variants") for prompt in prompts])
    if not names:
        return []
    rows = []
    for name in names:
        found = [at(prompt, "variants", name, default={}) for prompt in prompts]
        rows.append(Row(name, _auc(found, 0.3, 3), example=str(at(found[0], "example", default=""))))
    labels = union([rows_at(prompt, "spread") for prompt in prompts])
    spreads = ", ".join(
        f"{readable(label)} {' / '.join(number(figure(at(p, 'spread', label), 'spread')) for p in prompts)}"
        for label in labels
    )
    mean = " / ".join(number(figure(prompt, "mean_spread")) for prompt in prompts)
    return [
        Heading("The description in other words"),
        Text(
            "A model that understands ranks the images alike however a finding is described. Spread: highest minus "
            "lowest AUC over the phrasings."
        ),
        Table("Mean AUC per phrasing", _columns("Mean AUC"), rows),
        Text(f"Spread per finding: {spreads}; mean {mean}." if spreads else f"Mean spread {mean}."),
    ]


def _negation(blocks: Sequence[Metrics]) -> list[Part]:
    asked = [at(block, "negation", default={}) for block in blocks]
    if not any(asked):
        return []
    entries = [
        (label, [at(part, "labels", label, default={}) for part in asked])
        for label in union([rows_at(part, "labels") for part in asked])
    ]
    rows = [
        Row(readable(label), _auc(found, 0.0, 2))
        for label, found in entries
        if any(figure(row, "auc") is not None for row in found)
    ]
    rows.append(Row("mean", _auc(asked, 0.0, 2), "total"))
    example = at(asked[0], "example", default="no …")
    return [
        Heading("Negation"),
        Text(
            f"“{example}” must score high where the finding is absent. AUC of the negated description against absence: "
            "1 is understood, below 0.5 it is read as if the “no” were not there."
        ),
        Table("AUC of negated descriptions against absence", _columns("“no …” against absence"), rows),
    ]


def _changed_images(blocks: Sequence[Metrics]) -> list[Part]:
    changed = [rows_at(block, "image_probes") for block in blocks]
    if not any(changed):
        return []
    rows = []
    for name in union(changed):
        found = [part.get(name, {}) for part in changed]
        rows.append(Row(name, [*_auc(found, 0.3, 3), words([str(at(found[0], "expected", default="–"))])]))
    return [
        Heading("The image taken away or mirrored"),
        Text(
            "A blank image and one cut into tiles and shuffled should leave little to see: what remains of the AUC "
            "then comes from elsewhere. Mirrored, a finding is still there."
        ),
        Table("Mean AUC on changed images", [*_columns("Mean AUC"), Column("Expected", "text")], rows),
    ]


def _sides(blocks: Sequence[Metrics]) -> list[Part]:
    sides = [rows_at(block, "laterality") for block in blocks]
    if not any(sides):
        return []
    rows = [Row(name, side_cells([part.get(name, {}) for part in sides])) for name in union(sides)]
    return [
        Heading("Left and right, mirrored and in words"),
        Text(
            "One-sided findings. Mirroring the image must move the finding to the other side; of two descriptions that "
            "differ in the side alone, the right one must score higher."
        ),
        Table("Correct side", side_columns(sides), rows),
    ]
