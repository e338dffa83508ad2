"""What the core says of plugins by name, which a core that imports no plugin has no reason to know."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from tests.architecture.imports import Core

#: Of a collection in the code, so many ids of a recipe's vocabulary are no accident.
_MANY = 3
#: What the distribution of a recipe registers.
_LOSSES = "medvlp_toolkit.pretext_losses"


def plugin_names(root: Path) -> set[str]:
    """Names of the distributions in ``plugins/``, and of their packages."""
    manifests = sorted((root / "plugins").glob("*/pyproject.toml"))
    packages = {path.name for path in (root / "plugins").glob("*/src/*") if path.is_dir() and path.name.isidentifier()}
    return packages | {tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"] for path in manifests}


def mentions_of_plugins(core: Core) -> list[tuple[str, int, str]]:
    """(file, line, name) of every distribution or package of a plugin in the text of a file, comments included."""
    names = sorted(plugin_names(core.root), key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, names))})(?![\w-])") if names else None
    found = []
    for file in core.files if pattern else ():
        for number, line in enumerate((core.folder / file).read_text(encoding="utf-8").splitlines(), start=1):
            found += [(file, number, match[1]) for match in pattern.finditer(line)] if pattern else []
    return found


def recipe_ids(root: Path) -> tuple[set[str], set[str]]:
    """Names that recipes' distributions register, and ids of the vocabularies that plugins carry as data."""
    registered: set[str] = set()
    for path in sorted((root / "plugins").glob("*/pyproject.toml")):
        groups = tomllib.loads(path.read_text(encoding="utf-8"))["project"].get("entry-points", {})
        if _LOSSES in groups:
            registered |= {name for group in groups.values() for name in group if name.isidentifier()}
    vocabularies: set[str] = set()
    for path in sorted((root / "plugins").glob("*/src/*/data/*.yaml")):
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = table.get("entries", []) if isinstance(table, dict) else []
        vocabularies |= {str(entry["id"]) for entry in entries if isinstance(entry, dict) and "id" in entry}
    return registered, vocabularies


def held_ids(core: Core) -> list[tuple[str, int, str]]:
    """(file, line, id) of registered names and of vocabulary's ids that code of the core holds as text.

    An id of two words (``left_hilar``) counts alone; one of a single word, which may be any, among others.
    """
    registered, vocabularies = recipe_ids(core.root)
    of_two_words = registered | {id_ for id_ in vocabularies if "_" in id_}
    found: set[tuple[str, int, str]] = set()
    for file, tree in core.files.items():
        found |= {(file, node.lineno, node.value) for node in _texts(tree) if node.value in of_two_words}
        for node in ast.walk(tree):
            if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
                held = [one for one in _texts(node) if one.value in vocabularies]
                if len({one.value for one in held}) >= _MANY:
                    found |= {(file, one.lineno, one.value) for one in held}
    return sorted(found)


def _texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Text in code; docstrings are none."""
    plain = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in plain:
            yield node


def without(found: Iterable[tuple[str, int, str]], *files: str) -> list[str]:
    """As lines, without what some files are there for."""
    return [f"{file}:{line}: {name}" for file, line, name in found if file not in files]
