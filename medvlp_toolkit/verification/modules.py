"""Resolves dotted paths: installed distributions by import, all other files as syntax trees.

A bundle's own modules are never imported, and its folder is never added to ``sys.path``.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import io
import json
import site
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from medvlp_toolkit.registry import PluginError
from medvlp_toolkit.verification.problem import nearest

#: Modules of the standard library whose import has side effects.
_NOT_FOR_IMPORT = frozenset({"antigravity", "this", "idlelib", "turtledemo", "test", "__main__"})
_MOST_HOPS = 6  # of re-exports from module to module


class UnresolvedError(Exception):
    """A dotted path cannot be resolved; ``fix`` is the proposed fix."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True)
class Resolved:
    """The target of a path. ``object`` is None if it was read as text; ``signature`` is None if unknown."""

    path: str
    object: Any = None
    signature: inspect.Signature | None = None
    imported: bool = False


class Modules:
    """Resolves dotted paths for one bundle.

    Args:
        bundle: its folder, whose modules are read as text; None for no such folder.
        may_import: decides whether a path may be imported; by default all paths of installed distributions.
    """

    def __init__(self, bundle: Path | None = None, may_import: Callable[[str], bool] | None = None) -> None:
        self.bundle = None if bundle is None else bundle.resolve()
        self.may_import = may_import or (lambda path: True)
        self._known: dict[str, Resolved | UnresolvedError] = {}
        self._roots: tuple[Path, ...] | None = None

    def resolve(self, dotted: str) -> Resolved:
        """Resolve ``package.module.name``.

        Raises:
            UnresolvedError: when there is no such module or name, or it cannot be imported.
        """
        if dotted not in self._known:
            try:
                self._known[dotted] = self._resolve(dotted)
            except UnresolvedError as error:
                self._known[dotted] = error
        found = self._known[dotted]
        if isinstance(found, UnresolvedError):
            raise found
        return found

    # -- finding --------------------------------------------------------------------------------

    def _resolve(self, dotted: str) -> Resolved:
        parts = dotted.split(".")
        if not all(part.isidentifier() for part in parts):
            raise UnresolvedError(f"'{dotted}' is not a dotted path", "write package.module.name")
        local = self._local(parts[0])
        if local is not None:
            return self._from_source(local, parts[1:], dotted)
        with self._bundle_off_the_path():
            try:
                spec = importlib.util.find_spec(parts[0])
            except (ImportError, ValueError, AttributeError):
                spec = None
            if spec is None:
                raise UnresolvedError(
                    f"{dotted}: there is no module {parts[0]}",
                    nearest(parts[0], {"monai", "torch", "ignite", "transformers", "medvlp_toolkit"}, 0.7)
                    or f"install the package that has it: pip install {parts[0].replace('_', '-')}",
                )
            places = [Path(place) for place in (spec.submodule_search_locations or ())]
            origin = Path(spec.origin) if spec.has_location and spec.origin else None
            if not self._is_installed(parts[0], origin, places):
                start = origin if origin is not None else (places[0] if places else None)
                if start is not None:
                    return self._from_source(start, parts[1:], dotted)
            return self._by_import(parts, dotted)

    def _local(self, name: str) -> Path | None:
        if self.bundle is None:
            return None
        folder, file = self.bundle / name, self.bundle / f"{name}.py"
        if file.is_file():
            return file
        if folder.is_dir() and any(folder.glob("**/*.py")):
            return folder / "__init__.py" if (folder / "__init__.py").is_file() else folder
        return None

    def _is_installed(self, name: str, origin: Path | None, places: list[Path]) -> bool:
        if origin is None and not places:
            return True  # built in, or frozen
        where = (origin or places[0]).resolve()
        if self.bundle is not None and self.bundle in where.parents:
            return False
        return any(root in where.parents for root in self._installed_roots())

    def _installed_roots(self) -> tuple[Path, ...]:
        """Folders of Python's own library, of installed distributions, and of those installed editable."""
        if self._roots is None:
            paths = sysconfig.get_paths()
            roots = [paths[key] for key in ("purelib", "platlib", "stdlib", "platstdlib")]
            roots += [*site.getsitepackages(), site.getusersitepackages()]
            roots += [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
            roots += list(_editable_projects())
            # Modules are next to their distribution's metadata, also with `pip install --target` and in tests.
            for entry in sys.path:
                folder = Path(entry)
                if entry and folder.is_dir() and any(folder.glob("*.dist-info")):
                    roots.append(entry)
            self._roots = tuple({Path(root).resolve() for root in roots})
        return self._roots

    @contextlib.contextmanager
    def _bundle_off_the_path(self) -> Iterator[None]:
        """Exclude folders of the bundle from the search, also if one is the current folder."""
        before = list(sys.path)
        if self.bundle is not None:
            bundle = self.bundle

            def inside(entry: str) -> bool:
                where = Path(entry or ".").resolve()
                return where == bundle or bundle in where.parents

            sys.path[:] = [entry for entry in sys.path if not inside(entry)]
        try:
            yield
        finally:
            sys.path[:] = before

    # -- by import ------------------------------------------------------------------------------

    def _by_import(self, parts: list[str], dotted: str) -> Resolved:
        if not self.may_import(dotted):
            return Resolved(dotted)
        if parts[0] in _NOT_FOR_IMPORT or "__main__" in parts:
            raise UnresolvedError(f"importing {dotted} has side effects", "name something else")
        value: Any = self._import(parts[0], dotted)
        for number, part in enumerate(parts[1:], start=1):
            module = ".".join(parts[:number])
            try:
                value = _attribute(value, part)
            except PluginError as error:
                raise UnresolvedError(str(error)) from None
            except AttributeError:
                if not inspect.ismodule(value) or not _has_submodule(value, part):
                    choices = [name for name in dir(value) if not name.startswith("_")]
                    hint = nearest(part, choices) or "look for where it has moved, or for the version that has it"
                    raise UnresolvedError(f"{module} has no {part}", hint) from None
                value = self._import(f"{module}.{part}", dotted)
            except Exception as error:  # a module's own __getattr__ or a property may raise anything
                raise UnresolvedError(f"{dotted} cannot be resolved: {_reason(error)}", "fix or leave it out") from None
        return Resolved(dotted, value, signature_of(value), imported=True)

    def _import(self, module: str, dotted: str) -> Any:
        try:
            with _silence():
                return import_module(module)
        except (Exception, SystemExit) as error:
            reason = _reason(error)
            raise UnresolvedError(
                f"{dotted} cannot be imported: {reason}", "install its missing dependency, or fix its package"
            ) from None

    # -- as text --------------------------------------------------------------------------------

    def _from_source(self, start: Path, names: list[str], dotted: str) -> Resolved:
        file, rest = _module_file(start, names)
        if file is None:
            if rest:
                raise UnresolvedError(f"{dotted}: there is no {rest[0]} in {start.name}", _nearest_module(start, rest))
            return Resolved(dotted)
        return self._in_tree(file, rest, dotted, 0)

    def _in_tree(self, file: Path, names: list[str], dotted: str, hops: int) -> Resolved:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, OSError, RecursionError) as error:
            line = getattr(error, "lineno", None)
            where = f"{file.name}:{line}" if line else file.name
            raise UnresolvedError(f"{dotted}: {where} is not readable as Python", "fix the file") from None
        if not names:
            return Resolved(dotted)
        definitions = _definitions(tree)
        if names[0] not in definitions:
            if any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in ast.walk(tree)):
                return Resolved(dotted)  # it may come from there
            if "__getattr__" in definitions:
                return Resolved(dotted)
            raise UnresolvedError(
                f"{dotted}: {file.name} has no {names[0]}",
                nearest(names[0], definitions) or "look for where it is defined",
            )
        node = definitions[names[0]]
        if isinstance(node, ast.ImportFrom) and hops < _MOST_HOPS:
            return self._passed_on(file, node, names, dotted, hops)
        if isinstance(node, ast.ClassDef) and len(names) > 1:
            return Resolved(dotted)
        return Resolved(dotted, None, _signature_in(node))

    def _passed_on(self, file: Path, node: ast.ImportFrom, names: list[str], dotted: str, hops: int) -> Resolved:
        original = next((a.name for a in node.names if (a.asname or a.name) == names[0]), names[0])
        if node.level:
            folder = file.parent
            for _ in range(node.level - 1):
                folder = folder.parent
            module = (node.module or "").split(".") if node.module else []
            found, rest = _module_file(folder, [*module, original, *names[1:]])
            return self._in_tree(found, rest, dotted, hops + 1) if found is not None else Resolved(dotted)
        try:
            return self.resolve(".".join([node.module or "", original, *names[1:]]))
        except RecursionError:
            return Resolved(dotted)


