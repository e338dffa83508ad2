"""Values of cells: spellings of a missing value, and damaged ids."""

from __future__ import annotations

import re

#: What tables write for a value that is not there, in lower case.
NOTHING = frozenset({"", "nan", "null", "none", "n/a", "na", "<na>", "\\n", "nil", "-", "--"}) | {
    f"#{error}"
    for error in ("n/a", "ref!", "value!", "name?", "div/0!", "num!", "null!")  # a spreadsheet's errors
}

# Byte order mark and zero-width spaces, which copying may add to ids.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060 \t\xa0"
_ROUNDED = re.compile(r"\d([.,]\d+)?[Ee]\+\d+")


def filled(value: str | None) -> str:
    """The value, or an empty text if it denotes a missing value (``NaN``, ``NULL`` …)."""
    return "" if value is None or value.strip().lower() in NOTHING else value


def identifier(value: str | None, what: str) -> str:
    """An id, stripped; empty if it is missing.

    Raises:
        ValueError: if it contains a line break, or was rounded by a spreadsheet (``1.2E+10``), which may make
            different ids equal.
    """
    text = filled(value).strip(_INVISIBLE).strip()
    if "\n" in text or "\r" in text:
        raise ValueError(f"a line break in its {what}")
    if _ROUNDED.fullmatch(text):
        raise ValueError(f"a spreadsheet has rounded its {what} to a number with E+; export it as text")
    return text
