"""What one iteration does: the functions that MONAI's engines call for every batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.engines.utils import IterationEvents
from torch import Tensor, nn

from medvlp_toolkit.engines.device import Precision, autocast, to_device
from medvlp_toolkit.evaluation.entity_scorer import EntityScorer

Transform = Callable[[Mapping[str, Any]], dict[str, Any]]


class PretrainingStep:
    """One optimisation step of a :class:`~medvlp_toolkit.model.PretrainingModel`.

    Given to MONAI's ``SupervisedTrainer`` as ``iteration_update``. The engine's output is the dict of
    losses, detached and left on the device.

    Args:
        transform: from the stored batch to the model's, on the device (augmentation, normalisation).
        precision: ``fp32`` or ``bf16``.
        clip_norm: greatest norm of the gradient over all parameters; None does not clip.
    """

    def __init__(self, transform: Transform, precision: Precision = "fp32", clip_norm: float | None = None) -> None:
        self.transform = transform
        self.precision = precision
        self.clip_norm = clip_norm

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        device = engine.state.device
        prepared = self.transform(to_device(batch, device))
        network = engine.network
        network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with autocast(device, self.precision):
            losses = engine.inferer(prepared, network)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        losses["loss"].backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), self.clip_norm)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {name: value.detach() for name, value in losses.items()}


class ScoringStep:
    """Score every entity of the bank on one batch, and where asked, say where it looked.

    Given to MONAI's ``SupervisedEvaluator`` as ``iteration_update``; the network is an
    :class:`~medvlp_toolkit.evaluation.entity_scorer.EntityScorer`. The output holds ``scores`` (B, Q), what the
    batch brought along of ``entity_presence``, ``targets``, ``row`` and ids, and on request ``attention``
    (B, layers, Q, N) and ``position_scores`` (B, Q, P).

    Args:
        transform: from the stored batch to the model's.
        precision: ``fp32`` or ``bf16``.
        need_attention: keep the fusion module's attention.
        position_loss: a trained loss with ``scores(features) -> (B, Q, P)``, for positions.
    """

    _KEPT = ("entity_presence", "targets", "row", "study_id", "patient_id")

    def __init__(
        self,
        transform: Transform,
        precision: Precision = "fp32",
        need_attention: bool = False,
        position_loss: nn.Module | None = None,
    ) -> None:
        self.transform = transform
        self.precision = precision
        self.need_attention = need_attention
        self.position_loss = position_loss

    @torch.no_grad()
    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        device = engine.state.device
        prepared = self.transform(to_device(batch, device))
        network: EntityScorer = engine.network
        network.eval()
        output: dict[str, Any] = {key: batch[key] for key in self._KEPT if key in batch}
        with autocast(device, self.precision):
            if self.need_attention or self.position_loss is not None:
                fused = network.fuse(prepared["image"], self.need_attention)
                output["scores"] = network.score(fused.text)
                if self.need_attention:
                    output["attention"] = fused.attention
                if self.position_loss is not None:
                    output["position_scores"] = self.position_loss.to(device).scores(fused.text)  # type: ignore[operator]
            else:
                output["scores"] = engine.inferer(prepared["image"], network)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output
