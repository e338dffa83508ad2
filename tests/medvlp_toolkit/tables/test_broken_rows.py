"""Rows whose quoting is broken cost themselves alone, and never become part of another row."""

from __future__ import annotations

import csv
import io
import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medvlp_toolkit.tables.rows import (
    BROKEN_TEXT,
    CLOSED_ONLY,
    LIKE_ROWS,
    NO_ROW,
    OPEN_QUOTE,
    STRAY_QUOTE,
)
from medvlp_toolkit.tables.table import Table


def table(path: Path, rows: list[str], header: str = "image,patient_id,report") -> Table:
    (path / "t.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8", newline="")
    return Table(path / "t.csv")


def plain(count: int) -> list[str]:
    return [f"img/{n}.png,p{n},FINDINGS: effusion {n}." for n in range(count)]


def outcome(read: Table) -> tuple[list[str], list[tuple[str, str]]]:
    """Patients of the rows used, and places and problems of the others; the sum is checked."""
    rows = list(read)
    used = [row.values["patient_id"] for row in rows if row.values is not None]
    bad = [(row.place, row.problem) for row in rows if row.values is None]
    assert (read.read, read.bad) == (len(used) + len(bad), len(bad))
    return used, bad


class TestOpenQuotes:
    def test_one_that_never_closes(self, tmp_path: Path) -> None:
        rows = plain(200)
        rows[49] = 'img/1.png,p49,"FINDINGS: effusion 49.'
        used, bad = outcome(table(tmp_path, rows))
        assert bad == [("line 51", OPEN_QUOTE)]
        assert used == [f"p{n}" for n in range(200) if n != 49]

    @pytest.mark.parametrize(
        "later",
        [
            'img/7.png,p119,FINDINGS: "bat wing" edema 119.',  # a quote within a word ends the field too early
            'img/7.png,p119,"FINDINGS: edema 119."',
            'img/7.png,p119,"FINDINGS: edema 119.',
        ],
    )
    def test_one_that_meets_another_quote_70_rows_later(self, tmp_path: Path, later: str) -> None:
        rows = plain(200)
        rows[49], rows[119] = 'img/1.png,p49,"FINDINGS: effusion 49.', later
        used, bad = outcome(table(tmp_path, rows))
        lost = {49, 119} if later.count('"') == 1 else {49}
        assert used == [f"p{n}" for n in range(200) if n not in lost]
        assert [place for place, _ in bad] == [f"line {n + 2}" for n in sorted(lost)]

    def test_one_that_a_stray_quote_closes_as_if_it_were_right(self, tmp_path: Path) -> None:
        rows = plain(60)
        rows[20], rows[40] = 'img/1.png,p20,"FINDINGS: effusion 20.', 'img/1.png,p40,FINDINGS: effusion 40."'
        used, bad = outcome(table(tmp_path, rows))
        assert used == [f"p{n}" for n in range(60) if n not in (20, 40)]
        assert bad == [("line 22", OPEN_QUOTE), ("line 42", CLOSED_ONLY)]

    def test_one_that_the_next_row_closes(self, tmp_path: Path) -> None:
        rows = plain(8)
        rows[3], rows[4] = 'img/3.png,p3,"FINDINGS: effusion', 'img/4.png,p4,FINDINGS: clear."'
        used, bad = outcome(table(tmp_path, rows))
        assert used == ["p0", "p1", "p2", "p5", "p6", "p7"]
        assert [place for place, _ in bad] == ["line 5", "line 6"]

    def test_one_in_the_first_column(self, tmp_path: Path) -> None:
        rows = [f"FINDINGS: effusion {n}.,img/{n}.png,p{n}" for n in range(30)]
        rows[10], rows[20] = '"FINDINGS: a,img/10.png,p10', 'FINDINGS: b",img/20.png,p20'
        used, bad = outcome(table(tmp_path, rows, "report,image,patient_id"))
        assert used == [f"p{n}" for n in range(30) if n not in (10, 20)]
        assert [place for place, _ in bad] == ["line 12", "line 22"]

    def test_one_in_a_report_of_several_lines(self, tmp_path: Path) -> None:
        rows = [*plain(5), 'img/5.png,p5,"FINDINGS: small, left\neffusion, no edema.\nIMPRESSION: effusion.']
        used, bad = outcome(table(tmp_path, rows + [row.replace("p", "q") for row in plain(5)]))
        assert used == [f"p{n}" for n in range(5)] + [f"q{n}" for n in range(5)]
        assert bad == [("lines 7 to 9", OPEN_QUOTE)]

    def test_the_files_last_row(self, tmp_path: Path) -> None:
        used, bad = outcome(table(tmp_path, [*plain(3), 'img/3.png,p3,"FINDINGS: cut of']))
        assert (used, bad) == (["p0", "p1", "p2"], [("line 5", OPEN_QUOTE)])


