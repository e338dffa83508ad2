"""Reading text files and CSV tables as they come: any encoding, NULs, long fields, compressed or not."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

# A report of a megabyte is one field; the csv module's own limit is 128 KiB.
FIELD_LIMIT = 2**26


def decode(content: bytes) -> str:
    """UTF-8 (with or without byte order mark), else Windows-1252; NUL becomes a space."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    return text.replace("\x00", " ") if "\x00" in text else text


def mend(text: str) -> str:
    """As `decode`, for text that was read as UTF-8 with ``surrogateescape``."""
    if text.isascii():
        return text.replace("\x00", " ") if "\x00" in text else text
    return decode(text.encode("utf-8", "surrogateescape"))


def read_text(path: Path) -> str:
    """The text of a file."""
    return decode(path.read_bytes())


def open_table(path: Path) -> IO[str]:
    """A CSV file, plain, gzipped (``.gz``) or alone in a ``.zip``."""
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if name.endswith(".csv") and not name.startswith("__MACOSX")]
        if len(names) != 1:
            raise ValueError(f"{path}: {len(names)} CSV files in the archive; one is expected")
        raw: Any = archive.open(names[0])
    elif path.suffix == ".gz":
        raw = gzip.open(path, "rb")  # noqa: SIM115
    else:
        raw = path.open("rb")
    return io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")


def read_table(
    path: Path | str,
    required: Sequence[str] = (),
    delimiter: str = ",",
    names: Sequence[str] = (),
    trailing: bool = False,
) -> Iterator[tuple[int, dict[str, str] | None]]:
    """The rows of a table with a header, as ``(line number, {column: value})``, values and names stripped.

    A row with too many or too few fields comes as ``(line number, None)``. ``names`` replace those of the header,
    which may then be longer or shorter than the rows. ``trailing`` allows further empty fields at a row's end. Raises
    FileNotFoundError for a missing file, and ValueError for a missing column or a damaged file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the table does not exist")
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))
    try:
        with open_table(path) as file:
            reader = csv.reader(file, delimiter=delimiter)
            header = [mend(name).strip() for name in next(reader, [])]
            missing = [name for name in required if name not in header]
            if missing:
                there = ", ".join(name for name in header if name) or "none"
                raise ValueError(f"{path}: no column {', '.join(map(repr, missing))}; its columns are {there}")
            header = list(names) or header
            for values in reader:
                if not values:
                    continue  # an empty line
                while len(values) > len(header) and (trailing or names) and not values[-1].strip():
                    values.pop()
                row = None
                if len(values) == len(header):
                    row = {name: mend(value).strip() for name, value in zip(header, values, strict=True)}
                yield reader.line_num, row
    except (csv.Error, EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: the table is damaged ({type(error).__name__})") from None


def columns_of(path: Path | str, delimiter: str = ",") -> list[str]:
    """The column names of a table."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the table does not exist")
    try:
        with open_table(path) as file:
            return [mend(name).strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
    except (csv.Error, EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: the table is damaged ({type(error).__name__})") from None
