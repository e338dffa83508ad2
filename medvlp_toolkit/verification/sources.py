"""Source text and syntax trees of installed packages."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


class Sources:
    """The files of some packages, read on first use.

    Args:
        packages: import names.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self.packages = frozenset(packages)

    def has(self, target: Any) -> bool:
        """Whether a class, function or method belongs to one of the packages."""
        return str(getattr(function_of(target), "__module__", "")).partition(".")[0] in self.packages

    def definition(self, target: Any) -> ast.AST | None:
        """The class or function in the syntax tree of its file; None if it is not found there."""
        module = sys.modules.get(getattr(target, "__module__", ""))
        tree = _tree(file) if (file := getattr(module, "__file__", None)) else None
        node: ast.AST | None = tree
        for name in str(getattr(target, "__qualname__", "")).split("."):
            node = None if node is None else _defined_in(node, name)
        return node if node is not tree else None

    def mentioning(self, attribute: str) -> Iterator[ast.AST]:
        """Trees of the files that mention an attribute."""
        mention = re.compile(rf"\.{attribute}\b|[\"']{attribute}[\"']")
        for file, text in self._texts.items():
            if mention.search(text) and (tree := _tree(file)) is not None:
                yield tree

    def subclasses(self, names: set[str]) -> list[ast.ClassDef]:
        """Direct and indirect subclasses of these classes."""
        found: list[ast.ClassDef] = []
        while names:
            mention = re.compile(rf"class \w+\([^)]*\b({'|'.join(map(re.escape, names))})\b")
            made = [
                node
                for file, text in self._texts.items()
                if mention.search(text)
                for node in _classes(file)
                if names & {_last_name(base) for base in node.bases}
            ]
            names = {node.name for node in made} - {node.name for node in found}
            found += [node for node in made if node.name in names]
        return found

    @staticmethod
    def mentions(cls: type, attribute: str) -> bool:
        """Whether the file of a class of any package mentions an attribute; yes if there is no file to read."""
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if cls.__module__ == "builtins":
            return False
        return file is None or re.search(rf"\.{attribute}\b", _text(file)) is not None

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {str(file): _text(str(file)) for package in sorted(self.packages) for file in _files(package)}


def function_of(target: Any) -> Any:
    """The function of a method or static method."""
    return target.__func__ if inspect.ismethod(target) or isinstance(target, staticmethod | classmethod) else target


def method_of(node: ast.ClassDef, name: str) -> AnyFunction | None:
    """The method defined in a class's own body."""
    found = _defined_in(node, name)
    return found if isinstance(found, AnyFunction) else None


def parents_of(tree: ast.AST) -> Mapping[ast.AST, ast.AST]:
    """The parent of each node."""
    return {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}


@cache
def _classes(file: str) -> tuple[ast.ClassDef, ...]:
    """All classes of a file, also those inside others."""
    tree = _tree(file)
    return tuple(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)) if tree is not None else ()


def _defined_in(node: ast.AST, name: str) -> ast.AST | None:
    """A class or function at the top level of a body, including inside conditions."""
    waiting = list(ast.iter_child_nodes(node))
    found = None
    while waiting:
        child = waiting.pop(0)
        if isinstance(child, ast.ClassDef | AnyFunction):
            found = child if child.name == name else found
        elif isinstance(child, ast.stmt | ast.ExceptHandler):
            waiting += ast.iter_child_nodes(child)
    return found


def _last_name(base: ast.expr) -> str:
    base = base.value if isinstance(base, ast.Subscript) else base
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")


def _files(package: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    places = spec.submodule_search_locations
    if places:
        return sorted(file for place in places for file in Path(place).rglob("*.py"))
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


@cache
def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


@cache
def _tree(file: str) -> ast.Module | None:
    try:
        return ast.parse(_text(file))
    except (SyntaxError, ValueError, RecursionError):
        return None
