"""A trained model as later steps get it: built as training described it, filled from the weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from medvlp_toolkit.errors import unwrapped
from medvlp_toolkit.shipped_bundles import shipped_bundles
from medvlp_toolkit.weights.configuration import running_configuration
from medvlp_toolkit.weights.description import (
    FILE,
    SEPARATOR,
    Description,
    get,
    is_place,
    leaves,
    references,
)
from medvlp_toolkit.weights.weights import load_weights, read_weights

logger = logging.getLogger(__name__)

#: What a model is made of hangs together from these ids; a later step has uses of its own for the first ones.
_MADE = ("pretraining_model", "network_def", "scored_entities")
ROOTS = (*_MADE, "evaluation_transform")
#: Where a configuration takes an id from here: not a value of its own.
_TAKEN = "@as_trained"

Network = TypeVar("Network", bound=nn.Module)


class TrainedModel:
    """The ids of the configuration that a model was trained with, each built when it is asked for.

    Beside the weights lies ``model.json`` (:class:`~medvlp_toolkit.weights.Description`). Weights without one, such as
    imported ones, are taken to be of ``configs/train.yaml`` of the bundle, with what the running configuration sets.

    Whatever a running configuration sets of the model has to be what the model was trained with. Ids that say where
    files are (``…_dir``, ``…_file``) may differ.

    Args:
        weights: a checkpoint of training, or the weights that inference reads; need not be there for building.
        bundle_root: folder of the bundle, for weights without a description.
        otherwise: id -> value, for weights without a description: what building the model then is to leave out, such
            as published weights, and shapes of embeddings.
        overrides: id -> value: ids that are to differ from the training's, such as ``image_size`` for fine-tuning.
        own: ids that mean something else in the running configuration.
        config: what a bundle calls its training.

    Raises:
        ValueError: when the running configuration contradicts the description: one line that names both values.

    Example::

        as_trained:
          _target_: medvlp_toolkit.weights.TrainedModel
          weights: "@weights"
          bundle_root: "@bundle_root"
        network_def: $@as_trained['network_def']
    """

    def __init__(
        self,
        weights: str | Path,
        bundle_root: str | Path | None = None,
        otherwise: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        own: Sequence[str] = (),
        config: str | Sequence[str] = "train.yaml",
    ) -> None:
        self.weights = Path(weights)
        running = {top: value for top, value in running_configuration().items() if top not in own}
        found = Description.beside(self.weights)
        overrides = dict(overrides or {})
        if found is not None:
            self.description = found
            places = self._compared(running, overrides)
        else:
            self.description = self._of_bundle(bundle_root, config)
            filled = {**self._embeddings(), **dict(_settings(otherwise or {}))}
            overrides = {**filled, **self._given(running, filled), **overrides}
            places = {}
        with unwrapped():
            self.parser = self.description.composed(overrides, places)

    def __getitem__(self, id_: str) -> Any:
        """What an id is, built once.

        Raises:
            ValueError: when the model was trained without it, with the ids it has.
        """
        if get(self.parser.get(), id_, _ABSENT) is _ABSENT:
            raise ValueError(
                f"{self.description.source} has no id {id_!r}, which is asked of the model; it has "
                f"{', '.join(sorted(map(str, self.parser.get())))}"
            )
        with unwrapped():
            return self.parser.get_parsed_content(id_)

    def get(self, id_: str, default: Any = None) -> Any:
        """What an id is; ``default`` where the model was trained without it."""
        return default if get(self.parser.get(), id_, _ABSENT) is _ABSENT else self[id_]

    def load(self, network: Network, key: str | None = None) -> Network:
        """Fill a network from the weights, every entry used (:func:`~medvlp_toolkit.weights.load_weights`)."""
        if Description.beside(self.weights) is None and self.weights.is_file():
            logger.info("no %s beside %s: the model is taken to be %s", FILE, self.weights, self.description.source)
        load_weights(network, self.weights, key)
        return network

    # -- which configuration --------------------------------------------------------------------

    def _of_bundle(self, bundle_root: str | Path | None, config: str | Sequence[str]) -> Description:
        from monai.bundle import ConfigParser

        names = [config] if isinstance(config, str) else list(config)
        root = Path(bundle_root or ".")
        if not (root / "configs").is_dir():  # named as from the checkout's root, and run from elsewhere
            root = next((bundle.folder for bundle in shipped_bundles() if bundle.name == root.name), root)
        files = [_existing(root / "configs" / name) for name in names]
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None:
            if not self.weights.is_file():
                raise FileNotFoundError(f"no weights at {self.weights}; train, import or download them, or give others")
            raise FileNotFoundError(
                f"{self.weights} has no {FILE} beside it, and there is no {missing} to describe its model; copy the "
                f"{FILE} of the training there, or give the bundle_root"
            )
        parser = ConfigParser()
        parser.read_config([str(file) for file in files])
        return Description(dict(parser.get()), {}, str(files[-1]))

    def _compared(self, running: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Check what a running configuration sets of the model; gives the places that it names."""
        places = {}
        for top in sorted(self.description.model_ids(ROOTS)):
            if top in _MADE or top not in running or top in overrides or _is_taken(running[top]):
                continue
            if is_place(top):
                places[top] = running[top]
                continue
            for id_, ours, theirs in _differences(self.description, running, top):
                if is_place(id_):
                    places |= {} if self.description.is_rebuilt(id_) else {id_: ours}
                else:
                    raise ValueError(
                        f"{id_} is {_shown(ours)} here, and {self.weights} was trained with {_shown(theirs)} "
                        f"({self.description.source}); leave {id_} out, or train with it"
                    )
        return places

    def _given(self, running: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
        """What a running configuration says of a model that is not described, and what that refers to."""
        config = self.description.config
        asked = self.description.model_ids((*ROOTS, "entity_encoder"), filled) - {*_MADE, *filled}
        made = [top for top in sorted(asked) if top in running]
        waiting = [top for top in made if not _is_taken(running[top]) and running[top] != config[top]]
        given: dict[str, Any] = {}
        while waiting:
            top = waiting.pop()
            given[top] = running[top]
            for _, leaf in leaves(running[top]):
                tops = {reference.partition(SEPARATOR)[0] for reference in references(leaf)}
                waiting += [name for name in tops if name in running and name not in given and name not in config]
        return given

    def _embeddings(self) -> dict[str, Any]:
        """Ids of embeddings that the weights hold under the same name: their shapes, to be filled."""
        if not self.weights.is_file():
            return {}
        state = read_weights(self.weights, key="model")
        shapes = {
            name.rpartition(".")[2]: tuple(value.shape)
            for name, value in state.items()
            if isinstance(value, torch.Tensor)
        }
        return {
            id_: torch.zeros(shapes[id_]) for id_ in self.description.config
            if id_ in shapes and isinstance(self.description.config[id_], str)
        }  # fmt: skip


_ABSENT = object()


def _existing(file: Path) -> Path:
    """A configuration of a bundle, which may be in JSON."""
    choices = (file.suffix, ".json", ".yml")
    return next((other for suffix in choices if (other := file.with_suffix(suffix)).is_file()), file)


def _settings(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(id, value) of mappings that build nothing, which say one by one what is to differ within a part."""
    for key, value in given.items():
        id_ = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and "_target_" not in value and SEPARATOR not in id_:
            yield from _settings(value, f"{id_}{SEPARATOR}")
        else:
            yield id_, value


def _is_taken(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("$") and _TAKEN in value


def _differences(description: Description, running: Mapping[str, Any], top: str) -> list[tuple[str, Any, Any]]:
    """(id, running value, trained value) of every leaf below a top-level id that is not the same."""
    ours, theirs = dict(leaves(running[top], top)), dict(leaves(description.config[top], top))
    found = []
    for id_ in [*theirs, *(id_ for id_ in ours if id_ not in theirs)]:
        own, other = ours.get(id_, _ABSENT), theirs.get(id_, _ABSENT)
        if own != other and own != description.values.get(id_, _ABSENT) and not _is_taken(own):
            found.append((id_, own, description.value(id_) if other is not _ABSENT else other))
    return found


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)
