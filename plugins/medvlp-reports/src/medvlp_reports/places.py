"""Positions of findings in a sentence: anatomy phrases and the landmarks that they name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from medvlp_reports.clauses import LOOK_AHEAD, Item
from medvlp_reports.landmarks import medklip_vocabulary
from medvlp_reports.lexicon import (
    ANATOMY,
    AND,
    CHANGE,
    CHANGED,
    COMMA,
    CONJUNCTION,
    FINDING,
    LIKELY_BEFORE,
    LIKELY_EITHER,
    MODIFIER,
    OR,
    PART,
    POSSIBLE_BEFORE,
    POSSIBLE_EITHER,
    PREPOSITION,
    RESTART,
    Anatomy,
    Term,
)

_SIDES = frozenset(["left", "right"])
# Words of the lung as a whole or of its tissue: with a side, they are that lung.
TISSUE = frozenset(["pulmonary", "parenchyma", "interstitium", "alveoli"])
JOINING = frozenset([AND, OR, COMMA])
HEDGES = frozenset([LIKELY_BEFORE, LIKELY_EITHER, POSSIBLE_BEFORE, POSSIBLE_EITHER])
MODIFIERS = frozenset([RESTART, CHANGED, CHANGE, MODIFIER]) | HEDGES  # may stand between a place and its finding


class Place(NamedTuple):
    """One place: organs (may be empty where only a side is named), sides and levels."""

    organs: tuple[Anatomy, ...] = ()
    sides: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()


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
    if not words or (sides and names and names <= TISSUE):
        words.append("lung")
    if words == ["lung"] and not sides:
        words = ["lungs"]
    if words == ["lobe"] and sides and not place.levels:
        words = ["lung"]
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
        if len(parts) > 1 and _ends_another_phrase(items, index) and modifies_next(items, last):
            # "granuloma in the right lung and left pleural effusion": the last place opens a new phrase.
            bounds = [(0, len(parts) - 1, index, starts[-1] - 1), (len(parts) - 1, len(parts), starts[-1], last)]
        for first_part, end_part, first, final in bounds:
            group = Group(first, final, _places(tuple(map(tuple, parts[first_part:end_part]))))
            for member in range(first, final + 1):
                groups[member] = group
        index = last + 1
    return groups


def _ends_another_phrase(items: list[Item], first: int) -> bool:
    """Whether an anatomy phrase is governed by what stands before it ("in the …", "clear …")."""
    return first > 0 and items[first - 1][2].kind in (PREPOSITION, FINDING)


def modifies_next(items: list[Item], last: int) -> bool:
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
    if term.kind is CONJUNCTION and term.value in JOINING:
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
    if term.kind is not PREPOSITION or items[after + 1][2].kind is not ANATOMY:
        return None
    # "lower lobe of the right lung", "bilaterally at the bases"
    joins = term.value is PART or (_role(items[last][2]) == "side" and _role(items[after + 1][2]) != "side")
    return (False, after + 1) if joins else None


def _described_organ(items: list[Item], index: int) -> int | None:
    """The organ that a size or the like stands before: "left [small pleural] effusion"."""
    end = items[index][0]
    for place in range(index, min(len(items), index + LOOK_AHEAD)):
        first, stop, term = items[place]
        if first - end > 1:
            return None
        if term.kind is ANATOMY:
            return place if place > index and term.value.role != "side" else None
        if term.kind not in MODIFIERS:
            return None
        end = stop
    return None


def _role(term: Term) -> str | None:
    return term.value.role if term.kind is ANATOMY else None


@lru_cache(maxsize=65536)
def _places(parts: tuple[tuple[Anatomy, ...], ...]) -> tuple[Place, ...]:
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
