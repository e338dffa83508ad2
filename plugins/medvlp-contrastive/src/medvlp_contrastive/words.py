"""Words of tokenised reports: their pieces joined, special tokens left out."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: How tokenizers write a piece: WordPiece marks those that continue a word, byte-level BPE and SentencePiece those that
#: begin one.
_CONTINUES, _BEGINS = "##", ("Ġ", "▁", "Ċ")


def word_starts(tokenizer: Any) -> tuple[Tensor, Tensor]:
    """(V,) True for the tokens that begin a word, and for those that are no words but the tokenizer's own marks."""
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    by_beginning = any(token.startswith(_BEGINS) for token in tokens)
    begins = [token.startswith(_BEGINS) if by_beginning else not token.startswith(_CONTINUES) for token in tokens]
    special = torch.zeros(len(tokens), dtype=torch.bool)
    special[torch.tensor(tokenizer.all_special_ids, dtype=torch.long)] = True
    return torch.tensor(begins) | special, special


def whole_words(tokens: Tensor, begins: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the pieces of each word.

    Args:
        tokens: (B, L, D) features.
        begins: (B, L) True where a word begins.
        kept: (B, L) False for what is no word: special tokens and padding.

    Returns:
        (B, L, D) words, the first ones first and zeros behind them, and (B, L) True where there is one; a text without
        a word has one of zeros.
    """
    after_mark = F.pad(kept, (1, 0), value=False)[:, :-1].logical_not()  # the first word may come without a mark
    starts = kept & (begins | after_mark)
    number = (starts.long().cumsum(dim=1) - 1).clamp(min=0)
    pieces = tokens * kept.unsqueeze(-1).to(tokens.dtype)
    words = torch.zeros_like(tokens).scatter_add(1, number.unsqueeze(-1).expand_as(tokens), pieces)
    there = torch.arange(tokens.shape[1], device=tokens.device) < starts.sum(dim=1, keepdim=True).clamp(min=1)
    return words, there
