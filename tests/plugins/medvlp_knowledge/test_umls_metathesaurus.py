"""The UMLS Metathesaurus, on small tables in the column order of the UMLS Reference Manual; no UMLS content is used."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest

from medvlp_knowledge.rrf import COLUMNS
from medvlp_knowledge.umls import UmlsMetathesaurus
from medvlp_toolkit.data.records import Concept, Triple


def rrf(table: str, rows: Iterable[dict[str, str]]) -> str:
    defaults = {"LAT": "ENG", "TS": "P", "STT": "PF", "ISPREF": "Y", "SAB": "VOC", "SUPPRESS": "N", "REL": "RO"}
    return "".join(
        "".join(f"{row.get(column, defaults.get(column, ''))}|" for column in COLUMNS[table]) + "\n" for row in rows
    )


TABLES: dict[str, list[dict[str, str]]] = {
    "MRCONSO": [
        {"CUI": "C0000003", "STR": "Lung", "SAB": "ANAT"},
        {"CUI": "C0000001", "STR": "Effusions, Pleural", "STT": "VO"},
        {"CUI": "C0000001", "STR": "Fluid on lung", "TS": "S"},
        {"CUI": "C0000001", "STR": "Pleural effusion", "ISPREF": "Y"},
        {"CUI": "C0000001", "STR": "pleural effusion", "ISPREF": "N"},
        {"CUI": "C0000001", "STR": "Épanchement pleural", "LAT": "FRE", "SAB": "VOCFRE"},
        {"CUI": "C0000001", "STR": "Old word", "SUPPRESS": "O"},
        {"CUI": "C0000002", "STR": "Disease of pleura"},
        {"CUI": "C0000004", "STR": "Suppressed only", "SUPPRESS": "Y"},
        {"CUI": "C0000005", "STR": "Maladie", "LAT": "FRE", "SAB": "VOCFRE"},
    ],
    "MRDEF": [
        {"CUI": "C0000001", "SAB": "ZVOC", "DEF": "From a vocabulary later in the alphabet."},
        {"CUI": "C0000001", "SAB": "VOCFRE", "DEF": "Du liquide."},
        {"CUI": "C0000001", "SAB": "ANAT", "DEF": "Fluid in the pleural space."},
        {"CUI": "C0000002", "SAB": "ANAT", "DEF": "Withdrawn.", "SUPPRESS": "E"},
    ],
    "MRSTY": [
        {"CUI": "C0000001", "TUI": "T047", "STY": "Disease or Syndrome"},
        {"CUI": "C0000001", "TUI": "T033", "STY": "Finding"},
        {"CUI": "C0000002", "TUI": "T047", "STY": "Disease or Syndrome"},
        {"CUI": "C0000003", "TUI": "T023", "STY": "Body Part, Organ, or Organ Component"},
    ],
    "MRREL": [
        # The relationship is that of CUI2 to CUI1: C0000001 is_a C0000002, and C0000002 inverse_isa C0000001.
        {"CUI1": "C0000002", "CUI2": "C0000001", "REL": "CHD", "RELA": "isa"},
        {"CUI1": "C0000001", "CUI2": "C0000002", "REL": "PAR", "RELA": "inverse_isa"},
        {"CUI1": "C0000002", "CUI2": "C0000001", "REL": "CHD", "RELA": "isa", "SAB": "ANAT"},
        {"CUI1": "C0000003", "CUI2": "C0000001", "REL": "RO", "SAB": "ANAT"},
        {"CUI1": "C0000001", "CUI2": "C0000001", "REL": "SY"},
        {"CUI1": "C0000003", "CUI2": "C0000002", "REL": "RN", "SUPPRESS": "O"},
        {"CUI1": "C0000009", "CUI2": "C0000001", "REL": "RB"},
    ],
}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    tables = {**TABLES, "MRCONSO": [*TABLES["MRCONSO"], {"CUI": "C0000003", "STR": "Lungs", "SAB": "ZVOC", "TS": "S"}]}
    for table, rows in tables.items():
        (tmp_path / f"{table}.RRF").write_text(rrf(table, rows), encoding="utf-8")
    return tmp_path


def test_concepts_are_english_unsuppressed_and_ordered_by_cui(release: Path) -> None:
    source = UmlsMetathesaurus(release)
    assert [c.id for c in source.concepts] == ["C0000001", "C0000002", "C0000003"]


def test_preferred_name_follows_ts_stt_ispref_and_the_rest_are_synonyms(release: Path) -> None:
    assert UmlsMetathesaurus(release).concepts[0] == Concept(
        id="C0000001",
        name="Pleural effusion",
        synonyms=("Effusions, Pleural", "Fluid on lung"),
        definition="Fluid in the pleural space.",
        kind="Disease or Syndrome",
    )


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"TS": "P", "STT": "VO", "ISPREF": "N"}, {"TS": "S", "STT": "PF", "ISPREF": "Y"}),
        ({"TS": "S", "STT": "PF", "ISPREF": "N"}, {"TS": "S", "STT": "VO", "ISPREF": "Y"}),
        ({"TS": "P", "STT": "PF", "ISPREF": "Y"}, {"TS": "P", "STT": "PF", "ISPREF": "N"}),
    ],
)
def test_preference_does_not_depend_on_the_order_of_rows(
    tmp_path: Path, order: int, better: dict[str, str], worse: dict[str, str]
) -> None:
    rows = [{"CUI": "C1", "STR": "better", **better}, {"CUI": "C1", "STR": "worse", **worse}][::order]
    (tmp_path / "MRCONSO.RRF").write_text(rrf("MRCONSO", rows))
    concept = UmlsMetathesaurus(tmp_path, definitions=False, kind="finding").concepts[0]
    assert (concept.name, concept.synonyms) == ("better", ("worse",))


def test_vocabularies_limit_names_and_relations_but_not_definitions(release: Path) -> None:
    source = UmlsMetathesaurus(release, vocabularies=["VOC"])
    assert [c.id for c in source.concepts] == ["C0000001", "C0000002"]
    assert source.concepts[0].definition == "Fluid in the pleural space."
    assert {t.relation for t in source.triples} == {"isa", "inverse_isa"}


def test_definition_of_the_vocabulary_named_first_is_taken(release: Path) -> None:
    source = UmlsMetathesaurus(release, vocabularies=["VOC", "ZVOC", "ANAT"])
    assert source.concepts[0].definition == "From a vocabulary later in the alphabet."


def test_semantic_types_are_chosen_by_number_or_name(release: Path) -> None:
    assert [c.id for c in UmlsMetathesaurus(release, semantic_types=["T023"]).concepts] == ["C0000003"]
    source = UmlsMetathesaurus(release, semantic_types=["finding"])
    assert [(c.id, c.kind) for c in source.concepts] == [("C0000001", "Finding")]


def test_second_concept_of_a_relation_is_the_head(release: Path) -> None:
    assert list(UmlsMetathesaurus(release).triples) == [
        Triple("C0000001", "isa", "C0000002"),
        Triple("C0000002", "inverse_isa", "C0000001"),
        Triple("C0000001", "RO", "C0000003"),
    ]


def test_relations_can_be_chosen(release: Path) -> None:
    source = UmlsMetathesaurus(release, relations=["isa"])
    assert list(source.triples) == [Triple("C0000001", "isa", "C0000002")]
    with pytest.raises(ValueError, match="no relation 'is_a'"):
        _ = UmlsMetathesaurus(release, relations=["is_a"]).triples


def test_another_language_can_be_chosen(release: Path) -> None:
    source = UmlsMetathesaurus(release, language="FRE")
    assert [(c.name, c.definition) for c in source.concepts] == [
        ("Épanchement pleural", "Du liquide."),
        ("Maladie", ""),
    ]


def test_compressed_tables_in_a_meta_folder_give_the_same(release: Path, tmp_path: Path) -> None:
    plain = UmlsMetathesaurus(release)
    meta = tmp_path / "other" / "META"
    meta.mkdir(parents=True)
    for table in COLUMNS:
        (meta / f"{table}.RRF.gz").write_bytes(gzip.compress((release / f"{table}.RRF").read_bytes()))
    packed = UmlsMetathesaurus(meta.parent)
    assert packed.concepts == plain.concepts
    assert packed.triples == plain.triples


def test_row_order_of_the_tables_does_not_change_the_concepts(release: Path) -> None:
    before = UmlsMetathesaurus(release)
    for table in ("MRCONSO", "MRSTY", "MRDEF"):
        file = release / f"{table}.RRF"
        file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    after = UmlsMetathesaurus(release)
    assert [(c.id, c.name, set(c.synonyms), c.definition) for c in after.concepts] == [
        (c.id, c.name, set(c.synonyms), c.definition) for c in before.concepts
    ]


def test_a_string_may_hold_other_line_separators(tmp_path: Path) -> None:
    (tmp_path / "MRCONSO.RRF").write_text(
        rrf("MRCONSO", [{"CUI": "C1", "STR": "one\u2028line\x0bstill"}]), encoding="utf-8", newline=""
    )
    assert UmlsMetathesaurus(tmp_path, definitions=False, kind="x").concepts[0].name == "one\u2028line\x0bstill"


def test_memory_grows_with_what_is_kept_not_with_the_tables(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        conso = ({"CUI": f"C{n}", "STR": f"name {n}", "SAB": "WANTED" if n < 100 else "OTHER"} for n in range(rows))
        (tmp_path / "MRCONSO.RRF").write_text(rrf("MRCONSO", conso))
        tracemalloc.start()
        source = UmlsMetathesaurus(tmp_path, vocabularies=["WANTED"], definitions=False, kind="finding")
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(source) == 100
        return memory

    peak(200)  # warm caches of the interpreter
    assert peak(20_000) < 1.5 * peak(200)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("MRCONSO", {}, r"no MRCONSO.RRF or MRCONSO.RRF.gz in .* or its folder META"),
        ("MRDEF", {}, "give definitions=False to do without"),
        ("MRSTY", {}, "give kind='concept' to do without"),
        ("MRSTY", {"semantic_types": ["T047"]}, "no MRSTY.RRF"),
    ],
)
def test_missing_tables_are_named(release: Path, table: str, options: dict[str, list[str]], message: str) -> None:
    (release / f"{table}.RRF").unlink()
    with pytest.raises(FileNotFoundError, match=message):
        UmlsMetathesaurus(release, **options)  # type: ignore[arg-type]


def test_concepts_do_not_need_mrrel_but_triples_do(release: Path) -> None:
    (release / "MRREL.RRF").unlink()
    source = UmlsMetathesaurus(release)
    assert len(source) == 3
    with pytest.raises(FileNotFoundError, match=r"no MRREL\.RRF"):
        _ = source.triples


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder '.*absent'; expected the one that holds MRCONSO.RRF"):
        UmlsMetathesaurus(tmp_path / "absent")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabularies": ["VOK"]}, r"no vocabulary \(SAB\) 'VOK'; did you mean 'VOC'"),
        ({"semantic_types": ["Disease or Sindrome"]}, "did you mean 'Disease or Syndrome'"),
        ({"semantic_types": ["Bird"]}, "there are T047, T033, T023"),
        ({"language": "eng"}, "no concept has a name in the language 'eng'"),
    ],
)
def test_choices_that_do_not_occur_are_refused(release: Path, options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UmlsMetathesaurus(release, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("table", COLUMNS)
def test_rows_of_another_width_are_refused_with_file_and_line(release: Path, table: str) -> None:
    file = release / f"{table}.RRF"
    with file.open("a") as stream:
        stream.write("C0000001|ENG|\n")
    number = len(file.read_text().splitlines())
    with pytest.raises(
        ValueError, match=rf"{table}.RRF, line {number}: 2 columns, expected the {len(COLUMNS[table])} of"
    ):
        _ = UmlsMetathesaurus(release).triples


def test_column_orders_are_those_of_the_reference_manual() -> None:
    # From sample rows: the tables have 18, 8, 16 and 6 columns, and these fields at these places.
    assert [len(COLUMNS[t]) for t in ("MRCONSO", "MRDEF", "MRREL", "MRSTY")] == [18, 8, 16, 6]
    assert [COLUMNS["MRCONSO"].index(c) for c in ("CUI", "LAT", "SAB", "STR", "SUPPRESS")] == [0, 1, 11, 14, 16]
    assert [COLUMNS["MRREL"].index(c) for c in ("CUI1", "REL", "CUI2", "RELA", "SAB")] == [0, 3, 4, 7, 10]
    assert [COLUMNS["MRDEF"].index(c) for c in ("SAB", "DEF", "SUPPRESS")] == [4, 5, 6]
    assert [COLUMNS["MRSTY"].index(c) for c in ("TUI", "STY")] == [1, 3]
