"""A report filter that looks for words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from medvlp_toolkit.data import Finding, Presence, Report

#: entity -> words that name it. The ids are those of the recipe's entities, here MedKLIP's.
WORDS: dict[str, tuple[str, ...]] = {
    "effusion": ("effusion", "effusions"),
    "pneumothorax": ("pneumothorax",),
    "consolidation": ("consolidation", "consolidations"),
    "nodule": ("nodule", "nodules"),
    "cardiomegaly": ("cardiomegaly", "enlarged heart"),
    "atelectasis": ("atelectasis", "atelectases"),
}
POSITIONS: dict[str, str] = {"left": "left_lung_unspec", "right": "right_lung_unspec"}
_NEGATION = re.compile(r"\b(no|without|negative for|free of)\b", re.IGNORECASE)
_UNCERTAINTY = re.compile(r"\b(possible|possibly|probable|may|cannot be excluded|suspected)\b", re.IGNORECASE)


class Example:
    """Finds entities by their words, sentence by sentence.

    A finding is absent if a negation precedes it in its sentence, uncertain if the sentence contains a word of
    uncertainty, and on the side that the sentence names.

    Example::

        report_filter:
          _target_: medvlp_toolkit.report_filters.example
    """

    def __init__(self) -> None:
        self.entities: Sequence[str] = tuple(WORDS)
        self.positions: Sequence[str] = tuple(POSITIONS.values())

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        """One list of findings per report, in the order of the reports."""
        return [list(self._read(report.text)) for report in reports]

    def _read(self, text: str) -> Iterator[Finding]:
        for sentence in re.finditer(r"[^.;\n]+", text):
            for entity, words in WORDS.items():
                pattern = "|".join(re.escape(word) for word in words)
                for match in re.finditer(rf"\b(?:{pattern})\b", sentence[0], re.IGNORECASE):
                    start = sentence.start() + match.start()
                    presence = _presence(sentence[0], match.start())
                    position = _position(sentence[0])
                    yield Finding(entity, presence, position, (start, start + len(match[0])))


def _presence(sentence: str, start: int) -> Presence:
    if _NEGATION.search(sentence, 0, start):
        return Presence.ABSENT
    return Presence.UNCERTAIN if _UNCERTAINTY.search(sentence) else Presence.PRESENT


def _position(sentence: str) -> str | None:
    named = [position for word, position in POSITIONS.items() if re.search(rf"\b{word}\b", sentence, re.IGNORECASE)]
    return named[0] if len(named) == 1 else None
