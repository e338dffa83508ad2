"""From a sentence's text to items: what the lexicon says of its words."""

from __future__ import annotations

import re
from typing import NamedTuple

from medvlp_reports.clauses import LOOK_AHEAD, Item
from medvlp_reports.lexicon import (
    ABSENT_BEFORE,
    ANATOMY,
    CHANGE,
    FINDING,
    IGNORE,
    PREPOSITION,
    RESTART,
    VERB,
    Lexicon,
    Term,
)
from medvlp_reports.phrases import COLUMN, longest_matches, mark, tokens_of
from medvlp_reports.sentences import is_answered

_SIZE = Term(RESTART, "size")
_CHANGE = Term(CHANGE, "change")
_LABELLING = frozenset([":", "=", "-", COLUMN])
_NONE: frozenset[int] = frozenset()
# Marks of other scripts, read as those that the lexicon has.
_MARKS = str.maketrans("，、،；؛：？؟（）／＋－＝＆", ",,,;;:??()/+-=&")


class Part:
    """A part of a compound word; what is asked of the match of a whole word."""

    __slots__ = ("_end", "_start", "_text")

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text, self._start, self._end = text, start, end

    def __getitem__(self, group: int) -> str:
        return self._text

    def start(self) -> int:
        return self._start

    def end(self) -> int:
        return self._end


Token = re.Match[str] | Part


class Read(NamedTuple):
    """A sentence's items, and its tokens: what they are, those that an article stands before, those that begin a line.

    ``labelled``: there is a mark that may end a label.
    """

    items: list[Item]
    matches: list[Token]
    articled: frozenset[int]
    breaks: frozenset[int]
    labelled: bool


NOTHING = Read([], [], _NONE, _NONE, False)
"""What is read in a sentence without a finding."""


def read_items(sentence: str, lexicon: Lexicon) -> Read:
    """What the lexicon says of a sentence's words; `NOTHING` where none is a finding's."""
    lowered = lower(sentence)
    lemma_of = lexicon.lemmas
    known = lemma_of.get
    compounds, skipped = lexicon.compounds, lexicon.skipped
    matches: list[Token] = []
    lemmas: list[str] = []
    articled: list[int] = []
    labelled = False
    for match in tokens_of(lowered):
        word = match[0]
        if compounds is not None and word[0].isalpha() and word not in skipped and (parts := compounds[word]):
            at = match.start()
            for first, last, meaning in parts:
                lemmas.append(lemma_of[meaning])
                matches.append(Part(meaning, at + first, at + last))
            continue
        lemma = known(word)
        if lemma is None:
            if word in skipped:
                if word in lexicon.articles:
                    articled.append(len(lemmas))
                continue
            if word[0].isalnum():
                lemma = lemma_of[word]
            else:
                lemma = mark(word, lowered, match.start())
                if lemma is None:
                    continue
                if word == "?" and is_answered(lowered, match.end(), lexicon.layout):
                    lemma = ":"
                labelled = labelled or lemma in _LABELLING
        lemmas.append(lemma)
        matches.append(match)
    items: list[Item] = []
    finds = False
    for first, end, term in longest_matches(lexicon.trie, lemmas):
        if term.kind is not IGNORE:
            items.append((first, end, term))
            finds = finds or term.kind is FINDING
    if not finds:
        return NOTHING
    for index, (first, end, term) in enumerate(items):
        if term.kind is FINDING:
            if term.value.only_at and not _is_at(items, index, term.value.only_at):
                items[index] = (first, end, _SIZE)
            elif term.value.may_change and _is_of_a_finding(items, index):
                items[index] = (first, end, _CHANGE)
    breaks = _breaks(lowered, matches) if "\n" in sentence else _NONE
    return Read(items, matches, frozenset(articled) if articled else _NONE, breaks, labelled)


def lower(text: str) -> str:
    """Lower case of the same length, so that places in it are places in the text ("İ" would grow)."""
    lowered = text.lower()
    if text.isascii():
        return lowered
    if len(lowered) != len(text):
        lowered = "".join(low if len(low := char.lower()) == 1 else char for char in text)
    return lowered.translate(_MARKS)


def _breaks(text: str, matches: list[Token]) -> frozenset[int]:
    """The tokens that stand first on a line, but for the first line."""
    found = set()
    end = 0
    for index, match in enumerate(matches):
        if index and "\n" in text[end : match.start()]:
            found.add(index)
        end = match.end()
    return frozenset(found)


def _is_at(items: list[Item], index: int, organs: frozenset[str]) -> bool:
    """Whether a word describes one of these organs: "large heart", "the heart is large"."""
    first, end, _ = items[index]
    if index + 1 < len(items):
        following, _, term = items[index + 1]
        if following == end and term.kind is ANATOMY and term.value.name in organs:
            return True
    verb = False
    for place in range(index - 1, max(-1, index - LOOK_AHEAD), -1):
        _, before, term = items[place]
        if term.kind is VERB and not verb:
            verb = True
        elif term.kind is ANATOMY:
            return (verb or first - before <= 1) and term.value.name in organs
        elif term.kind not in (RESTART, ABSENT_BEFORE):
            return False
    return False


def _is_of_a_finding(items: list[Item], index: int) -> bool:
    """Whether a word of growth is that of a finding: "enlargement of the right effusion"."""
    _, end, _ = items[index]
    if index + 1 == len(items) or items[index + 1][0] != end or items[index + 1][2].kind is not PREPOSITION:
        return False
    end = items[index + 1][1]
    for first, stop, term in items[index + 2 : index + 8]:
        if first - end > 1:
            return False
        if term.kind is FINDING:
            return bool(term.value.kind == "finding")
        if term.kind not in (ANATOMY, RESTART):
            return False
        end = stop
    return False
