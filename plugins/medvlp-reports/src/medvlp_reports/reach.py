"""Which findings before a cue it speaks of, and which are offered as alternatives."""

from __future__ import annotations

from medvlp_reports.certainty import Certainty
from medvlp_reports.clauses import Item, sided
from medvlp_reports.lexicon import (
    ABSENT_BEFORE,
    ANATOMY,
    CHANGED,
    COMMA,
    CONJUNCTION,
    DASH,
    FINDING,
    OR,
    PREPOSITION,
    RESTART,
    STOP,
    VERB,
    WITH,
)

_REACH_BACK = 16  # tokens that a cue looks back


def is_alternative(items: list[Item], result: list[Certainty], previous: int, index: int) -> bool:
    """Whether two stated findings are offered as "A or B": neither is then certain."""
    if result[previous] is not Certainty.STATED or result[index] is not Certainty.STATED:
        return False
    if items[previous][2].value.kind != "finding" or items[index][2].value.kind != "finding":
        return False
    alternative = False
    for _, _, term in items[previous + 1 : index]:
        if term.kind is CONJUNCTION and term.value is OR:
            alternative = True
        elif term.kind not in (ANATOMY, RESTART, CHANGED, CONJUNCTION, PREPOSITION):
            return False
    return alternative


def is_beside_unknown(items: list[Item], index: int, tokens: int) -> bool:
    """Whether "or" offers, for the finding before it, something that the lexicon does not know: "or skin fold"."""
    _, end, _ = items[index]
    if not index or items[index - 1][2].kind is not FINDING or items[index - 1][1] != items[index][0]:
        return False
    if items[index - 1][2].value.kind != "finding" or items[index - 1][2].adjective or end >= tokens:
        return False
    return index + 1 == len(items) or items[index + 1][0] - end > (2 if items[index + 1][2].kind is FINDING else 0)


def reach_back(items: list[Item], result: list[Certainty], index: int, clause: int, certainty: Certainty) -> bool:
    """Apply a cue to the findings before it, back to the verb before them; whether there were any.

    Of "left effusion, pneumonia is possible" that is the last; of "effusion or pneumonia", "effusion, pneumonia and
    edema" all; of "pneumothorax, effusion not seen" both, since neither is described.
    """
    start = items[index][0]
    reached = joined = False  # findings; a list whose items a comma joins
    comma = False
    for place in range(index - 1, clause - 1, -1):
        _, end, term = items[place]
        if start - end > _REACH_BACK:
            break
        if term.kind is FINDING:
            if term.value.kind not in ("finding", "device"):
                continue
            if comma and not joined and (certainty is not Certainty.ABSENT or _is_described(items, place, clause)):
                break
            comma = False
            reached = True
            if result[place] is not Certainty.HISTORY or certainty is Certainty.ABSENT:
                result[place] = certainty
        elif not reached:
            continue
        elif term.kind is CONJUNCTION:
            if term.value is WITH:
                break
            if term.value is COMMA:
                comma = True
            else:
                joined = True
        elif term.kind in (VERB, ABSENT_BEFORE, STOP, DASH):
            break
    return reached


def _is_described(items: list[Item], index: int, clause: int) -> bool:
    """Whether a finding has a size or side of its own, and so was stated."""
    if index == clause:
        return False
    before = items[index - 1][2]
    return before.kind is RESTART or sided(before)
