"""A YAML or JSON file as plain values, with the line number of every item."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml

from medvlp_toolkit.verification.problem import Place, Problem

#: The parts of an id, outermost first.
IdPath = tuple[str, ...]

SUFFIXES = (".yaml", ".yml", ".json")
_MOST_ITEMS = 200_000  # aliases can make a small file enormous
_DEEPEST = 80
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
# Numbers in YAML 1.2, JSON and Python that are text in YAML 1.1: 1e-3, 1.0e3.
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


@dataclass
class LocatedFile:
    """``value`` is None if the file could not be read; then ``problems`` has the reason."""

    path: Path
    name: str
    value: Any = None
    lines: dict[IdPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @cached_property
    def places_of(self) -> dict[str, dict[IdPath, Place]]:
        """The places of each top-level key and of what is below it, by the rest of their path."""
        below: dict[str, dict[IdPath, Place]] = {}
        for path, line in self.lines.items():
            if path:
                below.setdefault(path[0], {})[path[1:]] = Place(self.name, line)
        return below

    def add(self, line: int, path: IdPath, message: str, fix: str = "") -> None:
        self.problems.append(Problem(self.name, line, "::".join(path), message, fix))


class _UnreadableError(Exception):
    """Stops reading after a problem that prevents further checks."""


def read_located(path: Path, name: str) -> LocatedFile:
    """Read a file; mistakes in it become problems, never exceptions."""
    try:
        status = path.stat()
    except OSError:
        return _read(path, name)
    found = _read_once(path.absolute(), name, status.st_ino, status.st_size, status.st_mtime_ns)
    return LocatedFile(path, name, copied(found.value), found.lines, list(found.problems))


def copied(value: Any) -> Any:
    """A copy of the mappings and lists of a file."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=256)
def _read_once(path: Path, name: str, *version: int) -> LocatedFile:
    """A file is the base of many others, and reading it is slow."""
    return _read(path, name)


def _read(path: Path, name: str) -> LocatedFile:
    found = LocatedFile(path, name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        found.add(0, (), f"cannot be read ({error.strerror})", "give the path of a .yaml or .json file")
        return found
    except UnicodeDecodeError:
        found.add(0, (), "is not text in UTF-8", "save it as UTF-8")
        return found
    try:
        found.value = _read_json(text, found) if path.suffix.lower() == ".json" else _read_yaml(text, found)
    except _UnreadableError:
        found.value = None
    except RecursionError:
        found.value = None
        found.add(0, (), f"is nested deeper than {_DEEPEST} levels", "flatten it")
    return found


# -- YAML --------------------------------------------------------------------------------------


def _read_yaml(text: str, found: LocatedFile) -> Any:
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            return None if root is None else _Nodes(loader, found).value(root, ())
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = 0 if mark is None else mark.line + 1
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        fix = "quote a value that begins with @ or %" if re.search(r"cannot start any token", what) else ""
        found.add(line, (), f"is not readable as YAML: {what}", fix)
        raise _UnreadableError from None


class _Nodes:
    """Converts YAML nodes to values; records lines, repeated keys, and numbers that YAML reads as text."""

    def __init__(self, loader: yaml.SafeLoader, found: LocatedFile) -> None:
        self.loader, self.found, self.count = loader, found, 0

    def value(self, node: yaml.Node, path: IdPath) -> Any:
        self.count += 1
        line = node.start_mark.line + 1
        if self.count > _MOST_ITEMS or len(path) > _DEEPEST:
            what = "contains more items than any configuration" if self.count > _MOST_ITEMS else "is nested too deep"
            self.found.add(line, path[:3], what, "are its aliases (&, *) meant?")
            raise _UnreadableError
        self.found.lines.setdefault(path, line)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            self.found.add(line, path, f"cannot be read: no constructor for the tag {node.tag}", "write plain YAML")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(number))) for number, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: IdPath) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        self.loader.flatten_mapping(node)
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.found.add(line, path, "has a key that is not text", "name it with a word")
                continue
            key = self.scalar(key_node, path)
            inner = (*path, str(key))
            if keys.count(key_node.value) > 1 and key in result:
                before = self.found.lines.get(inner, 0)
                self.found.add(
                    line, inner, f"is given twice, first on line {before}; the last one counts", "keep one of them"
                )
            if not path and not isinstance(key, str):
                self.found.add(line, inner, f"is a key of type {type(key).__name__}; ids are text", "quote it")
                key = str(key)
            self.found.lines[inner] = line
            result[key] = self.value(value_node, inner)
        return result

    def scalar(self, node: yaml.Node, path: IdPath) -> Any:
        try:
            value = self.loader.construct_object(node)  # type: ignore[no-untyped-call]
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            what = getattr(error, "problem", None) or str(error)
            self.found.add(node.start_mark.line + 1, path, f"cannot be read: {what}", "write plain YAML")
            return None
        if isinstance(value, str) and node.style is None and _FLOAT.fullmatch(value):  # type: ignore[attr-defined]
            fix = f"write {float(value)!r}" if "e" not in repr(float(value)) else f"write {_with_point(value)}"
            self.found.add(
                node.start_mark.line + 1,
                path,
                f"{value} is text in YAML 1.1, not a number",
                f"{fix}, or quote the text",
            )
        return value


def _with_point(number: str) -> str:
    """``1e-9`` in the form of YAML 1.1: with a point, and a sign in the exponent."""
    mantissa, _, exponent = number.lower().partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{exponent if exponent[0] in '+-' else '+' + exponent}"


# -- JSON --------------------------------------------------------------------------------------

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _read_json(text: str, found: LocatedFile) -> Any:
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [key for key, _ in items]
        repeated.extend({name for name in names if names.count(name) > 1})
        return dict(items)

    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        found.add(error.lineno, (), f"is not readable as JSON: {error.msg}", "no comments or trailing commas in JSON")
        raise _UnreadableError from None
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    for path, offset in _json_places(text):
        line = bisect_right(starts, offset)
        if path and path in found.lines and path[-1] in repeated:
            first = found.lines[path]
            found.add(line, path, f"is given twice, first on line {first}; the last one counts", "keep one of them")
        found.lines[path] = line
    return value


def _json_places(text: str) -> Iterator[tuple[IdPath, int]]:
    """The id of every item of a valid JSON document, and the position of its key (in a list, of the item itself)."""
    stack: list[Any] = []  # a key of an object, or the index in a list
    kinds: list[str] = []
    expects_key = False
    yield (), 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if kinds and kinds[-1] == "[" and token not in "],":
            yield tuple(map(str, stack)), match.start()
        if token in "{[":
            kinds.append(token)
            stack.append("" if token == "{" else 0)
            expects_key = token == "{"
            if token == "[":
                continue
        elif token in "}]":
            kinds.pop()
            stack.pop()
            expects_key = False
        elif token == ",":
            if kinds[-1] == "[":
                stack[-1] += 1
            expects_key = kinds[-1] == "{"
        elif token != ":" and expects_key:
            stack[-1] = json.loads(token)
            expects_key = False
            yield tuple(map(str, stack)), match.start()
