"""Finds dotted paths of the first layout in a bundle: they work for this release, and the notice gives the new path."""

from __future__ import annotations

from collections.abc import Iterator

from medvlp_toolkit.moved import new_path
from medvlp_toolkit.verification.composition import SEPARATOR, Composition
from medvlp_toolkit.verification.expressions import Expressions
from medvlp_toolkit.verification.located_file import IdPath


def old_paths(composition: Composition, expressions: Expressions) -> list[str]:
    """One notice for each old path of a ``_target_`` or an import."""
    notices = []
    for path, dotted in _dotted_paths(composition, expressions):
        new = new_path(dotted)
        if new is not None:
            where = f"{composition.place(path)}: {SEPARATOR.join(map(str, path))}"
            notices.append(f"{where}: {dotted} has moved to {new}; the old path works in this release only")
    return notices


def _dotted_paths(composition: Composition, expressions: Expressions) -> Iterator[tuple[IdPath, str]]:
    for path, value in composition.walk():
        if isinstance(value, dict) and isinstance(value.get("_target_"), str):
            yield (*path, "_target_"), value["_target_"]
    for name, path in expressions.import_places.items():
        yield path, expressions.imported[name]