class TestOtherFaults:
    def test_rows_of_another_length(self, tmp_path: Path) -> None:
        rows = [*plain(3), "img/3.png,p3", "img/4.png,p4,FINDINGS: a, b.", *plain(1)]
        used, bad = outcome(table(tmp_path, rows))
        assert used == ["p0", "p1", "p2", "p0"]
        assert bad == [("line 5", "2 fields instead of 3"), ("line 6", "4 fields instead of 3")]

    def test_quotes_within_a_quoted_field_that_are_not_doubled(self, tmp_path: Path) -> None:
        rows = [*plain(3), 'img/3.png,p3,"No "large" effusion."', *plain(1)]
        assert outcome(table(tmp_path, rows))[1] == [("line 5", STRAY_QUOTE)]

    def test_quotes_within_a_field_without_are_text(self, tmp_path: Path) -> None:
        read = table(tmp_path, [*plain(3), 'img/3.png,p3,Nodule of 5" and a "bat wing" edema.'])
        assert [row.values and row.values["report"] for row in read][3] == 'Nodule of 5" and a "bat wing" edema.'

    def test_a_report_broken_over_lines_without_quotes(self, tmp_path: Path) -> None:
        rows = [*plain(3), "img/3.png,p3,FINDINGS: No effusion.\nHeart normal, lungs clear, bones intact.\n\nEdema."]
        used, bad = outcome(table(tmp_path, [*rows, *plain(2)]))
        assert used == ["p0", "p1", "p2", "p0", "p1"]
        assert bad == [("lines 5 to 8", BROKEN_TEXT)]

    def test_a_footer_of_the_database(self, tmp_path: Path) -> None:
        rows = [f'img/{n}.png,p{n},"FINDINGS: effusion {n}."' for n in range(3)]
        used, bad = outcome(table(tmp_path, [*rows, "", "(3 rows affected)"]))
        assert (used, bad) == (["p0", "p1", "p2"], [("line 6", "1 field instead of 3")])

    def test_a_line_of_prose_with_as_many_commas_as_a_row(self, tmp_path: Path) -> None:
        rows = [f'img/{n}.png,p{n},"FINDINGS: effusion {n}."' for n in range(3)]
        used, bad = outcome(table(tmp_path, [*rows, "", "Heart normal, lungs clear, bones intact.", *rows]))
        assert (used, bad) == (["p0", "p1", "p2"] * 2, [("line 6", NO_ROW)])

    def test_a_quoted_text_with_a_line_like_a_row_is_not_trusted(self, tmp_path: Path) -> None:
        report = 'img/9.png,p9,"FINDINGS:\nclear.\nimg/7.png,p7,see there\nNo effusion.\nNo edema."'
        used, bad = outcome(table(tmp_path, [*plain(4), report, *plain(1)]))
        assert (used, bad) == (["p0", "p1", "p2", "p3", "p0"], [("lines 6 to 10", LIKE_ROWS)])


PROSE = [
    "Heart",
    "size",
    "normal.",
    "No",
    "effusion,",
    "no",
    "pneumothorax.",
    "L1,",
    "mild",
    "loss",
    "of",
    "height.",
    "Nodule",
    "5",
    "mm.",
    "Lungs",
    "clear,",
    "bones",
    "intact.",
    "1.",
    "Cardiomegaly,",
    "stable.",
    "2.",
    "Edema;",
    "3",
    "ribs",
    "fractured,",
    "T12",
    "intact.",
]
COLUMNS = [
    ("id", "report"),
    ("image", "patient_id", "report"),
    ("report", "image", "patient_id"),
    ("study_id", "report", "view"),
    ("id", "report", "age", "sex"),
]


