"""Text encoders: learned from the texts at hand, or read from a folder."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import medvlp_toolkit as mv
from medvlp_encoders.vocabulary import wordpiece_tokenizer
from medvlp_toolkit.interfaces import TextEncoder

CORPUS = (
    "There is a small left pleural effusion.",
    "No pneumothorax. The heart is enlarged.",
    "Right lower lobe consolidation with air bronchograms.",
)
CONFIG = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


def build(**options: Any) -> Any:
    return mv.encoders.transformers_text(**{"config": CONFIG, "corpus": CORPUS, "seed": 0, **options}).eval()


def encode(encoder: Any, *texts: str) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = encoder.tokenizer(list(texts), padding=True, return_tensors="pt")
    return tokens["input_ids"], tokens["attention_mask"]


def test_is_a_text_encoder() -> None:
    encoder = build()
    assert isinstance(encoder, TextEncoder)
    assert (encoder.num_features, encoder.num_prefix_tokens) == (16, 1)
    ids, mask = encode(encoder, *CORPUS)
    assert encoder(ids, mask).shape == (3, ids.shape[1], 16)


def test_same_texts_in_any_order_and_number_give_the_same_vocabulary() -> None:
    one = wordpiece_tokenizer(CORPUS).get_vocab()
    other = wordpiece_tokenizer([*reversed(CORPUS), CORPUS[0]]).get_vocab()
    assert one == other


def test_vocabulary_keeps_to_its_size_and_its_special_tokens() -> None:
    tokenizer = wordpiece_tokenizer(CORPUS, vocabulary_size=60)
    assert len(tokenizer) <= 60
    assert tokenizer("heart")["input_ids"][0] == tokenizer.cls_token_id
    assert tokenizer("heart")["input_ids"][-1] == tokenizer.sep_token_id
    assert tokenizer.mask_token_id is not None
    assert tokenizer.pad_token_id == 0


def test_words_of_the_corpus_are_known_and_case_does_not_matter() -> None:
    tokenizer = build().tokenizer
    assert tokenizer.tokenize("PLEURAL effusion") == tokenizer.tokenize("pleural Effusion")
    assert tokenizer.unk_token not in tokenizer.tokenize("small pleural effusion")


def test_seed_fixes_the_weights_and_leaves_torch_state_alone() -> None:
    state = torch.get_rng_state()
    one, other, third = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    ids, mask = encode(one, CORPUS[0])
    assert torch.equal(one(ids, mask), other(ids, mask))
    assert not torch.equal(one(ids, mask), third(ids, mask))


def test_without_a_seed_torch_state_decides() -> None:
    torch.manual_seed(4)
    one, other = build(seed=None), build(seed=None)
    ids, mask = encode(one, CORPUS[0])
    assert not torch.equal(one(ids, mask), other(ids, mask))


def test_padding_does_not_change_a_text(text_folder: Path) -> None:
    for encoder in (build(), mv.encoders.transformers_text(pretrained=text_folder).eval()):
        ids, mask = encode(encoder, CORPUS[0])
        padded = torch.nn.functional.pad(ids, (0, 5), value=encoder.tokenizer.pad_token_id)
        longer = torch.nn.functional.pad(mask, (0, 5))
        with torch.no_grad():
            assert torch.allclose(encoder(padded, longer)[:, : ids.shape[1]], encoder(ids, mask), atol=1e-5)


def test_summary_is_the_class_token() -> None:
    tokens = torch.randn(2, 5, 16)
    assert torch.equal(build().summary(tokens), tokens[:, 0])


def test_no_parameter_is_left_without_a_gradient() -> None:
    encoder = build()
    encoder(*encode(encoder, *CORPUS)).pow(2).sum().backward()
    # Token types are always 0 and positions beyond the text are not looked up: their rows get zeros, not None.
    assert [name for name, p in encoder.named_parameters() if p.grad is None] == []


def test_another_architecture_is_had_by_its_model_type() -> None:
    small = {"model_type": "distilbert", "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
    encoder = build(config=small)
    assert type(encoder.model).__name__ == "DistilBertModel"
    assert encoder.num_features == 16


def test_given_configuration_is_not_changed() -> None:
    config = {**CONFIG, "model_type": "bert"}
    before = dict(config)
    build(config=config)
    assert config == before


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("text_model")
    encoder = build()
    encoder.model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    return folder


def test_folder_gives_back_the_model_and_tokenizer_that_were_saved(text_folder: Path) -> None:
    original = build()
    loaded = mv.encoders.transformers_text(pretrained=text_folder, local_files_only=True).eval()
    ids, mask = encode(original, *CORPUS)
    assert torch.equal(encode(loaded, *CORPUS)[0], ids)
    with torch.no_grad():
        assert torch.allclose(loaded(ids, mask), original(ids, mask), atol=1e-6)


def test_loaded_model_has_no_pooling_layer(text_folder: Path) -> None:
    loaded = mv.encoders.transformers_text(pretrained=str(text_folder))
    assert not [name for name, _ in loaded.named_parameters() if "pooler" in name]


def test_tokenizer_of_a_folder_keeps_no_padding_or_truncation_of_its_own(text_folder: Path, tmp_path: Path) -> None:
    tokenizer = build().tokenizer
    tokenizer.backend_tokenizer.enable_truncation(max_length=4)
    tokenizer.backend_tokenizer.enable_padding(length=32)
    tokenizer.save_pretrained(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((text_folder / name).read_bytes())
    loaded = mv.encoders.transformers_text(pretrained=tmp_path)
    assert len(loaded.tokenizer(CORPUS[0])["input_ids"]) not in (4, 32)


def test_lower_case_is_what_the_caller_says(text_folder: Path) -> None:
    def words(**options: bool) -> str:
        tokenizer = mv.encoders.transformers_text(pretrained=text_folder, **options).tokenizer
        normalized: str = tokenizer.backend_tokenizer.normalizer.normalize_str("Left EFFUSION")
        return normalized

    assert words() == "left effusion"
    assert words(lower_case=True) == "left effusion"
    assert words(lower_case=False) == "Left EFFUSION"


def test_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        mv.encoders.transformers_text(pretrained=tmp_path / "nowhere", local_files_only=True)
    message = str(caught.value)
    assert message.startswith(f"text model '{tmp_path / 'nowhere'}' cannot be loaded")
    assert "does not exist; give a folder" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "takes either pretrained"),
        ({"pretrained": "somewhere", "config": CONFIG}, "takes either pretrained"),
        ({"config": CONFIG}, "needs a corpus"),
    ],
)
def test_wrong_options_are_refused_with_the_choice(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mv.encoders.transformers_text(**options)


ROBERTA = {
    "model_type": "roberta",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 12,
}


def test_roberta_counts_positions_from_the_padding_token_of_its_tokenizer() -> None:
    encoder = mv.encoders.transformers_text(config=ROBERTA, corpus=["the lungs are clear", "no effusion"])
    assert encoder.tokenizer.pad_token_id == 0
    assert encoder.model.embeddings.padding_idx == 0
    assert encoder.max_tokens == 11
    assert encoder.vocabulary_size == len(encoder.tokenizer)


def test_text_longer_than_the_positions_is_refused_in_a_line() -> None:
    encoder = mv.encoders.transformers_text(config={**ROBERTA, "vocab_size": 30})
    ids = torch.full((1, 11), 5)
    with pytest.raises(ValueError, match=r"texts of 11 tokens, and this text encoder has positions for 10; truncate"):
        encoder(ids, torch.ones_like(ids))
    assert encoder(ids[:, :10], torch.ones_like(ids[:, :10])).shape == (1, 10, 16)


def test_config_with_vocab_size_needs_no_tokenizer() -> None:
    encoder = mv.encoders.transformers_text(config={**ROBERTA, "vocab_size": 30})
    assert encoder.tokenizer is None
    assert encoder.vocabulary_size == 30
    with pytest.raises(ValueError, match=r"needs a corpus .* a tokenizer .* or a vocab_size"):
        mv.encoders.transformers_text(config=ROBERTA)


def test_config_takes_the_tokenizer_of_a_folder(tmp_path: Path) -> None:
    made = mv.encoders.transformers_text(config=ROBERTA, corpus=["the lungs are clear"])
    made.tokenizer.save_pretrained(tmp_path)
    encoder = mv.encoders.transformers_text(config=ROBERTA, tokenizer=tmp_path, local_files_only=True)
    assert encoder.tokenizer("the lungs").input_ids == made.tokenizer("the lungs").input_ids
    assert encoder.vocabulary_size == made.vocabulary_size
    with pytest.raises(ValueError, match="a corpus or a tokenizer, not both"):
        mv.encoders.transformers_text(config=ROBERTA, tokenizer=tmp_path, corpus=["a"])
    with pytest.raises(FileNotFoundError, match="cannot be loaded"):
        mv.encoders.transformers_text(config=ROBERTA, tokenizer=tmp_path / "nowhere", local_files_only=True)


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_mask_means_what_it_means_to_the_library(model_type: str) -> None:
    encoder = mv.encoders.transformers_text(config={**ROBERTA, "model_type": model_type, "vocab_size": 30}).eval()
    ids = torch.randint(5, 30, (2, 8), generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    with torch.no_grad():
        expected = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
        assert torch.allclose(encoder(ids, mask), expected, atol=1e-6)


def test_loading_says_nothing_of_heads_and_one_line_of_missing_weights(
    text_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import load_file, save_file

    loaded = tmp_path / "changed"
    shutil.copytree(text_folder, loaded)
    state = load_file(loaded / "model.safetensors")
    save_file({**state, "cls.decoder.bias": torch.zeros(3)}, loaded / "model.safetensors", {"format": "pt"})
    transformers_logger = logging.getLogger("transformers")
    transformers_logger.addHandler(caplog.handler)
    try:
        mv.encoders.transformers_text(pretrained=loaded, local_files_only=True)
        assert [record.message for record in caplog.records] == []
        name = next(name for name in state if name.endswith("output.LayerNorm.bias"))
        del state[name]
        save_file(state, loaded / "model.safetensors", {"format": "pt"})
        mv.encoders.transformers_text(pretrained=loaded, local_files_only=True)
        assert [record.message for record in caplog.records] == [
            f"{loaded} lacks weights of the model, which begin at random: {name}"
        ]
    finally:
        transformers_logger.removeHandler(caplog.handler)
