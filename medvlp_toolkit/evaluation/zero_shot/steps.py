"""Scores a batch's images for every entity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.engines.utils import IterationEvents
from torch import nn

from medvlp_toolkit.engines.device import Precision, autocast, to_device
from medvlp_toolkit.model.entity_scorer import EntityScorer

Transform = Callable[[Mapping[str, Any]], dict[str, Any]]


class ScoringStep:
    """Score every entity of the bank on one batch, and where asked, say where it looked.

    Given to MONAI's ``SupervisedEvaluator`` as ``iteration_update``; the network is an
    :class:`~medvlp_toolkit.model.EntityScorer`. The output holds ``scores`` (B, Q), what the
    batch brought along of ``entity_presence``, ``targets``, ``row`` and ids, and on request ``attention``
    (B, layers, Q, N) and ``position_scores`` (B, Q, P).

    Args:
        transform: from the stored batch to the model's.
        precision: ``fp32``, ``bf16`` or ``fp16``.
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
