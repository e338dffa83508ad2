"""A user's texts for inference, one per line of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

NOTHING = (None, "", "null", "None")


@dataclass(frozen=True)
class TextLines:
    """Texts with their line numbers in the file, from 1."""

    texts: list[str] = field(repr=False)
    numbers: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def read(cls, given: str | Path | Sequence[str] | None) -> TextLines:
        """From a UTF-8 file with one text per line, a single text, or a list of texts; empty lines are skipped.

        Raises:
            FileNotFoundError: for a value that looks like a file name, if there is no such file.
            ValueError: when there is no text. No message quotes a text.
        """
        if given in NOTHING:
            raise ValueError("no text to rank; name a file with one text per line, or give a text (texts)")
        where = "texts"
        if isinstance(given, str | Path):
            path = Path(given)
            if _is_file(path):
                where = str(path)
                lines = _lines(path)
            elif isinstance(given, Path) or path.suffix.lower() == ".txt" or not any(c.isspace() for c in given):
                raise FileNotFoundError(f"no file of texts at {path}; name a file with one text per line (texts)")
            else:
                lines = [given]
        else:
            lines = [str(text) for text in given or ()]
        kept = [(line.strip(), number) for number, line in enumerate(lines, start=1) if line.strip()]
        if not kept:
            raise ValueError(f"{where} contains no text; write one text per line")
        return cls([text for text, _ in kept], [number for _, number in kept])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a text may be longer than any file name
        return False


def _lines(path: Path) -> list[str]:
    try:
        # str.splitlines also splits at characters that editors do not show as line breaks.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8, one text per line") from None
