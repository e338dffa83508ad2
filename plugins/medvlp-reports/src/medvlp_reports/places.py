"""Where a sentence says that each finding is: anatomy phrases, and which finding each belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from medvlp_reports.clauses import LOOK_AHEAD, Item
from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon import (
    ABSENT_BEFORE,
    ANATOMY,
    AND,
    BESIDE,
    CAUSE,
    CHANGE,
    CHANGED,
    COLON,
    COMMA,
    CONJUNCTION,
    CONTRAST,
    COPULA,
    DASH,
    FINDING,
    LIKELY_AFTER,
    LIKELY_BEFORE,
    LIKELY_EITHER,
    MODIFIER,
    NEUTRAL,
    OR,
    PART,
    POSSIBLE_AFTER,
    POSSIBLE_BEFORE,
    POSSIBLE_EITHER,
    PREPOSITION,
    RELATIVE,
    RESTART,
    STATES,
    STOP,
    VERB,
    WITH,
    Anatomy,
    Term,
)

_SIDES = frozenset(["left", "right"])
_GENERIC = frozenset(["lung", "pulmonary", "chest", "parenchyma", "lobe"])
# Words of the lung as a whole or of its tissue: with a side, they are that lung.
_TISSUE = frozenset(["pulmonary", "parenchyma", "interstitium", "alveoli"])
# Where something of the lung lies; what is likened to it lies there too.
_LUNG = _GENERIC | _TISSUE | {
    "lung_base", "lung_apex", "midlung", "perihilar", "hilum", "retrocardiac", "lingula", "right_upper_lobe", "right_middle_lobe",
    "right_lower_lobe", "left_upper_lobe", "left_lower_lobe",
}  # fmt: skip
_PLEURA = frozenset(["pleura", "costophrenic", "fissure"])
_HEDGES = frozenset([LIKELY_BEFORE, LIKELY_EITHER, POSSIBLE_BEFORE, POSSIBLE_EITHER])
_LIKENING = _HEDGES | {LIKELY_AFTER, POSSIBLE_AFTER, NEUTRAL}
_COORDINATING = frozenset([CONJUNCTION, RESTART, CHANGED, MODIFIER])
_BETWEEN = _COORDINATING | _LIKENING | {ANATOMY, PREPOSITION, VERB, STOP}  # may stand between a finding and what it is
_JOINING = frozenset([AND, OR, COMMA])
_MODIFIERS = frozenset([RESTART, CHANGED, CHANGE, MODIFIER]) | _HEDGES  # may stand between a place and its finding
_GAP = 2  # tokens that may stand between the words of one phrase


@dataclass(frozen=True, slots=True)
class Place:
    """One place: organs (may be empty where only a side is named), sides and levels."""

    organs: tuple[Anatomy, ...] = ()
    sides: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()

    @property
    def specific(self) -> bool:
        return bool(self.sides or self.levels)


@dataclass(slots=True)
class Group:
    """An anatomy phrase, "the right upper and left lower lobes": items ``first`` to ``last``."""

    first: int
    last: int
    places: tuple[Place, ...]


@lru_cache(maxsize=65536)
def landmark(place: Place, default: Anatomy | None) -> str:
    """The MedKLIP position of a place; ``default`` is the organ where only a side or level is named."""
    organs = place.organs or ((default,) if default else ())
    sides = [side for side in dict.fromkeys(place.sides) if side in _SIDES]
    if len(sides) == 2:
        sides = []
    names = {organ.name for organ in organs}
    if names == {"chest"} and (place.sides or place.levels):
        organs, names = (default,) if default else (), set()
    if "retrocardiac" in names and len(names) > 1:
        organs = tuple(organ for organ in organs if organ.name != "retrocardiac")
    words = [word for organ in organs for word in sorted(organ.words)]
    if not words or (sides and names and names <= _TISSUE):
        words.append("lung")
    if words == ["lung"] and not sides:
        words = ["lungs"]
    if "lobe" in words and not sides:
        if "middle" in place.levels and not place.sides:
            sides = ["right"]  # the left lung has none
        elif "upper" in place.levels:
            words = ["lungs"]  # of both upper lobes there is no landmark but the upper lungs
    return medklip_vocabulary().position("|".join(dict.fromkeys([*words, *sides, *place.levels])))


def anatomy_groups(items: list[Item]) -> dict[int, Group]:
    """Item index → the anatomy phrase it is part of."""
    groups: dict[int, Group] = {}
    index, count = 0, len(items)
    while index < count:
        if items[index][2].kind is not ANATOMY:
            index += 1
            continue
        parts: list[list[Anatomy]] = [[items[index][2].value]]
        starts = [index]
        last = index
        while (step := _next_part(items, last)) is not None:
            new_place, last = step
            anatomy = items[last][2].value
            if new_place:
                parts.append([anatomy])
                starts.append(last)
            else:
                parts[-1].append(anatomy)
        bounds = [(0, len(parts), index, last)]
        if len(parts) > 1 and _ends_another_phrase(items, index) and _modifies_next(items, last):
            # "granuloma in the right lung and left pleural effusion": the last place opens a new phrase.
            bounds = [(0, len(parts) - 1, index, starts[-1] - 1), (len(parts) - 1, len(parts), starts[-1], last)]
        for first_part, end_part, first, final in bounds:
            group = Group(first, final, _places(parts[first_part:end_part]))
            for member in range(first, final + 1):
                groups[member] = group
        index = last + 1
    return groups


def _ends_another_phrase(items: list[Item], first: int) -> bool:
    """Whether an anatomy phrase is governed by what stands before it ("in the …", "clear …")."""
    return first > 0 and items[first - 1][2].kind in (PREPOSITION, FINDING)


def _modifies_next(items: list[Item], last: int) -> bool:
    """Whether a finding follows so closely that the anatomy before it belongs to it."""
    after = last + 1
    return after < len(items) and items[after][2].kind is FINDING and items[after][0] - items[last][1] <= 1


def _next_part(items: list[Item], last: int) -> tuple[bool, int] | None:
    """(begins a new place, item) of the anatomy word that continues a phrase, if one does."""
    after = last + 1
    if after >= len(items):
        return None
    end = items[last][1]
    first, stop, term = items[after]
    if first - end > 1:
        return None
    if term.kind is ANATOMY:
        return False, after
    if _role(items[last][2]) == "side" and (described := _described_organ(items, after)) is not None:
        return False, described
    if after + 1 >= len(items) or items[after + 1][0] - stop > 1:
        return None
    if term.kind is CONJUNCTION and term.value in _JOINING:
        following = after + 1
        if term.value is COMMA and items[following][2].kind is CONJUNCTION and following + 1 < len(items):
            following += 1
        if items[following][2].kind is RESTART and following + 1 < len(items):
            # "moderate right and small left effusions"
            if _role(items[last][2]) != "side" or _role(items[following + 1][2]) != "side":
                return None
            following += 1
        if items[following][2].kind is ANATOMY:
            return True, following
    if term.kind is PREPOSITION and items[after + 1][2].kind is ANATOMY:
        # "lower lobe of the right lung", "bilaterally at the bases"
        if term.value is PART or (_role(items[last][2]) == "side" and _role(items[after + 1][2]) != "side"):
            return False, after + 1
    return None


def _described_organ(items: list[Item], index: int) -> int | None:
    """The organ that a size or the like stands before: "left [small pleural] effusion"."""
    end = items[index][0]
    for place in range(index, min(len(items), index + LOOK_AHEAD)):
        first, stop, term = items[place]
        if first - end > 1:
            return None
        if term.kind is ANATOMY:
            return place if place > index and term.value.role != "side" else None
        if term.kind not in _MODIFIERS:
            return None
        end = stop
    return None


def _role(term: Term) -> str | None:
    return term.value.role if term.kind is ANATOMY else None


def _places(parts: list[list[Anatomy]]) -> tuple[Place, ...]:
    """Places of a coordinated phrase: "right upper and lower lobes" gives both lobe and side to both."""
    places = [
        Place(
            organs=tuple(word for word in part if word.role == "organ"),
            sides=tuple(word.name for word in part if word.role == "side"),
            levels=tuple(word.name for word in part if word.role == "level"),
        )
        for part in parts
    ]
    for index in range(len(places) - 2, -1, -1):
        if not places[index].organs:
            places[index] = Place(places[index + 1].organs, places[index].sides, places[index].levels)
    for index in range(1, len(places)):
        before, here = places[index - 1], places[index]
        if not here.organs:
            here = Place(before.organs, here.sides, here.levels)
        if not here.sides and (before.organs == here.organs or _is_zone(here)):
            here = Place(here.organs, before.sides, here.levels)
        places[index] = here
    return tuple(dict.fromkeys(places))


def _is_zone(place: Place) -> bool:
    """Whether a place is a part of one lung: the side before "right perihilar and upper lobe" is that of both."""
    return bool(place.organs) and (
        bool(place.levels) or {organ.name for organ in place.organs} <= {"lung_base", "lung_apex"}
    )


def attach(items: list[Item], groups: dict[int, Group]) -> dict[int, tuple[Place, ...]]:
    """Finding's item index → the places the sentence gives it (empty where it names none)."""
    attached: dict[int, tuple[Place, ...]] = {}
    if not groups:
        return attached
    before_of: dict[int, tuple[Place, ...]] = {}
    previous: int | None = None
    for index, (_, _, term) in enumerate(items):
        if term.kind is not FINDING:
            continue
        before = _group_before(items, groups, index)
        before_of[index] = before.places if before is not None else ()
        if term.adjective:
            places = _adjective_places(items, groups, index, before)
        else:
            after = _group_after(items, groups, index)
            places = _combine(before, after)
            if not places and _is_stated_of_subject(items, index):
                subject = _subject(items, groups, index)
                places = subject.places if subject else ()
            if not places:
                places = before_of[index] = _place_with(items, groups, index)
        if previous is not None and not any(place.sides for place in places):
            related = _related_places(items, attached, before_of, previous, index)
            if related:
                places = before_of[index] = _with_sides(places, related) if places else related
        attached[index] = places or _fronted(items, groups, index)
        previous = index
    return attached


