"""From a sentence's text to items: what the lexicon says of its words."""

from __future__ import annotations

from typing import NamedTuple

from medvlp_reports.clauses import LOOK_AHEAD, Item
from medvlp_reports.lexicon import (
    ABSENT_BEFORE,
    ANATOMY,
    CHANGE,
    CONJUNCTION,
    CONTRAST,
    FINDING,
    IGNORE,
    PREPOSITION,
    RESTART,
    STOP,
    VERB,
    Lexicon,
    Term,
)
from medvlp_reports.phrases import COLUMN, longest_matches, mark, tokens_of
from medvlp_reports.sentences import is_answered

_SIZE = Term(RESTART, "size")
_CHANGE = Term(CHANGE, "change")
_SHORTEST_ELLIPSIS = 5  # items
_LABELLING = frozenset([":", "=", "-", COLUMN])
_NONE: frozenset[int] = frozenset()
# Marks of other scripts, read as those that the lexicon has.
_MARKS = str.maketrans("，、،；؛：？؟（）／＋－＝＆", ",,,;;:??()/+-=&")


class Read(NamedTuple):
    """A sentence's items, and its tokens: base forms, (start, end), those after an article, those that begin a line.

    ``labelled``: there is a mark that may end a label.
    """

    items: list[Item]
    lemmas: list[str]
    spans: list[tuple[int, int]]
    articled: frozenset[int]
    breaks: frozenset[int]
    labelled: bool


NOTHING = Read([], [], [], _NONE, _NONE, False)
"""What is read in a sentence without a finding."""


def read_items(sentence: str, lexicon: Lexicon) -> Read:
    """What the lexicon says of a sentence's words; `NOTHING` where none is a finding's."""
    lowered = lower(sentence)
    lemma_of = lexicon.lemmas
    known = lemma_of.get
    compounds, skipped = lexicon.compounds, lexicon.skipped
    spans: list[tuple[int, int]] = []
    lemmas: list[str] = []
    articled: list[int] = []
    labelled = False
    for match in tokens_of(lowered):
        word = match[0]
        if compounds is not None and word[0].isalpha() and word not in skipped and (parts := compounds[word]):
            at = match.start()
            for first, last, meaning in parts:
                lemmas.append(lemma_of[meaning])
                spans.append((at + first, at + last))
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
        spans.append(match.span())
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
    if len(items) > _SHORTEST_ELLIPSIS:
        _complete(items)
    breaks = _breaks(lowered, spans) if "\n" in sentence else _NONE
    return Read(items, lemmas, spans, frozenset(articled) if articled else _NONE, breaks, labelled)


def lower(text: str) -> str:
    """Lower case of the same length, so that places in it are places in the text ("İ" would grow)."""
    lowered = text.lower()
    if text.isascii():
        return lowered
    if len(lowered) != len(text):
        lowered = "".join(low if len(low := char.lower()) == 1 else char for char in text)
    return lowered.translate(_MARKS)


def _complete(items: list[Item]) -> None:
    """Name again what an ellipsis leaves out: "no effusion on the left, [but] small [or none] on the right"."""
    finding: Term | None = None
    index = 0
    while index < len(items):
        first, end, term = items[index]
        if term.kind is FINDING:
            finding = term if term.value.kind == "finding" and not term.adjective else finding
        elif term.kind is STOP and term.value is not CONTRAST:
            finding = None
        elif finding is not None and term.kind in (RESTART, ABSENT_BEFORE) and _stands_for_a_finding(items, index):
            index += 1
            items.insert(index, (first, end, finding))
        index += 1


def _stands_for_a_finding(items: list[Item], index: int) -> bool:
    """Whether a size or "none" stands alone between a comma and "on the right"."""
    if index < 1 or index + 2 >= len(items) or items[index - 1][2].kind not in (CONJUNCTION, STOP):
        return False
    end = items[index][1]
    (first, stop, preposition), (side, last, place) = items[index + 1 : index + 3]
    if preposition.kind is not PREPOSITION or place.kind is not ANATOMY or place.value.role != "side":
        return False
    if first != end or side != stop:
        return False
    return index + 3 == len(items) or (items[index + 3][0] == last and items[index + 3][2].kind in (CONJUNCTION, STOP))


def _breaks(text: str, spans: list[tuple[int, int]]) -> frozenset[int]:
    """The tokens that stand first on a line, but for the first line."""
    found = set()
    end = 0
    for index, (start, stop) in enumerate(spans):
        if index and "\n" in text[end:start]:
            found.add(index)
        end = stop
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
