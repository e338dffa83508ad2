"""What a sentence says about each finding in it: stated, likely, possible, absent, or only history.

A scope machine in the manner of NegEx (Chapman et al., J Biomed Inform 2001) and ConText (Harkema
et al., J Biomed Inform 2009), with what radiology's lists need: a negation reaches through "A, B or
C" and ends where a comma or "and" begins a statement of its own.
"""

from __future__ import annotations

from enum import IntEnum

from medvlp_reports.lexicon import (
    ABSENT_AFTER,
    ABSENT_BEFORE,
    ABSENT_EITHER,
    ANATOMY,
    CHANGE,
    CONJUNCTION,
    FINDING,
    HISTORY,
    HISTORY_NEXT,
    LIKELY_AFTER,
    LIKELY_BEFORE,
    POSSIBLE_AFTER,
    POSSIBLE_BEFORE,
    POSSIBLE_LIST,
    PREPOSITION,
    RESTART,
    STOP,
    VERB,
    Term,
)

Item = tuple[int, int, Term]  # first token, end token, what the lexicon says of them


class Certainty(IntEnum):
    """How sure a report is of a finding.

    HISTORY says nothing of the present image; ALTERNATIVE is a finding stated as "A or B", "A
    versus B", LIKELY one the reader leans to ("probably", "suggesting").
    """

    HISTORY = -1
    ABSENT = 0
    POSSIBLE = 1
    ALTERNATIVE = 2
    LIKELY = 3
    STATED = 4


_HISTORY, _ABSENT, _STATED = Certainty.HISTORY, Certainty.ABSENT, Certainty.STATED
_GAP = 2  # tokens between "prior" and what it governs
_REACH_BACK = 16  # tokens that a cue looks back
LOOK_AHEAD = 60
"""Items of a sentence that are looked at from one of them; keeps endless sentences linear."""
_CHANGE_WITHIN = 5  # tokens between "no" and "change"
_OR = frozenset(["or", "/", "and/or", "vs", "versus"])
_WITH = frozenset(["with", "along with", "associated with", "accompanied by"])


class _Scope:
    """The reach of one cue that stands before what it governs."""

    __slots__ = ("certainty", "closed", "end", "governs", "next_only", "whole_list")

    def __init__(self, certainty: Certainty, end: int, next_only: bool = False, whole_list: bool = False) -> None:
        self.certainty = certainty
        self.end = end  # token after the cue
        self.next_only = next_only  # "prior …" governs one finding
        self.whole_list = whole_list  # "differential includes …" goes on whatever its items look like
        self.governs = False  # a finding has been met
        self.closed = False  # a verb has been met after it: "no effusion is seen"


def certainties(items: list[Item]) -> list[Certainty]:
    """One certainty per item of a sentence; those of items that are no finding mean nothing."""
    result = [_STATED] * len(items)
    scope: _Scope | None = None
    fresh = False  # a comma, "and" or "with" stands since the last finding
    subject = False  # so does an organ, which may be the subject of a new clause
    preposition = False
    clause = 0  # first item that a cue may reach back to
    previous: int | None = None  # last finding of the clause

    for index, (first, end, term) in enumerate(items):
        kind = term.kind
        if kind is FINDING:
            finding = term.value
            if finding.kind == "normal":
                # "no effusion, normal heart": only what directly follows a negation is denied normality.
                if scope is not None and first - scope.end <= 1 and not fresh:
                    result[index] = scope.certainty
                else:
                    scope = None
            elif scope is not None:
                if not scope.next_only or first - scope.end <= _GAP:
                    result[index] = scope.certainty
                scope.governs, scope.closed = True, False
                if scope.next_only:
                    scope = None
            elif previous is not None and _is_alternative(items, result, previous, index):
                result[previous] = result[index] = Certainty.ALTERNATIVE
            previous = index
            fresh = subject = preposition = False
            if finding.denies_what_follows:
                scope = _Scope(_ABSENT, end)
        elif kind is ANATOMY:
            subject = subject or not preposition
        elif kind is CONJUNCTION:
            preposition = False
            fresh = term.value not in _OR
            if fresh and scope is not None and _ends_at_conjunction(items, index, scope):
                scope = None
        elif kind is VERB:
            if scope is not None:
                if subject and previous is not None:
                    scope = None
                else:
                    scope.closed = scope.governs
        elif kind is RESTART:
            if fresh and scope is not None and _ends_at_new_statement(items, index, scope):
                scope = None
        elif kind is ABSENT_BEFORE:
            if _answers(items, index):
                _reach_back(items, result, index, clause, _ABSENT)
            else:
                # "no change in the effusion or atelectasis": both are there.
                scope = _Scope(_STATED if _change_follows(items, index) else _ABSENT, end)
                fresh = subject = False
        elif kind is ABSENT_AFTER:
            _reach_back(items, result, index, clause, _ABSENT)
        elif kind is ABSENT_EITHER:
            if not _reach_back(items, result, index, clause, _ABSENT):
                scope = _Scope(_ABSENT, end)
        elif kind is POSSIBLE_BEFORE or kind is LIKELY_BEFORE or kind is POSSIBLE_LIST:
            # "no suspicious nodule" stays denied.
            if scope is None or scope.certainty is not _ABSENT or (fresh and not _or_follows(items, index)):
                certainty = Certainty.LIKELY if kind is LIKELY_BEFORE else Certainty.POSSIBLE
                scope = _Scope(certainty, end, whole_list=kind is POSSIBLE_LIST)
                fresh = False
        elif kind is POSSIBLE_AFTER:
            _reach_back(items, result, index, clause, Certainty.POSSIBLE)
        elif kind is LIKELY_AFTER:
            _reach_back(items, result, index, clause, Certainty.LIKELY)
        elif kind is HISTORY:
            scope, fresh = _Scope(_HISTORY, end), False
        elif kind is HISTORY_NEXT:
            if scope is None or scope.certainty is not _ABSENT:
                scope = _Scope(_HISTORY, end, next_only=True)
        elif kind is PREPOSITION:
            preposition = True
        elif kind is STOP:
            scope, previous = None, None
            fresh = subject = preposition = False
            if term.value != "but":  # "small, but not excluded" is still said of what stands before
                clause = index + 1
    return result


