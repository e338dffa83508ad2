"""The position of a finding named without a place: that of the finding it explains or is coordinated with."""

from __future__ import annotations

from medvlp_reports.clauses import LOOK_AHEAD, Item
from medvlp_reports.lexicon import (
    ABSENT_BEFORE,
    ANATOMY,
    AND,
    BESIDE,
    CAUSE,
    CHANGED,
    COLON,
    CONJUNCTION,
    COPULA,
    LIKELY_AFTER,
    MODIFIER,
    NEUTRAL,
    OR,
    POSSIBLE_AFTER,
    PREPOSITION,
    RELATIVE,
    RESTART,
    STOP,
    VERB,
    WITH,
    Term,
)
from medvlp_reports.places import HEDGES, TISSUE, Place

GENERIC = frozenset(["lung", "pulmonary", "chest", "parenchyma", "lobe"])
# Positions in the lung; a diagnosis of a finding there has the same position.
_LUNG = GENERIC | TISSUE | {
    "lung_base", "lung_apex", "midlung", "perihilar", "hilum", "retrocardiac", "lingula", "right_upper_lobe",
    "right_middle_lobe", "right_lower_lobe", "left_upper_lobe", "left_lower_lobe",
}  # fmt: skip
_PLEURA = frozenset(["pleura", "costophrenic", "fissure"])
_COORDINATING = frozenset([CONJUNCTION, RESTART, CHANGED, MODIFIER])
LIKENING = HEDGES | {LIKELY_AFTER, POSSIBLE_AFTER, NEUTRAL}
_BETWEEN = _COORDINATING | LIKENING | {ANATOMY, PREPOSITION, VERB, STOP}  # may stand between a finding and what it is


def related_places(
    items: list[Item],
    attached: dict[int, tuple[Place, ...]],
    before_of: dict[int, tuple[Place, ...]],
    previous: int,
    index: int,
) -> tuple[Place, ...]:
    """The position of a finding from its relation to the previous one."""
    relation = _relation(items, previous, index)
    if relation is None:
        return ()
    places = before_of[previous] if relation == "coordinated" else attached[previous]
    found = inherited(places, items[index][2])
    if relation == "beside":
        return tuple(dict.fromkeys(Place((), place.sides) for place in found if place.sides))
    return found


def with_sides(places: tuple[Place, ...], others: tuple[Place, ...]) -> tuple[Place, ...]:
    """Places without a side, at the sides of others."""
    sides = dict.fromkeys(other.sides for other in others if other.sides)
    return tuple(Place(place.organs, side, place.levels) for place in places for side in sides) or places


def inherited(places: tuple[Place, ...], term: Term) -> tuple[Place, ...]:
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
    """The relation of a finding to the previous one.

    ``likened``: it is the other's possible diagnosis, or its alternative ("opacity likely pneumonia", "opacity at the
    base, atelectasis", "atelectasis or scar"); ``coordinated``: a comma or "and" joins them; ``beside``: "with adjacent
    …".
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
    likened = not LIKENING.isdisjoint(kinds) or any(term.value is CAUSE for term in between)
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
    return last + 1 < len(between) and between[last + 1].kind in LIKENING
