"""Attaches each anatomy phrase of a sentence to its finding."""

from __future__ import annotations

from medvlp_reports.clauses import LOOK_AHEAD, Item
from medvlp_reports.lexicon import (
    ABSENT_BEFORE,
    ANATOMY,
    CHANGED,
    COLON,
    COMMA,
    CONJUNCTION,
    CONTRAST,
    DASH,
    FINDING,
    PREPOSITION,
    RESTART,
    STATES,
    STOP,
    VERB,
    WITH,
    Term,
)
from medvlp_reports.place_relations import GENERIC, LIKENING, inherited, related_places, with_sides
from medvlp_reports.places import HEDGES, JOINING, MODIFIERS, Group, Place, modifies_next

_GAP = 2  # tokens that may stand between the words of one phrase


def attach(items: list[Item], groups: dict[int, Group]) -> dict[int, tuple[Place, ...]]:
    """Finding's item index → the places the sentence gives it (empty where it names none)."""
    attached: dict[int, tuple[Place, ...]] = {}
    if not groups:
        return attached
    before_of: dict[int, tuple[Place, ...]] = {}
    previous: int | None = None
    label = _label(items, groups)
    for index, (_, _, term) in enumerate(items):
        if term.kind is not FINDING:
            continue
        before = _group_before(items, groups, index)
        before_of[index] = before.places if before is not None else ()
        if term.adjective:
            places = _adjective_places(items, groups, index, before)
            if not places and previous is not None and _joined_adjectives(items, previous, index):
                places = attached[previous]
        else:
            after = _group_after(items, groups, index)
            places = _combine(before, after)
            if not places and _is_stated_of_subject(items, index):
                subject = _subject(items, groups, index)
                places = subject.places if subject else ()
            if not places:
                places = before_of[index] = _place_with(items, groups, index)
        if previous is not None and not any(place.sides for place in places):
            related = related_places(items, attached, before_of, previous, index)
            if related:
                places = before_of[index] = with_sides(places, related) if places else related
        places = places or _fronted(items, groups, index)
        if label and term.value.refine and not any(place.organs for place in places):
            places = _of_label(label, places, term)
        attached[index] = places
        previous = index
    return attached


def _label(items: list[Item], groups: dict[int, Group]) -> tuple[Place, ...]:
    """The organ that a statement is labelled with: "Pleura: small fluid on the left"."""
    after = groups[0].last + 1 if 0 in groups else len(items)
    if after >= len(items):
        return ()
    term = items[after][2]
    return groups[0].places if term.kind is DASH or (term.kind is VERB and term.value is COLON) else ()


def _of_label(label: tuple[Place, ...], places: tuple[Place, ...], term: Term) -> tuple[Place, ...]:
    """The places of a finding that means something finer at the organ of its label."""
    finer = (place.organs for place in label if any(organ.name in term.value.refine for organ in place.organs))
    organs = next(finer, None)
    if organs is None:
        return places
    return tuple(Place(organs, place.sides, place.levels) for place in places) or (Place(organs),)


def _fronted(items: list[Item], groups: dict[int, Group], index: int) -> tuple[Place, ...]:
    """The place that opens a sentence: "in the left lower lobe there is …", "at the left base, …"."""
    if items[0][2].kind is not PREPOSITION or 1 not in groups:
        return ()
    group = groups[1]
    after = group.last + 1
    if (
        after > index
        or index - after > LOOK_AHEAD
        or items[after][2].kind not in (STOP, VERB, CONJUNCTION, ANATOMY, RESTART, FINDING)
    ):
        return ()
    for _, _, term in items[after:index]:
        if term.kind in (PREPOSITION, ANATOMY, DASH) or (term.kind is CONJUNCTION and term.value is WITH):
            return ()
    return inherited(group.places, items[index][2])


def _place_with(items: list[Item], groups: dict[int, Group], index: int) -> tuple[Place, ...]:
    """Where a sentence begins with the place: "left base with patchy opacity"."""
    place = index - 1
    while place >= 0 and index - place < LOOK_AHEAD and items[place][2].kind in (RESTART, CHANGED, FINDING):
        place -= 1
    if place < 1 or items[place][2].kind is not CONJUNCTION or items[place][2].value is not WITH:
        return ()
    if items[place - 1][2].kind is not ANATOMY:
        return ()
    group = groups[place - 1]
    opens = group.first == 0 or items[group.first - 1][2].kind in (STOP, DASH, CONJUNCTION, RESTART)
    return group.places if opens else ()


def _adjective_places(
    items: list[Item], groups: dict[int, Group], index: int, before: Group | None
) -> tuple[Place, ...]:
    follower = _adjacent_after(items, groups, index)
    if before is not None and before.last == index - 1:
        if any(place.sides for place in before.places):
            return _with_subject(items, groups, before)
        after = _group_after(items, groups, index)
        # "costophrenic angle blunted on the right"
        side_only = after is not None and not any(place.organs for place in after.places)
        return with_sides(before.places, after.places) if after is not None and side_only else before.places
    if (index and items[index - 1][2].kind is VERB) or follower is None:
        subject = _subject(items, groups, index)
        if subject is not None:
            return subject.places
    if follower is not None:
        return follower.places
    after = _group_after(items, groups, index)
    return _combine(before, after)


def _joined_adjectives(items: list[Item], previous: int, index: int) -> bool:
    """Whether two adjectives are said of one organ: "aorta tortuous and calcified"."""
    between = {term.kind for _, _, term in items[previous + 1 : index]}
    return items[previous][2].adjective and CONJUNCTION in between and between <= {CONJUNCTION, RESTART}


