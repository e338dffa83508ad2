"""The certainty of each finding of a sentence: stated, likely, possible, absent, or only history.

A scope machine in the manner of NegEx (Chapman et al., J Biomed Inform 2001) and ConText (Harkema
et al., J Biomed Inform 2009), with what radiology's lists need: a negation reaches through "A, B or
C" and ends where a comma or "and" begins a new statement.
"""

from __future__ import annotations

from medvlp_reports.certainty import Certainty
from medvlp_reports.clauses import (
    Item,
    begins_statement,
    change_follows,
    clause_ends,
    finding_follows,
    or_follows,
    sided,
)
from medvlp_reports.item_labels import answered
from medvlp_reports.lexicon import (
    ABSENT_AFTER,
    ABSENT_BEFORE,
    ABSENT_EITHER,
    ABSENT_NEXT,
    AFFIRMED,
    AGAINST,
    ANATOMY,
    AND,
    CHANGED,
    COMMA,
    CONJUNCTION,
    CONTRAST,
    DASH,
    FINDING,
    HISTORY,
    HISTORY_AFTER,
    HISTORY_NEXT,
    LIKELY_AFTER,
    LIKELY_BEFORE,
    LIKELY_EITHER,
    NOT_FINDING,
    NOW,
    OR,
    PERSIST,
    POSSIBLE_AFTER,
    POSSIBLE_BEFORE,
    POSSIBLE_EITHER,
    POSSIBLE_LIST,
    PREPOSITION,
    QUESTION,
    RESTART,
    SEEN,
    STOP,
    VERB,
    WITH,
    Sense,
)
from medvlp_reports.reach import is_alternative, is_beside_unknown, reach_back
from medvlp_reports.reading import Read

__all__ = ["Certainty", "Item", "certainties"]

_HISTORY, _ABSENT, _STATED = Certainty.HISTORY, Certainty.ABSENT, Certainty.STATED
_GAP = 2  # tokens between "prior" and what it governs
_SEEN_WITHIN = 3  # tokens between "not" and "seen"
_BEFORE = {
    POSSIBLE_BEFORE: Certainty.POSSIBLE,
    POSSIBLE_LIST: Certainty.POSSIBLE,
    POSSIBLE_EITHER: Certainty.POSSIBLE,
    LIKELY_BEFORE: Certainty.LIKELY,
    LIKELY_EITHER: Certainty.LIKELY,
}


class _Scope:
    """The reach of one cue that stands before what it governs."""

    __slots__ = ("certainty", "closed", "end", "governs", "members", "next_only", "placed", "whole_list")

    def __init__(self, certainty: Certainty, end: int, next_only: int = -1, whole_list: bool = False) -> None:
        self.certainty = certainty
        self.end = end  # token after the cue
        self.next_only = next_only  # "prior …" governs one finding, within so many tokens
        self.whole_list = whole_list  # the scope of "differential includes …" continues whatever its items are
        self.governs = False  # a finding has been met
        self.closed = False  # a verb has been met after it: "no effusion is seen"
        self.placed = False  # a side was named since: "no left effusion"
        self.members: list[int] = []  # items of the findings met


