"""A user's YAML file read into a pydantic model: every mistake is one line with the file and the line in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MOST_NODES = 500_000  # nested aliases can expand to more than fits in memory
_LONGEST_SHOWN = 40
_Place = tuple[str | int, ...]


class Strict(BaseModel):
    """A mapping of a file: no unknown key, and no value that is silently converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _know_the_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and cls.model_config["extra"] == "forbid":
            for key in data:
                if key not in cls.model_fields:
                    known = f"; the keys here are {', '.join(cls.model_fields)}"
                    message = f"unknown key {shown(key)}{did_you_mean(str(key), cls.model_fields) or known}"
                    raise PydanticCustomError("unknown_key", "{message}", {"message": message, "key": key})
        return data


Model = TypeVar("Model", bound=BaseModel)


@dataclass
class YamlFile:
    """A parsed file: its content, and the line of each part.

    ``name`` is what errors call it; ``lines`` maps the path to a part (keys and indexes) to its line.
    """

    name: str
    content: Any
    lines: dict[_Place, int] = field(default_factory=dict)

    def fault(self, place: _Place, message: str) -> ValueError:
        """The one line for a mistake at a place, or at the nearest place around it that has a line."""
        line = self.line(place)
        return ValueError(f"{self.name}, line {line}: {message}" if line else f"{self.name}: {message}")

    def into(self, model: type[Model], context: Mapping[str, Any] | None = None) -> Model:
        """The content as ``model``; ``context`` is what its validators ask.

        Raises ValueError: the first mistake of the file, in one line, and how many more there are.
        """
        try:
            return model.model_validate(self.content, context=dict(context or {}))
        except ValidationError as error:
            found = error.errors(include_url=False)
        faults = sorted((self.line(_place(detail)), number) for number, detail in enumerate(found))
        first = found[faults[0][1]]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise self.fault(_place(first), _message(first) + more)

    def line(self, place: _Place) -> int:
        """The line of a place, or of its nearest known parent; 0 if unknown.

        Parts that are no keys of the file are passed over: pydantic names the branch of a choice.
        """
        known: _Place = ()
        for part in place:
            if (*known, part) in self.lines:
                known = (*known, part)
        return self.lines.get(known, 0)


def read_yaml(path: str | Path, expected: str) -> YamlFile:
    """Parse a user's file; ``expected`` says in words what it should be.

    Raises FileNotFoundError, or ValueError with file and line: no YAML, no UTF-8, empty, a key given twice.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; expected {expected}")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {expected}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    file = YamlFile(str(path), None)
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise ValueError(f"{path}, line 1: empty; expected {expected}")
            file.content = _Reading(loader, file).value(node, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{line}: not readable as YAML ({error.problem or 'damaged'})") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise ValueError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None
    except RecursionError:
        raise ValueError(f"{path}: not readable as YAML (nested too deeply)") from None
    if not isinstance(file.content, dict):
        raise file.fault((), f"{_kind(file.content)} where {expected} is expected")
    return file


class _Reading:
    """Turns the nodes of a document into values and notes their lines."""

    def __init__(self, loader: Any, file: YamlFile) -> None:
        self.loader, self.file = loader, file
        self.nodes = 0

    def value(self, node: yaml.Node, place: _Place) -> Any:
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise ValueError(f"{self.file.name}: expands to more than {_MOST_NODES:,} values; expected a small file")
        self.file.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self.loader.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, place: _Place) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        lines: dict[Any, int] = {}
        for key_node in own:
            key, line = self._key(key_node), key_node.start_mark.line + 1
            if key in lines:
                raise ValueError(
                    f"{self.file.name}, line {line}: {shown(key)} is given twice (also in line {lines[key]})"
                )
            lines[key] = line
        self.loader.flatten_mapping(node)
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            self.file.lines[(*place, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*place, key))
        return result

    def _key(self, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError(f"{self.file.name}, line {node.start_mark.line + 1}: a key that is no text")
        return self.loader.construct_object(node)


def did_you_mean(given: str, known: Any) -> str:
    """``; did you mean 'x'?`` for the nearest of the known names, or nothing."""
    near = get_close_matches(given, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def shown(value: Any) -> str:
    """A value of the file in an error: short, and on one line."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def _place(detail: ErrorDetails) -> _Place:
    place = detail["loc"]
    if detail["type"] == "unknown_key":
        return (*place, detail["ctx"]["key"])
    if place and place[-1] == "[key]":
        return place[:-1]
    return place


def _message(detail: ErrorDetails) -> str:
    kind, given, place = detail["type"], detail["input"], _place(detail)
    named = next((f"`{part}`" for part in reversed(place) if isinstance(part, str)), "the file")
    if kind == "missing":
        return f"{named} is missing"
    if kind == "value_error":
        message = str(detail["ctx"]["error"])
        return f"{named}: {message}" if place else message
    if kind == "unknown_key":
        return str(detail["msg"])
    expected = {
        "string_type": "text",
        "string_too_short": "text",
        "string_pattern_mismatch": "a name",
        "list_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping",
        "bool_type": "true or false",
        "int_type": "a whole number",
        "literal_error": str(detail.get("ctx", {}).get("expected", "")),
    }.get(kind)
    if expected is None:
        return f"{named}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    hint = ""
    if isinstance(given, bool) and expected == "text":
        hint = "; YAML reads on, off, yes and no as truth values, so quote them"
    elif kind == "literal_error" and isinstance(given, str):
        hint = did_you_mean(given, [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")])
    what = shown(given) if isinstance(given, str | int | float | bool) else _kind(given)
    return f"{named}: {what} where {expected} is expected{hint}"


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    kinds = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), type(value).__name__)
