"""Text encoders on transformers: a pretrained model by hub name or folder, or one built from a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_encoders.adapting import AdaptableEncoder
from medvlp_encoders.loading import OF_A_FILE, from_config, without_pooler
from medvlp_encoders.vocabulary import tokenizer_content, tokenizer_from_content, wordpiece_tokenizer
from medvlp_toolkit.hub import load_pretrained


class TransformersText(AdaptableEncoder):
    """Any encoder of the transformers library that maps token ids to hidden states.

    Args:
        pretrained: hub name (``emilyalsentzer/Bio_ClinicalBERT``) or folder with model and tokenizer.
        config: instead of ``pretrained``, arguments of a configuration to train from scratch; its
            ``model_type`` (``bert`` by default) names the architecture.
        corpus: texts from which a WordPiece vocabulary is learned when ``config`` is given.
        vocabulary_size: maximum size of that vocabulary.
        tokenizer: instead of ``corpus``, hub name or folder of the tokenizer to use with ``config``, or the
            result of :func:`~medvlp_encoders.vocabulary.tokenizer_content`. Without either, ``config`` must have a
            ``vocab_size`` and there is no tokenizer, for weights from a checkpoint.
        lower_case: lower-case the text before tokenising; None keeps the tokenizer's setting. MedKLIP lower-cases
            Bio_ClinicalBERT's input although that vocabulary is cased.
        local_files_only: never access the hub.
        seed: for initialising a model built from ``config``; None uses torch's state.
        freeze: keep the weights as they are.
        lora: train low-rank additions to the layers only (:func:`medvlp_encoders.lora.add_adapters`): ``{rank: 8}``.

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
        tokenizer: str | Path | Mapping[str, Any] | None = None,
        lower_case: bool | None = None,
        local_files_only: bool = False,
        seed: int | None = None,
        freeze: bool = False,
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (pretrained is None) == (config is None):
            raise ValueError(
                "transformers_text takes either pretrained (a hub name or folder) or config (arguments of a "
                f"configuration); got pretrained={pretrained!r} and config={'given' if config else None}"
            )
        if pretrained is not None:
            self.model, self.tokenizer = _load(pretrained, local_files_only)
        else:
            self.tokenizer = _tokenizer_for(corpus, vocabulary_size, tokenizer, local_files_only)
            if self.tokenizer is None and "vocab_size" not in (config or {}):
                raise ValueError(
                    "transformers_text from a config needs a corpus (texts to learn a vocabulary from), a tokenizer "
                    "(hub name or folder), or a vocab_size in the config"
                )
            self.model = _build(dict(config or {}), self.tokenizer, seed)
        if lower_case is not None:
            _set_lower_case(self.tokenizer, lower_case)
        made_as: Any = self.model.config
        self.num_features = int(made_as.hidden_size)
        self.num_prefix_tokens = 1
        self.vocabulary_size = int(made_as.vocab_size)
        #: Maximum number of tokens of the position embeddings; None if the architecture has none.
        self.max_tokens = _max_tokens(self.model)
        self._takes_ready_masks = (
            made_as.model_type in ("bert", "roberta") and getattr(made_as, "_attn_implementation", "") == "sdpa"
        )
        self.adapt(freeze, lora)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) token ids and mask -> (B, L, num_features) last hidden states.

        Raises:
            ValueError: when L exceeds the number of position embeddings.
        """
        if self.max_tokens is not None and input_ids.shape[1] > self.max_tokens:
            raise ValueError(
                f"texts of {input_ids.shape[1]} tokens, and this text encoder has positions for {self.max_tokens}; "
                "truncate them (max_length)"
            )
        if self._takes_ready_masks:
            # For a (B, L) mask the library checks whether there is any padding, which synchronises with the device.
            attention_mask = attention_mask.to(torch.bool)[:, None, None, :]
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return hidden

    def architecture(self) -> dict[str, Any]:
        """Arguments that build the same model with other weights, including its tokenizer."""
        made_as: Any = self.model.config
        config = {key: value for key, value in made_as.to_diff_dict().items() if key not in OF_A_FILE}
        config |= {"model_type": made_as.model_type, "vocab_size": self.vocabulary_size}
        return {"config": config, "tokenizer": tokenizer_content(self.tokenizer), **self.adaptation()}


def _load(pretrained: str | Path, local_files_only: bool) -> tuple[nn.Module, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    tokenizer = load_pretrained(AutoTokenizer.from_pretrained, pretrained, "text model", local_files_only)
    model = load_pretrained(without_pooler(AutoModel), pretrained, "text model", local_files_only)
    return model, _without_lengths(tokenizer)


def _without_lengths(tokenizer: Any) -> Any:
    """Remove a tokenizer's own padding and truncation, because the caller sets lengths."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()
    return tokenizer


def _tokenizer_for(
    corpus: Sequence[str] | None,
    vocabulary_size: int,
    name: str | Path | Mapping[str, Any] | None,
    local_files_only: bool,
) -> Any:
    if corpus and name is not None:
        raise ValueError("transformers_text takes a corpus or a tokenizer, not both")
    if corpus:
        return wordpiece_tokenizer(corpus, vocabulary_size)
    if name is None:
        return None
    if isinstance(name, Mapping):
        return tokenizer_from_content(name)
    from transformers import AutoTokenizer

    return _without_lengths(load_pretrained(AutoTokenizer.from_pretrained, name, "tokenizer", local_files_only))


def _max_tokens(model: nn.Module) -> int | None:
    """The number of positions in the embedding table; RoBERTa's start after the padding index."""
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if not isinstance(positions, nn.Embedding):
        return None
    offset = 0 if positions.padding_idx is None else positions.padding_idx + 1
    return positions.num_embeddings - offset


def _build(config: dict[str, Any], tokenizer: Any, seed: int | None) -> nn.Module:
    from transformers import AutoConfig

    model_type = config.pop("model_type", "bert")
    if tokenizer is not None:
        config.setdefault("vocab_size", len(tokenizer))
        if config["vocab_size"] < len(tokenizer):
            raise ValueError(
                f"the config has a vocab_size of {config['vocab_size']}, and its tokenizer {len(tokenizer)} tokens; "
                "leave vocab_size out"
            )
        # RoBERTa counts positions from its padding id, which must be the tokenizer's.
        config["pad_token_id"] = tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        arguments = AutoConfig.for_model(model_type, **config)
        return from_config(arguments)


def _set_lower_case(tokenizer: Any, lower_case: bool) -> None:
    from tokenizers.normalizers import BertNormalizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError("lower_case needs a tokenizer with a fast backend; leave it None for this model")
    backend.normalizer = BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lower_case or None, lowercase=lower_case
    )
