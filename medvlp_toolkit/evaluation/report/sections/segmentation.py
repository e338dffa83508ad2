"""Segmentation of one finding, headed by the overlap in images that show it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from medvlp_toolkit.evaluation.report.bars import bar_cell, interval_cell
from medvlp_toolkit.evaluation.report.parts import (
    Cell,
    Column,
    Legend,
    Models,
    Part,
    Row,
    Section,
    Table,
    Text,
    at,
    figure,
    level_of,
    numbers,
    readable,
    significant,
    small_interval,
    words,
)
from medvlp_toolkit.evaluation.report.verdicts import EXPLAINED, verdict, verdict_cell

DRAWING_NOTHING = "drawing nothing"


def segmentation(models: Models) -> list[Section]:
    """Dice where the finding is, over all images, and how often images without it stay empty."""
    blocks = models.metrics("segmentation")
    if not any(blocks):
        return []
    label = readable(at(blocks[0], "label", default="the finding"))
    rows = [
        Row("images that show it", _cells(blocks, "positives", "dice_positives", "miou_positives")),
        Row("all images", _cells(blocks, "n", "dice", "miou")),
        Row("images without it, share left empty", _cells(blocks, "negatives", "negatives_empty", None)),
    ]
    threshold = " / ".join(significant(figure(at(block, "protocol"), "threshold")) for block in blocks)
    lead = (
        "Dice is twice the overlap of the predicted and the true mask, divided by their areas together: 1 is a perfect "
        "outline, 0 none. Over all images, an image without the finding counts 1 if nothing is predicted in it and 0 "
        "otherwise, so that a model that draws nothing at all already scores the share of such images (thin mark). "
        + EXPLAINED
    )
    columns = [
        Column("Images"),
        Column("Dice", "bar"),
        Column(level_of({str(place): block for place, block in enumerate(blocks)})),
        Column("IoU", explained="Intersection over union, each plus one pixel"),
        Column("Verdict", "text"),
    ]
    parts: list[Part] = [Text(lead), Legend(), Table("Overlap of predicted and true masks", columns, rows)]
    if threshold.strip("– /"):
        parts.append(Text(f"Pixels above {threshold} belong to the predicted mask.", "note"))
    return [Section("segmentation", "Segmentation", f"Segmentation of {label}", parts)]


def empty_share(block: Any) -> float | None:
    """The mean Dice of drawing nothing: the share of images without the finding."""
    n, positives = figure(block, "n"), figure(block, "positives")
    return (n - positives) / n if n and positives is not None else None


def drawn(block: Any, key: str) -> str:
    """Dice where the finding is, or over all images, against drawing nothing."""
    return verdict(block, key, 0.0 if key == "dice_positives" else empty_share(block), DRAWING_NOTHING)


def _cells(blocks: Sequence[Any], counted: str, key: str, iou: str | None) -> list[Cell]:
    sizes = [_count(block, counted) for block in blocks]
    reference = empty_share(blocks[0]) if key == "dice" else None
    return [
        words([f"{size:,}" if size is not None else "–" for size in sizes], sizes[0]),
        bar_cell(blocks, key, references=[reference], name=key.replace("_", " ")),
        interval_cell(blocks, f"{key}_interval"),
        numbers(blocks, iou, 3, partial(small_interval, key=iou, digits=3)) if iou else Cell([("–", "")]),
        Cell([("–", "")]) if key == "negatives_empty" else verdict_cell([drawn(block, key) for block in blocks]),
    ]


def _count(block: Any, counted: str) -> int | None:
    n, positives = figure(block, "n"), figure(block, "positives")
    if counted == "negatives":
        return None if n is None or positives is None else int(n - positives)
    value = figure(block, counted)
    return None if value is None else int(value)
