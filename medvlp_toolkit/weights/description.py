"""How a model was composed: ``model.json``, which training writes beside its weights and every later step reads.

It holds the composed configuration of the training as it was given, and beside it what the model's construction took
from data, files and hubs: sizes, names, shapes of embeddings, the architecture of pre-trained parts, a tokenizer. A
model is rebuilt from it without any of those; a checkpoint fills it. It is a configuration like a bundle's own, and is
to be trusted like one: building from it runs what it names.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medvlp_toolkit.files import write_whole
from medvlp_toolkit.interfaces import DescribesItself

FILE = "model.json"
VERSION = 1
SEPARATOR = "::"

#: What a run does with a model; no part of it.
_ACTIONS = ("imports", "initialize", "run", "finalize")
#: Computed now, although nothing of a training need have asked for it.
_ALSO = ("scored_entities",)
#: Ends of the names of ids that say where files are on this machine.
_PLACES = ("_dir", "_file", "_root", "_dirs", "_files")


@dataclass(frozen=True)
class Description:
    """A composed configuration, and what was computed of it.

    Args:
        config: as composed, unresolved.
        values: id -> what its expression came to, or the arguments that rebuild it without weights.
        source: where it was read, for messages.
    """

    config: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    source: str = "the configuration"

    @classmethod
    def of(cls, parser: Any) -> Description:
        """Of MONAI's ``ConfigParser``, when its model has been built."""
        config = {key: value for key, value in parser.get().items() if not str(key).startswith("_")}
        for name in _ALSO:
            if name in config:
                parser.get_parsed_content(name)
        resolved: Mapping[str, Any] = parser.ref_resolver.resolved_content
        values = {}
        for id_, given in walk({key: value for key, value in config.items() if key not in _ACTIONS}):
            if id_ in resolved and not is_place(id_) and (kept := _kept(given, resolved[id_])) is not None:
                values[id_] = kept[0]
        return cls(_plain_copy(config), values)

    @classmethod
    def read(cls, path: str | Path) -> Description:
        """Read a ``model.json``.

        Raises:
            ValueError: when it is damaged, or of another version of the format.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            config, values, version = content["configuration"], content["values"], content["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no description of a model ({error!r}); copy it from the training again"
            ) from None
        if version != VERSION or not isinstance(config, dict) or not isinstance(values, dict):
            raise ValueError(f"{path} has version {version!r} of its format, and this toolkit reads {VERSION}")
        return cls(config, values, str(path))

    @classmethod
    def beside(cls, weights: str | Path) -> Description | None:
        """Of weights in a file; None where none lies beside them."""
        path = Path(weights).parent / FILE
        return cls.read(path) if path.is_file() else None

    def write(self, folder: str | Path) -> Path:
        """Write ``model.json``, whole or not at all."""
        content = {"version": VERSION, "configuration": self.config, "values": self.values}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        return write_whole(Path(folder) / FILE, lambda file: file.write(text.encode("utf-8")))

    def as_mapping(self) -> dict[str, Any]:
        """For an argument of another description."""
        return {"config": self.config, "values": self.values, "source": self.source}

    # -- building from it -----------------------------------------------------------------------

    def composed(self, overrides: Mapping[str, Any], places: Mapping[str, Any] | None = None) -> Any:
        """A ``ConfigParser`` of the model with other values of some ids, and of what follows from them.

        Args:
            overrides: id -> value; what depends on one is computed anew.
            places: id -> value of ids that say where files are now: read where something is still read from files.
        """
        from monai.bundle import ConfigParser

        config = copy.deepcopy(self.config)
        touched = self._depending(overrides)
        for id_, value in self.values.items():
            if id_ not in touched:
                put(config, id_, _merged(get(self.config, id_), value, id_, touched))
        parser = ConfigParser(config)
        parser.update(pairs={**(places or {}), **overrides})
        return parser

    def model_ids(self, roots: tuple[str, ...], filled: Container[str] = ()) -> set[str]:
        """Top-level ids that the roots are made of, directly or through others.

        Parts that are rebuilt from their own description, and those ``filled`` otherwise, end the search.
        """
        found: set[str] = set()
        waiting = [root for root in roots if root in self.config]
        while waiting:
            top = waiting.pop()
            if top in found:
                continue
            found.add(top)
            for id_, leaf in leaves(self.config[top], top):
                if top not in filled and not self.is_rebuilt(id_):
                    waiting += [
                        name for ref in references(leaf) if (name := ref.partition(SEPARATOR)[0]) in self.config
                    ]
        return found

    def value(self, id_: str) -> Any:
        """What an id is: computed where that was kept, else as configured; None where it is not there."""
        return self.values.get(id_, get(self.config, id_))

    def is_rebuilt(self, id_: str) -> bool:
        """Whether an id is of a part that describes itself."""
        parts = id_.split(SEPARATOR)
        within = (SEPARATOR.join(parts[:length]) for length in range(1, len(parts) + 1))
        return any(isinstance(self.values.get(outer), Mapping) for outer in within)

    def _depending(self, overrides: Mapping[str, Any]) -> set[str]:
        """Ids of the configuration that are overridden, or refer to one that is, directly or through others."""
        uses = {id_: references(leaf) for id_, leaf in leaves(self.config)}
        touched = set(overrides)
        while True:
            more = {
                id_ for id_, refs in uses.items()
                if id_ not in touched and any(_overlap(ref, other) for ref in refs for other in touched)
            }  # fmt: skip
            if not more:
                return touched
            touched |= more


def is_place(id_: str) -> bool:
    """Whether an id says where files are on this machine, which the model does not depend on."""
    name = id_.rpartition(SEPARATOR)[2]
    return name.endswith(_PLACES) or name == "pretrained"


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(id, value) of everything in a configuration, containers before what they hold."""
    if prefix:
        yield prefix, config
    if isinstance(config, Mapping | list | tuple):
        for key, value in config.items() if isinstance(config, Mapping) else enumerate(config):
            yield from walk(value, f"{prefix}{SEPARATOR}{key}" if prefix else str(key))


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(id, value) of everything that holds nothing else."""
    for id_, value in walk(config, prefix):
        if not isinstance(value, Mapping | list | tuple) or not value:
            yield id_, value


def references(leaf: Any) -> list[str]:
    """Ids that a value refers to."""
    if not isinstance(leaf, str):
        return []
    from monai.bundle.reference_resolver import ReferenceResolver

    return list(ReferenceResolver.match_refs_pattern(leaf))


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
    """Set an id that is there in a nested configuration."""
    *path, last = id_.split(SEPARATOR)
    for part in path:
        config = config[int(part)] if isinstance(config, list) else config[part]
    config[int(last) if isinstance(config, list) else last] = value


def _overlap(reference: str, other: str) -> bool:
    """Whether one id is the other, holds it, or is held by it."""
    return f"{reference}{SEPARATOR}".startswith(f"{other}{SEPARATOR}") or other.startswith(f"{reference}{SEPARATOR}")


def _merged(given: Any, value: Any, id_: str, touched: set[str]) -> Any:
    """The arguments that were kept, but those configured of an id that is overridden."""
    if not isinstance(given, Mapping) or not isinstance(value, Mapping):
        return value
    renewed = {key: item for key, item in given.items() if f"{id_}{SEPARATOR}{key}" in touched}
    return {**value, **renewed}


def _kept(given: Any, resolved: Any) -> tuple[Any] | None:
    """What to keep of an id beside its configuration, in a tuple; None where that says it all."""
    if isinstance(given, Mapping) and "_target_" in given:
        # Of the type: metrics of Ignite's make up any attribute that they are asked for.
        if issubclass(type(resolved), DescribesItself):
            return ({"_target_": given["_target_"], **resolved.architecture()},)
        return None
    if not isinstance(given, str) or not (given.startswith("$") or references(given)):
        return None
    if isinstance(resolved, torch.Tensor):
        return ({"_target_": "torch.zeros", "size": list(resolved.shape)},)
    return (_plain(resolved),) if _is_plain(resolved) else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _plain_copy(config: Any) -> Any:
    """A configuration without objects, which only a program can have put there: they are named by their type."""
    if isinstance(config, Mapping):
        return {str(key): _plain_copy(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [_plain_copy(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    return config if _is_plain(config) else f"(an object of type {type(config).__name__})"
