"""Checks that ``@`` references have a target and are not circular."""

from __future__ import annotations

import re
from collections.abc import Iterable

from medvlp_toolkit.verification.composition import SEPARATOR, Composition, as_path
from medvlp_toolkit.verification.located_file import IdPath
from medvlp_toolkit.verification.moved_ids import HOME, MOVED_IDS, instead_of
from medvlp_toolkit.verification.problem import Problem, nearest_id

REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")


def references_in(text: str) -> list[str]:
    """Ids that a value refers to: all in an expression, else only if the whole value is one reference."""
    text = text.replace("#", SEPARATOR)
    found = REFERENCE.findall(text)
    return [one[1:] for one in found if text.startswith("$") or text == one]


def missing_references(composition: Composition) -> list[tuple[IdPath, str]]:
    """(where, id) of every reference to a missing id."""
    ids = composition.ids()
    return [
        (path, wanted)
        for path, value in composition.walk()
        if isinstance(value, str)
        for wanted in dict.fromkeys(references_in(value))
        if wanted not in ids
    ]


def reference_count(composition: Composition) -> int:
    """The number of references."""
    return sum(len(references_in(value)) for _, value in composition.walk() if isinstance(value, str))


def report_missing(composition: Composition, missing: Iterable[tuple[IdPath, str]]) -> None:
    """A problem for each missing reference."""
    ids = composition.ids()
    for path, wanted in missing:
        if not wanted:
            fix = "write torch.matmul for a product of matrices, and no @ in text"
            composition.add(path, "an @ without a name stands for the whole configuration", fix)
        else:
            fix = instead_of(wanted) or nearest_id(wanted, ids)
            composition.add(path, f"@{wanted} refers to an id that does not exist", fix)


def moved_ids_set(composition: Composition) -> list[Problem]:
    """A problem for each unread id of the first layout that is given to a training of the present layout."""
    if HOME not in composition.config:
        return []
    read = {
        as_path(wanted)[0]
        for _, value in composition.walk()
        if isinstance(value, str)
        for wanted in references_in(value)
    }
    places = {id_: composition.place((id_,)) for id_ in MOVED_IDS if id_ in composition.config and id_ not in read}
    return [
        Problem(place.file, place.line, id_, "has moved and is never read", MOVED_IDS[id_])
        for id_, place in places.items()
    ]


def report_circles(composition: Composition) -> None:
    """A problem for every circular reference; MONAI stops at the first."""
    needs = _needs(composition)
    state: dict[str, int] = {}  # 1: in progress, 2: done
    reported: set[str] = set()  # one circle may include several mappings around its items
    for start in needs:
        if state.get(start):
            continue
        way: list[str] = []
        stack = [(start, iter(needs[start]))]
        state[start] = 1
        way.append(start)
        while stack:
            id_, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[id_] = 2
                way.pop()
                stack.pop()
            elif state.get(following) == 1:
                circle = [*way[way.index(following) :], following]
                if not reported & set(circle):
                    at = as_path(way[-1])
                    composition.add(at, f"is a circular reference: {' → '.join(circle)}", "break the circle")
                reported |= set(circle)
            elif not state.get(following):
                state[following] = 1
                way.append(following)
                stack.append((following, iter(needs.get(following, ()))))


def reached(composition: Composition, roots: Iterable[str]) -> set[str]:
    """Ids that running ``roots`` resolves, including the roots."""
    needs = _needs(composition)
    found: set[str] = set()
    waiting = [root for root in roots if root in needs]
    while waiting:
        id_ = waiting.pop()
        if id_ not in found:
            found.add(id_)
            waiting += [wanted for wanted in needs.get(id_, ()) if wanted not in found]
    return found


def _needs(composition: Composition) -> dict[str, list[str]]:
    """The dependencies of each item that MONAI resolves."""
    made: dict[str, dict[str, None]] = {}
    for path, value in composition.walk():
        own = SEPARATOR.join(path)
        found = list(references_in(value)) if isinstance(value, str) else []
        builds = isinstance(value, dict) and "_target_" in value
        if path:
            made.setdefault(own, {})
        for length in range(1, len(path) + 1):
            outer = SEPARATOR.join(path[:length])
            if outer != own and (builds or (isinstance(value, str) and value.startswith("$"))):
                made[outer][own] = None
            for wanted in found:
                made[outer][wanted] = None
    return {id_: list(wanted) for id_, wanted in made.items()}
