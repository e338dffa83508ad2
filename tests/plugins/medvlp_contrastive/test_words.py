"""Words of tokenised reports."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import medvlp_toolkit as mv
from medvlp_contrastive.words import whole_words, word_starts

VOCABULARY = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "effusion", "cardio", "##megaly", "no")


def wordpiece() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordPiece({word: n for n, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **marks)


def counts(tokenizer: object, ids: list[list[int]], tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    begins, special = word_starts(tokenizer)
    numbers = torch.tensor(ids)
    return whole_words(tokens, begins[numbers], (numbers != 0) & ~special[numbers])


def test_pieces_of_a_word_are_added_and_marks_are_no_words() -> None:
    tokens = torch.arange(12.0).view(1, 6, 2)
    words, there = counts(wordpiece(), [[1, 7, 5, 6, 2, 0]], tokens)  # [CLS] no cardio ##megaly [SEP] [PAD]
    assert there.tolist() == [[True, True, False, False, False, False]]
    torch.testing.assert_close(words[0, :2], torch.stack([tokens[0, 1], tokens[0, 2] + tokens[0, 3]]))
    assert not words[0, 2:].any()


def test_tokenizers_that_mark_beginnings_are_understood() -> None:
    names = ("<pad>", "<s>", "</s>", "no", "Ġcardio", "megaly", "Ġeffusion")
    backend = Tokenizer(models.BPE({name: n for n, name in enumerate(names)}, []))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokens = torch.ones(1, 7, 1)
    words, there = counts(tokenizer, [[1, 3, 4, 5, 6, 2, 0]], tokens)  # <s> no Ġcardio megaly Ġeffusion </s>
    assert words[there].flatten().tolist() == [1, 2, 1]


def test_a_report_without_words_has_one_of_zeros_and_a_finite_loss() -> None:
    words, there = counts(wordpiece(), [[1, 2], [1, 4]], torch.ones(2, 2, 3))
    assert there.tolist() == [[True, False], [True, False]]
    assert not words[0].any()
    loss = mv.pretext_losses.gloria_local()
    regions = torch.randn(2, 4, 3).requires_grad_()
    loss.similarities(regions, words, there).sum().backward()
    assert torch.isfinite(regions.grad).all()  # type: ignore[arg-type]
