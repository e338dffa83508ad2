"""Splits report text into statements with their offsets: at full stops, list items, and new lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from medvlp_reports.resources import load_yaml
from medvlp_toolkit.data.section_splitting import plain_breaks

_MARK = r"(?:[-*•–—▪◦‣·>]|\(?(?P<number>\d{1,2})[.)]|\(?(?P<letter>[a-z])[.)])(?=\s)"
_ITEM = re.compile(rf"[ \t]*{_MARK}\s*")
# A label: a few words before a colon that stands on the line's first words ("Pleural effusion: none").
_LABEL = re.compile(r"[^\W\d_][^:.;,?!\n]{0,50}:(?!\d)")
# A full stop ends a statement before a space or a capital (reports often lose the space), and so do the others; a
# number in a list and a bullet within a line do so before their text. "1.5 cm" continues; so do abbreviations.
_STOP = r"[。！？｡।]+|[.!?](?<![.!?]{2})[.!?]*(?=\s|$|[^\W\d_a-zß-öø-ÿ][a-zß-öø-ÿ])|\.(?<=[^\W\d_]{4}\.)(?=[^\W\d_]{2})"
_END = re.compile(_STOP)
_END_OR_ITEM = re.compile(
    _STOP + r"|(?<=\s)(?:\(?(?P<number>\d{1,2})[.)]|\((?P<letter>[a-j])\))(?=\s+[^\W\d_])|(?<=\s)[•▪◦‣](?=\s)"
)
_ITEM_WITHIN = re.compile(r"[)•▪◦‣]|(?<=\s)1\.\s")  # of text without, no list is looked for
_BULLETS = "•▪◦‣"
_WORD_BEFORE = re.compile(r"[^\W_]+(?:\.[^\W_]+)*\Z")
_ANSWER = re.compile(r"[ \t]*([^\W\d_]{1,12})[ \t]*(?=[.,;\n]|\Z)")
_LONGEST_ABBREVIATION = 12
_LONGEST_VERTEBRA = 3  # characters: "BWK 8." ends a statement, "der 8. Rippe" does not
_LONGEST_WORD = 24  # characters looked at before a full stop
_NARROWEST = 50  # characters; below it, width does not separate wrapped text from short lines


@dataclass(frozen=True, slots=True)
class Layout:
    """Words of a language that show whether a line's end ends a statement (``cues.yaml``).

    ``abbreviations`` end in a full stop that ends no statement; a line does not end a statement after one of
    ``open_words`` (unless by one of ``closed_endings``), nor before one of ``continuing_words``; ``answers`` may follow
    the question mark of a label. ``capital_nouns``: nouns are capitalised, so that a capital at the beginning of a line
    says nothing; ``ordinal_stops``: a number with a full stop is an ordinal ("5. Rippe").
    """

    abbreviations: frozenset[str] = frozenset()
    open_words: frozenset[str] = frozenset()
    continuing_words: frozenset[str] = frozenset()
    answers: frozenset[str] = frozenset()
    closed_endings: tuple[str, ...] = ()
    capital_nouns: bool = False
    ordinal_stops: bool = False

    @classmethod
    def from_cues(cls, cues: Mapping[str, Any]) -> Layout:
        """The ``layout`` of a table of cues; each kind of word may be absent."""
        words: dict[str, Any] = {
            name: frozenset(listed) for name, listed in cues.get("layout", {}).items() if name != "source"
        }
        return cls(**{**words, "closed_endings": tuple(sorted(words.get("closed_endings", ())))})


def sentences(text: str, layout: Layout | None = None) -> Iterator[tuple[int, str]]:
    """(start, statement) for each statement of a text; a statement is as long as its place in the text."""
    layout = layout or default_layout()
    text = plain_breaks(text)
    blocks = _blocks(text, layout) if "\n" in text else [(0, len(text))]
    ends = _END_OR_ITEM if _ITEM_WITHIN.search(text) else _END
    for first, last in blocks:
        start = first
        item = _ITEM.match(text, first, last)
        expected = _number(item) + 1 if item is not None else 1
        for match in ends.finditer(text, first, last):
            end = following = match.start()
            if match.lastgroup is not None:
                # "1) … 2) …": numbers in order begin items; "seen on image 6. The" ends at its stop.
                if _number(match) in (1, expected):
                    expected = _number(match) + 1
                elif text[match.end() - 1] == "." and not layout.ordinal_stops:
                    end, following = match.end() - 1, match.end()
                else:
                    continue
            elif text[end] == ".":
                if match.end() - end == 1 and _abbreviated(text, end, layout):
                    continue
                following = match.end()
            elif text[end] == "?":
                if not end or not text[end - 1].isalnum() or is_answered(text, match.end(), layout):
                    continue  # "? pneumonia", "Pneumothorax? No"
                end = following = match.end()  # it says that something is uncertain
            elif text[end] not in _BULLETS:
                following = match.end()
            if end > start:
                yield start, text[start:end]
            start = following
        if start < last:
            yield start, text[start:last]


def _number(item: re.Match[str]) -> int:
    """The place of an item in its list, 0 for a bullet."""
    letter = item["letter"]
    return ord(letter) - ord("a") + 1 if letter else int(item["number"] or 0)


def is_answered(text: str, start: int, layout: Layout) -> bool:
    """Whether no more than an answer follows: "Pneumothorax? No"."""
    answer = _ANSWER.match(text, start)
    return answer is not None and answer[1].lower() in layout.answers


@cache
def default_layout() -> Layout:
    """The layout words of the lexicon that comes with the package."""
    return Layout.from_cues(load_yaml("cues.yaml"))


def _abbreviated(text: str, stop: int, layout: Layout) -> bool:
    words = text[max(0, stop - _LONGEST_ABBREVIATION) : stop].split()
    if not words:
        return False
    last = words[-1].lower().lstrip("([")
    if layout.ordinal_stops and last.isdigit() and len(last) <= 2:
        return len(words) < 2 or len(words[-2]) > _LONGEST_VERTEBRA or not words[-2].isupper()
    return last in layout.abbreviations


def _blocks(text: str, layout: Layout) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of lines that belong together."""
    caseless = text in (text.upper(), text.lower())  # capitals do not show where sentences begin
    block: int | None = None  # where the current run begins
    before, end = "", 0
    for start, stop, width in _lines(text):
        line = text[start:stop]
        if not width:
            if block is not None:
                yield block, end
            block = None
            continue
        if block is not None and _begins_anew(before, line, width, caseless, layout):
            yield block, end
            block = None
        if block is None:
            block = start
        before, end = line, stop
    if block is not None:
        yield block, end


