"""A complete pre-trained model, read from the bundle that pre-trained it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_toolkit.data.batches.augmentation import EvaluationTransform
from medvlp_toolkit.downstream.pretrained import fitted
from medvlp_toolkit.interfaces import DescribesItself
from medvlp_toolkit.model.vision_language import VisionLanguageModel
from medvlp_toolkit.weights.description import Description
from medvlp_toolkit.weights.nested import ROOTS, is_place, top_of
from medvlp_toolkit.weights.trained import TrainedModel
from medvlp_toolkit.weights.weights import NONE, mismatches, read_weights

logger = logging.getLogger(__name__)

_MODEL, _LOSSES = "model.", "losses."


class PretrainedBundle:
    """The model that a bundle's configuration describes, with the weights of a checkpoint.

    Works with any bundle that uses the ids of this toolkit: ``model`` (a
    :class:`~medvlp_toolkit.model.VisionLanguageModel`) and, if the model has no text encoder, ``text_model``, the text
    encoder that computed its entity bank.

    A ``model.json`` next to the checkpoint describes the model; overlays may then be omitted, and one that contradicts
    it is refused.

    Args:
        bundle: folder of the bundle.
        overlays: further configuration files of the pre-training run: paths, or names of files in the bundle's
            ``configs``.
        checkpoint: of the pre-training run (``best.pt``) or of ``medvlp import`` (``pretraining.pt``); None keeps
            the initial weights, which are random unless the configuration names pre-trained parts.
        overrides: id -> value in that configuration, such as ``image_size`` or ``dataset_dir``.
        config: name of the configuration in ``configs``.
        description: the result of :meth:`architecture`, instead of all arguments but the bundle.

    Raises:
        FileNotFoundError: when the bundle, a configuration or the checkpoint does not exist.
        ValueError: when the configuration describes no model, contradicts the checkpoint's own description, or the
            checkpoint does not fit it; lists all mismatches.
    """

    def __init__(
        self,
        bundle: str | Path,
        overlays: Sequence[str | Path] = (),
        checkpoint: str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        config: str = "train.yaml",
        description: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(bundle)
        self.checkpoint = None if checkpoint in NONE else Path(str(checkpoint))
        self.state: dict[str, Tensor] = {} if self.checkpoint is None else read_weights(self.checkpoint, key="model")
        if self.state and not any(name.startswith(_MODEL) for name in self.state):
            raise ValueError(
                f"{self.checkpoint} is no pre-training checkpoint (it has no entries {_MODEL}…); give the best.pt of a "
                "pre-training run, or convert a published one with `medvlp import` first"
            )
        self._text_model: nn.Module | None = None
        self.trained = (
            TrainedModel(description=description, overrides=overrides, running={})
            if description is not None
            else self._as_trained(config, overlays, dict(overrides or {}))
        )
        self.parser = self.trained.parser
        self.model = self._model()
        self._load()

    def _as_trained(self, config: str, overlays: Sequence[str | Path], overrides: dict[str, Any]) -> TrainedModel:
        from monai.bundle import ConfigParser

        described = self.checkpoint is not None and Description.beside(self.checkpoint) is not None
        files = [str(self._file(name).resolve()) for name in (overlays if described else [config, *overlays])]
        running: dict[str, Any] = {}
        if described:
            parser = ConfigParser()
            parser.read_config(files)
            # A path that has changed does not make it another model.
            running = {**parser.get(), **{id_: value for id_, value in overrides.items() if is_place(id_)}}
            overrides = {id_: value for id_, value in overrides.items() if not is_place(id_)}
        else:
            overrides = {"bundle_root": str(self.folder), **overrides}
        trained = TrainedModel(self.checkpoint, self.folder, overrides=overrides, config=files, running=running)
        if "model" not in trained:
            raise ValueError(
                f"{trained.description.source} has no id `model`; a pre-training bundle names its "
                "vision-language model `model`"
            )
        return trained

    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same model without checkpoint, bundle or any other file."""
        made = Description.of(self.parser, also=())
        if self._text_model is not None and isinstance(self._text_model, DescribesItself):
            kind = type(self._text_model)
            values = {id_: value for id_, value in made.values.items() if top_of(id_) != "text_model"}
            values["text_model"] = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
            values["text_model"] |= self._text_model.architecture()
            made = Description(made.config, values, made.source)
        return {"bundle": str(self.folder), "description": made.as_mapping([*ROOTS, "text_model"])}

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
        model = self.trained["model"]
        if not isinstance(model, VisionLanguageModel):
            raise ValueError(f"the id `model` of {self.folder} is a {type(model).__name__}, not a VisionLanguageModel")
        return model

    def evaluation_transform(self, image_size: int) -> EvaluationTransform:
        """Preprocessing to another input size with the bundle's normalisation, or ImageNet's if it has none."""
        said: Any = self.parser.get("evaluation_transform", {})
        options = {name: said[name] for name in ("mean", "std") if name in said}
        options = {
            name: value if isinstance(value, list) else self.parser.get_parsed_content(f"evaluation_transform::{name}")
            for name, value in options.items()
        }
        return EvaluationTransform(image_size, **options)

    def text_model(self) -> nn.Module | None:
        """The text model that computed the entity bank, for a model without a text encoder; None if there is none."""
        if self.model.text_encoder is not None or "text_model" not in self.trained:
            return None
        made = self.trained["text_model"]
        self._text_model = made if isinstance(made, nn.Module) else made()
        return self._text_model

    def _load(self) -> None:
        if not self.state:
            logger.info("no checkpoint: the model of %s starts from its configured weights", self.folder)
            return
        given = {name.removeprefix(_MODEL): value for name, value in self.state.items() if name.startswith(_MODEL)}
        expected = self.model.state_dict()
        given = {name: fitted(name, value, expected, self.model) for name, value in given.items()}
        problems = mismatches(expected, given)
        if problems:
            raise ValueError(
                f"{len(problems)} entries of {self.checkpoint} do not fit the model that {self.folder} describes; "
                "were the overlays and overrides those of the pre-training run?\n" + "\n".join(problems)
            )
        self.model.load_state_dict(given)
        logger.info("%d tensors of the model are pre-trained", len(given))

    def matching_head(self) -> nn.Linear | None:
        """The image-text matching head, (pooled) -> 2 logits (no match, match); None if there is none.

        It is found by the name of its loss, which contains "matching".
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
