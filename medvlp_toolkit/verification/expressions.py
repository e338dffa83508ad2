"""Checks ``$`` expressions as syntax trees, never evaluated: their syntax, and the names they use."""

from __future__ import annotations

import ast
import builtins
import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from medvlp_toolkit.verification.composition import SEPARATOR, Composition
from medvlp_toolkit.verification.located_file import IdPath
from medvlp_toolkit.verification.modules import Modules, UnresolvedError
from medvlp_toolkit.verification.problem import nearest
from medvlp_toolkit.verification.references import REFERENCE

#: Names that MONAI defines in every expression.
_GLOBALS = {"monai": "monai", "torch": "torch", "np": "numpy", "numpy": "numpy"}
#: The name that replaces a reference in a syntax tree.
REFERENCES = "__local_refs"


@dataclass
class Expressions:
    """The expressions of a composition that can be parsed, and the dotted path of every imported name."""

    trees: dict[IdPath, ast.Expression] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=lambda: dict(_GLOBALS))
    import_places: dict[str, IdPath] = field(default_factory=dict)


def read_expressions(composition: Composition) -> Expressions:
    """Parse every expression; those that cannot be parsed become problems."""
    found = Expressions()
    for path, value in composition.walk():
        if not (isinstance(value, str) and value.startswith("$")):
            continue
        text = value[1:]
        statement = _import_in(composition, path, text)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _note_import(composition, path, statement, found)
        elif statement is None:
            tree = _tree(composition, path, text)
            if tree is not None:
                found.trees[path] = tree
    return found


def _import_in(composition: Composition, path: IdPath, text: str) -> ast.stmt | str | None:
    """The import statement that the text is, None for another expression, a word where it was reported."""
    if "import" not in text:
        return None
    statement = _parsed(text, "exec")
    if isinstance(statement, ast.Module):
        first = statement.body[0] if statement.body else None
        return first if isinstance(first, ast.Import | ast.ImportFrom) else None
    if REFERENCE.search(text):
        message = "has the word import next to a reference: MONAI reads it as an import statement and stops"
        composition.add(path, message, "rename it")
        return "reported"
    return None


def _note_import(
    composition: Composition, path: IdPath, statement: ast.Import | ast.ImportFrom, found: Expressions
) -> None:
    if len(statement.names) > 1:
        composition.add(path, "imports several names, of which MONAI takes the first", "one import for each name")
    alias = statement.names[0]
    if isinstance(statement, ast.ImportFrom):
        if statement.level:
            composition.add(path, "has a relative import", "name the module in full")
            return
        dotted = f"{statement.module}.{alias.name}"
    else:
        dotted = alias.name
    found.imported[alias.asname or alias.name] = dotted
    found.import_places[alias.asname or alias.name] = path
    if isinstance(statement, ast.Import) and alias.asname is None and "." in alias.name:
        composition.add(path, f"MONAI binds `{alias.name}`, a name with dots that no expression can use",
                        f"write `import {alias.name} as {alias.name.rpartition('.')[2]}`")  # fmt: skip


def _tree(composition: Composition, path: IdPath, text: str) -> ast.Expression | None:
    text = text.replace("#", SEPARATOR)
    names = sorted(set(REFERENCE.findall(text)), key=len, reverse=True)
    replaced = text
    for name in names:
        replaced = replaced.replace(name, f"{REFERENCES}['{name[1:]}']")
    tree = _parsed(replaced.strip(), "eval")
    if isinstance(tree, ast.Expression):
        return tree
    beside = "; an @ inside text is parsed as a reference" if names and ("'" in text or '"' in text) else ""
    composition.add(path, f"is not a Python expression: {tree}{beside}", "check brackets and quotes")
    return None


def _parsed(text: str, mode: str) -> ast.AST | str:
    """The tree, or the reason why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes, which do not concern the user of the check
            return ast.parse(text, mode=mode)
    except SyntaxError as error:
        return error.msg
    except (ValueError, MemoryError, RecursionError) as error:
        return str(error) or "too deep"


def check_names(
    composition: Composition,
    expressions: Expressions,
    modules: Modules,
    excused: Callable[[IdPath, str], bool] = lambda path, name: False,
) -> None:
    """Check that imports can be resolved, names are imported, and attributes of modules exist.

    ``excused`` decides whether a name that is not imported is accepted at a place.
    """
    broken = set()
    for name, path in expressions.import_places.items():
        try:
            modules.resolve(expressions.imported[name])
        except UnresolvedError as error:
            broken.add(name)
            composition.add(path, str(error), error.fix)
    known = {*expressions.imported, *dir(builtins), REFERENCES}
    for path, tree in expressions.trees.items():
        bound = set(_bound(tree))
        for name in dict.fromkeys(_loaded(tree)):
            if name not in known and name not in bound and not excused(path, name):
                fix = nearest(name, known - set(dir(builtins))) or f"add `$import {name}` or the like to imports"
                composition.add(path, f"uses the name {name}, which is not imported", fix)
        for dotted, call in dotted_paths(
            tree, {n: d for n, d in expressions.imported.items() if n not in bound | broken}
        ):
            _check_chain(composition, path, dotted, call, modules)


def _loaded(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id


def _bound(tree: ast.AST) -> Iterator[str]:
    """Names that the expression itself defines: in lambdas, comprehensions and :=."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg


def dotted_paths(tree: ast.AST, imported: dict[str, str]) -> Iterator[tuple[str, ast.Call | None]]:
    """Dotted paths below imported names (``torch.cuda.set_device``), with their calls."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if id(node) in inner or not isinstance(node, ast.Attribute | ast.Name):
            continue
        attributes, root = [], node
        while isinstance(root, ast.Attribute):
            attributes.append(root.attr)
            root = root.value  # type: ignore[assignment]
        if isinstance(root, ast.Name) and root.id in imported:
            yield ".".join([imported[root.id], *reversed(attributes)]), calls.get(id(node))


def _check_chain(composition: Composition, path: IdPath, dotted: str, call: ast.Call | None, modules: Modules) -> None:
    try:
        found = modules.resolve(dotted)
    except UnresolvedError as error:
        composition.add(path, str(error), error.fix)
        return
    if call is None or found.signature is None:
        return
    if any(isinstance(one, ast.Starred) for one in call.args) or any(word.arg is None for word in call.keywords):
        return
    given = {word.arg: None for word in call.keywords if word.arg}
    try:
        found.signature.bind(*[None] * len(call.args), **given)
    except TypeError as error:
        takes = ", ".join(
            p.name for p in found.signature.parameters.values() if p.kind is not inspect.Parameter.VAR_POSITIONAL
        )
        composition.add(path, f"calls {dotted} wrongly: {error}", f"it takes {takes or 'nothing'}")