def certainties(read: Read) -> list[Certainty]:
    """One certainty per item of a sentence; those of items that are no finding mean nothing."""
    items, tokens, articled, breaks = read.items, len(read.spans), read.articled, read.breaks
    result = [_STATED] * len(items)
    labels, spent = answered(read) if read.labelled else ({}, set())
    scope: _Scope | None = None
    fresh = False  # a comma, "and" or "with" stands since the last finding
    subject = False  # so does an organ, which may be the subject of a new clause
    preposition = False
    apart = False  # a preposition or "with" stands since the last finding
    clause = 0  # first item that a cue may reach back to
    previous: int | None = None  # last finding of the clause
    last: int | None = None  # last finding of the sentence

    for index, (first, end, term) in enumerate(items):
        kind = term.kind
        if first in breaks and scope is not None and scope.governs and kind is not CONJUNCTION:
            fresh = True  # a new line may begin a new statement, and after "… is seen" it does
            scope = None if scope.closed else scope
        if kind is FINDING:
            finding = term.value
            if index in labels:
                result[index] = labels[index]
                scope, previous, fresh = None, None, False
                continue
            if scope is not None and scope.next_only >= 0 and first - scope.end > scope.next_only:
                scope = None
            if finding.kind == "device" and apart and scope is not None and scope.certainty is _ABSENT:
                scope = None  # "no pneumothorax with the tube in place", "no kink of the tube"
            if finding.kind == "normal":
                # "no effusion, normal heart": only what directly follows a negation is denied normality.
                if scope is not None and first - scope.end <= 1 and not fresh:
                    result[index] = scope.certainty
                else:
                    scope = None
            elif scope is not None:
                result[index] = scope.certainty
                if finding.kind == "change" and scope.closed and scope.certainty is _ABSENT:
                    _unchanged(result, scope)
                scope.governs, scope.closed = True, False
                scope.members.append(index)
                if scope.next_only >= 0:
                    scope = None
            elif previous is not None and is_alternative(items, result, previous, index):
                result[previous] = result[index] = Certainty.ALTERNATIVE
            previous = last = index
            fresh = subject = preposition = apart = False
            if finding.denies_what_follows:
                scope = _Scope(_ABSENT, end)
        elif kind is ANATOMY:
            subject = subject or not preposition
            if scope is not None and sided(term):
                if fresh and _is_another_side(items, index, scope):
                    scope = None
                else:
                    scope.placed = True
        elif kind is CONJUNCTION:
            if term.value is OR and scope is None and is_beside_unknown(items, index, tokens):
                result[index - 1] = Certainty.ALTERNATIVE if result[index - 1] is _STATED else result[index - 1]
            preposition = False
            fresh = term.value is not OR
            apart = apart or term.value is WITH
            if (
                scope is not None
                and fresh
                and (
                    _begins_with_article(term.value, end, articled, scope)
                    or (_spent(scope, first) and not scope.whole_list and begins_statement(items, index))
                    or _ends_at_conjunction(items, index, scope)
                )
            ):
                scope, previous = None, None
        elif kind is VERB:
            denied = last is not None and result[last] is _ABSENT
            if term.value is PERSIST and denied and items[index - 1][2].kind in (STOP, CONJUNCTION):
                result[last or 0] = _STATED  # "has cleared on the right, but persists on the left"
            if scope is not None:
                if subject and previous is not None:
                    scope = None
                else:
                    scope.closed = scope.governs
        elif kind is RESTART or kind is CHANGED:
            if kind is CHANGED and scope is not None and scope.closed and scope.certainty is _ABSENT and not fresh:
                _unchanged(result, scope)
            if fresh and scope is not None and _ends_at_new_statement(items, index, scope):
                scope = None
        elif kind is ABSENT_BEFORE:
            if index in spent:
                scope = None
            elif _answers(items, index, tokens, previous):
                reach_back(items, result, index, clause, _ABSENT)
                spent.add(index + 1)  # "not radiographically apparent"
            else:
                # "no change in the effusion or atelectasis": both are there.
                members = scope.members if scope is not None and scope.certainty is _ABSENT else []
                scope = _Scope(_STATED if change_follows(items, index) else _ABSENT, end)
                scope.members = members  # "neither … nor …"
                fresh = subject = apart = False
        elif kind is ABSENT_AFTER or kind is ABSENT_EITHER:
            reached = index in spent or reach_back(items, result, index, clause, _ABSENT)
            if not reached and (kind is ABSENT_EITHER or not first) and finding_follows(items, index):
                scope, fresh = _Scope(_ABSENT, end), False
        elif kind is ABSENT_NEXT:
            scope = _Scope(_ABSENT, end, next_only=1)
        elif kind in _BEFORE:
            either = kind is POSSIBLE_EITHER or kind is LIKELY_EITHER
            if either and not finding_follows(items, index):
                if index not in spent and clause_ends(items, index, tokens):
                    reach_back(items, result, index, clause, _BEFORE[kind])
            # "no suspicious nodule" stays denied.
            elif scope is None or scope.certainty is not _ABSENT or (fresh and not or_follows(items, index)):
                scope = _Scope(_BEFORE[kind], end, whole_list=kind is POSSIBLE_LIST)
                fresh = False
        elif kind is POSSIBLE_AFTER or kind is LIKELY_AFTER:
            certainty = Certainty.POSSIBLE if kind is POSSIBLE_AFTER else Certainty.LIKELY
            if term.value is not QUESTION and finding_follows(items, index):
                scope, fresh = _Scope(certainty, end), False  # "the opacity is likely atelectasis"
            elif kind is POSSIBLE_AFTER or clause_ends(items, index, tokens):
                reach_back(items, result, index, clause, certainty)
        elif kind is HISTORY:
            scope, fresh = _Scope(_HISTORY, end), False
        elif kind is HISTORY_AFTER:
            reach_back(items, result, index, clause, _HISTORY)
        elif kind is HISTORY_NEXT:
            if scope is None or scope.certainty is not _ABSENT:
                scope = _Scope(_HISTORY, end, next_only=_GAP)
        elif kind is NOW:
            if scope is not None and scope.certainty is _HISTORY:
                scope = None
        elif kind is AFFIRMED:
            scope = None  # "no edema and positive for effusion"
        elif kind is NOT_FINDING:
            # "without prior studies, the effusion …": the negation denies the studies.
            if scope is not None and scope.certainty is _ABSENT and not scope.governs and first - scope.end <= 1:
                scope = None
        elif kind is PREPOSITION:
            preposition = True
            # "no kink of the tube", not "no left-to-right shunt"
            apart = apart or scope is None or scope.governs or (index > 0 and first > items[index - 1][1])
            if term.value is AGAINST and scope is not None and scope.certainty is Certainty.LIKELY and scope.governs:
                scope = _Scope(Certainty.POSSIBLE, end)  # "more likely atelectasis than pneumonia"
        elif kind is STOP or kind is DASH:
            scope, previous = None, None
            fresh = subject = preposition = apart = False
            if term.value is not CONTRAST:  # "small, but not excluded" is still said of what stands before
                clause = index + 1
    return result


