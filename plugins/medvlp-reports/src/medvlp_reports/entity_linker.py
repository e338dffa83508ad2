"""The ``entity_linker`` report filter: mentions of a knowledge source's concepts in text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Protocol

from medvlp_reports.phrases import Lemmas
from medvlp_toolkit.data.records import Concept, Finding, Report

_WORD = re.compile(r"[^\W_]+")

FUNCTION_WORDS = frozenset([
    "a", "all", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "did", "do",
    "for", "from", "had", "has", "have", "he", "her", "him", "his", "i", "if", "in", "into", "is", "it", "its",
    "may", "me", "more", "most", "no", "nor", "not", "of", "off", "on", "one", "or", "our", "out", "over",
    "own", "s", "she", "so", "some", "such", "t", "than", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "to", "too", "two", "under", "up", "us", "was", "we", "were", "what", "when",
    "which", "who", "why", "will", "with", "you",
])  # fmt: skip
"""Names that are only such words are not linked: in large vocabularies some abbreviation equals each."""


class HasConcepts(Protocol):
    """The part of a knowledge source that the linker needs."""

    @property
    def concepts(self) -> Sequence[Concept]: ...


class EntityLinker:
    """Links words of a text to concepts by their names and synonyms: the longest name at each place.

    Words are compared without case and in the singular. Spaces, hyphens and punctuation between words are ignored
    within a sentence; a full stop or line break ends a name.

    Args:
        knowledge: a knowledge source, or concepts.
        min_length: names with fewer characters are left out.
        kinds: concept kinds that are linked; all when None.
        ignore: names that are left out, in addition to those of function words only.
        all_meanings: a name shared by several concepts gives a finding for each; else for the first.

    ``entities`` are the ids of the concepts, in their order; ``positions`` is empty. 100,000 concepts
    take about a second to index, and a report tens of microseconds.

    Example::

        entity_linker:
          _target_: medvlp_toolkit.report_filters.entity_linker
          knowledge:
            _target_: medvlp_toolkit.knowledge_sources.definitions
            path: chest_entities
    """

    def __init__(
        self,
        knowledge: HasConcepts | Iterable[Concept],
        min_length: int = 3,
        kinds: Collection[str] | None = None,
        ignore: Collection[str] = (),
        all_meanings: bool = False,
    ) -> None:
        source = knowledge if isinstance(knowledge, Iterable) else knowledge.concepts
        concepts = [concept for concept in source if kinds is None or concept.kind in kinds]
        if not concepts:
            wanted = "" if kinds is None else f" of kind {', '.join(sorted(kinds))}"
            raise ValueError(f"entity_linker: the knowledge source has no concepts{wanted}")
        self.entities: list[str] = [concept.id for concept in concepts]
        self.positions: list[str] = []
        self.all_meanings = all_meanings
        self._lemmas = Lemmas({})
        # Name (lemmas joined by a space) → concepts; first lemma → word counts of names, longest first.
        self._concepts_of: dict[str, tuple[int, ...]] = {}
        self._lengths: dict[str, tuple[int, ...]] = {}
        digest = hashlib.sha256(repr((min_length, all_meanings)).encode())
        ignored = {self._name(name)[0] for name in ignore}
        for index, concept in enumerate(concepts):
            for name in (concept.name, *concept.synonyms):
                self._add(name, index, min_length, ignored)
            digest.update(repr((concept.id, concept.name, concept.synonyms)).encode())
        self._lengths = {first: tuple(sorted(lengths, reverse=True)) for first, lengths in self._lengths.items()}
        self.fingerprint = digest.hexdigest()

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        """Mentions in each report's text, in its order; presence and position are None."""
        return [self.link(report.text) for report in reports]

    def link(self, text: str) -> list[Finding]:
        """Mentions in a text, left to right, without overlap."""
        words: list[str] = []
        spans: list[tuple[int, int]] = []
        lemma_of = self._lemmas
        for match in _WORD.finditer(text):
            words.append(lemma_of[match.group().lower()])
            spans.append(match.span())
        found: list[Finding] = []
        index, count = 0, len(words)
        while index < count:
            step = 1
            for length in self._lengths.get(words[index], ()):
                end = index + length
                if end > count:
                    continue
                concepts = self._concepts_of.get(" ".join(words[index:end]) if length > 1 else words[index])
                if concepts is None or (length > 1 and _broken(text, spans[index:end])):
                    continue
                span = spans[index][0], spans[end - 1][1]
                for concept in concepts:
                    identifier = self.entities[concept]
                    found.append(Finding(entity=identifier, span=span, concept_id=identifier))
                step = length
                break
            index += step
        return found

    def _name(self, name: str) -> tuple[str, list[str]]:
        words = [self._lemmas[word.lower()] for word in _WORD.findall(name)]
        return " ".join(words), words

    def _add(self, name: str, index: int, min_length: int, ignored: Collection[str]) -> None:
        if len(name.strip()) < min_length:
            return
        key, words = self._name(name)
        if not words or key in ignored or FUNCTION_WORDS.issuperset(words):
            return
        known = self._concepts_of.get(key)
        if known is None:
            self._concepts_of[key] = (index,)
            lengths = self._lengths.get(words[0], ())
            if len(words) not in lengths:
                self._lengths[words[0]] = (*lengths, len(words))
        elif self.all_meanings and index not in known:
            self._concepts_of[key] = (*known, index)


def _broken(text: str, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a sentence ends between the words."""
    for (_, end), (start, _) in pairwise(spans):
        between = text[end:start]
        if between != " " and (". " in between or "\n\n" in between or ".\n" in between or ";" in between):
            return True
    return False
