"""Every built-in knowledge source keeps its contract."""
# ruff: noqa: RUF012 - the arguments of a suite are read only

from pathlib import Path

import pytest

from medvlp_knowledge.definitions import Definitions
from medvlp_knowledge.triples import TripleTable
from medvlp_toolkit.testing import KnowledgeSourceSuite


class TestDefinitions(KnowledgeSourceSuite):
    plugin = "definitions"
    arguments = {"path": "chest_entities"}


class TestPositions(KnowledgeSourceSuite):
    plugin = "definitions"
    arguments = {"path": "chest_positions", "kind": "anatomy"}


class TestObo(KnowledgeSourceSuite):
    plugin = "obo"

    @pytest.fixture(autouse=True)
    def _ontology(self, tmp_path: Path) -> None:
        terms = [
            "format-version: 1.2\nontology: chest\n",
            "[Term]\nid: C:1\nname: chest finding\n",
            '[Term]\nid: C:2\nname: pleural effusion\nsynonym: "hydrothorax" EXACT []\nis_a: C:1 ! chest finding\n',
        ]
        (tmp_path / "chest.obo").write_text("\n".join(terms))
        self.arguments = {"path": tmp_path / "chest.obo"}


class TestTriples(KnowledgeSourceSuite):
    plugin = "triples"

    @pytest.fixture(autouse=True)
    def _table(self, tmp_path: Path) -> None:
        (tmp_path / "graph.tsv").write_text("effusion\tlocated_in\tpleura\nedema\tlocated_in\tlung\n")
        self.arguments = {"path": tmp_path / "graph.tsv"}


class TestRelations(KnowledgeSourceSuite):
    plugin = "triples"
    arguments = {"path": "chest_relations"}


class TestChestLexicon(KnowledgeSourceSuite):
    plugin = "chest_lexicon"
    arguments = {}


class TestJoined(KnowledgeSourceSuite):
    plugin = "joined"

    @pytest.fixture(autouse=True)
    def _sources(self) -> None:
        self.arguments = {"sources": [Definitions(path="chest_entities"), TripleTable(path="chest_relations")]}


class TestUmls(KnowledgeSourceSuite):
    """On tables in the column order of the UMLS Reference Manual, with no UMLS content."""

    plugin = "umls"

    @pytest.fixture(autouse=True)
    def _release(self, tmp_path: Path) -> None:
        rows = {
            "MRCONSO": [
                "C1|ENG|P|L1|PF|S1|Y|A1||||VOC|PT|1|Pleural effusion|0|N||",
                "C2|ENG|P|L2|PF|S2|Y|A2||||VOC|PT|2|Pleura|0|N||",
            ],
            "MRDEF": ["C1|A1|AT1||VOC|Fluid in the pleural space.|N||"],
            "MRSTY": ["C1|T047|B2|Disease or Syndrome|AT2||", "C2|T023|A1|Body Part, Organ, or Organ Component|AT3||"],
            "MRREL": ["C2|A2|AUI|RO|C1|A1|AUI|location_of|R1||VOC|VOC|||N||"],
        }
        for table, lines in rows.items():
            (tmp_path / f"{table}.RRF").write_text("".join(f"{line}\n" for line in lines))
        self.arguments = {"path": tmp_path}
