"""Functions and classes of the core that only tests refer to."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.imports import Core, dotted_names

#: They list names of the core without using them.
_LISTS = ("moved.py",)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def unused_definitions(core: Core) -> list[tuple[str, int, str]]:
    """(file, line, name) of functions and classes at the top of a file that nothing but tests uses.

    Used is what another part of its file mentions, what a file of the core or of a plugin imports, and what a bundle's
    configuration, a manifest, a template of a new package or code in the documentation names. A folder's list of
    exports is no use.
    """
    uses = _Uses(core)
    found = []
    for file, tree in core.files.items():
        defined = [node for node in tree.body if isinstance(node, Definition)]
        unused: set[str] = set()
        while True:
            more = {node.name for node in defined if not uses.of(file, tree, node, unused)}
            if more == unused:
                break
            unused = more
        found += [(file, node.lineno, node.name) for node in defined if node.name in unused]
    return found


class _Uses:
    """Everything that is mentioned outside the file that defines it."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.imported: set[tuple[str, str]] = set()
        self.words: set[str] = set()
        for file, tree in core.files.items():
            self._read(file, tree)
        for path in sorted((core.root / "plugins").glob("*/src/**/*.py")):
            self._read("", ast.parse(path.read_text(encoding="utf-8")))
        for text in _texts(core.root):
            self.words.update(re.findall(r"[A-Za-z_]\w*", text))

    def _read(self, file: str, tree: ast.Module) -> None:
        modules: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias, dotted in zip(node.names, dotted_names(file, node), strict=True):
                    target, name = self.core.target(dotted)
                    self.imported.add((target, name))
                    if target in self.core.files and not name:
                        modules[alias.asname or alias.name.partition(".")[0]] = dotted
            elif isinstance(node, ast.Constant) and file not in _LISTS and re.fullmatch(r"[\w.:]+", str(node.value)):
                self.words.add(re.split(r"[.:]", str(node.value))[-1])
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                self.imported.add(self.core.target(f"{modules[node.value.id]}.{node.attr}"))

    def of(self, file: str, tree: ast.Module, node: Definition, unused: set[str]) -> bool:
        """Whether a definition is used by anything but itself and the ``unused`` ones of its file."""
        if (file, node.name) in self.imported or node.name in self.words or _is_hook(node):
            return True
        others = [one for one in tree.body if one is not node and getattr(one, "name", "") not in unused]
        return any(isinstance(one, ast.Name) and one.id == node.name for other in others for one in ast.walk(other))


def _is_hook(node: Definition) -> bool:
    """Called by what it is registered with (``@app.command()``), or by Python (``__getattr__`` of a module)."""
    if node.name.startswith("__") and node.name.endswith("__"):
        return True
    return any(isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) for one in node.decorator_list)


def _texts(root: Path) -> Iterator[str]:
    """What names code without being Python: whole, or of a page its code alone."""
    for pattern in ("bundles/**/*.yaml", "bundles/**/*.json", "pyproject.toml", "plugins/*/pyproject.toml",
                    "plugins/**/*.yaml", "medvlp_toolkit/**/*.j2"):  # fmt: skip
        for path in sorted(root.glob(pattern)):
            yield path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "bundles/**/*.md", "plugins/**/*.md"):
        for path in sorted(root.glob(pattern)):
            yield "\n".join(re.findall(r"```.*?```|`[^`\n]+`", path.read_text(encoding="utf-8"), re.DOTALL))


def unused_methods(core: Core) -> list[tuple[str, int, str]]:
    """(file, line, class and method) of methods that nothing but tests names.

    Left out are classes with a base of another package, which may call them, and what pytest calls.
    """
    uses = _Uses(core)
    plugins = [ast.parse(path.read_text(encoding="utf-8")) for path in (core.root / "plugins").glob("*/src/**/*.py")]
    trees = [*core.files.values(), *plugins]
    named = {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    ours = {node.name for tree in core.files.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    known = named | uses.words
    return [
        (file, node.lineno, f"{owner.name}.{node.name}")
        for file, tree in core.files.items()
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef) and all(ast.unparse(base) in ours for base in owner.bases)
        for node in owner.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(("__", "test_")) and node.name not in known
    ]
