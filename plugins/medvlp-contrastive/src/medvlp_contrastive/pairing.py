"""The images and texts of all ranks, and which of them belong together: what every contrastive loss starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_toolkit.engines.ranks import rank, rows_of_all_ranks, world_size
from medvlp_toolkit.interfaces import ABSENT, PRESENT, Encodings

#: What makes the reports of two studies say the same.
Equal = Literal["findings", "text"]


class PairingLoss(nn.Module):
    """Base of losses that compare every image of the batch with every report, over all ranks.

    Each rank computes the terms of its images and reports, among those of all ranks; the gradient reaches the
    others' features, so that N ranks give the gradient of one with the joined batch. In training all ranks have batches
    of one size; in evaluation, where they may differ, a rank compares within its own batch.

    Args:
        equal: None takes the image's own report for its only match. ``findings`` shares the match evenly among reports
            that state the same findings, and at least one; ``text`` among reports of the same tokens (soft targets).
    """

    reads = frozenset({"image_encoder", "image_projection", "text_encoder", "text_projection"})

    def __init__(self, equal: Equal | None = None) -> None:
        super().__init__()
        if equal not in (None, "findings", "text"):
            raise ValueError(f"equal is findings, text or null, not {equal!r}")
        self.equal = equal
        self.needs = frozenset({"image", "input_ids", "attention_mask"})
        if equal == "findings":
            self.needs |= {"entity_presence"}

    def pairs(self, encodings: Encodings) -> Pairs:
        """The summaries of images and reports, and what matches."""
        image, text = unit(encodings.image_summary()), unit(encodings.text_summary())
        everywhere = self.training
        return Pairs(
            image, text, of_all_ranks(image, everywhere), of_all_ranks(text, everywhere), self._matches(encodings)
        )

    def _matches(self, encodings: Encodings) -> Tensor:
        """(B, A) True where a rank's own study matches a study of all ranks."""
        batch, everywhere = encodings.batch, self.training
        size, ranks = len(batch["input_ids"]), number_of_ranks(everywhere)
        rows = torch.arange(size, device=batch["input_ids"].device)
        first = rank() * size if ranks > 1 else 0
        own = (first + rows)[:, None] == torch.arange(ranks * size, device=rows.device)
        if self.equal is None:
            return own
        if self.equal == "text":
            said = batch["input_ids"] * batch["attention_mask"] - (1 - batch["attention_mask"])
            said = of_one_length(said, everywhere, padding=-1)
        else:
            presence = batch["entity_presence"]
            said = torch.where((presence == PRESENT) | (presence == ABSENT), presence, -1)
        others = of_all_ranks(said.contiguous(), everywhere)
        same = (said[:, None] == others[None]).all(dim=-1)
        return own | (same & (said >= 0).any(dim=1, keepdim=True))


@dataclass(frozen=True)
class Pairs:
    """A rank's own images and texts (B, D), those of all ranks (A, D), all of length 1, and what matches (B, A)."""

    image: Tensor
    text: Tensor
    images: Tensor
    texts: Tensor
    matches: Tensor

    @property
    def targets(self) -> Tensor:
        """(B, A) matches as probabilities: every row adds up to 1."""
        shares = self.matches.to(torch.float32)
        return shares / shares.sum(dim=1, keepdim=True)

    @property
    def count(self) -> Tensor:
        """How many images, and texts, the rank has of its own."""
        return torch.full((), len(self.image), device=self.image.device)


def unit(features: Tensor) -> Tensor:
    """(…, D) -> float32 of length 1."""
    return F.normalize(features.float(), dim=-1)


def exact(features: Tensor) -> torch.autocast:
    """No autocast within: scaled cosines need more than the eight bits of bfloat16."""
    return torch.autocast(features.device.type, enabled=False)


def number_of_ranks(everywhere: bool = True) -> int:
    """How many processes train together; 1 where each is on its own."""
    return world_size() if everywhere else 1


def of_all_ranks(tensor: Tensor, everywhere: bool = True) -> Tensor:
    """(B, …) -> (ranks * B, …) of all ranks (:func:`medvlp_toolkit.engines.ranks.rows_of_all_ranks`) or of this one."""
    return rows_of_all_ranks(tensor) if everywhere else tensor


def of_one_length(tokens: Tensor, everywhere: bool = True, padding: int = 0) -> Tensor:
    """(B, L, …) -> (B, the longest L of all ranks, …): each rank trims its batches by itself."""
    if number_of_ranks(everywhere) == 1:
        return tokens
    longest = torch.tensor(tokens.shape[1], device=tokens.device)
    dist.all_reduce(longest, op=dist.ReduceOp.MAX)
    missing = int(longest) - tokens.shape[1]
    return F.pad(tokens, (*(0, 0) * (tokens.ndim - 2), 0, missing), value=padding)