def _related_places(
    items: list[Item],
    attached: dict[int, tuple[Place, ...]],
    before_of: dict[int, tuple[Place, ...]],
    previous: int,
    index: int,
) -> tuple[Place, ...]:
    """Where a finding lies by what ties it to the one before it."""
    relation = _relation(items, previous, index)
    if relation is None:
        return ()
    places = before_of[previous] if relation == "coordinated" else attached[previous]
    inherited = _inherited(places, items[index][2])
    if relation == "beside":
        return tuple(dict.fromkeys(Place((), place.sides) for place in inherited if place.sides))
    return inherited


def _with_sides(places: tuple[Place, ...], others: tuple[Place, ...]) -> tuple[Place, ...]:
    """Places without a side, at the sides of others."""
    sides = dict.fromkeys(other.sides for other in others if other.sides)
    return tuple(Place(place.organs, side, place.levels) for place in places for side in sides) or places


def _inherited(places: tuple[Place, ...], term: Term) -> tuple[Place, ...]:
    """Places of one finding as those of another: all of a place in the lung, or of the pleura the side."""
    organ = term.value.organ
    name = organ.name if organ is not None else None
    lung = name is None or name in _LUNG
    found: list[Place] = []
    for place in places:
        organs = {other.name for other in place.organs}
        if organs and lung and organs <= (_LUNG if name is not None else _LUNG | _PLEURA):
            found.append(place)
        elif place.sides and (lung or name in _PLEURA):
            found.append(Place((), place.sides, place.levels if lung else ()))
    return tuple(dict.fromkeys(found))


