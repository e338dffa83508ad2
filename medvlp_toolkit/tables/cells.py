"""Values of cells: what tables write for nothing, and ids that are damaged."""

from __future__ import annotations

import re

#: What tables write for a value that is not there, in lower case.
NOTHING = frozenset({"", "nan", "null", "none", "n/a", "na", "<na>", "\\n", "nil", "-", "--"}) | {
    f"#{error}"
    for error in ("n/a", "ref!", "value!", "name?", "div/0!", "num!", "null!")  # a spreadsheet's errors
}

# Byte order mark and zero-width spaces, which copied ids bring along.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060 \t\xa0"
_ROUNDED = re.compile(r"\d([.,]\d+)?[Ee]\+\d+")


def filled(value: str | None) -> str:
    """The value, or an empty text where it only says that there is none (``NaN``, ``NULL`` …)."""
    return "" if value is None or value.strip().lower() in NOTHING else value


def identifier(value: str | None, what: str) -> str:
    """An id without spaces around it; empty where there is none.

    Raises:
        ValueError: for one that holds a line break, or that a spreadsheet has rounded (``1.2E+10``), so that others
            may have become the same.
    """
    text = filled(value).strip(_INVISIBLE).strip()
    if "\n" in text or "\r" in text:
        raise ValueError(f"a line break in its {what}")
    if _ROUNDED.fullmatch(text):
        raise ValueError(f"a spreadsheet has rounded its {what} to a number with E+; export it as text")
    return text
