"""The knowledge source ``chest_lexicon``: the shipped chest-radiograph entities and their relations."""

from __future__ import annotations

from medvlp_knowledge.definitions import Definitions
from medvlp_knowledge.joined import JoinedKnowledge
from medvlp_knowledge.triples import TripleTable


class ChestLexicon(JoinedKnowledge):
    """The definitions ``chest_entities``, ``chest_positions`` and ``chest_extra`` with the triples ``chest_relations``.

    Findings, devices and anatomy that reports of chest radiographs name, where each finding sits, what it is a kind or
    part of and what it causes. Needs no licence and no download.

    Example:
        >>> ChestLexicon().triples[0]
        Triple(head='effusion', relation='located_in', tail='pleural_unspec')
    """

    def __init__(self) -> None:
        files = ("chest_entities", "chest_positions", "chest_extra")
        super().__init__([Definitions(path=list(files)), TripleTable(path="chest_relations")])
