"""Nested configurations in MONAI's form: ids, references, and values that MONAI must not interpret."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SEPARATOR = "::"
#: What is scored, in order, and what these are called and are (finding, normal, …).
OF_ENTITIES = ("scored_entities", "entity_names", "entity_kinds")
#: What a model is made of is reachable from these ids: its network and losses, and what images and texts become.
ROOTS = ("pretraining_model", "model", "network_def", *OF_ENTITIES, "evaluation_transform", "text_length")

#: Suffixes of ids that are paths on this machine.
_PLACES = ("_dir", "_file", "_root", "_dirs", "_files")
#: Characters that MONAI reads in any string: references, macros, and its older separator of ids.
_READ = "@%#"


def is_place(id_: str) -> bool:
    """Whether an id is a path on this machine, on which the model does not depend."""
    part, _, name = id_.rpartition(SEPARATOR)
    return name.endswith(_PLACES) or bool(part and name == "pretrained")


def top_of(id_: str) -> str:
    """The top-level id that contains an id."""
    return id_.partition(SEPARATOR)[0]


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(id, value) of everything in a configuration, containers before their contents."""
    if prefix:
        yield prefix, config
    if isinstance(config, Mapping | list | tuple):
        for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
            yield from walk(value, f"{prefix}{SEPARATOR}{key}" if prefix else str(key))


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(id, value) of every leaf."""
    for id_, value in walk(config, prefix):
        if not isinstance(value, Mapping | list | tuple) or not value:
            yield id_, value


def references(leaf: Any) -> list[str]:
    """Ids that a value refers to."""
    if not isinstance(leaf, str):
        return []
    from monai.bundle.reference_resolver import ReferenceResolver

    return list(ReferenceResolver.match_refs_pattern(leaf))


def dependents(config: Mapping[str, Any], ids: Iterable[str]) -> set[str]:
    """The given ids, and every id of a configuration that refers to one of them, directly or indirectly."""
    uses = {id_: refs for id_, leaf in leaves(config) if (refs := references(leaf))}
    touched = set(ids)
    while True:
        more = {
            id_ for id_, refs in uses.items()
            if id_ not in touched and any(_overlap(ref, other) for ref in refs for other in touched)
        }  # fmt: skip
        if not more:
            return touched
        touched |= more


def get(config: Any, id_: str, default: Any = None) -> Any:
    """The value of an id in a nested configuration."""
    for part in id_.split(SEPARATOR):
        if isinstance(config, Mapping) and part in config:
            config = config[part]
        elif isinstance(config, list | tuple) and part.isdigit() and int(part) < len(config):
            config = config[int(part)]
        else:
            return default
    return config


def put(config: Any, id_: str, value: Any) -> None:
    """Set an existing id in a nested configuration."""
    *path, last = id_.split(SEPARATOR)
    for part in path:
        config = config[int(part)] if isinstance(config, list) else config[part]
    config[int(last) if isinstance(config, list) else last] = value


def is_plain(value: Any) -> bool:
    """Whether JSON can represent a value: numbers, texts, None, and containers of them."""
    if isinstance(value, list | tuple):
        return all(is_plain(item) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def plain(value: Any) -> Any:
    """A copy of a plain value, in new lists and dicts."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def holds_text(value: Any) -> bool:
    """Whether a plain value is or contains a text."""
    return any(isinstance(leaf, str) for _, leaf in walk(value, "value"))


def literal(value: Any) -> Any:
    """A plain value, escaped so that MONAI resolves it to exactly this value.

    MONAI interprets strings wherever they occur: ``##ing``, a piece of a vocabulary, would become ``::::ing``, and a
    mapping with ``_target_`` would be built. Such values become expressions.
    """
    if _is_left_alone(value):
        return value
    written = ascii(plain(value))
    for character in _READ:  # only texts contain them in the literal of a plain value
        written = written.replace(character, f"\\x{ord(character):02x}")
    return f"${written}"


def _is_left_alone(value: Any) -> bool:
    for _, item in walk(value, "value"):
        keys = list(item) if isinstance(item, Mapping) else []
        if any(key.startswith("_") or SEPARATOR in key or "#" in key for key in keys):
            return False
        if isinstance(item, str) and (item.startswith("$") or any(character in item for character in _READ)):
            return False
    return True


def _overlap(reference: str, other: str) -> bool:
    """Whether two ids are equal or one contains the other."""
    return f"{reference}{SEPARATOR}".startswith(f"{other}{SEPARATOR}") or other.startswith(f"{reference}{SEPARATOR}")