def signature_of(value: Any) -> inspect.Signature | None:
    """The signature of a callable, or None if Python cannot determine it."""
    if not callable(value):
        return None
    try:
        return inspect.signature(value)
    except Exception:  # __signature__ or a metaclass may raise anything
        return None


def _attribute(value: Any, name: str) -> Any:
    with _silence():
        return getattr(value, name)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress output and warnings of an import."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _has_submodule(module: Any, name: str) -> bool:
    try:
        return importlib.util.find_spec(f"{module.__name__}.{name}") is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _editable_projects() -> Iterator[str]:
    for distribution in distributions():
        try:
            origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        except (OSError, ValueError):
            continue
        if isinstance(origin, dict) and (origin.get("dir_info") or {}).get("editable"):
            yield url2pathname(urlparse(str(origin.get("url", ""))).path)


def _module_file(start: Path, names: list[str]) -> tuple[Path | None, list[str]]:
    """The file of the longest module path beneath ``start``, and the names left over."""
    folder = start.parent if start.name == "__init__.py" else start
    if folder.is_file():
        return folder, names
    for number, name in enumerate(names):
        if (folder / f"{name}.py").is_file():
            return folder / f"{name}.py", names[number + 1 :]
        if not (folder / name).is_dir():
            init = folder / "__init__.py"
            return (init, names[number:]) if init.is_file() else (None, names[number:])
        folder = folder / name
    init = folder / "__init__.py"
    return (init, []) if init.is_file() else (None, [])


