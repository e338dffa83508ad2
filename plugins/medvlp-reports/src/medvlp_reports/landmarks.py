"""MedKLIP's closed vocabulary and its table that maps anatomy words to one of 51 landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from medvlp_reports.resources import load_yaml


@dataclass(frozen=True, slots=True)
class LandmarkRule:
    """One row of the table: the anatomies that name this landmark.

    An anatomy, words joined by ``|`` with the head first, is at this landmark if it is one of
    ``exactly``, or if it has a word of ``any_of``, a word of each set of ``all_of`` and no word of
    ``none_of``.
    """

    name: str
    any_of: frozenset[str]
    all_of: tuple[frozenset[str], ...]
    none_of: frozenset[str]
    exactly: frozenset[str]

    def holds(self, anatomy: str, words: frozenset[str]) -> bool:
        if anatomy in self.exactly:
            return True
        return (
            not self.any_of.isdisjoint(words)
            and all(not group.isdisjoint(words) for group in self.all_of)
            and self.none_of.isdisjoint(words)
        )


@dataclass(frozen=True)
class Vocabulary:
    """The 75 entities and 51 positions in MedKLIP's order, with its merges and landmark rules."""

    entities: tuple[str, ...]
    positions: tuple[str, ...]
    excluded: frozenset[str]
    merges: Mapping[str, str]
    rules: tuple[LandmarkRule, ...]

    def entity(self, lemma: str) -> str:
        """The class of an observation's lemma (merges, excluded words, tail)."""
        lemma = self.merges.get(lemma, lemma)
        if lemma in self.excluded:
            return "excluded_obs"
        return lemma if lemma in self._classes else "tail_abnorm_obs"

    def position(self, anatomy: str) -> str:
        """The landmark that an anatomy string names: the first rule that holds, else ``other``.

        ``anatomy`` is words joined by ``|``, the head first; ``unspecified`` is unchanged.
        """
        if anatomy == "unspecified":
            return anatomy
        words = frozenset(anatomy.split("|"))
        for rule in self.rules:
            if rule.holds(anatomy, words):
                return rule.name
        return "other"

    @property
    def _classes(self) -> frozenset[str]:
        return _classes(self.entities)


@cache
def _classes(entities: tuple[str, ...]) -> frozenset[str]:
    return frozenset(entities)


def _rule(row: Mapping[str, Any]) -> LandmarkRule:
    groups: Sequence[Sequence[str]] = row.get("all_of", ())
    return LandmarkRule(
        name=row["name"],
        any_of=frozenset(row.get("any", ())),
        all_of=tuple(frozenset(group) for group in groups),
        none_of=frozenset(row.get("none_of", ())),
        exactly=frozenset(row.get("exactly", ())),
    )


@cache
def medklip_vocabulary() -> Vocabulary:
    """MedKLIP's vocabulary (Wu et al., ICCV 2023, arXiv 2301.02228), read from ``data/medklip.yaml``."""
    table = load_yaml("medklip.yaml")
    return Vocabulary(
        entities=tuple(table["entities"]),
        positions=tuple(row["name"] for row in table["positions"]),
        excluded=frozenset(table["excluded"]),
        merges={form: lemma for lemma, forms in table["merges"].items() for form in forms},
        rules=tuple(_rule(row) for row in table["positions"] if len(row) > 1),
    )
