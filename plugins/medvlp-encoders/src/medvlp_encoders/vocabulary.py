"""Tokenizers: learning a WordPiece vocabulary from given texts, and serialising a tokenizer as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def wordpiece_tokenizer(corpus: Sequence[str], vocabulary_size: int = 4000) -> Any:
    """Learn a lower-casing BERT-style tokenizer from ``corpus``; the same texts give the same vocabulary.

    Schuster and Nakajima 2012 (WordPiece); ``[CLS] text [SEP]`` as in Devlin et al. 2019.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    normalizer = normalizers.BertNormalizer(lowercase=True)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = sorted(set(corpus))
    # The trainer numbers the pieces "##a", "##b", … in the arbitrary order of a hash map, and breaks ties between
    # equally frequent pairs by those numbers. Named as special tokens they are numbered in the order given.
    continuations = sorted(
        {
            f"##{character}"
            for text in texts
            for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))
            for character in word[1:]
        }
    )
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = normalizer, pre_tokenizer
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=[*SPECIAL_TOKENS, *continuations], show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    # A new tokenizer with the learned pieces, in which only the five special tokens are special.
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def tokenizer_content(tokenizer: Any) -> dict[str, Any] | None:
    """A fast tokenizer as plain values, for storing in a file; None without a fast backend or tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    return {"json": backend.to_str(), "special_tokens": special}


def tokenizer_from_content(content: Mapping[str, Any]) -> Any:
    """The inverse of :func:`tokenizer_content`."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(content["json"]), **content.get("special_tokens", {})
    )
