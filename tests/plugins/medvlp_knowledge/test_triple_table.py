"""Triples from a tab-separated file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from medvlp_knowledge.triples import TripleTable
from medvlp_toolkit.data.records import Concept, Triple

ROWS = "effusion\tlocated_in\tpleura\n\nedema\tlocated_in\tlung\neffusion\tlocated_in\tpleura\n"
EFFUSION = Triple("effusion", "located_in", "pleura")
EDEMA = Triple("edema", "located_in", "lung")


def write(folder: Path, text: str, name: str = "graph.tsv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_triples_keep_order_and_repetitions(tmp_path: Path) -> None:
    source = TripleTable(path=write(tmp_path, ROWS))
    assert list(source.triples) == [EFFUSION, EDEMA, EFFUSION]
    assert [c.id for c in source.concepts] == ["effusion", "pleura", "edema", "lung"]
    assert source.concepts[0] == Concept("effusion", "effusion")


@pytest.mark.parametrize("title", ["head\trelation\ttail\n", "Head\tRelation\tTail\r\n"])
def test_a_header_is_recognised_and_left_out(tmp_path: Path, title: str) -> None:
    assert list(TripleTable(path=write(tmp_path, title + ROWS)).triples) == [EFFUSION, EDEMA, EFFUSION]


def test_a_header_of_other_titles_is_declared(tmp_path: Path) -> None:
    file = write(tmp_path, "a\tb\tc\n" + ROWS)
    assert len(TripleTable(path=file).triples) == 4
    assert len(TripleTable(path=file, header=True).triples) == 3


def test_columns_are_chosen_by_number_or_title(tmp_path: Path) -> None:
    by_number = write(tmp_path, "effusion\tpleura\t0.5\tlocated_in\n", "number.tsv")
    assert list(TripleTable(path=by_number, head=0, tail=1, relation=3).triples) == [EFFUSION]
    by_title = write(tmp_path, "to\tfrom\tkind\npleura\teffusion\tlocated_in\n", "title.tsv")
    assert list(TripleTable(path=by_title, head="from", relation="kind", tail="to").triples) == [EFFUSION]


def test_names_come_first_and_cover_concepts_without_triples(tmp_path: Path) -> None:
    names = write(
        tmp_path,
        "id\tname\tsynonyms\tdefinition\nmass\tlung mass\nlung\tthe lung\tpulmo | lungs\tAn organ.\n",
        "names.tsv",
    )
    source = TripleTable(path=write(tmp_path, ROWS), names=names, kind="anatomy")
    assert [c.id for c in source.concepts] == ["mass", "lung", "effusion", "pleura", "edema"]
    assert source.concepts[1] == Concept("lung", "the lung", ("pulmo", "lungs"), "An organ.", "anatomy")


def test_gzip_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "graph.tsv.gz"
    file.write_bytes(gzip.compress(ROWS.encode()))
    assert len(TripleTable(path=file).triples) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tr\tb\n\na\tr\n", "line 3: 2 tab-separated cells, expected at least 3"),
        ("a r b\n", "line 1: 1 tab-separated cells"),
        ("a\tr\tb\na\t \tb\n", "line 2: an empty head, relation or tail"),
        ("", "no triples"),
        ("head\trelation\ttail\n", "no triples"),
    ],
)
def test_malformed_rows_are_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"graph.tsv.*{message}"):
        TripleTable(path=write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lung\n", "line 1: 1 tab-separated cells; expected id, name"),
        ("lung\tthe lung\nlung\tagain\n", "line 2: id 'lung' occurs twice"),
        ("lung\t\n", "line 1: an empty id or name"),
    ],
)
def test_malformed_names_are_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    names = write(tmp_path, text, "names.tsv")
    with pytest.raises(ValueError, match=rf"names.tsv, {message}"):
        TripleTable(path=write(tmp_path, ROWS), names=names)


def test_wrong_columns_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, ROWS)
    with pytest.raises(ValueError, match="line 1: no column 'subject'; the titles are effusion, located_in, pleura"):
        TripleTable(path=file, head="subject")
    with pytest.raises(ValueError, match="need a header"):
        TripleTable(path=file, head="subject", header=False)
    with pytest.raises(ValueError, match="column -1: expected a number from 0"):
        TripleTable(path=file, tail=-1)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file of triples at '.*absent.tsv'"):
        TripleTable(path=tmp_path / "absent.tsv")
    with pytest.raises(FileNotFoundError, match=r"no file of concept names at '.*absent.tsv'"):
        TripleTable(path=write(tmp_path, ROWS), names=tmp_path / "absent.tsv")
    broken = tmp_path / "latin.tsv"
    broken.write_bytes("a\tr\tb\nœdème\tr\tb\n".encode("cp1252"))
    with pytest.raises(ValueError, match=r"latin.tsv: not UTF-8"):
        TripleTable(path=broken)