def _lines(text: str) -> Iterator[tuple[int, int, int]]:
    """(start, end, characters of the longest line of its paragraph) of each line; 0 for an empty line."""
    paragraph: list[tuple[int, int]] = []
    start = 0
    while start <= len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        if text[start:stop].strip():
            paragraph.append((start, stop))
        else:
            yield from _measured(paragraph)
            paragraph = []
            yield start, stop, 0
        start = stop + 1
    yield from _measured(paragraph)


def _measured(lines: list[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    width = max((stop - start for start, stop in lines), default=0)
    return ((start, stop, width) for start, stop in lines)


def _begins_anew(before: str, line: str, width: int, caseless: bool, layout: Layout) -> bool:
    """Whether a line begins a new statement instead of continuing the previous line."""
    if _ITEM.match(line):
        return True
    before, line = before.rstrip(), line.lstrip()
    if before.endswith((",", "-", "/", "(", ":", "&", "+")):
        return False
    first = line[:_LONGEST_WORD].split(maxsplit=1)[0].rstrip(".,;:")
    small = line[0].islower()
    labelled = _LABEL.match(line) is not None
    if labelled and not small and not caseless:
        return True
    if _last_word(before) in layout.open_words and not before.lower().endswith(layout.closed_endings):
        return False
    if labelled:
        return True
    if small and not caseless:
        return False
    if (small or caseless) and first.lower() in layout.continuing_words:
        return False
    # The first word would still have fitted into the previous line.
    if width < _NARROWEST or len(before) + 1 + len(first) <= width:
        return True
    if layout.capital_nouns:
        return False
    # In a full line a number, name or abbreviation may be in the middle of a sentence ("… with the\nPICC").
    return not (caseless or not first.isalpha() or (len(first) > 1 and first.isupper()))


def _last_word(line: str) -> str:
    word = _WORD_BEFORE.search(line, max(0, len(line) - _LONGEST_WORD))
    return word[0].lower() if word else ""
