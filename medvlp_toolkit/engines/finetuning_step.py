"""The training step for fine-tuning a network on labels, masks, answers or pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from medvlp_toolkit.engines.device import to_device
from medvlp_toolkit.engines.step import OptimisationStep, Transform

Target = Literal["targets", "mask", "answer", "image_index"]


class FinetuningStep(OptimisationStep):
    """One iteration of training a network that maps an image to logits.

    Given to MONAI's ``SupervisedTrainer`` as ``iteration_update``; the trainer's loss function is called with
    (logits, target). The engine's output is ``{"loss": …}``, detached and left on the device.

    Args:
        transform: maps the stored batch to the network's input, on the device.
        target: the batch key with the loss's target: ``targets`` (labels), ``mask``, or, for pairs of image and text
            (whose network reads the whole batch), ``answer`` or ``image_index``.
        optimisation: ``precision``, ``clip_norm`` … as in :class:`~medvlp_toolkit.engines.OptimisationStep`.
    """

    def __init__(self, transform: Transform, target: Target = "targets", **optimisation: Any) -> None:
        super().__init__(transform, **optimisation)
        self.target = target

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        prepared = self.transform(to_device(batch, engine.state.device))
        read = prepared if "image_index" in prepared else prepared["image"]
        loss: list[Tensor] = []

        def compare(logits: Tensor) -> Tensor:
            loss.append(engine.loss_function(logits.float(), prepared[self.target]))
            return loss[0]

        self.optimise(engine, lambda network: engine.inferer(read, network), compare)
        return {"loss": loss[0].detach()}