def _with_subject(items: list[Item], groups: dict[int, Group], side: Group) -> tuple[Place, ...]:
    """The places of a phrase before an adjective; of a side alone, its subject's: "angles are bilaterally clear"."""
    if any(place.organs or place.levels for place in side.places):
        return side.places
    if not side.first or items[side.first - 1][2].kind is not VERB:
        return side.places
    subject = _subject(items, groups, side.first)
    return with_sides(subject.places, side.places) if subject is not None else side.places


def _group_before(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    """The anatomy phrase in front of a finding, in the same noun phrase: also "right apical nodular pleural …"."""
    group = _next_group_before(items, groups, index)
    if group is None or any(place.sides for place in group.places) or not group.first:
        return group
    if items[group.first - 1][2].kind is not FINDING or not items[group.first - 1][2].adjective:
        return group
    further = _next_group_before(items, groups, group.first)
    if further is None or not any(place.sides for place in further.places):
        return group
    opens = further.first == 0 or items[further.first - 1][2].kind is not PREPOSITION
    return Group(further.first, group.last, with_sides(group.places, further.places)) if opens else group


def _next_group_before(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    first = items[index][0]
    for place in range(index - 1, max(-1, index - LOOK_AHEAD), -1):
        _, end, term = items[place]
        if first - end > _GAP + 1:
            return None
        if term.kind is ANATOMY:
            return groups[place]
        if term.kind is not FINDING and term.kind not in MODIFIERS:
            return None
        first = items[place][0]
    return None


def _adjacent_after(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    """The anatomy phrase that directly follows ("enlarged heart", also "calcified left hilar node")."""
    end = items[index][1]
    for place in range(index + 1, min(len(items), index + LOOK_AHEAD)):
        first, stop, term = items[place]
        if first - end > 1:
            return None
        if term.kind is ANATOMY:
            return groups[place]
        if not (term.kind is FINDING and term.adjective) and term.kind not in (RESTART, CHANGED):
            return None
        end = stop
    return None


def _group_after(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    """The anatomy phrase behind a finding: "in the left base", "is seen at …", "bilaterally"."""
    preposition = verb = joined = False
    end = items[index][1]
    for place in range(index + 1, min(len(items), index + LOOK_AHEAD)):
        first, stop, term = items[place]
        kind = term.kind
        if kind is ANATOMY:
            group = groups[place]
            if preposition and first - end <= _GAP + 2:
                return group
            only_side = not any(place.organs for place in group.places)
            if (verb and not only_side) or first - end > 1 or modifies_next(items, group.last):
                return None
            return group
        if kind is PREPOSITION:
            preposition = True
        elif kind is VERB and not preposition:
            verb = True
        elif kind is CONJUNCTION and not (verb or preposition):
            # "atelectasis and effusion in the left base", not "no effusion with small opacity in the left base"
            if term.value not in JOINING or place + 1 == len(items):
                return None
            following = items[place + 1][2]
            if term.value is COMMA and following.kind in (ANATOMY, PREPOSITION, *HEDGES):
                return _apposition(items, groups, place + 1)
            if following.kind not in (FINDING, CONJUNCTION):
                return None
            joined = True
        elif kind is FINDING and not (verb or preposition):
            # "no edema, elevated right hemidiaphragm": the place is that of the adjective alone
            if term.value.kind == "normal" or (joined and term.adjective):
                return None
        elif kind not in MODIFIERS:
            return None
        end = stop
    return None


def _apposition(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    """The anatomy phrase after a comma that says where: "opacity, left base", "atelectasis, mainly at the apex"."""
    place = index
    while place < len(items) and items[place][2].kind in (PREPOSITION, *HEDGES):
        place += 1
    if place == len(items) or items[place][2].kind is not ANATOMY:
        return None
    group = groups[place]
    after = group.last + 1
    if after < len(items) and items[after][2].kind not in (CONJUNCTION, STOP, DASH, *LIKENING):
        return None
    if after < len(items) and items[after][0] - items[group.last][1] > 0:
        return None
    return group


def _subject(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    """The anatomy phrase of which a predicate is said: "the heart and aorta are …"."""
    verb = False
    for place in range(index - 1, max(-1, index - LOOK_AHEAD), -1):
        term = items[place][2]
        if term.kind is ANATOMY:
            if verb:
                group = groups[place]
                # "opacity in the left base is unchanged": the predicate is of the opacity.
                return group
            return None
        if term.kind is VERB or (term.kind in (ABSENT_BEFORE, DASH) and place == index - 1):
            verb = True  # also "silhouette not enlarged", "heart - enlarged"
        elif term.kind is STOP and term.value is not CONTRAST:
            return None
        elif term.kind is FINDING:
            if not term.adjective:
                return None
        elif term.kind is PREPOSITION and not verb:
            return None
    return None


def _is_stated_of_subject(items: list[Item], index: int) -> bool:
    """Whether a noun is what its subject has or shows: "the lungs demonstrate …"."""
    for place in range(index - 1, max(-1, index - LOOK_AHEAD), -1):
        term = items[place][2]
        if term.kind is VERB:
            return term.value is STATES
        if term.kind not in (RESTART, ABSENT_BEFORE, FINDING):
            return False
    return False


def _combine(before: Group | None, after: Group | None) -> tuple[Place, ...]:
    """The position of a noun with a place before and after it: "pleural thickening at the left apex"."""
    if before is None or after is None or before is after:
        group = before or after
        return group.places if group else ()
    if any(place.sides for place in before.places):
        return before.places
    if not any(place.organs or place.levels for place in after.places):
        return with_sides(before.places, after.places)  # "lower lobe atelectasis on the left"
    organs = tuple(organ for place in before.places for organ in place.organs if organ.name not in GENERIC)
    return tuple(Place(organs + place.organs, place.sides, place.levels) for place in after.places)