def _relation(items: list[Item], previous: int, index: int) -> str | None:
    """How a finding is tied to the one before it.

    ``likened``: it is what the other may be, or its alternative ("opacity likely pneumonia", "opacity at the base,
    atelectasis", "atelectasis or scar"); ``coordinated``: a comma or "and" joins them; ``beside``: "with adjacent …".
    """
    between = [term for _, _, term in items[previous + 1 : index]]
    term, other = items[index][2], items[previous][2]
    if not between:
        return "likened" if other.adjective and items[index][0] - items[previous][1] <= 1 else None
    kinds = {term.kind for term in between}
    if len(between) > LOOK_AHEAD or not kinds <= _BETWEEN:
        return None
    if STOP in kinds and any(term.kind is STOP and term.value is not RELATIVE for term in between):
        return None
    words = {term.value for term in between if term.kind is CONJUNCTION}
    if WITH in words or any(term.value is BESIDE for term in between):
        beside = term.value.kind == "finding" and other.value.kind == "finding" and VERB not in kinds
        return "beside" if beside and ABSENT_BEFORE not in kinds else None
    likened = not _LIKENING.isdisjoint(kinds) or any(term.value is CAUSE for term in between)
    if not likened and not term.adjective and other.value.sign and not term.value.sign and AND not in words:
        # A sign and its reading: "opacity in the left base, atelectasis"; a verb between them is "is".
        verbs = [term.value for term in between if term.kind is VERB]
        likened = all(verb in (COPULA, COLON) for verb in verbs) and term.value.kind == "finding"
    if likened:
        return "likened" if AND not in words or _predicate_joined(between) else None
    if not kinds <= _COORDINATING or not words:
        return None
    return "likened" if OR in words else "coordinated"