def _unchanged(result: list[Certainty], scope: _Scope) -> None:
    """What is denied to have changed is there: "neither the effusion nor the edema has changed"."""
    for member in scope.members:
        result[member] = _STATED
    scope.members = []


def _spent(scope: _Scope, first: int) -> bool:
    """Whether a cue has governed something before this token, possibly only unknown words."""
    return scope.governs or first > scope.end


def _begins_with_article(word: Sense, after: int, articled: frozenset[int], scope: _Scope) -> bool:
    """Whether a comma or "and" is followed by "the", which items of a list do not have."""
    if after not in articled or scope.whole_list or scope.certainty is _STATED:
        return False
    return word is COMMA or (word is not WITH and scope.governs and scope.certainty is _ABSENT)


def _is_another_side(items: list[Item], index: int, scope: _Scope) -> bool:
    """Whether a side after a comma begins a statement: "no pneumothorax, left effusion"."""
    if scope.placed or not scope.governs or scope.certainty is not _ABSENT:
        return False
    before = items[index - 1][2] if index else None
    return before is not None and before.kind is CONJUNCTION and before.value is COMMA and not or_follows(items, index)


def _ends_at_new_statement(items: list[Item], index: int, scope: _Scope) -> bool:
    """Whether "small", "mild" … after a comma or "and" begin a statement outside the scope."""
    if scope.whole_list or scope.certainty is _HISTORY or or_follows(items, index):
        return False
    # "possibly with small effusions": nothing stands between the cue and "with"
    return scope.certainty is _ABSENT or _spent(scope, items[index - 1][0])


def _ends_at_conjunction(items: list[Item], index: int, scope: _Scope) -> bool:
    """Whether a comma, "and" or "with" ends a scope."""
    word = items[index][2].value
    if scope.certainty is _ABSENT:
        return scope.closed and not or_follows(items, index)
    if scope.certainty is _HISTORY:
        return word is not AND
    return scope.governs and scope.certainty is not _STATED and word is WITH


def _answers(items: list[Item], index: int, tokens: int, previous: int | None) -> bool:
    """Whether a negation is the whole predicate of its subject: "effusions are none", "it is not well seen"."""
    if not index or previous is None:
        return False
    _, end, _ = items[index]
    if items[index - 1][2].kind is VERB and (end == tokens or _ends_here(items, index)):
        return True
    if finding_follows(items, index):
        return False
    following = items[index + 1] if index + 1 < len(items) else None
    return (
        following is not None
        and following[0] - end <= _SEEN_WITHIN
        and (following[2].value is SEEN or following[2].kind is LIKELY_EITHER)
    )


def _ends_here(items: list[Item], index: int) -> bool:
    """Whether a comma, conjunction or stop directly follows."""
    if index + 1 == len(items):
        return False
    first, _, term = items[index + 1]
    return first == items[index][1] and term.kind in (CONJUNCTION, STOP, DASH)
