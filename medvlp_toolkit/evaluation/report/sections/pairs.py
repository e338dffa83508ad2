"""Images with texts: answers to questions, classes of pairs, retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

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
    counts,
    figure,
    level_of,
    numbers,
    rows_at,
    union,
)
from medvlp_toolkit.evaluation.report.verdicts import EXPLAINED, verdict, verdict_cell
from medvlp_toolkit.evaluation.results.tables import number

#: Rules of guessing without the image, in words.
_BASELINES = {
    "category": Column("Majority", explained="The most common training answer of the question's category"),
    "question": Column("Majority*", explained="The most common training answer of the very same question"),
}
WITHOUT_LOOKING = "guessing without the image"
GUESSING = "guessing the commonest class"


def answers(models: Models) -> list[Section]:
    """Accuracy per kind of question, beside what guessing without the image gives."""
    blocks = models.metrics("answers")
    if not any(blocks):
        return []
    lead = (
        "The share of questions whose answer is right, exactly. The thin mark is the best guess without the image: the "
        "most common training answer of the question's category, or of the very same question. Bound: what answers "
        f"that training lacks (unseen) leave possible. {EXPLAINED}"
    )
    parts: list[Part] = [Text(lead), Legend(), _accuracy(blocks, "Questions answered")]
    if not any(at(block, "baselines") for block in blocks):
        parts.append(Text("Without training questions (trained) no guess is known to compare with.", "note"))
    return [Section("answers", "Answers", "Answers to questions about images", parts)]


def classes(models: Models) -> list[Section]:
    """Accuracy over classes of images with their texts, and precision, recall and F1 of each."""
    blocks = models.metrics("classes")
    if not any(blocks):
        return []
    found = [rows_at(block, "classes", "classes") for block in blocks]
    rows = []
    for name in union(found):
        measured = [part.get(name, {}) for part in found]
        if any(figure(row, "n") for row in measured):
            rows.append(Row(name, [counts(measured, "n"), *(numbers(measured, key, 3) for key in _CLASS)]))
    means = [{"f1": at(block, "classes", "macro_f1")} for block in blocks]
    overall = [at(block, "overall", default={}) for block in blocks]
    rows.append(Row("mean", [counts(overall, "n"), Cell([]), Cell([]), numbers(means, "f1", 3)], "total"))
    lead = (
        "The share of pairs whose class is right. The thin mark is the share of the commonest class, which always "
        f"choosing it would score. {EXPLAINED}"
    )
    return [
        Section(
            "classes",
            "Classes",
            "Classes of images with their texts",
            [
                Text(lead),
                Legend(),
                _accuracy(blocks, "Pairs classified"),
                Heading("Each class"),
                Table("Figures per class", [Column("Pairs"), *_CLASS.values()], rows),
            ],
        )
    ]


_CLASS = {"precision": Column("Precision"), "recall": Column("Recall"), "f1": Column("F1")}


def guess(block: Any, group: str) -> float | None:
    """The best accuracy without the image: of the baselines, else of always choosing the commonest class."""
    known = [figure(rates, group) for rates in rows_at(block, "baselines").values()]
    found = [value for value in known if value is not None]
    sizes = [figure(row, "n") or 0.0 for row in rows_at(block, "classes", "classes").values()]
    if group == "overall" and any(sizes):
        found.append(max(sizes) / sum(sizes))
    return max(found, default=None)


def _accuracy(blocks: Sequence[Any], caption: str) -> Table:
    """A row per group of questions, with controls that were given other images."""
    categories = union([rows_at(block, "categories") for block in blocks])
    groups: list[tuple[str, tuple[str, ...], str]] = [(name, ("categories", name), "") for name in categories]
    wide = [name for name in ("open", "closed", "overall") if any(at(block, name) for block in blocks)]
    groups += [(name, (name,), "total") for name in wide]
    rules = [rule for rule in union([rows_at(block, "baselines") for block in blocks]) if rule in _BASELINES]
    controls = union([rows_at(block, "controls") for block in blocks])
    rows = []
    for name, keys, kind in groups:
        measured: list[Mapping[str, Any]] = [at(block, *keys, default={}) for block in blocks]
        best = [guess(block, name) for block in blocks]
        others = [[at(block, "controls", control, *keys) for block in blocks] for control in controls]
        cells = [
            counts(measured, "n"),
            bar_cell(measured, "accuracy", references=best[:1], name="correct", intervals="interval"),
            interval_cell(measured, "interval"),
            verdict_cell([verdict(row, "accuracy", chance) for row, chance in zip(measured, best, strict=True)]),
            *(numbers([at(block, "baselines", rule) for block in blocks], name, 3) for rule in rules),
            *(numbers(control, "accuracy", 3) for control in others),
            numbers(measured, "bound", 3, lambda row: f"({count(at(row, 'unseen'))})"),
        ]
        rows.append(Row(name, cells, kind))
    columns = [
        Column("Number"),
        Column("Correct", "bar"),
        Column(level_of({str(place): block for place, block in enumerate(blocks)})),
        Column("Verdict", "text"),
        *(_BASELINES[rule] for rule in rules),
        *(Column(control, explained="The same questions with other images") for control in controls),
        Column("Bound (unseen)", explained="What answers that training lacks leave possible, and how many"),
    ]
    return Table(caption, columns, rows)


_DIRECTIONS = {"image_to_text": "image to text", "text_to_image": "text to image"}
_RANKS = ("R@1", "R@5", "R@10")


def retrieval(models: Models) -> list[Section]:
    """Recall at rank and median rank both ways, beside what chance finds."""
    blocks = [rows_at(block) for block in models.metrics("retrieval")]
    ways = union(blocks)
    if not ways:
        return []
    ties = at(blocks[0], ways[0], "ties", default="")
    lead = (
        "For each image its texts are looked for among all texts, and the other way round. R@5: the share of queries "
        "whose true match is among the first five; the thin mark, and the figure in brackets, is what chance finds. "
        + (f"A candidate of the true one's score: {ties}. " if ties else "")
        + EXPLAINED
    )
    parts: list[Part] = [Text(lead), Legend()]
    for way in ways:
        measured = [block.get(way, {}) for block in blocks]
        rows = [_direction(measured, key, name) for key, name in _DIRECTIONS.items()]
        columns = [
            *(Column("Queries"), Column("Candidates"), Column("R@1", "bar"), Column("95 % CI")),
            *(Column("Verdict", "text"), *(Column(rank) for rank in _RANKS[1:]), Column("Median rank")),
        ]
        parts += [Heading(f"Scored with {way}"), Table(f"Retrieval, {way}", columns, rows)]
    return [Section("retrieval", "Retrieval", "Retrieval", parts)]


def retrieved(row: Metrics) -> str:
    """R@1 against chance."""
    return verdict(row, "R@1", figure(row, "R@1_chance"))


def _direction(measured: Sequence[Any], key: str, name: str) -> Row:
    rows = [at(part, key, default={}) for part in measured]
    cells = [
        counts(rows, "queries"),
        counts(rows, "candidates"),
        bar_cell(rows, "R@1", references=[figure(rows[0], "R@1_chance")], name="R@1"),
        interval_cell(rows, "R@1_interval"),
        verdict_cell([retrieved(row) for row in rows]),
        *(numbers(rows, rank, 3, partial(_chance, rank=rank)) for rank in _RANKS[1:]),
        numbers(rows, "median_rank", 1),
    ]
    return Row(name, cells)


def _chance(row: Any, rank: str) -> str:
    return f"({number(figure(row, f'{rank}_chance'), 3)})"
