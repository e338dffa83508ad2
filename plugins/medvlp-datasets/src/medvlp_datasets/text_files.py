"""Reading of text files in any encoding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medvlp_toolkit.tables.content import decode, open_lines


def read_text(path: Path) -> str:
    """The text of a file: UTF-8 (with or without byte order mark), else Windows-1252; NUL becomes a space."""
    return decode(path.read_bytes())


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and text of the non-empty lines, compressed or not.

    Raises:
        ValueError: in one line, for a damaged file.
    """
    with open_lines(path) as lines:
        for line in lines:
            if line.text.strip():
                yield line.number, line.text.rstrip("\r\n")
