"""Studies and rejected items as JSON: compact, deterministic, fast to send to workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medvlp_toolkit.data.records import Box, Question, Report, SectionSpan, Study
from medvlp_toolkit.data.store.rejected import Reason, Rejected

Item = Study | Rejected


def dump(items: Sequence[Item]) -> bytes:
    """Some items in order."""
    return json.dumps([fields(item) for item in items], separators=(",", ":")).encode("ascii")


def load(content: bytes) -> list[Item]:
    """The items given to `dump`, with metadata as `plain` values."""
    return [item(values) for values in json.loads(content)]


def fields(item: Item) -> list[Any]:
    # Written by hand: dataclasses.asdict and pickle take ten times as long.
    if isinstance(item, Rejected):
        return [item.study_id, item.path, item.reason.value, item.detail]
    report = item.report
    return [
        item.id,
        item.patient_id,
        None if item.image is None else str(item.image),
        None if report is None else [report.id, report.text, report.sections, report.spans],
        item.split,
        {name: int(value) for name, value in item.labels.items()},
        [[box.label, float(box.x), float(box.y), float(box.width), float(box.height)] for box in item.boxes],
        {name: plain(value) for name, value in item.metadata.items()},
        [
            [question.id, question.text, question.answer, question.category, question.answer_type, question.split]
            for question in item.questions
        ],
        item.image_id,
    ]


def item(values: list[Any]) -> Item:
    if len(values) == 4:
        return Rejected(values[0], values[1], Reason(values[2]), values[3])
    study_id, patient_id, image, report, split, labels, boxes, metadata, questions, image_id = values
    return Study(
        id=study_id,
        patient_id=patient_id,
        image=None if image is None else Path(image),
        report=None if report is None else report_of(*report),
        split=split,
        labels=labels,
        boxes=tuple(Box(*box) for box in boxes),
        metadata=metadata,
        questions=tuple(Question(*question) for question in questions),
        image_id=image_id,
    )


def report_of(report_id: str, text: str, sections: dict[str, str], spans: list[list[Any]]) -> Report:
    return Report(report_id, text, sections, tuple(SectionSpan(*span) for span in spans))


def plain(value: Any) -> str | int | float | bool | None:
    """A metadata value for JSON and tables: NaN becomes None, values other than numbers and text become text."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if value == value else None
    return str(value)
