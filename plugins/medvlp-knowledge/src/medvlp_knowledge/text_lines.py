"""Reads a large text file line by line, plain or gzip-compressed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path


class TextLines:
    """The lines of a UTF-8 file without their line ends; a name in ``.gz`` is decompressed on the fly.

    ``number`` is the current line, counted from 1, for error messages. Only line feeds end a line (a preceding carriage
    return is removed), because text fields of terminologies may contain other line separators of Unicode.

    Iterating raises ``ValueError`` naming the file, and the line where it stopped, when the file is not UTF-8 or its
    compression is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        self.number = 0
        opener = gzip.open if self.path.suffix.lower() == ".gz" else open
        try:
            with opener(self.path, "rt", encoding="utf-8-sig", newline="\n") as file:
                for self.number, line in enumerate(file, 1):
                    yield line.rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError(
                f"{self.path}: not UTF-8 text after line {self.number}; convert the file to UTF-8"
            ) from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{self.path}: damaged gzip file after line {self.number} ({error})") from None
