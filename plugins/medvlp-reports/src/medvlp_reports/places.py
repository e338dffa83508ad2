"""Where a sentence says that each finding is: anatomy phrases, and which finding each belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from medvlp_reports.clauses import LOOK_AHEAD, OR, WITH, Item
from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon import (
    ABSENT_BEFORE,
    ANATOMY,
    CHANGE,
    CHANGED,
    CONJUNCTION,
    DASH,
    FINDING,
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
    VERB,
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
_JOINING = frozenset(["and", "or", ",", "/", "and/or"])
_SHARING = _JOINING | {"vs", "versus"}  # between findings that share the place behind them
_MODIFIERS = frozenset([RESTART, CHANGED, CHANGE]) | _HEDGES  # may stand between a place and its finding
_GAP = 2  # tokens that may stand between the words of one phrase
_STATES = frozenset(["has", "have", "show", "shows", "demonstrate", "demonstrates"])


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
    if "lobe" in words and "middle" in place.levels and not place.sides:
        sides = ["right"]  # the left lung has none
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
        if term.value == "," and items[following][2].kind is CONJUNCTION and following + 1 < len(items):
            following += 1
        if items[following][2].kind is RESTART and following + 1 < len(items):
            # "moderate right and small left effusions"
            if _role(items[last][2]) != "side" or _role(items[following + 1][2]) != "side":
                return None
            following += 1
        if items[following][2].kind is ANATOMY:
            return True, following
    if term.kind is PREPOSITION and term.value in ("of", "in") and items[after + 1][2].kind is ANATOMY:
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
        if not here.sides and before.organs == here.organs:
            here = Place(here.organs, before.sides, here.levels)
        places[index] = here
    return tuple(dict.fromkeys(places))


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
                places = _place_with(items, groups, index)
        if not places and previous is not None:
            relation = _relation(items, previous, index)
            if relation == "likened":
                places = before_of[index] = _inherited(attached[previous], term)
            elif relation == "coordinated":
                places = before_of[index] = _inherited(before_of[previous], term)
        attached[index] = places
        previous = index
    return attached


def _inherited(places: tuple[Place, ...], term: Term) -> tuple[Place, ...]:
    """Places of one finding as those of another: all of a place in the lung, or of the pleura the side."""
    organ = term.value.organ
    name = organ.name if organ is not None else "lung"
    found: list[Place] = []
    for place in places:
        if place.organs and name in _LUNG and all(other.name in _LUNG for other in place.organs):
            found.append(place)
        elif place.sides and (name in _LUNG or name in _PLEURA):
            found.append(Place((), place.sides, place.levels if name in _LUNG else ()))
    return tuple(dict.fromkeys(found))


def _relation(items: list[Item], previous: int, index: int) -> str | None:
    """How a finding is tied to the one before it.

    ``likened``: it is what the other may be, or its alternative ("opacity likely pneumonia", "atelectasis or
    scar"); ``coordinated``: a comma or "and" joins them.
    """
    between = [term for _, _, term in items[previous + 1 : index]]
    if not between or len(between) > LOOK_AHEAD:
        return None
    if any(term.kind in _LIKENING for term in between):
        allowed = {ANATOMY, PREPOSITION, CONJUNCTION, VERB, RESTART, CHANGED} | _LIKENING
        joined = any(term.kind is CONJUNCTION and term.value not in OR and term.value != "," for term in between)
        return "likened" if not joined and all(term.kind in allowed for term in between) else None
    if not all(term.kind in (CONJUNCTION, RESTART, CHANGED) for term in between):
        return None
    words = {term.value for term in between if term.kind is CONJUNCTION}
    if not words or words & WITH:
        return None
    return "likened" if words & OR else "coordinated"


def _place_with(items: list[Item], groups: dict[int, Group], index: int) -> tuple[Place, ...]:
    """Where a sentence begins with the place: "left base with patchy opacity"."""
    place = index - 1
    while place >= 0 and items[place][2].kind in (RESTART, CHANGED, FINDING):
        place -= 1
    if place < 1 or items[place][2].kind is not CONJUNCTION or items[place][2].value not in WITH:
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
        return before.places
    if (index and items[index - 1][2].kind is VERB) or follower is None:
        subject = _subject(items, groups, index)
        if subject is not None:
            return subject.places
    if follower is not None:
        return follower.places
    after = _group_after(items, groups, index)
    return _combine(before, after)


def _group_before(items: list[Item], groups: dict[int, Group], index: int) -> Group | None:
    """The anatomy phrase in front of a finding, in the same noun phrase."""
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
            if term.value not in _SHARING or place + 1 == len(items):
                return None
            following = items[place + 1][2]
            if term.value == "," and following.kind in (ANATOMY, PREPOSITION):
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
    if items[place][2].kind is PREPOSITION:
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
        if term.kind is VERB:
            verb = True
        elif term.kind is STOP and term.value != "but":
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
            return term.value in _STATES
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
