"""Finds arguments that a configuration sets but the code taking them never uses."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from medvlp_toolkit.verification.composition import Composition, compose
from medvlp_toolkit.verification.expressions import Expressions, dotted_paths, read_expressions
from medvlp_toolkit.verification.located_file import IdPath, LocatedFile
from medvlp_toolkit.verification.modules import Resolved, UnresolvedError
from medvlp_toolkit.verification.parameter_use import ParameterUse
from medvlp_toolkit.verification.sources import Sources
from medvlp_toolkit.verification.strict import ALLOWED_PACKAGES, allowed_packages
from medvlp_toolkit.verification.targets import RESERVED, Targets


def parameter_use(files: Iterable[LocatedFile]) -> ParameterUse:
    """Checks arguments of the core and of installed plugins' packages.

    Args:
        files: configurations, whose expressions also read attributes.
    """
    packages = allowed_packages() - set(ALLOWED_PACKAGES) | {__name__.partition(".")[0]}
    trees = [tree for file in files for tree in read_expressions(compose([file])).trees.values()]
    read = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return ParameterUse(Sources(packages), read.__contains__)


def check_unused_arguments(
    composition: Composition, expressions: Expressions, targets: Targets, uses: ParameterUse
) -> None:
    """A problem for each argument of a ``_target_`` or of a call in an expression that has no effect."""
    for found, names in _given(composition, expressions, targets):
        for name, place in names:
            if not uses.is_used(found.object, name):
                message = f"{found.path} takes {name} and does not use it"
                composition.add(place, message, "leave it out, or use it in the code")


def _given(
    composition: Composition, expressions: Expressions, targets: Targets
) -> Iterator[tuple[Resolved, list[tuple[str, IdPath]]]]:
    """Everything that a configuration calls, with each argument and its place."""
    for path, value in composition.walk():
        if isinstance(value, dict) and isinstance(target := value.get("_target_"), str):
            found = _resolved(targets, target)
            if found is not None:
                yield found, [(str(key), (*path, str(key))) for key in value if key not in RESERVED]
    for path, tree in expressions.trees.items():
        for dotted, call in dotted_paths(tree, expressions.imported):
            found = _resolved(targets, dotted) if call is not None else None
            if found is not None and call is not None:
                yield found, [(name, path) for name in _names(found, call)]


def _resolved(targets: Targets, dotted: str) -> Resolved | None:
    try:
        found = targets.resolve(dotted)
    except UnresolvedError:
        return None  # reported elsewhere
    return found if found.imported else None


def _names(found: Resolved, call: ast.Call) -> list[str]:
    """Parameters set by a call."""
    named = [word.arg for word in call.keywords if word.arg is not None]
    if found.signature is None or any(isinstance(one, ast.Starred) for one in call.args):
        return named
    kinds: Any = inspect.Parameter
    positional = [
        p.name
        for p in found.signature.parameters.values()
        if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    return [*positional[: len(call.args)], *named]
