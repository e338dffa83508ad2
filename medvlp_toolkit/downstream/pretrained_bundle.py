"""A whole pre-trained model, read from the bundle that pre-trained it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_toolkit.data.batches.augmentation import EvaluationTransform
from medvlp_toolkit.downstream.pretrained import NONE
from medvlp_toolkit.interfaces import FitsPositions
from medvlp_toolkit.model.vision_language import VisionLanguageModel
from medvlp_toolkit.weights.weights import mismatches, read_weights

logger = logging.getLogger(__name__)

_MODEL, _LOSSES = "model.", "losses."


class PretrainedBundle:
    """The model that a bundle's configuration describes, with the weights of a checkpoint.

    Any bundle that names its model by the ids of this toolkit will do: ``model`` (a
    :class:`~medvlp_toolkit.model.VisionLanguageModel`), and where that reads no text, ``text_model``, which gives the
    text encoder that made its entity bank.

    Args:
        bundle: folder of the bundle.
        overlays: further configuration files, as the pre-training run was given: paths, or names of files in the
            bundle's ``configs``.
        checkpoint: of the pre-training run (``best.pt``) or of ``medvlp import`` (``pretraining.pt``); None leaves
            the model as the configuration makes it, which is random unless that names pre-trained parts.
        overrides: id -> value in that configuration, such as ``image_size`` or ``dataset_dir``.
        config: name of the configuration in ``configs``.

    Raises:
        FileNotFoundError: when the bundle, a configuration or the checkpoint is not there.
        ValueError: when the configuration describes no model, or the checkpoint does not fit it, with the whole list.
    """

    def __init__(
        self,
        bundle: str | Path,
        overlays: Sequence[str | Path] = (),
        checkpoint: str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        config: str = "train.yaml",
    ) -> None:
        self.folder = Path(bundle)
        self.checkpoint = None if checkpoint in NONE else Path(str(checkpoint))
        self.state: dict[str, Tensor] = {} if self.checkpoint is None else read_weights(self.checkpoint, key="model")
        if self.state and not any(name.startswith(_MODEL) for name in self.state):
            raise ValueError(
                f"{self.checkpoint} is no pre-training checkpoint (it has no entries {_MODEL}…); give the best.pt of a "
                "pre-training run, or bring a published one with `medvlp import` first"
            )
        self.parser = self._parser([config, *overlays], dict(overrides or {}))
        self.model = self._model()
        self._load()

    def _parser(self, configs: Sequence[str | Path], overrides: dict[str, Any]) -> Any:
        from monai.bundle import ConfigParser

        files = [self._file(name) for name in configs]
        parser = ConfigParser()
        parser.read_config([str(file) for file in files])
        parser.update({"bundle_root": str(self.folder), **overrides})
        if "model" not in parser:
            raise ValueError(f"{files[0]} has no id `model`; a pre-training bundle names its vision-language model so")
        bank = self.state.get(f"{_MODEL}entity_bank")
        if bank is not None and "entity_bank" in parser:
            # The checkpoint's own: descriptions need not be embedded again.
            parser["entity_bank"] = bank
        return parser

    def _file(self, name: str | Path) -> Path:
        inside = self.folder / "configs" / name
        if inside.is_file():
            return inside
        if Path(name).is_file():
            return Path(name)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder}: no such bundle; give the folder of a pre-training bundle")
        raise FileNotFoundError(f"{inside}: the pre-trained bundle has no such configuration")

    def _model(self) -> VisionLanguageModel:
        model = self.parser.get_parsed_content("model", instantiate=True)
        if not isinstance(model, VisionLanguageModel):
            raise ValueError(f"the id `model` of {self.folder} is a {type(model).__name__}, not a VisionLanguageModel")
        return model

    def evaluation_transform(self, image_size: int) -> EvaluationTransform:
        """To another input size, normalised as the bundle normalises; ImageNet's where it does not say."""
        said: Any = self.parser.get("evaluation_transform", {})
        options = {name: said[name] for name in ("mean", "std") if name in said}
        options = {
            name: value if isinstance(value, list) else self.parser.get_parsed_content(f"evaluation_transform::{name}")
            for name, value in options.items()
        }
        return EvaluationTransform(image_size, **options)

    def text_model(self) -> nn.Module | None:
        """The text model that made the entity bank, for a model that reads no text itself; None if there is none."""
        if self.model.text_encoder is not None or "text_model" not in self.parser:
            return None
        made = self.parser.get_parsed_content("text_model", instantiate=True)
        text_model: nn.Module = made if isinstance(made, nn.Module) else made()
        return text_model

    def _load(self) -> None:
        if not self.state:
            logger.info("no checkpoint: the model of %s starts as its configuration makes it", self.folder)
            return
        given = {name.removeprefix(_MODEL): value for name, value in self.state.items() if name.startswith(_MODEL)}
        expected = self.model.state_dict()
        given = {name: _fitted(name, value, expected, self.model) for name, value in given.items()}
        problems = mismatches(expected, given)
        if problems:
            raise ValueError(
                f"{len(problems)} entries of {self.checkpoint} do not fit the model that {self.folder} describes; "
                "were the overlays and overrides those of the pre-training run?\n" + "\n".join(problems)
            )
        self.model.load_state_dict(given)
        logger.info("%d tensors of the model are pre-trained", len(given))

    def matching_head(self) -> nn.Linear | None:
        """The head of image-text matching, (pooled) -> 2 logits (does not belong, belongs); None without one.

        Of several losses it is the one whose name speaks of matching.
        """
        weights = [n for n in self.state if n.startswith(_LOSSES) and "matching" in n and n.endswith("head.weight")]
        if not weights:
            return None
        weight, bias = self.state[weights[0]], self.state[weights[0].removesuffix("weight") + "bias"]
        head = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)
        return head


def _fitted(name: str, value: Tensor, expected: Mapping[str, Tensor], model: nn.Module) -> Tensor:
    """Position embeddings brought to the configured image size, where the encoder knows how; else unchanged."""
    if name not in expected or expected[name].shape == value.shape:
        return value
    owner, _, parameter = name.rpartition(".")
    module = model.get_submodule(owner)
    if parameter == "positional_embedding" and isinstance(module, FitsPositions):
        return module.fit_positions(value)
    return value