def _predicate_joined(between: list[Term]) -> bool:
    """Whether "and" joins a further predicate: "is seen on both views and likely represents scar"."""
    last = max(index for index, term in enumerate(between) if term.kind is CONJUNCTION and term.value is AND)
    return last + 1 < len(between) and between[last + 1].kind in _LIKENING


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
    return _inherited(group.places, items[index][2])


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
            return before.places
        after = _group_after(items, groups, index)
        # "costophrenic angle blunted on the right"
        side_only = after is not None and not any(place.organs for place in after.places)
        return _with_sides(before.places, after.places) if after is not None and side_only else before.places
    if (index and items[index - 1][2].kind is VERB) or follower is None:
        subject = _subject(items, groups, index)
        if subject is not None:
            return subject.places
    if follower is not None:
        return follower.places
    after = _group_after(items, groups, index)
    return _combine(before, after)


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
    return Group(further.first, group.last, _with_sides(group.places, further.places)) if opens else group


def _next_group_before(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    first = items[index][0]
    for place in range(index - 1, max(-1, index - LOOK_AHEAD), -1):
        _, end, term = items[place]
        if first - end > _GAP + 1:
            return None
        if term.kind is ANATOMY:
            return groups[place]
        if term.kind is not FINDING and term.kind not in _MODIFIERS:
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
            if (verb and not only_side) or first - end > 1 or _modifies_next(items, group.last):
                return None
            return group
        if kind is PREPOSITION:
            preposition = True
        elif kind is VERB and not preposition:
            verb = True
        elif kind is CONJUNCTION and not (verb or preposition):
            # "atelectasis and effusion in the left base", not "no effusion with small opacity in the left base"
            if term.value not in _JOINING or place + 1 == len(items):
                return None
            following = items[place + 1][2]
            if term.value is COMMA and following.kind in (ANATOMY, PREPOSITION, *_HEDGES):
                return _apposition(items, groups, place + 1)
            if following.kind not in (FINDING, CONJUNCTION):
                return None
            joined = True
        elif kind is FINDING and not (verb or preposition):
            # "no edema, elevated right hemidiaphragm": the place is that of the adjective alone
            if term.value.kind == "normal" or (joined and term.adjective):
                return None
        elif kind not in _MODIFIERS:
            return None
        end = stop
    return None


def _apposition(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    """The anatomy phrase after a comma that tells where: "opacity, left base", "atelectasis, mainly at the apex"."""
    place = index
    while place < len(items) and items[place][2].kind in (PREPOSITION, *_HEDGES):
        place += 1
    if place == len(items) or items[place][2].kind is not ANATOMY:
        return None
    group = groups[place]
    after = group.last + 1
    if after < len(items) and items[after][2].kind not in (CONJUNCTION, STOP, DASH, *_LIKENING):
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
                # "opacity in the left base is unchanged": said of the opacity, which lies there.
                return group
            return None
        if term.kind is VERB or (term.kind is ABSENT_BEFORE and place == index - 1):
            verb = True  # also "silhouette not enlarged"
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
    """Where a noun lies that has a place before and one behind: "pleural thickening at the left apex"."""
    if before is None or after is None or before is after:
        group = before or after
        return group.places if group else ()
    if any(place.sides for place in before.places):
        return before.places
    organs = tuple(organ for place in before.places for organ in place.organs if organ.name not in _GENERIC)
    return tuple(Place(organs + place.organs, place.sides, place.levels) for place in after.places)