def generated(rng: random.Random) -> tuple[tuple[str, ...], list[str], str]:
    """Columns, reports and text of a table; each report says the row's number once, as ``<<7>>``."""
    columns = rng.choice(COLUMNS)
    reports, rows = [], []
    for n in range(rng.randint(2, 40)):
        words = [rng.choice(PROSE) for _ in range(rng.randint(3, 25))]
        words.insert(rng.randrange(len(words)), f"<<{n}>>")
        text = "".join(word + ("\n" if rng.random() < 0.15 and word.endswith(".") else " ") for word in words).strip()
        reports.append(text)
        row = {"id": f"{n}", "image": f"img/{n}.png", "patient_id": f"p{n}", "study_id": f"s{n + 5000}", "report": text}
        row |= {"view": rng.choice(["PA", "AP", ""]), "age": f"{rng.randint(20, 90)}", "sex": rng.choice("MF")}
        rows.append([row[name] for name in columns])
    buffer = io.StringIO()
    writer = csv.writer(
        buffer,
        delimiter=rng.choice(",;\t"),
        quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        lineterminator=rng.choice(["\n", "\r\n"]),
    )
    writer.writerow(columns)
    writer.writerows(rows)
    return columns, reports, buffer.getvalue()


def broken(rng: random.Random, text: str, faults: int) -> str:
    """The text with a quote more or less, a line break more or less, a byte or a delimiter more, or cut."""
    head, _, body = text.partition("\n")
    for _ in range(faults):
        place = rng.randrange(len(body))
        quotes = [match.start() for match in re.finditer('"', body)]
        ends = [match.start() for match in re.finditer("\n", body)]
        kind = rng.randrange(7)
        if kind == 0 and quotes:
            place = rng.choice(quotes)
            body = body[:place] + body[place + 1 :]
        elif kind == 1 and ends:
            place = rng.choice(ends)
            body = body[:place] + rng.choice(['"', ""]) + body[place + 1 :]
        elif kind == 2:
            body = body[:place]
        else:
            body = body[:place] + rng.choice(['"', '""', "\n", "\x00", "\udcff", ",", ";", "\udc81"]) + body[place:]
        body = body or "x"
    return f"{head}\n{body}"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_right_table_is_read_whole(tmp_path: Path, seed: int) -> None:
    columns, reports, text = generated(random.Random(seed))
    (tmp_path / "t.csv").write_bytes(text.encode())
    read = Table(tmp_path / "t.csv")
    assert tuple(read.columns) == columns
    assert [row.values and row.values["report"] for row in read] == reports


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), faults=st.integers(1, 5))
def test_of_a_broken_table_rows_read_are_those_used_and_rejected(tmp_path: Path, seed: int, faults: int) -> None:
    rng = random.Random(seed)
    columns, reports, text = generated(rng)
    (tmp_path / "t.csv").write_bytes(broken(rng, text, faults).encode("utf-8", "surrogateescape"))
    read = Table(tmp_path / "t.csv")
    if tuple(read.columns) != columns:
        return  # the header itself was hit
    rows = list(read)
    used = [row for row in rows if row.values is not None]
    assert read.read == len(rows) == len(used) + read.bad
    places = [line for row in rows for line in (row.line, row.end)]
    assert places == sorted(places)  # in order, and no line in two rows
    assert all(row.problem for row in rows if row.values is None)
    assert len(used) <= len(reports) + faults
    if faults == 1:  # neighbours that break together can make one row that is right in form
        assert all(len(re.findall(r"<<\d+>>", row.values["report"])) <= 1 for row in used if row.values)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,report\n" + content)
    rows, message = None, ""
    try:
        read = Table(tmp_path / "t.csv")
        rows = list(read)
    except ValueError as error:
        message = str(error)
    assert (read.read == len(rows)) if rows is not None else message.startswith(str(tmp_path))
    assert "\n" not in message