def _nearest_module(start: Path, rest: list[str]) -> str:
    folder = start.parent if start.name == "__init__.py" else start
    there = [file.stem for file in folder.rglob("*.py")] if folder.is_dir() else []
    return nearest(rest[0], there) or "look for where it is defined"


def _definitions(tree: ast.Module) -> dict[str, ast.AST]:
    """The top-level names of a module."""
    found: dict[str, ast.AST] = {}
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)]
            found.update(dict.fromkeys(names, node))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            for handler in getattr(node, "handlers", ()):
                waiting += handler.body
    return found


def _signature_in(node: ast.AST) -> inspect.Signature | None:
    """The signature of a definition, if it is determined by its source alone."""
    if isinstance(node, ast.FunctionDef) and not node.decorator_list:
        return _signature(node.args)
    if isinstance(node, ast.ClassDef) and not node.decorator_list and not node.keywords:
        made = {inner.name: inner for inner in node.body if isinstance(inner, ast.FunctionDef)}
        if "__init__" in made and "__new__" not in made and not made["__init__"].decorator_list:
            return _signature(made["__init__"].args, bound=True)
        if not node.bases and "__new__" not in made:
            return inspect.Signature()
    return None


def _signature(arguments: ast.arguments, bound: bool = False) -> inspect.Signature | None:
    parameter = inspect.Parameter
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    parameters = []
    for number, one in enumerate(positional):
        kind = parameter.POSITIONAL_ONLY if number < len(arguments.posonlyargs) else parameter.POSITIONAL_OR_KEYWORD
        default = parameter.empty if number < without else None
        parameters.append(parameter(one.arg, kind, default=default))
    if bound:
        parameters = parameters[1:]
    if arguments.vararg:
        parameters.append(parameter(arguments.vararg.arg, parameter.VAR_POSITIONAL))
    for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        default = parameter.empty if value is None else None
        parameters.append(parameter(one.arg, parameter.KEYWORD_ONLY, default=default))
    if arguments.kwarg:
        parameters.append(parameter(arguments.kwarg.arg, parameter.VAR_KEYWORD))
    try:
        return inspect.Signature(parameters)
    except ValueError:
        return None
