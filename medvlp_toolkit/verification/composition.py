"""Overlays and overrides configuration files as MONAI's parser does, keeping the place of every item.

Nothing is evaluated: ``@`` and ``$`` stay text; ``%`` is replaced by the text it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medvlp_toolkit.verification.located_file import IdPath, LocatedFile, copied, read_located
from medvlp_toolkit.verification.problem import Place, Problem, nearest_id

SEPARATOR = "::"
COMMAND_LINE = "--set"
_RELATIVE = re.compile(r"(?:@|%)(?:::)+")
_FILE_MACRO = re.compile(r"^(.*\.(?:json|yaml|yml))(?:::(.*))?$", re.IGNORECASE | re.DOTALL)
_MOST_ITEMS = 200_000


def as_path(id_: str) -> IdPath:
    """``a::b`` or ``a#b`` (the older spelling) as its parts."""
    return tuple(id_.replace("#", SEPARATOR).split(SEPARATOR))


@dataclass
class Composition:
    """``config`` as MONAI would compose it; ``places`` has the origin of each item."""

    config: dict[str, Any] = field(default_factory=dict)
    places: dict[IdPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def add(self, path: IdPath, message: str, fix: str = "", place: Place | None = None) -> None:
        place = place or self.place(path)
        self.problems.append(Problem(place.file, place.line, SEPARATOR.join(path), message, fix))

    def place(self, path: IdPath) -> Place:
        """The place of the item, or of the nearest enclosing one."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(self.files[0] if self.files else "")

    # -- reading --------------------------------------------------------------------------------

    def __contains__(self, path: IdPath) -> bool:
        return self.get(path, default=_ABSENT) is not _ABSENT

    def get(self, path: IdPath, default: Any = None) -> Any:
        value: Any = self.config
        for name in path:
            if isinstance(value, dict) and name in value:
                value = value[name]
            elif isinstance(value, dict) and name in (texts := {str(key): key for key in value}):
                value = value[texts[name]]
            elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
                value = value[int(name)]
            else:
                return default
        return value

    def walk(self) -> Iterator[tuple[IdPath, Any]]:
        """Every item, containers first."""
        return _walk(self.config, ())

    def ids(self) -> set[str]:
        """All ids."""
        return {SEPARATOR.join(path) for path, _ in self.walk() if path}

    # -- composing ------------------------------------------------------------------------------

    def lay_over(self, file: LocatedFile) -> None:
        """Overlay one more file."""
        self.files.append(file.name)
        if file.value is None:
            return
        if not isinstance(file.value, dict):
            what = type(file.value).__name__
            self.add((), f"holds a {what}; expected ids with their values", place=Place(file.name))
            return
        for key, value in file.value.items():
            key = str(key)
            places = file.places_of.get(key, {})
            self._merge(key, copied(value), places, places.get((), Place(file.name)))

    def override(self, key: str, value: Any, source: str = COMMAND_LINE) -> None:
        """Apply one ``key=value`` of the command line."""
        self._set(as_path(key), copied(value), {(): Place(source)}, Place(source))

    def _merge(self, key: str, value: Any, places: Mapping[IdPath, Place], place: Place) -> None:
        if not key.startswith("+"):
            self._set(as_path(key), value, places, place)
            return
        path = as_path(key[1:])
        there = self.get(path, default=_ABSENT)
        if there is _ABSENT:
            if len(self.files) > 1:
                fix = nearest_id(SEPARATOR.join(path), self.ids()) or "remove the + to set it"
                self.add(path, f"+{SEPARATOR.join(path)} extends an id that no file before it has", fix, place)
            self._set(path, value, places, place)
        elif isinstance(there, dict) and isinstance(value, dict):
            for inner, item in value.items():
                self._set((*path, str(inner)), item, _below(places, str(inner)), places.get((str(inner),), place))
        elif isinstance(there, list) and isinstance(value, list):
            for number, item in enumerate(value):
                inner_path = (*path, str(len(there)))
                there.append(item)
                self._note(inner_path, _below(places, str(number)), places.get((str(number),), place))
        else:
            message = f"+{SEPARATOR.join(path)} is a {_kind(value)}, and what it extends is a {_kind(there)}"
            self.add(path, message, "+ joins two mappings or two lists", place)

    def _set(self, path: IdPath, value: Any, places: Mapping[IdPath, Place], place: Place) -> None:
        parent = self.get(path[:-1], default=_ABSENT)
        last = path[-1]
        if isinstance(parent, dict):
            key = last if last in parent else next((key for key in parent if str(key) == last), last)
            parent[key] = value
        elif isinstance(parent, list) and last.lstrip("-").isdigit() and -len(parent) <= int(last) < len(parent):
            parent[int(last)] = value
        else:
            outer = SEPARATOR.join(path[:-1])
            what = f"there is no '{outer}' to set it in" if parent is _ABSENT else f"'{outer}' holds no items to set"
            self.add(path, what, nearest_id(SEPARATOR.join(path), self.ids()), place)
            return
        self._note(path, places, place)

    def _note(self, path: IdPath, places: Mapping[IdPath, Place], place: Place) -> None:
        if path in self.places:  # else nothing below it is either
            for known in [known for known in self.places if known[: len(path)] == path]:
                del self.places[known]
        self.places[path] = place
        for inner, where in places.items():
            self.places[(*path, *inner)] = where

    # -- macros -----------------------------------------------------------------------------------

    def resolve_macros(self, folders: Sequence[Path]) -> None:
        """Replace ``%id`` and ``%file.yaml::id``; files are searched only in ``folders``."""
        self._resolve(self.config, (), folders)

    def _resolve(self, container: Any, path: IdPath, folders: Sequence[Path]) -> None:
        for key, item in list(container.items() if isinstance(container, dict) else enumerate(container)):
            inner = (*path, str(key))
            if isinstance(item, dict | list):
                self._resolve(item, inner, folders)
            elif isinstance(item, str):
                text = self._absolute(inner, item)
                container[key] = self._macro(inner, text, folders) if text.startswith("%") else text

    def _absolute(self, path: IdPath, text: str) -> str:
        """Relative ids (``@::sibling``, ``@::::aunt``) written out."""
        if not ("@" in text or "%" in text):
            return text
        text = text.replace("#", SEPARATOR)
        for prefix in sorted(set(_RELATIVE.findall(text)), reverse=True):
            levels = prefix.count(SEPARATOR)
            if levels > len(path):
                self.add(path, f"{prefix} goes up {levels} levels, and there are {len(path)}")
                continue
            outer = SEPARATOR.join(path[:-levels])
            text = text.replace(prefix, prefix[0] + (f"{outer}{SEPARATOR}" if outer else ""))
        return text

    def _macro(self, path: IdPath, text: str, folders: Sequence[Path]) -> Any:
        wanted = text[1:].replace("#", SEPARATOR)
        in_file = _FILE_MACRO.match(wanted)
        if in_file is None:
            value = self.get(as_path(wanted), default=_ABSENT)
            if value is _ABSENT:
                self.add(path, f"%{wanted} names no id", nearest_id(wanted, self.ids()))
                return None
            return copied(value)
        name, id_ = in_file[1], in_file[2] or ""
        file = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if file is None:
            self.add(path, f"%{name}: no such file", "the path is relative to where the bundle is run")
            return None
        located = read_located(file, name)
        self.problems += located.problems
        other = Composition()
        other.lay_over(located)
        if id_ and as_path(id_) not in other:
            self.add(path, f"%{name} has no id '{id_}'", nearest_id(id_, other.ids()))
            return None
        return other.get(as_path(id_)) if id_ else other.config


_ABSENT: Any = object()


def compose(files: Sequence[LocatedFile], overrides: Mapping[str, Any] | None = None) -> Composition:
    """The files in order, then the overrides; macros are not resolved yet."""
    made = Composition()
    for file in files:
        made.lay_over(file)
    for key, value in (overrides or {}).items():
        made.override(key, value)
    return made


def _walk(value: Any, path: IdPath) -> Iterator[tuple[IdPath, Any]]:
    stack = [(path, value)]
    count = 0
    while stack:
        here, item = stack.pop()
        count += 1
        if count > _MOST_ITEMS:
            return
        yield here, item
        if isinstance(item, dict | list):
            inner = list(item.items() if isinstance(item, dict) else enumerate(item))
            stack.extend(((*here, str(key)), child) for key, child in reversed(inner))


def _below(places: Mapping[IdPath, Place], name: str) -> dict[IdPath, Place]:
    return {path[1:]: place for path, place in places.items() if path[:1] == (name,)}


def _kind(value: Any) -> str:
    return "mapping" if isinstance(value, dict) else "list" if isinstance(value, list) else "single value"
