"""The records exchanged between data sources, report filters and knowledge sources.

Plain dataclasses without torch: everything from a raw report to its findings runs without loading the deep-learning
stack.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple


class Presence(StrEnum):
    """A report's statement about an entity."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"


#: Of several statements about one entity the strongest counts: ascending.
STRENGTH = (Presence.UNCERTAIN, Presence.ABSENT, Presence.PRESENT)


class SectionSpan(NamedTuple):
    """The span of a section in a report's text; ``amends``: it corrects other sections."""

    name: str
    start: int
    end: int
    amends: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """A free-text report.

    ``sections`` maps lower-case section names (``findings``, ``impression``, ``indication``,
    ``comparison``, …) to their text; it is empty if the text was not split. ``spans`` gives their
    positions in ``text``, in order, including repeated names; empty if unknown.
    """

    id: str
    text: str
    sections: dict[str, str] = field(default_factory=dict)
    spans: tuple[SectionSpan, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """One statement of a report about one entity.

    ``entity`` and ``position`` are ids that the filter declares in ``filter.entities`` and
    ``filter.positions``; ``position`` is None if the report names none. ``presence`` is None
    for a linker that only finds mentions. ``span`` is ``(start, end)`` in characters of
    ``Report.text``.
    """

    entity: str
    presence: Presence | None = None
    position: str | None = None
    span: tuple[int, int] | None = None
    concept_id: str | None = None


@dataclass(frozen=True, slots=True)
class Concept:
    """An entry of a knowledge source; ``kind`` is a word such as ``finding`` or ``anatomy``."""

    id: str
    name: str
    synonyms: tuple[str, ...] = ()
    definition: str = ""
    kind: str = "finding"


@dataclass(frozen=True, slots=True)
class Triple:
    """``head`` has ``relation`` to ``tail``; head and tail are concept ids."""

    head: str
    relation: str
    tail: str


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled box; ``x``, ``y`` (upper left), ``width`` and ``height`` are fractions of the image."""

    label: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an image, with its answer.

    ``category`` is the data set's name for the kind of question (modality, organ, …); ``answer_type`` is ``open`` or
    ``closed`` if the data set states it; ``split`` may differ from the image's if the data set splits questions rather
    than images.
    """

    id: str
    text: str
    answer: str
    category: str | None = None
    answer_type: str | None = None
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """One image with the data of its study.

    Records of one ``id`` are the images of one study: they share patient, report and findings, and differ in
    ``image``, in ``metadata["view"]`` and in ``image_id``. ``image_id`` None is the study's id for its first image
    and gets a number appended for others.

    ``labels`` maps a label to 1 (present), 0 (absent) or -1 (uncertain) if the source has
    annotations of its own. ``metadata`` has further columns, for example for subgroup tables
    (``sex``, ``age``, ``view`` …).
    """

    id: str
    patient_id: str
    image: Path | None
    report: Report | None = None
    split: str | None = None
    labels: dict[str, int] = field(default_factory=dict)
    boxes: tuple[Box, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()
    image_id: str | None = None
