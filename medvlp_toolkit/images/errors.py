"""The one error that reading an image raises, and why an image has nothing to show."""

from __future__ import annotations

from pathlib import Path


class ImageReadError(ValueError):
    """An image file cannot be used.

    ``reason`` says why in a few words and never quotes the file's content: headers carry
    patients' names. Messages of decoding libraries may quote it, so they are not repeated.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = Path(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class NoContrastError(ValueError):
    """The values of an image are all the same, or none is a number."""
