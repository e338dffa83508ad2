"""The published checkpoint, whole and damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from seeded_weights import state_dict
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_medklip.importer import our_name

GOLDEN = Path(__file__).parents[2] / "golden"
ENTITIES, POSITIONS = torch.zeros(75, 768), torch.zeros(51, 768)


@pytest.fixture(scope="module")
def complete() -> dict[str, Tensor]:
    return state_dict(GOLDEN / "medklip_resnet18" / "keys.json")


@pytest.fixture
def published(complete: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(complete)


def load(state: Any, **options: Any) -> Any:
    arguments = {"entity_embeddings": ENTITIES, "position_embeddings": POSITIONS, **options}
    return mv.checkpoint_importers.medklip(state, **arguments)


def test_resnet18_checkpoint_gives_its_own_depth_and_layers(published: dict[str, Tensor]) -> None:
    model = load(published)
    assert model.model.image_encoder.num_features == 256
    assert len(model.model.fusion.layers) == 3
    assert model.model.entity_bank.shape == (75, 768)


def test_every_published_value_lands_under_our_name(published: dict[str, Tensor]) -> None:
    state = load(published).state_dict()
    names = {key: our_name(key) for key in published}
    assert len(set(names.values())) == len(published)
    for key, name in names.items():
        assert name is not None
        assert torch.equal(state[name], published[key]), key
    assert set(state) - set(names.values()) == {"model.entity_bank", "losses.position.position_bank"}


@pytest.mark.parametrize("wrap", ["prefix", "nested", "both"])
def test_prefix_and_nesting_of_the_published_file_make_no_difference(published: dict[str, Tensor], wrap: str) -> None:
    prefixed = {f"module.{key}": value for key, value in published.items()}
    given: Any = {"prefix": prefixed, "nested": {"model": published, "epoch": 99}, "both": {"model": prefixed}}[wrap]
    expected = load(published).state_dict()
    for name, value in load(given).state_dict().items():
        assert torch.equal(value, expected[name])


def test_missing_key_is_named(published: dict[str, Tensor]) -> None:
    del published["res_l2.bias"], published["decoder.layers.1.norm2.weight"]
    with pytest.raises(ValueError, match="2 entries of the checkpoint do not fit") as caught:
        load(published)
    assert "model.image_projection.2.bias: missing from the checkpoint" in str(caught.value)
    assert "model.fusion.layers.1.norm2.weight: missing" in str(caught.value)


def test_foreign_key_is_named(published: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"1 entries.*\n  queue: no place for it"):
        load({**published, "queue": torch.zeros(3)})


def test_wrong_shape_is_named_with_both_shapes(published: dict[str, Tensor]) -> None:
    published["classifier.weight"] = torch.zeros(3, 256)
    with pytest.raises(ValueError, match=r"classifier.weight: shape \(3, 256\), expected \(2, 256\)"):
        load(published)


def test_all_problems_are_listed_at_once(published: dict[str, Tensor]) -> None:
    published["classifier.weight"] = torch.zeros(3, 256)
    with pytest.raises(ValueError, match="do not fit MedKLIP") as caught:
        load({**published, "queue": torch.zeros(3), "temp": torch.zeros(())})
    assert all(name in str(caught.value) for name in ("classifier.weight", "queue", "temp"))


def test_dict_of_another_model_is_refused_with_what_it_holds() -> None:
    with pytest.raises(ValueError, match=r"not a checkpoint of MedKLIP: .*holds 2 entries, beginning with bias"):
        load({"weight": torch.zeros(2), "bias": torch.zeros(2)})
    with pytest.raises(ValueError, match="beginning with nothing"):
        load({})
    with pytest.raises(ValueError, match="expected a state dict"):
        load({"model": torch.zeros(3)})


def test_encoder_of_unknown_depth_is_refused(published: dict[str, Tensor]) -> None:
    stage = {key: value for key, value in published.items() if key.startswith("res_features.6.1.")}
    third = {key.replace("6.1.", "6.2."): value for key, value in stage.items()}
    with pytest.raises(ValueError, match="3 basic blocks in stage 3; expected ResNet-18"):
        load({**published, **third})


def test_embeddings_of_another_width_are_refused(published: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"entity_embeddings have shape \(75, 384\).*\(…, 768\)"):
        load(published, entity_embeddings=torch.zeros(75, 384))


def test_without_position_loss_its_head_is_the_known_unused_part(published: dict[str, Tensor]) -> None:
    model = load(published, position_loss=False, position_embeddings=None)
    assert list(model.losses) == ["existence"]
    with pytest.raises(ValueError, match="position_loss=False"):
        load(published, position_embeddings=None)


def test_given_tensors_are_not_shared_with_the_model(published: dict[str, Tensor]) -> None:
    entities = torch.ones(75, 768)
    model = load(published, entity_embeddings=entities)
    model.model.entity_bank.zero_()
    model.model.text_projection.weight.data.zero_()
    assert entities.min() == 1
    assert published["disease_embedding_layer.weight"].abs().max() > 0
