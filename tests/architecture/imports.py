"""Imports of the core of a checkout, read from its source: nothing of it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

CORE = "medvlp_toolkit"
#: When an import happens: with the importing file, in a function that needs it, or for type checkers alone.
Level = Literal["module", "function", "typing"]


@dataclass(frozen=True, order=True)
class Arrow:
    """One import: ``target`` is a file of the core, or the first part of another package's name."""

    file: str
    line: int
    target: str
    level: Level

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target} ({self.level} level)"


class Core:
    """The Python files of the core, paths relative to it.

    Args:
        root: of the checkout.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / CORE

    @cached_property
    def files(self) -> dict[str, ast.Module]:
        """Path -> syntax tree. Templates of new packages and package data are no code of the core."""
        found = {}
        for path in sorted(self.folder.rglob("*.py")):
            name = path.relative_to(self.folder).as_posix()
            if not name.startswith(("scaffold/templates/", "bundles/")):
                found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
        return found

    @cached_property
    def arrows(self) -> list[Arrow]:
        """Every import, those of other packages too."""
        found = set()
        for file, tree in self.files.items():
            for node, level in _imports(tree, "module"):
                for dotted in dotted_names(file, node):
                    found.add(Arrow(file, node.lineno, self.target(dotted)[0], level))
        return sorted(found)

    @property
    def inner(self) -> list[Arrow]:
        """Imports of files of the core by others."""
        return [arrow for arrow in self.arrows if arrow.target in self.files and arrow.target != arrow.file]

    def target(self, dotted: str) -> tuple[str, str]:
        """The file that a dotted path leads to, through lazy exports too, and the name within it.

        Of another package it is the first part of the path.
        """
        first, *parts = dotted.split(".")
        if first != CORE:
            return first, ""
        for length in range(len(parts), -1, -1):
            path, rest = "/".join(parts[:length]), ".".join(parts[length:])
            if f"{path}.py" in self.files:
                return f"{path}.py", rest
            package = f"{path}/__init__.py".lstrip("/")
            if package in self.files:
                return self._exports(package).get(rest, (package, rest))
        return "/".join(parts), ""

    def _exports(self, package: str) -> Mapping[str, tuple[str, str]]:
        """Names that a folder exports lazily, and where each comes from: its ``__init__.pyi`` lists them."""
        if package not in self._known_exports:
            stub = (self.folder / package).with_suffix(".pyi")
            tree = ast.parse(stub.read_text(encoding="utf-8")) if stub.is_file() else ast.Module([], [])
            self._known_exports[package] = {
                alias.asname or alias.name: self.target(dotted)
                for node in tree.body
                if isinstance(node, ast.ImportFrom)
                for alias, dotted in zip(node.names, dotted_names(package, node), strict=True)
            }
        return self._known_exports[package]

    @cached_property
    def _known_exports(self) -> dict[str, dict[str, tuple[str, str]]]:
        return {}


def _imports(tree: ast.AST, level: Level) -> Iterator[tuple[ast.Import | ast.ImportFrom, Level]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, level
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(node, "function")
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from ((inner, "typing") for inner, _ in _imports(node, level))
        else:
            yield from _imports(node, level)


def dotted_names(file: str, node: ast.Import | ast.ImportFrom, package: str = CORE) -> list[str]:
    """What an import names, each written out from the first package on; ``file`` is relative to ``package``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    folders = [package, *file.split("/")[:-1]]
    start = folders[: len(folders) - node.level + 1] if node.level else []
    return [".".join([*start, *filter(None, [node.module]), alias.name]) for alias in node.names]


def circles(arrows: Iterable[Arrow]) -> list[list[str]]:
    """Groups of files of which each leads to all others (strongly connected components, Tarjan 1972)."""
    leads: dict[str, set[str]] = {}
    for arrow in arrows:
        leads.setdefault(arrow.file, set()).add(arrow.target)
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(file: str) -> None:
        number[file] = lowest[file] = len(number)
        stack.append(file)
        for target in sorted(leads.get(file, ())):
            if target not in number:
                visit(target)
            if target in stack:
                lowest[file] = min(lowest[file], lowest[target])
        if lowest[file] == number[file]:
            group = stack[stack.index(file) :]
            del stack[stack.index(file) :]
            if len(group) > 1:
                found.append(sorted(group))

    for file in sorted(leads):
        if file not in number:
            visit(file)
    return found


def between_folders(arrows: Iterable[Arrow]) -> list[Arrow]:
    """The imports as arrows between the two neighbours, of one folder, in which importing and imported file lie."""
    found = set()
    for arrow in arrows:
        here, there = arrow.file.split("/"), arrow.target.split("/")
        shared = next(n for n, (a, b) in enumerate(zip(here, there, strict=False)) if a != b)
        found.add(Arrow("/".join(here[: shared + 1]), arrow.line, "/".join(there[: shared + 1]), arrow.level))
    return sorted(found)


def loads(core: Core) -> Mapping[str, frozenset[str]]:
    """File -> other packages that importing it loads, through files of the core too."""
    direct: dict[str, set[str]] = {file: set() for file in core.files}
    inner: dict[str, set[str]] = {file: set() for file in core.files}
    for arrow in core.arrows:
        if arrow.level == "module":
            (inner if arrow.target in core.files else direct)[arrow.file].add(arrow.target)

    def reached(file: str, seen: set[str]) -> set[str]:
        seen.add(file)
        return direct[file].union(*(reached(target, seen) for target in inner[file] if target not in seen))

    return {file: frozenset(reached(file, set())) for file in core.files}
