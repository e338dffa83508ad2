"""A tokenizer stored in a checkpoint, without which token ids have no meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medvlp_toolkit.data.store.tokens import load_backend
from medvlp_toolkit.weights.weights import NONE, read_weights

#: Its name in the state dict of a network.
BUFFER = "tokenizer"


def tokenizer_to_tensor(tokenizer: Any) -> Tensor:
    """(bytes,) uint8 of a fast tokenizer (hub name, folder or object), with padding and truncation removed."""
    backend, _, _ = load_backend(tokenizer)
    backend.no_padding()
    backend.no_truncation()
    content = json.dumps(json.loads(backend.to_str()), ensure_ascii=False, separators=(",", ":"))
    return torch.frombuffer(bytearray(content.encode("utf-8")), dtype=torch.uint8).clone()


def tokenizer_from_state(state: Mapping[str, Any]) -> Any:
    """The ``tokenizers.Tokenizer`` in a state dict.

    Raises:
        ValueError: when it has none.
    """
    import tokenizers

    if BUFFER not in state:
        raise ValueError(
            "this checkpoint has no tokenizer, so it was not fine-tuned on texts; give the best.pt or model.pt of "
            "a fine-tuning run"
        )
    return tokenizers.Tokenizer.from_str(bytes(state[BUFFER].cpu().tolist()).decode("utf-8"))


def checkpoint_tokenizer(checkpoint: str | Path | None) -> Any:
    """The tokenizer of a fine-tuned checkpoint; None if no checkpoint is given."""
    if checkpoint in NONE:
        return None
    return tokenizer_from_state(read_weights(str(checkpoint), key="model"))


def tokenizer_size(tokenizer: Any) -> int:
    """Size of the vocabulary: the rows of a text encoder's embedding."""
    return int(load_backend(tokenizer)[0].get_vocab_size())
