"""The context of a cue: lookahead in a sentence's items, bounded, so that long sentences take linear time."""

from __future__ import annotations

from medvlp_reports.lexicon import (
    ABSENT_AFTER,
    ABSENT_BEFORE,
    ABSENT_EITHER,
    AGAINST,
    ANATOMY,
    AND,
    CHANGE,
    CHANGED,
    COMMA,
    CONJUNCTION,
    DASH,
    FINDING,
    LIKELY_AFTER,
    OR,
    POSSIBLE_AFTER,
    PREPOSITION,
    RESTART,
    SEEN,
    STOP,
    VERB,
    WITH,
    Term,
)

Item = tuple[int, int, Term]  # first token, end token, what the lexicon says of them

LOOK_AHEAD = 60
"""Items of a sentence that are looked at from one of them."""
CHANGE_WITHIN = 5  # tokens between "no" and "change"
_ENDS = frozenset([STOP, DASH])
_SAID_AFTER = frozenset([ABSENT_AFTER, ABSENT_EITHER, POSSIBLE_AFTER, LIKELY_AFTER])
_ENDS_CLAUSE = _ENDS | _SAID_AFTER | {CONJUNCTION, ABSENT_BEFORE}
_DESCRIBING = frozenset([ANATOMY, RESTART, PREPOSITION, CHANGED])


def or_follows(items: list[Item], index: int) -> bool:
    """Whether the list that continues after ``index`` ends in "or"."""
    for _, _, term in items[index + 1 : index + 1 + LOOK_AHEAD]:
        if term.kind is CONJUNCTION and term.value is OR:
            return True
        if term.kind in (STOP, ABSENT_BEFORE) or (term.kind is CONJUNCTION and term.value is WITH):
            return False
    return False


def change_follows(items: list[Item], index: int) -> bool:
    """Whether a negation is followed by "change", "increase", "worsening" … before any finding."""
    end = items[index][1]
    for first, _, term in items[index + 1 : index + 1 + LOOK_AHEAD]:
        if first - end > CHANGE_WITHIN:
            return False
        if term.kind is CHANGE or term.kind is CHANGED:
            return True
        if term.kind is FINDING:
            return term.value.kind == "change" and term.value.concept != "new"
        if term.kind in (CONJUNCTION, STOP, ABSENT_BEFORE):
            return False
    return False


def finding_follows(items: list[Item], index: int) -> bool:
    """Whether a cue has a finding to govern before its clause ends."""
    start = index + 1
    if index and start < len(items) and _is_comma(items[start][2]) and items[index - 1][2].kind is CONJUNCTION:
        start += 1  # "atelectasis or, less likely, pneumonia"
    for place in range(start, min(len(items), start + LOOK_AHEAD)):
        term = items[place][2]
        if term.kind is FINDING:
            return True
        if term.kind is CONJUNCTION and place > start and term.value in (AND, OR):
            continue  # "questionable old third and fourth rib fractures"
        if term.kind in _ENDS_CLAUSE or term.value is AGAINST:
            return False
    return False


def _is_comma(term: Term) -> bool:
    return term.kind is CONJUNCTION and term.value is COMMA


def clause_ends(items: list[Item], index: int, tokens: int) -> bool:
    """Whether nothing, or no more than a place or a circumstance, follows a cue in its clause."""
    end = items[index][1]
    if index + 1 == len(items):
        return end == tokens
    first, _, term = items[index + 1]
    return first == end and term.kind in (CONJUNCTION, PREPOSITION, STOP, DASH)


def begins_statement(items: list[Item], index: int) -> bool:
    """Whether a new statement follows a comma or conjunction: "…, the effusion is smaller"."""
    after = index + 1
    if after >= len(items):
        return False
    _, _, term = items[after]
    if term.kind is FINDING and term.value.kind == "device" and _is_described(items, after):
        return True
    if term.kind is FINDING and term.adjective and term.value.kind == "finding":
        return _describes_organ(items, after) and not or_follows(items, index)
    return _has_predicate(items, after)


def _is_described(items: list[Item], index: int) -> bool:
    """Whether something is said of a device without a verb: "pacemaker in place", "tube 4 cm above the carina"."""
    following = items[index + 1] if index + 1 < len(items) else None
    return following is not None and (
        following[2].kind is PREPOSITION or (following[2].kind is FINDING and following[2].value.kind != "finding")
    )


def _describes_organ(items: list[Item], index: int) -> bool:
    """Whether an adjective stands before an organ: "enlarged heart", "elevated right hemidiaphragm"."""
    end = items[index][1]
    organ = False
    for first, stop, term in items[index + 1 : index + 5]:
        if term.kind is not ANATOMY or first != end:
            # "displaced rib fracture": the adjective is the noun's
            return organ and not (term.kind is FINDING and first == end)
        organ = organ or term.value.role == "organ"
        end = stop
    return organ


def _has_predicate(items: list[Item], start: int) -> bool:
    """Whether a finding or organ and its predicate follow, before the next comma or conjunction."""
    subject = organ = False
    for place in range(start, min(len(items), start + LOOK_AHEAD)):
        _, end, term = items[place]
        kind = term.kind
        if kind is FINDING:
            if subject and term.adjective and (term.value.kind != "finding" or (organ and _is_last(items, place))):
                return True  # "…, lungs clear", "…, heart enlarged"
            subject, organ = True, False
        elif kind is ANATOMY:
            subject = True
            organ = term.value.role == "organ"
        elif kind is VERB:
            if term.value is SEEN or not subject:
                return False
            if place + 1 == len(items):
                return True
            _, _, following = items[place + 1]
            if following.kind is VERB:
                return following.value is not SEEN
            return following.kind is not CONJUNCTION or items[place + 1][0] > end
        elif kind in _SAID_AFTER:
            return subject
        elif kind not in _DESCRIBING:
            return False
    return False


def _is_last(items: list[Item], index: int) -> bool:
    """Whether an item is the last of its sentence, or stands before a comma or stop."""
    return index + 1 == len(items) or items[index + 1][2].kind in (CONJUNCTION, STOP, DASH)


def sided(term: Term) -> bool:
    """Whether an anatomy word says at which side or level of the lungs."""
    return term.kind is ANATOMY and (
        term.value.role == "side" or not term.value.words.isdisjoint(("left", "right", "base", "apical"))
    )
