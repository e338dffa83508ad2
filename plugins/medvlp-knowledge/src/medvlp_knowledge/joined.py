"""The knowledge source ``joined``: several sources as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medvlp_toolkit.data.records import Concept, Triple

if TYPE_CHECKING:
    from medvlp_toolkit.interfaces import KnowledgeSource

_WORD = re.compile(r"[^\W_]+")


class JoinedKnowledge:
    """The concepts of several knowledge sources, one after another, and their triples.

    A concept that an earlier source already has is not repeated: one with the same id, and, unless ``by_name`` is
    false, one that has the earlier one's name as a name or synonym (without regard to case and punctuation). Its names
    become synonyms of the earlier one, and its triples are assigned to it, so that a lexicon and an ontology share one
    concept of pleural effusion. Concepts that share only synonyms are not merged: "edema" is short for pulmonary edema
    in one source and any edema in another.

    Args:
        sources: knowledge sources; earlier ones take precedence.
        by_name: whether concepts of different sources that share a name are merged.

    Raises:
        ValueError: without a source.

    Example::

        knowledge:
          _target_: medvlp_toolkit.knowledge_sources.joined
          sources:
            - {_target_: medvlp_toolkit.knowledge_sources.definitions, path: [chest_entities, chest_positions]}
            - {_target_: medvlp_toolkit.knowledge_sources.triples, path: chest_relations}
            - {_target_: medvlp_toolkit.knowledge_sources.obo, path: hpo}
    """

    def __init__(self, sources: Sequence[KnowledgeSource], by_name: bool = True) -> None:
        if not sources:
            raise ValueError("sources is empty; expected at least one knowledge source")
        concepts: dict[str, Concept] = {}
        owner: dict[str, str] = {}
        triples: dict[Triple, None] = {}
        for source in sources:
            same: dict[str, str] = {}
            for concept in source.concepts:
                known = concept.id if concept.id in concepts else None
                if known is None and by_name:
                    known = next((owner[name] for name in _names(concept) if name in owner), None)
                if known is None:
                    concepts[concept.id] = concept
                else:
                    concepts[known] = _with_names_of(concepts[known], concept)
                same[concept.id] = known or concept.id
            # Equal names within one source are homonyms, so names are compared only with earlier sources.
            for concept in source.concepts:
                if same[concept.id] == concept.id:
                    owner.setdefault(_plain(concepts[concept.id].name), concept.id)
            for triple in source.triples:
                head, tail = same.get(triple.head, triple.head), same.get(triple.tail, triple.tail)
                if head != tail:
                    triples.setdefault(Triple(head, triple.relation, tail))
        self._concepts = tuple(concepts.values())
        self._triples = tuple(triples)

    @property
    def concepts(self) -> Sequence[Concept]:
        """The concepts, in the order of the sources."""
        return self._concepts

    @property
    def triples(self) -> Sequence[Triple]:
        """The triples, in the order of the sources, once each."""
        return self._triples

    def __len__(self) -> int:
        return len(self._concepts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._concepts)} concepts, {len(self._triples)} triples)"


def _plain(name: str) -> str:
    """The name without case and punctuation."""
    return " ".join(_WORD.findall(name.casefold()))


def _names(concept: Concept) -> list[str]:
    return [plain for name in (concept.name, *concept.synonyms) if (plain := _plain(name))]


def _with_names_of(concept: Concept, other: Concept) -> Concept:
    known = {"", _plain(concept.id), *_names(concept)}  # a table of triples has only the ids of its concepts
    more = tuple(name for name in (other.name, *other.synonyms) if _plain(name) not in known)
    return replace(concept, synonyms=concept.synonyms + more, definition=concept.definition or other.definition)
