"""GLoRIA's loss: whole images with whole reports, and the regions of images with the words of reports."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp_contrastive.pairing import Equal, PairingLoss, Pairs, exact, of_all_ranks, of_one_length
from medvlp_contrastive.temperature import Temperature
from medvlp_contrastive.words import whole_words, word_starts
from medvlp_toolkit.interfaces import Encodings


class GloriaLocal(PairingLoss):
    """Global and local contrast: each word of a report attends to the regions of an image.

    Huang et al. 2021 (GLoRIA), equations 1 to 8, temperatures as published. For words w_k and regions r_n, the scores
    w_k·r_n are made a softmax over the words of a report, times 4 a softmax over regions: word k's attention, and the
    region it attends to, c_k. Image and report are as alike as log Σ_k exp(5 cos(w_k, c_k)). Cross-entropy both ways of
    10 times that, plus cross-entropy both ways of 10 times the cosine of the summaries: four terms, added.

    A word is the sum of its pieces; marks such as the class token are no words (the published code counts the class
    token). The similarities of B images with A reports of L tokens need B · A · L · (N + D) numbers at a time.

    Args:
        tokenizer: of the text encoder, which says where words begin. Without one every token that is no padding is a
            word.
        attention_scale, word_scale, scale: published 4, 5 and 10.
        local_weight, global_weight: of the two terms each, published 1 and 1.
        equal: soft targets for studies that say the same, see :class:`~medvlp_contrastive.pairing.PairingLoss`.

    Example::

        contrast:
          _target_: medvlp_toolkit.pretext_losses.gloria_local
          tokenizer: "$@text_encoder.tokenizer"
    """

    begins: Tensor
    special: Tensor

    def __init__(
        self,
        tokenizer: Any = None,
        attention_scale: float = 4.0,
        word_scale: float = 5.0,
        scale: float = 10.0,
        local_weight: float = 1.0,
        global_weight: float = 1.0,
        equal: Equal | None = None,
    ) -> None:
        super().__init__(equal)
        self.attention_scale, self.word_scale = attention_scale, word_scale
        self.local_weight, self.global_weight = local_weight, global_weight
        self.head = Temperature(scale, learned=False)
        begins, special = (torch.ones(0, dtype=torch.bool),) * 2 if tokenizer is None else word_starts(tokenizer)
        # Of the tokenizer, not of training: no part of the weights.
        self.register_buffer("begins", begins, persistent=False)
        self.register_buffer("special", special, persistent=False)

    def forward(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        pairs = self.pairs(encodings)
        regions = encodings.image_tokens()[:, encodings.model.image_encoder.num_prefix_tokens :].float()
        words, there = self.words(encodings)
        with exact(regions):
            terms = self.terms(pairs, regions, words, there)
        weights = (self.global_weight, self.global_weight, self.local_weight, self.local_weight)
        total = torch.stack([weight * term for weight, term in zip(weights, terms.values(), strict=True)]).sum()
        return total, pairs.count

    def terms(self, pairs: Pairs, regions: Tensor, words: Tensor, there: Tensor) -> dict[str, Tensor]:
        """The four sums, from regions (B, N, D), words (B, L, D), and where there is one (B, L)."""
        everywhere = self.training
        others = of_all_ranks(words, everywhere), of_all_ranks(there, everywhere)
        alike = self.similarities(regions, *others)
        across = alike if others[0] is words else self.similarities(of_all_ranks(regions), words, there)
        logits = {
            "global.image_to_text": pairs.image @ pairs.texts.t(),
            "global.text_to_image": pairs.text @ pairs.images.t(),
            "local.image_to_text": alike,
            "local.text_to_image": across.t(),
        }
        return {
            name: F.cross_entropy(self.head(values), pairs.targets, reduction="sum") for name, values in logits.items()
        }

    def similarities(self, regions: Tensor, words: Tensor, there: Tensor) -> Tensor:
        """Regions of images (I, N, D) and words of texts (T, L, D) -> (I, T), equations 5 and 6."""
        attention = self.attention(regions, words, there)
        attended = torch.einsum("itln,ind->itld", attention, regions)
        cosines = F.cosine_similarity(words[None], attended, dim=-1)
        return (self.word_scale * cosines).masked_fill(~there, -torch.inf).logsumexp(dim=-1)

    def attention(self, regions: Tensor, words: Tensor, there: Tensor) -> Tensor:
        """(I, T, L, N): how the words of each text look at the regions of each image, equations 3 and 4."""
        scores = torch.einsum("tld,ind->itln", words, regions)
        among_words = scores.masked_fill(~there[:, :, None], -torch.inf).softmax(dim=2)
        return (self.attention_scale * among_words).softmax(dim=-1)

    def words(self, encodings: Encodings) -> tuple[Tensor, Tensor]:
        """(B, L, D) words of the reports, and (B, L) True where there is one."""
        ids, kept = encodings.batch["input_ids"].long(), encodings.batch["attention_mask"].bool()
        begins = torch.ones_like(kept)
        if len(self.begins):
            begins, kept = self.begins[ids], kept & ~self.special[ids]
        words, there = whole_words(encodings.text_tokens().float(), begins, kept)
        return of_one_length(words, self.training), of_one_length(there, self.training)
