"""The description of a model, ``model.json``, which training writes next to its weights and later steps read.

It holds the composed configuration of the training as it was given, and beside it what the model's construction took
from data, files and hubs: sizes, names, shapes of embeddings, the architecture of pre-trained parts, a tokenizer. A
model is rebuilt from it without any of those; a checkpoint fills it. It notes how image files became stored images,
and never texts of the data. It is a configuration like a bundle's own, and is to be trusted like one: building from it
runs what it names.
"""

from __future__ import annotations

import copy
import json
import pydoc
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.batches.pairs import PairDataset
from medvlp_toolkit.files import write_whole
from medvlp_toolkit.interfaces import DescribesItself
from medvlp_toolkit.weights.nested import (
    OF_ENTITIES,
    ROOTS,
    SEPARATOR,
    dependents,
    get,
    holds_text,
    is_place,
    is_plain,
    leaves,
    literal,
    plain,
    put,
    references,
    top_of,
    walk,
)

FILE = "model.json"
VERSION = 1

#: Ids of a run's actions, which are not part of the model.
_ACTIONS = ("imports", "initialize", "run", "finalize")
#: MONAI's id of what is trained on.
_DATASET = "train::dataset"


@dataclass(frozen=True)
class Description:
    """A composed configuration, and the values computed from it.

    Args:
        config: as composed, unresolved.
        values: id -> what its expression came to, or the arguments that rebuild it without weights.
        source: where it was read, for messages.
        images: how image files were read into the store that was trained on
            (:meth:`medvlp_toolkit.images.StoredFormat.as_mapping`); None where that was not noted.
    """

    config: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)
    source: str = "the configuration"
    images: dict[str, Any] | None = None

    @classmethod
    def of(cls, parser: Any, also: Sequence[str] = OF_ENTITIES) -> Description:
        """The description of a ``ConfigParser`` of MONAI whose model has been built.

        Args:
            also: ids to compute now, if present.
        """
        config = {key: value for key, value in parser.get().items() if not str(key).startswith("_")}
        for name in also:
            if name in config:
                parser.get_parsed_content(name)
        resolved: Mapping[str, Any] = parser.ref_resolver.resolved_content
        made = {key: value for key, value in config.items() if key not in _ACTIONS}
        within = reached(made, ROOTS)
        of_data = dependents(made, [id_ for id_, _ in walk(made) if is_place(id_)])
        values: dict[str, Any] = {}
        for id_, given in walk({key: value for key, value in made.items() if key in within}):
            if id_ not in resolved or is_place(id_) or _within(id_, values):
                continue
            kept = _kept(given, resolved[id_])
            # A vocabulary may have been learned from reports, which must not be stored; names of scores may.
            if kept is not None and (id_ in also or id_ not in of_data or not _is_text(kept[0])):
                values[id_] = kept[0]
        dataset = resolved.get(_DATASET)
        stored = dataset.store.stored_format if isinstance(dataset, StudyDataset | PairDataset) else None
        return cls(_plain_copy(config), values, images=None if stored is None else stored.as_mapping())

    @classmethod
    def read(cls, path: str | Path) -> Description:
        """Read a ``model.json``.

        Raises:
            ValueError: when it is damaged, or has another version of the format.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            config, values, version = dict(content["configuration"]), dict(content["values"]), content["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a description of a model ({error!r}); copy it from the training again"
            ) from None
        if version != VERSION:
            raise ValueError(f"{path} has version {version!r} of its format, and this toolkit reads {VERSION}")
        return cls(config, values, str(path), content.get("images"))

    @classmethod
    def beside(cls, weights: str | Path) -> Description | None:
        """The description next to a file of weights; None if there is none."""
        path = Path(weights).parent / FILE
        return cls.read(path) if path.is_file() else None

    def write(self, folder: str | Path) -> Path:
        """Write ``model.json``, whole or not at all."""
        content = {"version": VERSION, "images": self.images, "configuration": self.config, "values": self.values}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        return write_whole(Path(folder) / FILE, lambda file: file.write(text.encode("utf-8")))

    def as_mapping(self, roots: Sequence[str] = ROOTS) -> dict[str, Any]:
        """As an argument in another description: only what the roots depend on."""
        within = reached(self.config, roots) | {"imports"}
        return {
            "config": {key: value for key, value in self.config.items() if key in within},
            "values": {id_: value for id_, value in self.values.items() if top_of(id_) in within},
            "source": self.source,
        }

    # -- building from it -----------------------------------------------------------------------

    def composed(self, overrides: Mapping[str, Any], places: Mapping[str, Any] | None = None) -> Any:
        """A ``ConfigParser`` of the model, with some ids overridden.

        Args:
            overrides: id -> value; ids that depend on one are recomputed.
            places: id -> value of ids that give current paths, for parts that still read files.
        """
        from monai.bundle import ConfigParser

        config = copy.deepcopy(self.config)
        touched = dependents(self.config, overrides)
        for id_, value in self.values.items():
            if id_ not in touched:
                put(config, id_, _merged(get(self.config, id_), value, id_, touched))
        parser = ConfigParser(config)
        parser.update(pairs={**(places or {}), **overrides})
        return parser

    def model_ids(self, roots: Sequence[str] = ROOTS, filled: Container[str] = ()) -> set[str]:
        """Top-level ids that the roots depend on, directly or indirectly.

        The search ends at parts that are rebuilt from their own description and at those ``filled`` otherwise, except
        for arguments of such a part that its description keeps and that are the value of another id.
        """
        found: set[str] = set()
        waiting = [root for root in roots if root in self.config]
        while waiting:
            top = waiting.pop()
            if top in found:
                continue
            found.add(top)
            for id_, leaf in () if top in filled else leaves(self.config[top], top):
                names = [name for reference in references(leaf) if (name := top_of(reference)) in self.config]
                if not self.is_rebuilt(id_):
                    waiting += names
                elif self._is_kept_argument(id_):
                    found.update(name for name in names if leaf == f"@{name}" and _is_value(self.config[name]))
        return found

    def value(self, id_: str) -> Any:
        """The value of an id: as computed, if stored, else as configured; None if there is no such id."""
        return self.values.get(id_, get(self.config, id_))

    def is_rebuilt(self, id_: str) -> bool:
        """Whether an id belongs to a part that describes itself."""
        return _within(id_, self.values) or isinstance(self.values.get(id_), Mapping)

    def _is_kept_argument(self, id_: str) -> bool:
        part, _, argument = id_.rpartition(SEPARATOR)
        rebuilt = self.values.get(part)
        return isinstance(rebuilt, Mapping) and argument in rebuilt


def reached(config: Mapping[str, Any], roots: Sequence[str]) -> set[str]:
    """Top-level ids that the roots refer to, directly or indirectly."""
    found: set[str] = set()
    waiting = [root for root in roots if root in config]
    while waiting:
        top = waiting.pop()
        if top not in found:
            found.add(top)
            waiting += [
                name
                for _, leaf in leaves(config[top], top)
                for reference in references(leaf)
                if (name := top_of(reference)) in config
            ]
    return found


def _within(id_: str, values: Mapping[str, Any]) -> bool:
    """Whether an id belongs to a part that is rebuilt from its own description."""
    parts = id_.split(SEPARATOR)
    outer = (SEPARATOR.join(parts[:length]) for length in range(1, len(parts)))
    return any(isinstance(values.get(name), Mapping) for name in outer)


def _is_value(configured: Any) -> bool:
    """Whether a configured value is a literal, neither computed nor built."""
    return not isinstance(configured, Mapping | list | tuple) and not (
        isinstance(configured, str) and (configured.startswith("$") or references(configured))
    )


def _is_text(kept: Any) -> bool:
    return not (isinstance(kept, Mapping) and "_target_" in kept) and holds_text(kept)


def _merged(given: Any, value: Any, id_: str, touched: set[str]) -> Any:
    """The stored values, except that the arguments of an overridden id are as configured."""
    if not isinstance(value, Mapping) or "_target_" not in value:
        return literal(value)
    kept = {key: item if key == "_target_" else literal(item) for key, item in value.items()}
    renewed = given.items() if isinstance(given, Mapping) else ()
    return {**kept, **{key: item for key, item in renewed if f"{id_}{SEPARATOR}{key}" in touched}}


def _kept(given: Any, resolved: Any) -> tuple[Any] | None:
    """The value to store for an id, in a tuple; None if its configuration suffices."""
    if isinstance(given, Mapping) and "_target_" in given:
        # Checked on the type, because Ignite's metrics return something for any attribute.
        if issubclass(type(resolved), DescribesItself):
            return ({"_target_": _target_of(given["_target_"], resolved), **resolved.architecture()},)
        return None
    if isinstance(resolved, torch.Tensor):
        return ({"_target_": "torch.zeros", "size": list(resolved.shape)},)
    if not isinstance(given, str) or not (given.startswith("$") or references(given)):
        return None
    return (plain(resolved),) if is_plain(resolved) else None


def _target_of(given: str, made: Any) -> str:
    """The callable that builds a part from its own arguments: the named class, or the class of the built object."""
    kind = type(made)
    own = f"{kind.__module__}.{kind.__qualname__}"
    return given if pydoc.locate(given) is kind or pydoc.locate(own) is not kind else own


def _plain_copy(config: Any) -> Any:
    """A configuration in which objects (set by a program) are replaced by the name of their type."""
    if isinstance(config, Mapping):
        return {str(key): _plain_copy(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [_plain_copy(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    return config if is_plain(config) else f"(an object of type {type(config).__name__})"
