"""Text encoders on transformers: a pretrained model by hub name or folder, or one built from a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_encoders.tokens import summarise
from medvlp_encoders.vocabulary import wordpiece_tokenizer


class TransformersText(nn.Module):
    """Any encoder of the transformers library that maps token ids to hidden states.

    Args:
        pretrained: hub name (``emilyalsentzer/Bio_ClinicalBERT``) or folder with model and tokenizer.
        config: instead of ``pretrained``, arguments of a configuration to train from scratch; its
            ``model_type`` (``bert`` by default) names the architecture.
        corpus: texts from which a WordPiece vocabulary is learned when ``config`` is given.
        vocabulary_size: largest size of that vocabulary.
        lower_case: lower the text before tokenising; None keeps what the tokenizer says. MedKLIP lowers
            Bio_ClinicalBERT's input although that vocabulary is cased.
        local_files_only: never ask the hub.
        seed: initialises a model made from ``config`` the same way every time; None uses torch's state.

    Example::

        text_encoder:
          _target_: medvlp_toolkit.encoders.transformers_text
          pretrained: emilyalsentzer/Bio_ClinicalBERT
    """

    def __init__(
        self,
        pretrained: str | Path | None = None,
        config: Mapping[str, Any] | None = None,
        corpus: Sequence[str] | None = None,
        vocabulary_size: int = 4000,
        lower_case: bool | None = None,
        local_files_only: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if (pretrained is None) == (config is None):
            raise ValueError(
                "transformers_text takes either pretrained (a hub name or folder) or config (arguments of a "
                f"configuration); got pretrained={pretrained!r} and config={'given' if config else None}"
            )
        if pretrained is not None:
            self.model, self.tokenizer = _load(str(pretrained), local_files_only)
        else:
            if not corpus:
                raise ValueError("transformers_text from a config needs a corpus: texts to learn a vocabulary from")
            self.tokenizer = wordpiece_tokenizer(corpus, vocabulary_size)
            self.model = _build(dict(config or {}), len(self.tokenizer), seed)
        if lower_case is not None:
            _set_lower_case(self.tokenizer, lower_case)
        made_as: Any = self.model.config
        self.num_features = int(made_as.hidden_size)
        self.num_prefix_tokens = 1

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) token ids and mask -> (B, L, num_features) last hidden states."""
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden

    def summary(self, tokens: Tensor) -> Tensor:
        """(B, L, D) -> (B, D): the class token."""
        return summarise(tokens, self.num_prefix_tokens)


def _load(pretrained: str, local_files_only: bool) -> tuple[nn.Module, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(pretrained, local_files_only=local_files_only)
        model = _without_pooler(AutoModel, pretrained, local_files_only)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"text model '{pretrained}' cannot be loaded: it is neither a folder with config.json, weights and "
            f"tokenizer, nor a model of the hub that can be reached. Give a folder, or download it first with "
            f"`hf download {pretrained}`. ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
    # Some tokenizers are shipped with a padding or truncation of their own; lengths are the caller's here.
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()
    return model, tokenizer


def _without_pooler(auto_model: Any, pretrained: str, local_files_only: bool) -> nn.Module:
    """Load without the pooling layer, which nothing here reads (an unread parameter stops DDP)."""
    try:
        model: nn.Module = auto_model.from_pretrained(
            pretrained, local_files_only=local_files_only, add_pooling_layer=False, dtype=torch.float32
        )
    except TypeError:  # architectures without a pooler do not know the argument
        model = auto_model.from_pretrained(pretrained, local_files_only=local_files_only, dtype=torch.float32)
    return model


def _build(config: dict[str, Any], vocabulary: int, seed: int | None) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    model_type = config.pop("model_type", "bert")
    config["vocab_size"] = vocabulary
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        arguments = AutoConfig.for_model(model_type, **config)
        try:
            model: nn.Module = AutoModel.from_config(arguments, add_pooling_layer=False)
        except TypeError:
            model = AutoModel.from_config(arguments)
    return model


def _set_lower_case(tokenizer: Any, lower_case: bool) -> None:
    from tokenizers.normalizers import BertNormalizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError("lower_case needs a tokenizer with a fast backend; leave it None for this model")
    backend.normalizer = BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lower_case or None, lowercase=lower_case
    )
