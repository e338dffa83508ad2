"""The error that reading an image raises, and its case of an image without contrast."""

from __future__ import annotations

from pathlib import Path


class ImageReadError(ValueError):
    """An image file cannot be used.

    ``reason`` is a short explanation that never quotes the file's content, since headers contain
    patients' names. Messages of decoding libraries may quote it, so they are not passed on.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class NoContrastError(ValueError):
    """All values of an image are equal, or none is a number."""
