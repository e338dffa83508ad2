"""Validation of KAD's knowledge encoder: whether the nearest of all other texts is of the same concept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from torch import Tensor

from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.ranks import of_all_ranks
from medvlp_toolkit.evaluation.step import EvaluationStep

_AT_ONCE = 1024


class PairStep(EvaluationStep):
    """Embeds both texts of a batch's pairs: ``one`` and ``other`` (B, D) of length 1, and ``concept`` (B,)."""

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        one, other = unwrap(engine.network).pair(prepared)  # type: ignore[operator]
        return {"one": one, "other": other, "concept": prepared["concept"]}


class ConceptRecall(Metric):
    """Share of the pairs whose first text lies nearest to a text of its own concept, among the second texts of all."""

    _state_dict_all_req_keys = ("_parts",)

    def __init__(self) -> None:
        super().__init__(output_transform=lambda output: (output["one"], output["other"], output["concept"]))

    @reinit__is_reduced
    def reset(self) -> None:
        self._parts: list[tuple[Tensor, ...]] = []

    @reinit__is_reduced
    def update(self, output: tuple[Tensor, Tensor, Tensor]) -> None:
        self._parts.append(tuple(part.detach().cpu() for part in output))

    def compute(self) -> float:
        parts = [part for rank in of_all_ranks(self._parts) for part in rank]
        if not parts:
            raise NotComputableError("ConceptRecall has seen no pair; is the validation set empty?")
        one, other, concept = (torch.cat(group) for group in zip(*parts, strict=True))
        nearest = torch.cat([(rows @ other.T).argmax(dim=1) for rows in one.split(_AT_ONCE)])
        return float((concept[nearest] == concept).double().mean())
