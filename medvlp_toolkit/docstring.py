"""Extracts the example and the arguments from a plugin's docstring."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

_HEADING = re.compile(r"^[ \t]*Examples?[ \t]*(?:::?)?[ \t]*$", re.MULTILINE)


def has_example(documentation: str) -> bool:
    """Whether there is an ``Example`` section with content."""
    return example_of(documentation) is not None


def example_of(documentation: str) -> str | None:
    """The content of the first ``Example`` section, with its indentation removed; None if there is none."""
    heading = _HEADING.search(documentation)
    if heading is None:
        return None
    indent = len(heading[0]) - len(heading[0].lstrip())
    lines = documentation[heading.end() :].lstrip("\n").splitlines()
    if lines and set(lines[0].strip()) == {"-"}:  # numpydoc underlines the heading and does not indent the block
        lines, indent = lines[1:], indent - 1
    block = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        block.append(line)
    return textwrap.dedent("\n".join(block)).strip() or None


def undocumented_arguments(target: Any) -> list[str]:
    """Arguments of the plugin's signature that its docstring (with that of ``__init__``) never mentions."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return []
    text = inspect.getdoc(target) or ""
    if inspect.isclass(target):
        text += inspect.getdoc(target.__init__) or ""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.kind not in variadic and not re.search(rf"\b{re.escape(p.name)}\b", text)]
