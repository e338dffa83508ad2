"""Parses a model's statements about a report and verifies that their quotes are in the report."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from medvlp_toolkit.data.records import Finding, Presence

UNSPECIFIED = "unspecified"
"""What a model writes as position where the report names none."""
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_ALIKE = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-"})
_PRESENCE = {str(presence): presence for presence in Presence}

QUOTE_DROPPED = "quotes that are not in the report, dropped"
ENTITY_DROPPED = "entities that are not in the list, dropped"
PRESENCE_DROPPED = "statements without a known presence, dropped"
POSITION_DROPPED = "positions that are not in the list, left out"


class NoStatementsError(ValueError):
    """The model's text is not JSON of the schema."""


def read_statements(content: str) -> list[dict[str, Any]]:
    """The statements in a model's text: its JSON object, also in a code block or after a reasoning part.

    Raises NoStatementsError.
    """
    text = _THOUGHT.sub("", content)
    start = text.find("{")
    if start < 0:
        raise NoStatementsError("no JSON in it")
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        raise NoStatementsError("JSON that is damaged or cut") from None
    statements = value.get("findings")
    if not isinstance(statements, list):
        raise NoStatementsError("JSON without a list of findings")
    return [item for item in statements if isinstance(item, dict)]


@dataclass(frozen=True)
class Vocabulary:
    """The entities and positions that a finding may have."""

    entities: Collection[str]
    positions: Collection[str]


def findings_of(
    statements: list[dict[str, Any]], text: str, vocabulary: Vocabulary, tally: Counter[str]
) -> list[Finding]:
    """The findings among statements about ``text``, in the order of the text; spans are characters of it.

    Invalid statements are dropped and counted in ``tally``.
    """
    quotes = Quotes(text)
    found: dict[Finding, None] = {}
    for statement in statements:
        presence = _PRESENCE.get(str(statement.get("presence")).lower())
        entity, position = statement.get("entity"), statement.get("position")
        span = quotes.find(statement.get("quote"), (entity, position) if _hashable(entity, position) else None)
        if span is None:
            tally[QUOTE_DROPPED] += 1
        elif not isinstance(entity, str) or entity not in vocabulary.entities:
            tally[ENTITY_DROPPED] += 1
        elif presence is None:
            tally[PRESENCE_DROPPED] += 1
        else:
            if position in (None, "", UNSPECIFIED):
                position = None
            elif not isinstance(position, str) or position not in vocabulary.positions:
                tally[POSITION_DROPPED] += 1
                position = None
            found[Finding(entity, presence, position, span)] = None
    return sorted(found, key=lambda finding: finding.span or (0, 0))


def _hashable(*values: Any) -> bool:
    return all(isinstance(value, str | None) for value in values)


def _lower(char: str) -> str:
    """Lower case of characters whose lower case is one character, so that offsets are unchanged."""
    low = char.lower()
    return low if len(low) == 1 else char


class Quotes:
    """Finds quotes in a text. Case, white space and typographic signs may differ; words may not."""

    def __init__(self, text: str) -> None:
        self._places: list[int] = []
        kept: list[str] = []
        for index, char in enumerate(text.translate(_ALIKE)):
            if char.isspace():
                if not kept or kept[-1] == " ":
                    continue
                char = " "
            kept.append(_lower(char))
            self._places.append(index)
        self._text = "".join(kept)
        self._next: dict[Any, int] = {}

    def find(self, quote: Any, said: Any = None) -> tuple[int, int] | None:
        """The span of a quote; for a repeated statement (``said``), the next occurrence of the same words."""
        if not isinstance(quote, str):
            return None
        words = " ".join("".join(map(_lower, quote.translate(_ALIKE))).split()).strip(" \"'.,;:")
        if not any(char.isalnum() for char in words):
            return None
        first = self._find(words, self._next.get((words, said), 0))
        if first is None:
            first = self._find(words, 0)
        if first is None:
            return None
        self._next[words, said] = first + 1
        return self._places[first], self._places[first + len(words) - 1] + 1

    def _find(self, words: str, start: int) -> int | None:
        """The next occurrence as whole words."""
        text = self._text
        while (place := text.find(words, start)) >= 0:
            end = place + len(words)
            whole_before = place == 0 or not (text[place - 1].isalnum() and words[0].isalnum())
            whole_after = end == len(text) or not (text[end].isalnum() and words[-1].isalnum())
            if whole_before and whole_after:
                return place
            start = place + 1
        return None
