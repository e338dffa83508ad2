"""Labels and their answers: "Pneumothorax: none", "Effusion - yes", "Edema: mild"."""

from __future__ import annotations

from collections.abc import Iterator

from medvlp_reports.certainty import Certainty
from medvlp_reports.clauses import LOOK_AHEAD, Item, change_follows
from medvlp_reports.lexicon import (
    ABSENT_AFTER,
    ABSENT_BEFORE,
    ABSENT_EITHER,
    AFFIRMED,
    ANATOMY,
    CHANGE,
    CHANGED,
    COLON,
    COMMA,
    CONJUNCTION,
    DASH,
    FINDING,
    HISTORY,
    LIKELY_AFTER,
    LIKELY_BEFORE,
    LIKELY_EITHER,
    NEUTRAL,
    POSSIBLE_AFTER,
    POSSIBLE_BEFORE,
    POSSIBLE_EITHER,
    PREPOSITION,
    RESTART,
    STOP,
    TAB,
    VERB,
    WITH,
)
from medvlp_reports.reading import Read

_LOOSE = frozenset([DASH, TAB])  # they also stand where no label does
_OF_A_LABEL = frozenset([FINDING, ANATOMY, RESTART, CHANGED])
_POSSIBLE = frozenset([POSSIBLE_BEFORE, POSSIBLE_AFTER, POSSIBLE_EITHER])
_LIKELY = frozenset([LIKELY_BEFORE, LIKELY_AFTER, LIKELY_EITHER])
_NEGATIVE = frozenset([ABSENT_BEFORE, ABSENT_AFTER, ABSENT_EITHER])
_AFFIRMATIVE = frozenset([AFFIRMED, RESTART, ANATOMY, CHANGE, CHANGED, VERB, PREPOSITION])
_WORDS_OF_A_LABEL = 7


def answered(read: Read) -> tuple[dict[int, Certainty], set[int]]:
    """({label's item: what its answer says of it}, items of answers that say nothing else).

    A label whose answer is about something else states nothing: HISTORY.
    """
    said: dict[int, Certainty] = {}
    spent: set[int] = set()
    items = read.items
    marks = list(_marks(items, read.breaks))
    for number, (first, mark) in enumerate(marks):
        end = marks[number + 1][0] if number + 1 < len(marks) else len(items)
        answer = _head(items, mark + 1, end)
        labels = [place for place in range(first, mark) if items[place][2].kind is FINDING]
        certainty = _answer(items, labels, answer)
        following = items[mark][1]
        if not answer and following < len(read.lemmas) and _shows(items, labels, read.lemmas[following]):
            certainty = Certainty.STATED
        if items[mark][2].kind in _LOOSE and (certainty is Certainty.HISTORY or _speaks(items, answer)):
            continue
        said.update(dict.fromkeys(labels, certainty))
        if certainty is Certainty.ABSENT and not _speaks(items, answer):
            spent.update(answer)
    return said, spent


def _marks(items: list[Item], breaks: frozenset[int]) -> Iterator[tuple[int, int]]:
    """(first item of the label, its colon or dash) for each label that names a finding."""
    for mark, (_, _, term) in enumerate(items):
        if not ((term.kind is VERB and term.value is COLON) or term.kind in _LOOSE):
            continue
        first, finding = mark, False
        while first and (items[first - 1][2].kind in _OF_A_LABEL or _joins(items, first - 1)):
            first -= 1
            kind = items[first][2]
            finding = finding or (kind.kind is FINDING and kind.value.kind in ("finding", "device"))
            if items[first][0] in breaks or mark - first > _WORDS_OF_A_LABEL:
                break
        begins = not first or _separates(items[first - 1][2]) or items[first][0] in breaks
        near = first < mark and items[mark][0] - items[first][0] <= _WORDS_OF_A_LABEL
        if finding and begins and near and (first or items[first][0] <= 1):
            yield first, mark


def _joins(items: list[Item], index: int) -> bool:
    """Whether "and", "or" or "/" joins two words of one label."""
    return index > 0 and items[index][2].kind is CONJUNCTION and items[index][2].value is not COMMA


def _separates(term: object) -> bool:
    kind = getattr(term, "kind", None)
    return kind is STOP or kind is DASH or (kind is CONJUNCTION and getattr(term, "value", None) is COMMA)


def _head(items: list[Item], start: int, end: int) -> list[int]:
    """The items of an answer, to its first comma."""
    head = []
    for place in range(start, min(end, start + LOOK_AHEAD)):
        term = items[place][2]
        if term.kind in (STOP, DASH) or (term.kind is CONJUNCTION and (term.value is COMMA or term.value is WITH)):
            break
        head.append(place)
    return head


def _speaks(items: list[Item], answer: list[int]) -> bool:
    """Whether an answer names findings itself."""
    return any(
        items[place][2].kind is FINDING and items[place][2].value.kind in ("finding", "device") for place in answer
    )


def _shows(items: list[Item], labels: list[int], word: str) -> bool:
    """Whether an answer without a cue states presence: a size, or anything about a device."""
    return word[0].isdigit() or all(items[label][2].value.kind == "device" for label in labels)


def _names_again(items: list[Item], labels: list[int], answer: list[int]) -> bool:
    """Whether an answer repeats the name of its label: "Nodule: no nodule"."""
    concepts = {items[label][2].value.concept for label in labels}
    return any(items[place][2].kind is FINDING and items[place][2].value.concept in concepts for place in answer)


def _answer(items: list[Item], labels: list[int], answer: list[int]) -> Certainty:
    kinds = [items[place][2].kind for place in answer]
    if _speaks(items, answer):
        # "left basilar opacity: atelectasis or pneumonia"
        signs = all(items[label][2].value.sign for label in labels) and _NEGATIVE.isdisjoint(kinds)
        return Certainty.STATED if signs and not _names_again(items, labels, answer) else Certainty.HISTORY
    for place, kind in zip(answer, kinds, strict=True):
        if kind in (NEUTRAL, HISTORY):
            return Certainty.HISTORY
        if kind in _POSSIBLE:
            return Certainty.POSSIBLE
        if kind in _LIKELY:
            return Certainty.LIKELY
        if kind in _NEGATIVE:
            return Certainty.STATED if change_follows(items, place) else Certainty.ABSENT
        if kind is FINDING:
            said = items[place][2].value
            devices = all(items[label][2].value.kind == "device" for label in labels)
            normal = said.kind == "normal" and said.concept != "stable" and not devices
            return Certainty.ABSENT if normal else Certainty.STATED
        if kind in _AFFIRMATIVE:
            return Certainty.STATED
    return Certainty.HISTORY