def _ends_at_new_statement(items: list[Item], index: int, scope: _Scope) -> bool:
    """Whether "small", "mild" … after a comma or "and" begin a statement outside the scope."""
    return not scope.whole_list and scope.certainty is not _HISTORY and not _or_follows(items, index)


def _ends_at_conjunction(items: list[Item], index: int, scope: _Scope) -> bool:
    """Whether a comma, "and" or "with" ends a scope."""
    word = items[index][2].value
    if scope.certainty is _ABSENT:
        return scope.closed and not _or_follows(items, index)
    if scope.certainty is _HISTORY:
        return word != "and"
    return scope.governs and scope.certainty is not _STATED and word in _WITH


def _or_follows(items: list[Item], index: int) -> bool:
    """Whether the list that goes on after ``index`` ends in "or"."""
    for _, _, term in items[index + 1 : index + 1 + LOOK_AHEAD]:
        if term.kind is CONJUNCTION and term.value in _OR:
            return True
        if term.kind in (STOP, ABSENT_BEFORE) or (term.kind is CONJUNCTION and term.value in _WITH):
            return False
    return False


def _answers(items: list[Item], index: int) -> bool:
    """Whether a negation answers what stands before it: "pneumothorax: none", "effusions are none"."""
    if not index or items[index - 1][2].kind is not VERB:
        return False
    return all(term.kind is not FINDING for _, _, term in items[index + 1 : index + 1 + LOOK_AHEAD])


def _change_follows(items: list[Item], index: int) -> bool:
    """Whether a negation is followed by "change", "increase" … before any finding."""
    end = items[index][1]
    for first, _, term in items[index + 1 : index + 1 + LOOK_AHEAD]:
        if first - end > _CHANGE_WITHIN or (term.kind is FINDING and term.value.kind != "change"):
            return False
        if term.kind is CHANGE:
            return True
    return False


def _is_alternative(items: list[Item], result: list[Certainty], previous: int, index: int) -> bool:
    """Whether two stated findings are offered as "A or B": neither is then certain."""
    if result[previous] is not _STATED or result[index] is not _STATED:
        return False
    if items[previous][2].value.kind != "finding" or items[index][2].value.kind != "finding":
        return False
    alternative = False
    for _, _, term in items[previous + 1 : index]:
        if term.kind is CONJUNCTION and term.value in _OR:
            alternative = True
        elif term.kind not in (ANATOMY, RESTART, CONJUNCTION, PREPOSITION):
            return False
    return alternative


def _reach_back(items: list[Item], result: list[Certainty], index: int, clause: int, certainty: Certainty) -> bool:
    """Apply a cue to the findings before it, back to the verb before them; whether there were any."""
    start = items[index][0]
    reached = False
    for place in range(index - 1, clause - 1, -1):
        _, end, term = items[place]
        if start - end > _REACH_BACK:
            break
        if term.kind is FINDING:
            if term.value.kind in ("finding", "device"):
                reached = True
                if result[place] is not _HISTORY or certainty is _ABSENT:
                    result[place] = certainty
        elif reached and (
            term.kind in (VERB, ABSENT_BEFORE, STOP) or (term.kind is CONJUNCTION and term.value in _WITH)
        ):
            break
    return reached
