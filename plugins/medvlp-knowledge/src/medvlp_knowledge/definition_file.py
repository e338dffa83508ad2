"""Reads a YAML or JSON file of descriptions into :class:`Definition` records.

Three layouts are read. A plain mapping::

    effusion: Fluid in the pleural space ...
    edema: Excess fluid in the lungs ...

a list (or a mapping from id) of entries with more fields::

    - id: effusion
      name: pleural effusion
      synonyms: [pleural fluid]
      definition: Fluid in the pleural space ...
      source: Hansell et al., Radiology 2008

and a document with such a list or mapping under ``entries``, with a ``kind`` for all of them and a table of
``sources`` to which entries refer by key.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

BUNDLED = ("chest_entities", "chest_positions", "chest_extra")
"""Names of the files shipped with this package."""

_SUFFIXES = (".yaml", ".yml", ".json")
_DOCUMENT_FIELDS = ("entries", "kind", "sources")
_SIDES = ("left", "right", "none")


@dataclass(frozen=True, slots=True)
class Definition:
    """One entry of a file of descriptions.

    ``source`` is a reference for the described fact. ``side`` is given only for positions: ``left``, ``right`` or
    ``none``, the side of the body that the position names. ``mirror`` is then the id of the corresponding position in
    an image mirrored left to right, None if there is none.
    """

    id: str
    name: str
    definition: str
    synonyms: tuple[str, ...] = ()
    kind: str | None = None
    source: str = ""
    side: str | None = None
    mirror: str | None = None


_ENTRY_FIELDS = tuple(field.name for field in fields(Definition))


def read_definitions(path: str | PathLike[str]) -> list[Definition]:
    """Read the entries of a file, in its order.

    ``path`` is one of :data:`BUNDLED` or the path of a ``.yaml``, ``.yml`` or ``.json`` file in UTF-8.

    Raises:
        FileNotFoundError: there is no such file, or no bundled file of that name.
        ValueError: the file cannot be parsed, or an entry is malformed; the message names both.
    """
    label, suffix, text = _read_text(path)
    document = _parse_json(label, text) if suffix == ".json" else _parse_yaml(label, text)
    entries = _entries(label, document)
    _check_mirrors(label, entries)
    return entries


def _read_text(path: str | PathLike[str]) -> tuple[str, str, str]:
    if isinstance(path, str) and path in BUNDLED:
        data = resources.files("medvlp_knowledge") / "data" / f"{path}.yaml"
        return path, ".yaml", data.read_text(encoding="utf-8")
    file = Path(path)
    suffix = file.suffix.lower()
    if not file.is_file():
        if file.is_dir():
            raise ValueError(f"'{file}' is a folder; expected a .yaml, .yml or .json file of definitions")
        if suffix == "" and len(file.parts) <= 1:
            nearest = get_close_matches(str(file), BUNDLED, n=1)
            hint = f"did you mean '{nearest[0]}'? " if nearest else ""
            raise FileNotFoundError(
                f"no definitions named '{file}': {hint}Bundled are {', '.join(BUNDLED)}; "
                "anything else is the path of a .yaml, .yml or .json file"
            )
        raise FileNotFoundError(f"no file of definitions at '{file}' (looked in '{file.absolute().parent}')")
    if suffix not in _SUFFIXES:
        raise ValueError(f"{file}: expected a file ending in {', '.join(_SUFFIXES)}")
    try:
        return str(file), suffix, file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """Reject duplicate keys, of which PyYAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag != "tag:yaml.org,2002:merge":
                key = self.construct_object(key_node)
                if key in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key}' occurs twice", key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _parse_yaml(label: str, text: str) -> object:
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{label}{place}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{label}: not valid YAML: {str(error).splitlines()[0]}") from None


def _parse_json(label: str, text: str) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise ValueError(f"{label}: '{key}' occurs twice")
            result[key] = value
        return result

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{label}, line {error.lineno}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{label}: not valid JSON: nested too deeply") from None


