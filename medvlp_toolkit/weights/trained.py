"""A trained model for later steps: built from its training's description, filled from the weights."""

from __future__ import annotations

import copy
import inspect
import logging
import pydoc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from torch import nn

from medvlp_toolkit.errors import unwrapped
from medvlp_toolkit.shipped_bundles import shipped_bundles
from medvlp_toolkit.weights.configuration import running_configuration
from medvlp_toolkit.weights.description import FILE, Description, reached
from medvlp_toolkit.weights.nested import OF_ENTITIES, ROOTS, SEPARATOR, get, is_place, leaves, references, top_of
from medvlp_toolkit.weights.weights import NONE, load_weights, read_weights

logger = logging.getLogger(__name__)

#: A later step has uses of its own for these ids.
_MADE = ("pretraining_model", "network_def", *OF_ENTITIES)
#: What a configuration calls this: an id that refers to it is no value of its own.
_NAME = "as_trained"

Network = TypeVar("Network", bound=nn.Module)


class TrainedModel:
    """The configuration that a model was trained with; each id is built when it is first accessed.

    The description is read from ``model.json`` next to the weights (:class:`~medvlp_toolkit.weights.Description`). If
    there is none, or there are no weights, the bundle's ``configs/train.yaml`` is assumed, with the settings of the
    running configuration.

    Settings of the model in the running configuration must equal those of the training. Paths (``…_dir``, ``…_file``)
    may differ.

    Args:
        weights: a training checkpoint, or weights for inference; need not exist to build the model.
        bundle_root: folder of the bundle, for weights without a description; if it does not exist, the shipped bundle
            of the same name.
        otherwise: id -> value, for weights without a description: values that keep the build from loading published
            weights, and shapes of embeddings.
        overrides: id -> value: ids that differ from the training's, or that the weights contain, such as a tokenizer.
        own: ids with another meaning in the running configuration.
        asked: ids that will be used; the settings that they depend on are compared.
        config: name of the bundle's training configuration.
        running: the configuration to compare with; the one MONAI is running when None.
        description: the result of :meth:`architecture`, instead of the arguments above.

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
        weights: str | Path | None = None,
        bundle_root: str | Path | None = None,
        otherwise: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        own: Sequence[str] = (),
        config: str | Sequence[str] = "train.yaml",
        running: Mapping[str, Any] | None = None,
        description: Mapping[str, Any] | None = None,
        asked: Sequence[str] = ROOTS,
    ) -> None:
        self.weights = None if weights in NONE else Path(str(weights))
        self._overrides = dict(overrides or {})
        self._places: dict[str, Any] = {}
        self._asked = tuple(asked)
        found = Description(**description) if description is not None else self._beside()
        #: Whether training described it; otherwise the bundle's configuration is assumed.
        self.is_described = found is not None
        given = running_configuration() if running is None else running
        given = {top: value for top, value in given.items() if top not in own and not _is_taken(value)}
        if found is not None:
            self.description = found
            if description is None:
                self._places = self._compared(given)
        else:
            self.description = self._of_bundle(bundle_root, config)
            filled = {
                **self._embeddings(),
                **dict(_settings(otherwise or {}, self.description.config)),
                **self._overrides,
            }
            self._overrides = {**filled, **self._given(given, filled), **self._overrides}
        with unwrapped():
            self.parser = self.description.composed(self._overrides, self._places)

    def __getitem__(self, id_: str) -> Any:
        """The value of an id, built once.

        Raises:
            ValueError: when the model was trained without it; lists the existing ids.
        """
        if id_ not in self:
            raise ValueError(
                f"{self.description.source} has no id {id_!r}, which is needed here; it has "
                f"{', '.join(sorted(map(str, self.parser.get())))}"
            )
        with unwrapped():
            return self.parser.get_parsed_content(id_)

    def __contains__(self, id_: str) -> bool:
        return get(self.parser.get(), id_, _ABSENT) is not _ABSENT

    def get(self, id_: str, default: Any = None) -> Any:
        """The value of an id; ``default`` if the model was trained without it."""
        return self[id_] if id_ in self else default  # noqa: SIM401 - it is this method that such a line would call

    @property
    def stored_format(self) -> dict[str, Any] | None:
        """How image files were read into the store that was trained on; None, with a log line, where it is unknown."""
        if self.description.images is None:
            logger.warning(
                "%s does not say how its images were stored: files are read grey, at the model's own size. A store can "
                "give slightly other scores; set stored_format to a store's folder to read files as it does",
                self.description.source,
            )
        return self.description.images

    def load(self, network: Network, key: str | None = None) -> Network:
        """Fill a network from the weights, with every entry used (:func:`~medvlp_toolkit.weights.load_weights`).

        Raises:
            ValueError: without weights.
        """
        if self.weights is None:
            raise ValueError("no weights to fill the model from; name their file")
        load_weights(network, self.weights, key)
        return network

    def check(self, id_: str, value: Any) -> None:
        """Raise ``ValueError``, naming both values, if the training's value of an id differs from this one.

        Raises:
            ValueError: in one line.
        """
        if self.is_described and not is_place(id_) and (theirs := self.description.value(id_)) != value:
            self._refuse(id_, value, theirs)

    def varied(
        self, overrides: Mapping[str, Any] | None = None, where_taken: Mapping[str, Any] | None = None
    ) -> TrainedModel:
        """The same model with some ids overridden; ids that depend on them are recomputed.

        Args:
            overrides: id -> value; ids that the model was trained without are ignored.
            where_taken: the same for arguments of parts: ignored for parts that do not have the argument, or that
                cannot be built with it, such as a fourth stage of a residual network trained with three.
        """
        changed = copy.copy(self)
        known = {id_: value for id_, value in (overrides or {}).items() if top_of(id_) in self}
        changed._overrides = {**self._overrides, **known}
        for id_, value in (where_taken or {}).items():
            attempt = {**changed._overrides, id_: value}
            if self._takes(id_) and _is_built(self.description.composed(attempt, self._places), id_):
                changed._overrides = attempt
        changed.parser = self.description.composed(changed._overrides, self._places)
        return changed

    def describe(self) -> Description:
        """What it is made of, as training writes it, for weights that came another way."""
        return replace(Description.of(self.parser), images=self.description.images)

    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same model without its weights, its bundle or any other file."""
        return {"description": Description.of(self.parser, also=()).as_mapping()}

    # -- which configuration --------------------------------------------------------------------

    def _beside(self) -> Description | None:
        return None if self.weights is None else Description.beside(self.weights)

    def _of_bundle(self, bundle_root: str | Path | None, config: str | Sequence[str]) -> Description:
        from monai.bundle import ConfigParser

        names = [config] if isinstance(config, str) else list(config)
        files = [_existing(_configs(bundle_root) / name) for name in names]
        missing = next((file for file in files if not file.is_file()), None)
        if missing is not None and self.weights is None:
            raise FileNotFoundError(f"the model has no description and there is no {missing}; set bundle_root")
        if missing is not None and self.weights is not None:
            if not self.weights.is_file():
                raise FileNotFoundError(f"no weights at {self.weights}; train, import or download them")
            raise FileNotFoundError(
                f"{self.weights} has no {FILE} beside it, and there is no {missing} to describe its model; copy the "
                f"{FILE} of the training there, or give the bundle_root"
            )
        if self.weights is not None and self.weights.is_file():
            logger.info("no %s beside %s: assuming the model of %s", FILE, self.weights, files[-1])
        parser = ConfigParser()
        parser.read_config([str(file) for file in files])
        return Description(dict(parser.get()), {}, str(files[-1]))

    def _compared(self, running: Mapping[str, Any]) -> dict[str, Any]:
        """Check a running configuration's settings of the model; returns the paths among them."""
        places = {}
        for top in sorted(self.description.model_ids(self._asked, self._overrides)):
            if top in _MADE or top not in running or top in self._overrides:
                continue
            if is_place(top):
                places[top] = running[top]
                continue
            for id_, ours, theirs in _differences(self.description, running, top):
                if is_place(id_):
                    places |= {} if self.description.is_rebuilt(id_) else {id_: ours}
                else:
                    self._refuse(id_, ours, theirs)
        return places

    def _refuse(self, id_: str, ours: Any, theirs: Any) -> NoReturn:
        raise ValueError(
            f"{id_} is {_shown(ours)} here, and {self.weights} was trained with {_shown(theirs)} "
            f"({self.description.source}); remove {id_} here, or train with it"
        )

    def _given(self, running: Mapping[str, Any], filled: Mapping[str, Any]) -> dict[str, Any]:
        """The running configuration's settings for a model without description, and the ids that they refer to."""
        config = self.description.config
        asked = self.description.model_ids((*self._asked, "entity_encoder"), filled) - {*_MADE, *filled}
        made = [top for top in sorted(asked) if top in running]
        waiting = [top for top in made if running[top] != config[top]]
        given: dict[str, Any] = {}
        while waiting:
            top = waiting.pop()
            if _is_partial(running[top], config.get(top)):
                given.update({f"{top}{SEPARATOR}{key}": value for key, value in running[top].items()})
            else:
                given[top] = running[top]
            for _, leaf in leaves(running[top]):
                tops = {top_of(reference) for reference in references(leaf)}
                waiting += [name for name in tops if name in running and name not in given and name not in config]
        named = [top_of(reference) for _, leaf in leaves(given) for reference in references(leaf)]
        return {**{top: running[top] for top in reached(config, named) if is_place(top) and top in running}, **given}

    def _embeddings(self) -> dict[str, Any]:
        """Zeros in the shapes of embeddings that the weights contain under the same id, to be filled."""
        if self.weights is None or not self.weights.is_file():
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

    def _takes(self, id_: str) -> bool:
        """Whether a configured part accepts an argument."""
        part, _, argument = id_.rpartition(SEPARATOR)
        target = pydoc.locate(str(get(self.parser.get(), f"{part}{SEPARATOR}_target_")))
        return callable(target) and argument in inspect.signature(target).parameters


