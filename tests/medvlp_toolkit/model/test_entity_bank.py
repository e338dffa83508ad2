"""Descriptions become vectors once, and the same ones every time."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

import medvlp_toolkit as mv
from medvlp_toolkit.model.entity_bank import EntityBank

TEXTS = ["fluid beside the left lung", "fluid beside the right lung", "a small round opacity", "an enlarged heart"]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
MAKE = partial(mv.encoders.transformers_text, config=SHAPE, corpus=TEXTS, seed=0)


def never() -> torch.nn.Module:
    raise AssertionError("the text model was made although the embeddings are on disk")


def test_one_vector_per_description_whatever_its_company() -> None:
    bank = EntityBank(MAKE)
    together = bank(TEXTS)
    assert together.shape == (4, 32)
    torch.testing.assert_close(bank(TEXTS[2:3])[0], together[2])


def test_embeddings_on_disk_need_no_text_model(tmp_path: Path) -> None:
    first = EntityBank(MAKE, cache_dir=tmp_path)(TEXTS)
    again = EntityBank(MAKE, cache_dir=tmp_path)
    again._make = partial(never)  # what is asked for is on disk under the fingerprint of the real maker
    again._fingerprint = EntityBank(MAKE)._fingerprint  # type: ignore[method-assign]
    torch.testing.assert_close(again(TEXTS), first)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "option", [{"max_length": 4}, {"pooling": "mean"}, {"normalize": True}, {"trailing_separator": True}]
)
def test_what_changes_an_embedding_changes_its_file(option: dict[str, object], tmp_path: Path) -> None:
    plain = EntityBank(MAKE, cache_dir=tmp_path)(TEXTS)
    other = EntityBank(MAKE, cache_dir=tmp_path, **option)(TEXTS)  # type: ignore[arg-type]
    assert len(list(tmp_path.iterdir())) == 2
    assert not torch.allclose(plain, other)


def test_the_trailing_separator_is_left_out_as_published() -> None:
    encoder = MAKE().eval()
    ids = encoder.tokenizer(TEXTS[0])["input_ids"]
    with torch.no_grad():
        without = encoder(torch.tensor([ids[:-1]]), torch.ones(1, len(ids) - 1, dtype=torch.long))[0, 0]
    torch.testing.assert_close(EntityBank(lambda: encoder)(TEXTS[:1])[0], without)


def test_centering_removes_what_all_descriptions_share() -> None:
    raw = EntityBank(MAKE, pooling="mean")(TEXTS)
    centred = EntityBank(MAKE, pooling="mean", center=True, reference=TEXTS)(TEXTS)
    torch.testing.assert_close(centred, raw - raw.mean(dim=0))


def test_whitening_sets_left_as_far_from_right_as_from_anything() -> None:
    white = EntityBank(MAKE, pooling="mean", whiten=True, normalize=True, reference=TEXTS)(TEXTS)
    similarity = white @ white.T - torch.eye(4)
    torch.testing.assert_close(
        similarity + torch.eye(4) * similarity[0, 1], torch.full((4, 4), float(similarity[0, 1])), atol=1e-3, rtol=0
    )


def test_an_empty_description_is_refused() -> None:
    with pytest.raises(ValueError, match="description number 1 is empty"):
        EntityBank(MAKE)(["fluid", " "])
