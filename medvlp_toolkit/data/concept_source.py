"""Base for knowledge sources: ids and descriptions, derived from the concepts; names of concepts."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter

from medvlp_toolkit.data.contracts import KnowledgeSource
from medvlp_toolkit.data.records import Concept, Triple

_TEMPLATE_FIELDS = ("id", "name", "definition")


def names_of(*sources: KnowledgeSource | None) -> dict[str, str]:
    """Id -> name of every concept of some knowledge sources; None is passed over."""
    return {concept.id: concept.name for source in sources if source is not None for concept in source.concepts}


class ConceptSource:
    """A knowledge source with ordered ids and texts to embed, which recipes need beyond the contract.

    A subclass defines ``concepts``, and ``triples`` if it has any.
    """

    @property
    def concepts(self) -> Sequence[Concept]:
        """The concepts, in a fixed order."""
        raise NotImplementedError

    @property
    def triples(self) -> Sequence[Triple]:
        """Relations among the concepts; none by default."""
        return ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(concept.id for concept in self.concepts)

    def descriptions(self, template: str = "{definition}") -> list[str]:
        """One text per concept, in order, for a text encoder.

        ``template`` may use ``{id}``, ``{name}`` and ``{definition}``. MedKLIP's position prompts keep the
        underscores of the ids: ``"It is located at {id}"``.

        Raises:
            ValueError: for a template without a field, or with an unknown one.
        """
        try:
            used = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        except ValueError as error:
            raise ValueError(f"template '{template}': {error}; write {{{{ for a literal brace") from None
        unknown = [name for name in used if name not in _TEMPLATE_FIELDS]
        if unknown or not used:
            found = f"unknown field '{{{unknown[0]}}}'" if unknown else "no field"
            known = ", ".join(f"{{{name}}}" for name in _TEMPLATE_FIELDS)
            raise ValueError(f"template '{template}': {found}; expected one or more of {known}")
        return [template.format(id=c.id, name=c.name, definition=c.definition) for c in self.concepts]

    def __len__(self) -> int:
        return len(self.concepts)
