"""Rich Release Format: the files in which the UMLS Metathesaurus is distributed.

Column orders are those of the UMLS Reference Manual, "Metathesaurus - Rich Release Format (RRF)"
(U.S. National Library of Medicine, https://www.ncbi.nlm.nih.gov/books/NBK9685/).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medvlp_knowledge.text_lines import TextLines

COLUMNS = {
    "MRCONSO": (
        *("CUI", "LAT", "TS", "LUI", "STT", "SUI", "ISPREF", "AUI", "SAUI", "SCUI", "SDUI"),
        *("SAB", "TTY", "CODE", "STR", "SRL", "SUPPRESS", "CVF"),
    ),
    "MRDEF": ("CUI", "AUI", "ATUI", "SATUI", "SAB", "DEF", "SUPPRESS", "CVF"),
    "MRREL": (
        *("CUI1", "AUI1", "STYPE1", "REL", "CUI2", "AUI2", "STYPE2", "RELA"),
        *("RUI", "SRUI", "SAB", "SL", "RG", "DIR", "SUPPRESS", "CVF"),
    ),
    "MRSTY": ("CUI", "TUI", "STN", "STY", "ATUI", "CVF"),
}
"""The columns of each table, in order; in a file each is followed by a vertical bar."""


def find_table(folder: Path, table: str, hint: str = "") -> Path:
    """The file of ``table``, plain or ``.gz``, in ``folder`` or in its subfolder ``META``."""
    names = (f"{table}.RRF", f"{table}.RRF.gz")
    for place in (folder, folder / "META"):
        for name in names:
            if (place / name).is_file():
                return place / name
    raise FileNotFoundError(f"no {names[0]} or {names[1]} in '{folder}' or its folder META{hint}")


def read_rows(path: Path, table: str, *columns: str) -> Iterator[list[str]]:
    """The chosen columns of every row, streamed.

    Raises:
        ValueError: a row with another number of columns than the table has; the message names file and line.
    """
    expected = len(COLUMNS[table]) + 1
    chosen = [COLUMNS[table].index(column) for column in columns]
    lines = TextLines(path)
    for line in lines:
        cells = line.split("|")
        if len(cells) != expected:
            raise ValueError(
                f"{path}, line {lines.number}: {len(cells) - 1} columns, expected the {expected - 1} of {table}, "
                "each followed by '|'"
            )
        yield [cells[n] for n in chosen]
