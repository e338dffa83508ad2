"""Reads a file, compressed or not and in any encoding, as lines of text; bad lines are marked individually."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

#: Maximum characters of a row: no report is longer, and an open quote would read to the end of the file.
MOST_CHARACTERS = 2**24

#: What a damaged compressed file raises while it is read.
# OSError: a directory that points before the file's beginning.
_DAMAGED_ZIP = (zipfile.BadZipFile, NotImplementedError, UnicodeError, OSError)
DAMAGED = (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, UnicodeError, NotImplementedError)

_SAMPLE = 2**16
# First bytes of other files that users may give as tables.
_OTHER_KINDS = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel or Word file; save it as .xlsx or as CSV",
    b"PAR1": "a Parquet file; save it as CSV",
    b"%PDF": "a PDF file; save the table as CSV",
    b"SQLite format 3\x00": "a SQLite database; save the table as CSV",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# Bytes that are not UTF-8 are read as lone surrogates; this maps them to Windows-1252, if defined there.
_WINDOWS = {
    0xDC00 + byte: character for byte in range(128, 256) if (character := bytes([byte]).decode("cp1252", "ignore"))
}
_NO_CHARACTER = re.compile("[\udc80-\udcff]")


class Line(NamedTuple):
    """A line with its line break. ``problem``: why it cannot be used; ``recoded``: it is not entirely UTF-8."""

    number: int
    text: str
    problem: str = ""
    recoded: bool = False


def decode(content: bytes) -> str:
    """Decode UTF-8 (with or without byte order mark), other bytes as Windows-1252; NUL becomes a space."""
    return repair(content.decode("utf-8-sig", "surrogateescape"), "replace")


def repair(text: str, undefined: str = "keep") -> str:
    """Text that was read as UTF-8 with ``surrogateescape``, its other bytes as Windows-1252; NUL becomes a space.

    Bytes that are neither remain lone surrogates, or become U+FFFD with ``undefined="replace"``.
    """
    if not text.isascii() and not is_text(text):
        text = text.translate(_WINDOWS)
        if undefined == "replace":
            text = _NO_CHARACTER.sub("\ufffd", text)
    return text.replace("\x00", " ") if "\x00" in text else text


def is_text(text: str) -> bool:
    """False if there are lone surrogates for undecodable bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_workbook(path: Path) -> bool:
    """Whether a file is an Excel workbook (.xlsx), whatever its name."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except _DAMAGED_ZIP:
        return False


@contextmanager
def open_lines(path: Path, encoding: str | None = None) -> Iterator[Iterator[Line]]:
    """The lines of a text file, plain, gzipped, or alone in a ZIP archive, detected by content.

    ``encoding`` None means UTF-8, or UTF-16 and UTF-32 if detected; bytes that are not UTF-8 are read as Windows-1252,
    so that a mixed file is read correctly. Line breaks are LF, CRLF and CR.

    Raises:
        ValueError: in one line, for a file that is damaged or of another kind.
    """
    with open_bytes(path) as raw:
        if encoding is None:
            try:
                encoding = _encoding(raw)
            except DAMAGED as error:
                raise ValueError(f"{path}: the table is damaged ({type(error).__name__} at its beginning)") from None
        wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
        errors = "replace" if wide else "surrogateescape"
        try:
            stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")
        except LookupError:
            raise ValueError(f"{path}: unknown encoding {encoding!r}; give a name such as cp1251 or gb18030") from None
        with stream:
            yield _lines(path, stream, encoding, wide)


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a file, unpacked if it is a gzip file or a ZIP archive with one table.

    Raises:
        FileNotFoundError: when it does not exist.
        ValueError: for an archive that is damaged or contains several tables, or a file of another kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the table does not exist")
    with path.open("rb") as file:
        start = file.read(16)
    kind = next((kind for mark, kind in _OTHER_KINDS.items() if start.startswith(mark)), None)
    if kind is not None:
        raise ValueError(f"{path}: {kind}")
    zipped = start.startswith(b"PK\x03\x04")
    packed = start.startswith(b"\x1f\x8b")
    if not (zipped or packed) and path.suffix.lower() in (".gz", ".zip"):
        raise ValueError(f"{path}: the table is damaged (its name says compressed, its content does not)")
    if not zipped:
        with cast(io.BufferedReader, gzip.open(path, "rb") if packed else path.open("rb")) as raw:
            yield raw  # GzipFile also peeks
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _is_table(name)]
            if len(names) != 1:
                raise ValueError(f"{path}: {len(names)} tables (.csv, .tsv, .txt) in the archive; one is expected")
            with archive.open(names[0]) as member:
                yield cast(io.BufferedReader, member)
    except _DAMAGED_ZIP as error:
        raise ValueError(f"{path}: the table is damaged ({type(error).__name__})") from None
    except RuntimeError as error:  # what zipfile raises for a password
        if "password" not in str(error):
            raise
        raise ValueError(f"{path}: the archive is encrypted; unpack it first") from None


def _is_table(name: str) -> bool:
    return name.lower().endswith((".csv", ".tsv", ".tab", ".txt")) and not name.startswith("__MACOSX")


def _encoding(raw: io.BufferedReader) -> str:
    """UTF-16 and UTF-32 by their byte order mark, or UTF-16 by the zeros in every second byte; else UTF-8."""
    start = raw.peek(_SAMPLE)[:_SAMPLE]
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            return encoding
    first, second = start[0::2], start[1::2]
    if len(second) >= 2:
        zeros = (first.count(0) / len(first), second.count(0) / len(second))
        if zeros[1] > 0.5 > 0.1 > zeros[0]:
            return "utf-16-le"
        if zeros[0] > 0.5 > 0.1 > zeros[1]:
            return "utf-16-be"
    return "utf-8-sig"


def _lines(path: Path, stream: io.TextIOWrapper, encoding: str, wide: bool) -> Iterator[Line]:
    utf8 = encoding == "utf-8-sig"
    number = 0
    try:
        while text := stream.readline(MOST_CHARACTERS):
            number += 1
            text = "\n" if text.strip() == "\x1a" else text  # what DOS wrote behind the last line
            if len(text) >= MOST_CHARACTERS and not text.endswith(("\n", "\r")):
                while (rest := stream.readline(MOST_CHARACTERS)) and not rest.endswith(("\n", "\r")):
                    pass
                yield Line(number, "\n", f"longer than {MOST_CHARACTERS:,} characters")
            elif text.isascii() and "\x00" not in text:
                yield Line(number, text)
            else:
                yield _checked(number, text, encoding, utf8, wide)
    except DAMAGED as error:
        raise ValueError(f"{path}: the table is damaged ({type(error).__name__} after line {number})") from None


def _checked(number: int, text: str, encoding: str, utf8: bool, wide: bool) -> Line:
    recoded = utf8 and not is_text(text)
    text = repair(text) if utf8 else text.replace("\x00", " ")
    if is_text(text) and not (wide and "\ufffd" in text):
        return Line(number, text, recoded=recoded)
    known = "UTF-8 nor Windows-1252" if utf8 else encoding
    return Line(number, text, f"bytes that are {'neither' if utf8 else 'not'} {known}; set its encoding")