def _entries(label: str, document: object) -> list[Definition]:
    kind: str | None = None
    sources: Mapping[str, str] = {}
    if isinstance(document, dict) and isinstance(document.get("entries"), (list, dict)):
        _refuse_unknown(label, document, _DOCUMENT_FIELDS)
        kind = _text(label, document, "kind")
        sources = _source_table(label, document.get("sources"))
        document = document["entries"]
    if isinstance(document, dict):
        entries = [_entry(f"{label}: entry '{key}'", value, sources, kind, key) for key, value in document.items()]
    elif isinstance(document, list):
        entries = [_entry(f"{label}: entry {n}", value, sources, kind) for n, value in enumerate(document, 1)]
    else:
        found = "nothing" if document is None else f"a {type(document).__name__}"
        raise ValueError(f"{label}: expected a mapping from name to description or a list of entries, found {found}")
    if not entries:
        raise ValueError(f"{label}: no entries; expected a mapping from name to description or a list of entries")
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise ValueError(f"{label}: id '{entry.id}' occurs twice; ids are unique in a file")
        seen.add(entry.id)
    return entries


def _source_table(label: str, sources: object) -> Mapping[str, str]:
    if sources is None:
        return {}
    if not isinstance(sources, dict) or not all(isinstance(item, str) for pair in sources.items() for item in pair):
        raise ValueError(f"{label}: 'sources' must be a mapping from a key to a reference")
    return sources


def _entry(where: str, value: object, sources: Mapping[str, str], kind: str | None, key: object = None) -> Definition:
    if key is not None and isinstance(value, str):
        value = {"definition": value}
    if not isinstance(value, dict):
        found = "nothing" if value is None else repr(value) if isinstance(value, (bool, int, float)) else "a list"
        raise ValueError(f"{where}: expected a description or a mapping of fields, found {found}")
    _refuse_unknown(where, value, _ENTRY_FIELDS)
    if key is not None:
        if not isinstance(key, str):
            raise ValueError(f"{where}: the id must be text, found {key!r}; put it in quotes")
        if value.get("id", key) != key:
            raise ValueError(f"{where}: its field 'id' says '{value['id']}'; leave it out, or make both the same")
        value = {**value, "id": key}
    entry_id = _text(where, value, "id")
    if not entry_id:
        raise ValueError(f"{where}: no 'id'; every entry of a list needs one")
    if key is None:
        where = f"{where} ('{entry_id}')"
    definition = _text(where, value, "definition")
    if not definition:
        raise ValueError(f"{where}: empty definition; expected one or more sentences")
    side = _text(where, value, "side")
    if side is not None and side not in _SIDES:
        raise ValueError(f"{where}: side '{side}' is not one of {', '.join(_SIDES)}")
    if (side is None) != ("mirror" not in value):
        raise ValueError(f"{where}: 'side' and 'mirror' are given together (mirror: null for no counterpart)")
    return Definition(
        id=entry_id,
        name=_text(where, value, "name") or entry_id,
        definition=definition,
        synonyms=_texts(where, value, "synonyms"),
        kind=_text(where, value, "kind") or kind,
        source="; ".join(sources.get(reference, reference) for reference in _texts(where, value, "source")),
        side=side,
        mirror=_text(where, value, "mirror"),
    )


def _refuse_unknown(where: str, mapping: Mapping[Any, Any], known: Sequence[str]) -> None:
    for name in mapping:
        if name not in known:
            nearest = get_close_matches(str(name), known, n=1)
            hint = f"did you mean '{nearest[0]}'?" if nearest else f"known are {', '.join(known)}"
            raise ValueError(f"{where}: unknown field '{name}'; {hint}")


def _text(where: str, mapping: Mapping[str, Any], field: str) -> str | None:
    value = mapping.get(field)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}: '{field}' must be text, found {value!r}; put it in quotes")
    return " ".join(value.split()) if value is not None else None


def _texts(where: str, mapping: Mapping[str, Any], field: str) -> tuple[str, ...]:
    value = mapping.get(field)
    if value is None:
        return ()
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
        raise ValueError(f"{where}: '{field}' must be text or a list of texts, found {value!r}")
    return tuple(" ".join(item.split()) for item in items)


def _check_mirrors(label: str, entries: Sequence[Definition]) -> None:
    by_id = {entry.id: entry for entry in entries}
    opposite = {"left": "right", "right": "left", "none": "none"}
    for entry in entries:
        if entry.side is None or entry.mirror is None:
            continue
        partner = by_id.get(entry.mirror)
        if partner is None:
            raise ValueError(f"{label}: entry '{entry.id}': mirror '{entry.mirror}' is not an id of this file")
        if partner.mirror != entry.id or partner.side != opposite[entry.side]:
            raise ValueError(
                f"{label}: entry '{entry.id}' (side {entry.side}): mirror '{partner.id}' has side {partner.side} and "
                f"mirror {partner.mirror}; a pair names each other and opposite sides"
            )
