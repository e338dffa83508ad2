"""CLIP's vision tower: the numbers of the transformers library, from either layout, whole and masked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_encoders.clip_weights import from_state_dict, resized_positions

SIZES = {"image_size": 48, "patch_size": 16, "width": 32, "heads": 4}


@pytest.fixture(scope="module")
def reference() -> Any:
    """A small CLIP tower of the transformers library with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=48, patch_size=16
    )
    model = CLIPVisionModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def tower(reference: Any, layers: int = 3, **changes: Any) -> Any:
    encoder = mv.encoders.clip_vit(**{**SIZES, "layers": layers, **changes}).eval()
    encoder.load_clip(reference.state_dict())
    return encoder


def openai_layout(reference: Any) -> dict[str, Tensor]:
    """The same weights in OpenAI's names: fused projections, half precision."""
    state = {name.rpartition("vision_model.")[2]: value for name, value in reference.state_dict().items()}
    out = {
        "class_embedding": state["embeddings.class_embedding"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "conv1.weight": state["embeddings.patch_embedding.weight"],
        "proj": torch.zeros(32, 8),
    }
    for kind in ("weight", "bias"):
        out[f"ln_pre.{kind}"], out[f"ln_post.{kind}"] = state[f"pre_layrnorm.{kind}"], state[f"post_layernorm.{kind}"]
        for layer in range(3):
            theirs, ours = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
            out[f"{ours}.attn.in_proj_{kind}"] = torch.cat(
                [state[f"{theirs}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            )
            out[f"{ours}.attn.out_proj.{kind}"] = state[f"{theirs}.self_attn.out_proj.{kind}"]
            out[f"{ours}.mlp.c_fc.{kind}"] = state[f"{theirs}.mlp.fc1.{kind}"]
            out[f"{ours}.mlp.c_proj.{kind}"] = state[f"{theirs}.mlp.fc2.{kind}"]
            for number in (1, 2):
                out[f"{ours}.ln_{number}.{kind}"] = state[f"{theirs}.layer_norm{number}.{kind}"]
    text_side = {"positional_embedding": torch.zeros(77, 8), "token_embedding.weight": torch.zeros(10, 8)}
    return {**text_side, **{f"visual.{name}": value for name, value in out.items()}}


@torch.no_grad()
def test_all_tokens_are_those_of_transformers_after_the_final_norm(reference: Any, image: Tensor) -> None:
    theirs = getattr(reference, "vision_model", reference)
    expected = theirs.post_layernorm(reference(pixel_values=image).last_hidden_state)
    assert torch.allclose(tower(reference)(image), expected, atol=1e-5)


@torch.no_grad()
def test_fewer_layers_drop_the_last_blocks(reference: Any, image: Tensor) -> None:
    theirs = getattr(reference, "vision_model", reference)
    hidden = reference(pixel_values=image, output_hidden_states=True).hidden_states
    assert torch.allclose(tower(reference, layers=2)(image), theirs.post_layernorm(hidden[2]), atol=1e-5)


def test_openai_layout_gives_the_same_weights(reference: Any) -> None:
    expected = from_state_dict(reference.state_dict())
    given = openai_layout(reference)
    bare = {name.removeprefix("visual."): value for name, value in given.items() if name.startswith("visual.")}
    for layout in (given, bare):
        weights = from_state_dict(layout)
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_half_precision_weights_become_float32(reference: Any) -> None:
    halved = {name: value.half() for name, value in openai_layout(reference).items()}
    assert {value.dtype for value in from_state_dict(halved).values()} == {torch.float32}


@torch.no_grad()
def test_masked_pass_over_all_patches_is_the_whole_pass_in_their_order(reference: Any, image: Tensor) -> None:
    encoder = tower(reference)
    order = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(n)) for n in range(2)])
    whole, masked = encoder(image), encoder(image, order)
    assert torch.allclose(masked[:, 0], whole[:, 0], atol=1e-5)
    for row in range(2):
        assert torch.allclose(masked[row, 1:], whole[row, 1:][order[row]], atol=1e-5)


@torch.no_grad()
def test_masked_pass_does_not_see_the_other_patches(reference: Any, image: Tensor) -> None:
    encoder = tower(reference)
    changed = image.clone()
    changed[:, :, 16:, :] = 0.0  # all but the first row of patches
    keep = torch.tensor([[0, 2], [1, 0]])
    assert torch.equal(encoder(image, keep), encoder(changed, keep))
    assert not torch.allclose(encoder(image), encoder(changed), atol=1e-3)


@torch.no_grad()
def test_larger_image_resamples_positions_as_loading_does(reference: Any) -> None:
    large = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    on_the_fly = tower(reference)(large)
    loaded = tower(reference, image_size=64)(large)
    assert torch.allclose(on_the_fly, loaded, atol=1e-5)


def test_positions_of_the_same_grid_are_untouched_and_the_class_token_keeps_its_own() -> None:
    positions = torch.randn(10, 4)
    assert resized_positions(positions, (3, 3)) is positions
    resized = resized_positions(positions, (4, 5))
    assert resized.shape == (21, 4)
    assert torch.equal(resized[0], positions[0])
    with pytest.raises(ValueError, match="not a square grid"):
        resized_positions(torch.randn(8, 4), (3, 3))


@torch.no_grad()
def test_one_channel_image_is_repeated(reference: Any, image: Tensor) -> None:
    encoder = tower(reference)
    grey = image[:, :1]
    assert torch.equal(encoder(grey), encoder(grey.repeat(1, 3, 1, 1)))


def test_file_and_folder_are_read(reference: Any, image: Tensor, tmp_path: Path) -> None:
    torch.save(openai_layout(reference), tmp_path / "clip.pt")
    reference.save_pretrained(tmp_path / "folder")
    expected = tower(reference, layers=2).state_dict()
    for pretrained in (tmp_path / "clip.pt", tmp_path / "folder"):
        state = mv.encoders.clip_vit(**SIZES, layers=2, pretrained=pretrained, local_files_only=True).state_dict()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"no CLIP vision tower among 1 entries \(beginning with encoder.weight\)"):
        mv.encoders.clip_vit(**SIZES, layers=1, pretrained=tmp_path / "other.pt")
    with pytest.raises(FileNotFoundError, match="does not exist; give a folder"):
        mv.encoders.clip_vit(**SIZES, layers=1, pretrained=tmp_path / "nowhere", local_files_only=True)


def test_weights_of_another_size_are_listed(reference: Any) -> None:
    with pytest.raises(ValueError, match=r"(?s)blocks\.3\.ln_1\.weight: missing.*class_embedding: shape \(32,\)"):
        tower(reference, layers=4, width=64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 50}, "not two multiples of its patch_size 16"),
        ({"image_size": (48, 48, 48)}, "not two multiples"),
        ({"layers": 0}, "at least one block"),
        ({"heads": 5}, "does not divide into 5"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mv.encoders.clip_vit(**{**SIZES, "layers": 1, **changes})
