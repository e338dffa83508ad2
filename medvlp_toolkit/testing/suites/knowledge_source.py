"""The contract of knowledge sources."""

from __future__ import annotations

from typing import Any

from medvlp_toolkit.data.records import Concept, Triple
from medvlp_toolkit.testing.suites.plugin import PluginSuite


class KnowledgeSourceSuite(PluginSuite):
    """What :class:`medvlp_toolkit.interfaces.KnowledgeSource` promises."""

    kind = "knowledge_sources"

    def contents(self, instance: Any) -> tuple[list[Concept], list[Triple]]:
        with self.doing("reading its `concepts`, and its `triples` (an empty sequence if there are none),"):
            return list(instance.concepts), list(instance.triples)

    def test_concepts_have_an_id_and_a_name_each(self) -> None:
        concepts, _ = self.contents(self.built())
        self.check(concepts, "it has no concept")
        for concept in concepts:
            self.check(
                isinstance(concept, Concept),
                f"`concepts` holds a {type(concept).__name__}; expected medvlp_toolkit.data.records.Concept",
            )
            for attribute in ("id", "name", "kind"):
                value = getattr(concept, attribute)
                self.check(
                    isinstance(value, str) and value.strip(), f"concept '{concept.id}' has {attribute} {value!r}"
                )
            self.check(
                isinstance(concept.definition, str),
                f"concept '{concept.id}' has a definition that is not text; give '' if there is none",
            )
            self.check(
                isinstance(concept.synonyms, tuple) and all(isinstance(s, str) and s for s in concept.synonyms),
                f"concept '{concept.id}' has synonyms {concept.synonyms!r}; expected a tuple of non-empty strings",
            )
        self.check_unique_names([concept.id for concept in concepts], "concepts")

    def test_triples_relate_concepts_of_the_source(self) -> None:
        concepts, triples = self.contents(self.built())
        known = {concept.id for concept in concepts}
        for triple in triples:
            self.check(
                isinstance(triple, Triple),
                f"`triples` holds a {type(triple).__name__}; expected medvlp_toolkit.data.records.Triple",
            )
            self.check(triple.relation, f"the triple from '{triple.head}' to '{triple.tail}' has no relation")
            for end in (triple.head, triple.tail):
                self.check(end in known, f"a triple names '{end}', which is the id of none of its concepts")

    def test_contents_are_the_same_each_time_and_in_the_same_order(self) -> None:
        instance = self.built()
        first = self.contents(instance)
        self.check(self.contents(instance) == first, "reading concepts and triples a second time gives others")
        self.check(self.contents(self.built()) == first, "two equal instances have different concepts or triples")

    def test_works_after_pickling(self) -> None:
        instance = self.built()
        self.check(
            self.contents(self.check_pickles(instance)) == self.contents(instance),
            "after pickling it has different concepts or triples",
        )
