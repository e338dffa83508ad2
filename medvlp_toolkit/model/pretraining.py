"""The model with its weighted losses, which a trainer optimises."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medvlp_toolkit.interfaces import RequiresMore
from medvlp_toolkit.model.encodings import Encodings
from medvlp_toolkit.model.vision_language import VisionLanguageModel

logger = logging.getLogger(__name__)


class PretrainingModel(nn.Module):
    """A model with named, weighted losses; the module that the trainer, DDP and ``torch.compile`` wrap.

    ``forward(batch)`` returns ``{"loss": total, "<name>": …}``, every entry a scalar. Each loss's sum
    is divided by its count over *all* ranks, times the number of ranks: DDP averages gradients over
    ranks, so that N ranks give the gradient of one rank with the whole batch. Parts of the model that
    no loss reads are frozen.

    Args:
        model: the parts.
        losses: name -> loss (:class:`medvlp_toolkit.interfaces.PretextLoss`).
        weights: name -> weight in the total; 1 by default. The weight of a loss that the configuration disables is
            ignored, provided that every other loss has a weight.
        share_encodings: False repeats the published passes (see :class:`Encodings`).
        mask_ratio: share of patches left out of the masked image view.

    Raises:
        ValueError: when a part lacks a capability that a loss requires (names both), or a weight has no loss.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        losses: Mapping[str, nn.Module],
        weights: Mapping[str, float] | None = None,
        share_encodings: bool = True,
        mask_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        if not losses:
            raise ValueError("PretrainingModel needs at least one loss; give losses as {name: loss}")
        weights = dict(weights or {})
        _check_weights(weights, losses)
        if "loss" in losses:
            raise ValueError("a loss may not be named 'loss', which is the weighted total")
        self.model = model
        self.losses = nn.ModuleDict(losses)
        self.weights = {name: float(weights.get(name, 1.0)) for name in losses}
        self.share_encodings = share_encodings
        self.mask_ratio = mask_ratio
        self._check_requirements()
        self._freeze_unread_parts()

    def _check_requirements(self) -> None:
        problems = [
            f"the loss '{name}' ({type(loss).__name__}) {clause}"
            for name, loss in self.losses.items()
            for clause in (*_absent_parts(loss, self.model), *_lacking(loss, self.model))
        ]
        if problems:
            raise ValueError(
                f"{'; '.join(problems)}. Swap the part for one that has it, or leave the loss out "
                "(losses::NAME::_disabled_: true)"
            )

    def _freeze_unread_parts(self) -> None:
        # DDP would wait for a parameter that never gets a gradient, so unused parameters are frozen.
        read: set[str] = set().union(*(loss.reads for loss in self.losses.values()))  # type: ignore[arg-type]
        if "entity_projection" in read and self.model.entity_projection is None:
            read.add("text_projection")
        if "entity_projection" in read and self.model.entity_ids is not None:
            read.add("text_encoder")
        for name, part in self.model.named_children():
            if name not in read:
                part.requires_grad_(False)

    @property
    def needs(self) -> frozenset[str]:
        """Batch keys that the losses read."""
        return frozenset().union(*(loss.needs for loss in self.losses.values()))  # type: ignore[arg-type]

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        missing = sorted(self.needs - set(batch))
        if missing:
            raise ValueError(
                f"the batch lacks {', '.join(missing)}, which the losses {', '.join(self.losses)} read; "
                f"it holds {', '.join(sorted(batch))}"
            )
        encodings = Encodings(self.model, batch, self.share_encodings, self.mask_ratio)
        terms = {name: loss(encodings) for name, loss in self.losses.items()}
        sums = [total for total, _ in terms.values()]
        counts = torch.stack([count.to(torch.float32) for _, count in terms.values()])
        scales = _scale_over_ranks(counts)
        output: dict[str, Tensor] = {}
        loss = sums[0].new_zeros(())
        for index, (name, total) in enumerate(zip(terms, sums, strict=True)):
            output[name] = total * scales[index]
            loss = loss + self.weights[name] * output[name]
        return {"loss": loss, **output}


def _check_weights(weights: Mapping[str, float], losses: Mapping[str, nn.Module]) -> None:
    """A weight without a loss belongs to a disabled loss; if some loss has no weight, it may be a misspelt name."""
    unread, unweighted = sorted(set(weights) - set(losses)), [name for name in losses if name not in weights]
    if unread and unweighted:
        raise ValueError(
            f"weights given for {', '.join(unread)}; the losses are {', '.join(losses)}, of which "
            f"{', '.join(unweighted)} has no weight"
        )
    if unread:
        logger.info("no loss %s: its weight is not read", ", ".join(unread))


def _absent_parts(loss: Any, model: VisionLanguageModel) -> Iterator[str]:
    """The parts in ``reads`` that the model lacks."""
    reads = loss.reads
    for part in ("text_encoder", "knowledge_encoder", "fusion"):
        if part in reads and getattr(model, part) is None:
            yield f"reads the {part}, and the model has none"
    if "entity_projection" in reads and not model.has_entity_queries:
        yield "reads entity queries, and the model has no entity_bank"


def _lacking(loss: object, model: VisionLanguageModel) -> Sequence[str]:
    return loss.requires(model) if isinstance(loss, RequiresMore) else ()


def _scale_over_ranks(counts: Tensor) -> Tensor:
    """(n,) local counts -> (n,) factors: world size over the count of all ranks, 0 where nothing counted."""
    counts = counts.detach().clone()
    world = 1
    if dist.is_available() and dist.is_initialized():
        world = dist.get_world_size()
        dist.all_reduce(counts)
    return torch.where(counts > 0, world / counts.clamp(min=1), torch.zeros_like(counts))
