"""Scores a batch's images for every entity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from medvlp_toolkit.engines.device import Precision
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation.step import EvaluationStep
from medvlp_toolkit.interfaces import GivesAttention


class ScoringStep(EvaluationStep):
    """Scores every entity of the bank on one batch, with attention on request.

    The network is an :class:`~medvlp_toolkit.model.EntityScorer`, or any other that maps an image to scores. The output
    has ``scores`` (B, Q) and, if present in the batch, ``entity_presence``, ``targets``, ``row`` and ids. With
    ``need_attention`` it has ``attention`` (B, layers, Q, N), None if the network returns none, and ``image_shape``,
    the spatial axes of the network's input; with a ``position_loss`` ``position_scores`` (B, Q, P).

    Args:
        transform, precision: see :class:`~medvlp_toolkit.evaluation.EvaluationStep`.
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
        super().__init__(transform, precision)
        self.need_attention = need_attention
        self.position_loss = position_loss

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        output: dict[str, Any] = {key: batch[key] for key in self._KEPT if key in batch}
        image, network = prepared["image"], unwrap(engine.network)
        if self.need_attention:
            output |= {"attention": None, "image_shape": tuple(image.shape[2:])}
        asked = self.need_attention or self.position_loss is not None
        if not (asked and isinstance(network, GivesAttention)):
            return {**output, "scores": engine.inferer(image, engine.network)}
        fused = network.fuse(image, self.need_attention)
        output["scores"] = network.score(fused.text)
        if self.need_attention:
            output["attention"] = fused.attention
        if self.position_loss is not None:
            output["position_scores"] = self.position_loss.to(image.device).scores(fused.text)  # type: ignore[operator]
        return output
