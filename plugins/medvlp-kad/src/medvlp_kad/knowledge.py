"""Stage 1 of KAD: a text encoder that learns which texts are of one concept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from medvlp_kad.projection import PROJECTION_FILE
from medvlp_toolkit.engines.ranks import is_first_rank, rows_of_all_ranks
from medvlp_toolkit.files import write_whole
from medvlp_toolkit.weights import load_weights

#: A row without a concept is its own only twin.
NO_CONCEPT = -1


class KnowledgeModel(nn.Module):
    """The knowledge encoder and its loss (Zhang et al. 2023, Methods): pairs of texts of one concept, contrasted.

    ``forward(batch)`` takes ``input_ids`` and ``attention_mask`` (B, L), ``other_ids`` and ``other_mask`` (B, L'), and
    ``concept`` (B,): a number of the concept that both texts are of, -1 for none. It returns ``{"loss": …}``, over the
    pairs of all processes.

    Args:
        text_encoder: (B, L) tokens -> (B, L, Dt), with a class token.
        text_projection: (…, Dt) -> (…, D).
        temperature: of the first step; published 0.07. Its inverse's logarithm is learned.
    """

    def __init__(self, text_encoder: nn.Module, text_projection: nn.Module, temperature: float = 0.07) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.text_projection = text_projection
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) -> (B, D), not normalised: the feature that stage 2 reads."""
        features: Tensor = self.text_projection(self.text_encoder(input_ids, attention_mask)[:, 0])
        return features

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        one, other = (rows_of_all_ranks(part) for part in self.pair(batch))
        logits = self.logit_scale.exp() * one @ other.T
        targets = concept_targets(rows_of_all_ranks(batch["concept"]))
        return {"loss": (_soft_cross_entropy(logits, targets) + _soft_cross_entropy(logits.T, targets)) / 2}

    def pair(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Both features of a batch's pairs, (B, D) of length 1."""
        one = F.normalize(self.embed(batch["input_ids"], batch["attention_mask"]).float(), dim=-1)
        return one, F.normalize(self.embed(batch["other_ids"], batch["other_mask"]).float(), dim=-1)


def concept_targets(concept: Tensor) -> Tensor:
    """(B,) concept of each row -> (B, B): 1 for itself and for rows of the same concept, columns of length 1.

    Length is the root of the sum of squares, as published: a row with one twin has twice 0.707 and not 0.5.
    """
    known = concept != NO_CONCEPT
    same = (concept.unsqueeze(0) == concept.unsqueeze(1)) & known.unsqueeze(0)
    same = same | torch.eye(len(concept), dtype=torch.bool, device=concept.device)
    return F.normalize(same.to(torch.float32), dim=0)


def _soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(dim=-1)).sum() / len(logits)


def write_text_model(model: KnowledgeModel, output_dir: str | Path) -> Path | None:
    """Write the text model of a finished training as stage 2 reads it, with the weights of ``best.pt`` if there is one.

    The folder ``text_model`` in ``output_dir`` has the text encoder and its tokenizer in transformers' files, and the
    projection beside them. Only the first of several processes writes.
    """
    if not is_first_rank():
        return None
    if (best := Path(output_dir) / "best.pt").is_file():
        load_weights(model, best, key="model")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    folder = Path(output_dir) / "text_model"
    encoder: Any = model.text_encoder
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    state = {name: value.detach().cpu().contiguous() for name, value in model.text_projection.state_dict().items()}
    write_whole(folder / PROJECTION_FILE, lambda file: file.write(save(state)))
    return folder
