"""Splitting report text into sentences, with where each begins."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A sentence ends at . ! ? before a space or a capital (reports often lose the space), at an empty
# line, and where a new list item begins. "1.5 cm", "vs. infiltrate" and "Dr. Who" go on.
_BOUNDARY = re.compile(
    r"(?:[!?]|\.(?<!\b[vV]s\.)(?<!\b[dDmM]r\.)(?<!\b[mM]rs\.)(?<!\b[mM]s\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!approx\.))"
    r"[.!?]*(?=\s|$|[A-Z][a-z])"
    r"|\n[ \t]*(?:\n\s*|(?=(?:\d{1,2}[.)]|[-*•])\s))"
)


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """(start, sentence) for each sentence of a text; the sentence is ``text[start:start + len]``."""
    start = 0
    for match in _BOUNDARY.finditer(text):
        end = match.start()
        if end > start:
            yield start, text[start:end]
        start = match.end()
    if start < len(text):
        yield start, text[start:]