_ABSENT = object()


def _configs(bundle_root: str | Path | None) -> Path:
    """The configurations of a bundle, or, if its folder does not exist here, of the shipped bundle of that name."""
    configs = Path(bundle_root or ".") / "configs"
    if configs.is_dir():
        return configs
    name = Path(bundle_root or ".").name
    shipped = next((bundle.folder for bundle in shipped_bundles() if bundle.name == name), None)
    return configs if shipped is None else shipped / "configs"


def _is_built(parser: Any, id_: str) -> bool:
    try:
        with unwrapped():
            parser.get_parsed_content(id_.rpartition(SEPARATOR)[0])
    except ValueError as error:
        logger.info("%s stays as trained: %s", id_, error)
        return False
    return True


def _existing(file: Path) -> Path:
    """The path of a configuration, which may have another suffix (JSON)."""
    choices = (file.suffix, ".json", ".yml")
    return next((other for suffix in choices if (other := file.with_suffix(suffix)).is_file()), file)


def _settings(given: Mapping[str, Any], config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(id, value) of every setting; settings within an existing part one by one, a new part as a whole."""
    for key, value in given.items():
        id_ = f"{prefix}{key}"
        if isinstance(value, Mapping) and "_target_" not in value and isinstance(get(config, id_), Mapping):
            yield from _settings(value, config, f"{id_}{SEPARATOR}")
        else:
            yield id_, value


def _is_taken(value: Any) -> bool:
    return any(_NAME in references(leaf) for _, leaf in leaves(value, "value"))


def _is_partial(own: Any, configured: Any) -> bool:
    """Whether a value sets some arguments of a part without naming its class."""
    return isinstance(own, Mapping) and "_target_" not in own and isinstance(configured, Mapping)


def _differences(description: Description, running: Mapping[str, Any], top: str) -> list[tuple[str, Any, Any]]:
    """(id, running value, trained value) of every leaf below a top-level id that differs."""
    ours, theirs = dict(leaves(running[top], top)), dict(leaves(description.config[top], top))
    partial = _is_partial(running[top], description.config[top])
    found = []
    for id_ in [*(id_ for id_ in theirs if id_ in ours or not partial), *(id_ for id_ in ours if id_ not in theirs)]:
        own, other = ours.get(id_, _ABSENT), theirs.get(id_, _ABSENT)
        if own != other and (own is _ABSENT or own != description.values.get(id_, _ABSENT)):
            found.append((id_, own, description.value(id_) if other is not _ABSENT else other))
    return found


def _shown(value: Any) -> str:
    return "absent" if value is _ABSENT else repr(value)
