"""Docstrings name objects by Sphinx roles; on the site they are written as code."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":[a-z]+:`(~?)([^`]+)`")


class SphinxRoles(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(_as_code, obj.docstring.value)


def _as_code(found: re.Match[str]) -> str:
    short, name = found.groups()
    return f"`{name.rsplit('.', 1)[-1] if short else name}`"
