"""Loading a pre-trained image encoder's weights into a network for another task."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from medvlp_toolkit.interfaces import FitsPositions
from medvlp_toolkit.weights.trained import TrainedModel
from medvlp_toolkit.weights.weights import NONE, read_weights

logger = logging.getLogger(__name__)

#: The prefix of the image encoder in a pre-training checkpoint, and in the weights for inference.
PREFIXES = ("model.image_encoder.", "image_encoder.")
_ENCODER = "image_encoder"

Network = TypeVar("Network", bound=nn.Module)


def pretrained_encoder(
    trained: TrainedModel, image_size: Any = None, last_stage: int | None = None, **arguments: Any
) -> nn.Module:
    """The pre-trained image encoder for fine-tuning; its weights are not loaded yet.

    Args:
        trained: the model as described by pre-training or by the bundle's configuration.
        image_size: for fine-tuning; as pre-trained when None.
        last_stage: last stage of an encoder with stages, such as a residual network: stages after the pre-trained ones
            are initialised randomly. None keeps the pre-trained stages.
        arguments: further arguments of the encoder, for weights without a description.

    Raises:
        ValueError: when an argument contradicts the description.
    """
    overrides = {} if image_size is None else {"image_size": image_size}
    for name, value in arguments.items():
        trained.check(f"{_ENCODER}::{name}", value)
        overrides[f"{_ENCODER}::{name}"] = value
    added = {} if last_stage is None else {f"{_ENCODER}::last_stage": last_stage}
    encoder: nn.Module = trained.varied(overrides, added)[_ENCODER]
    return encoder


def load_pretrained(network: Network, checkpoint: str | Path | None) -> Network:
    """Load pre-trained weights into ``network.image_encoder``; everything else keeps its initial values.

    Stages that the pre-trained encoder does not have (``layer4``; MedKLIP's ends at ``layer3``) stay random, as
    published. Any other mismatch is an error.

    Args:
        network: has an ``image_encoder``.
        checkpoint: of a pre-training run (``best.pt``), of ``medvlp import`` (``pretraining.pt``), or the weights
            for inference (``model.pt``); None leaves the whole network random.

    Raises:
        ValueError: when the file is not such a checkpoint or does not fit; lists all mismatches.
    """
    if checkpoint in NONE:
        logger.info("no checkpoint: the network starts from random weights")
        return network
    encoder: nn.Module = network.image_encoder  # type: ignore[assignment]
    state = read_weights(str(checkpoint), key="model")
    prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in state)), None)
    if prefix is None:
        raise ValueError(
            f"{checkpoint} holds no image_encoder; give a pre-training checkpoint of this toolkit, or convert a "
            "published one with `medvlp import` first"
        )
    given = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    expected = encoder.state_dict()
    given = {name: fitted(name, value, expected, encoder) for name, value in given.items()}
    parts = {name.partition(".")[0] for name in given}
    problems = [f"  {name}: not part of this encoder" for name in given if name not in expected]
    problems += [f"  {name}: missing" for name in expected if name not in given and name.partition(".")[0] in parts]
    problems += [
        f"  {name}: shape {tuple(given[name].shape)}, expected {tuple(value.shape)}"
        for name, value in expected.items()
        if name in given and given[name].shape != value.shape
    ]
    if problems:
        raise ValueError(
            f"the image encoder in {checkpoint} is not the one configured; {len(problems)} entries do not fit:\n"
            + "\n".join(problems)
        )
    encoder.load_state_dict(given, strict=False)
    new = sorted({name.partition(".")[0] for name in expected} - parts)
    logger.info(
        "%d tensors of the image encoder are pre-trained%s", len(given), f"; {', '.join(new)} random" if new else ""
    )
    return network


def fitted(name: str, value: Tensor, expected: Mapping[str, Tensor], module: nn.Module) -> Tensor:
    """Position embeddings adapted to the configured image size, if the encoder supports it; else unchanged.

    Args:
        name: of the entry in the state dict of ``module``, which is ``expected``.
        value: the entry's value in the checkpoint.
    """
    if name not in expected or expected[name].shape == value.shape:
        return value
    owner, _, parameter = name.rpartition(".")
    part = module.get_submodule(owner)
    if parameter == "positional_embedding" and isinstance(part, FitsPositions):
        return part.fit_positions(value)
    return value
