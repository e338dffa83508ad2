"""Vision models of the transformers library: read from folders, of one channel, of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp_encoders.transformers_image import TransformersImage
from medvlp_toolkit.interfaces import GivesFeatureMaps

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 16, "image_size": 64}
DINO = {"model_type": "dinov2", **VIT}
STAGES = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
SWIN = {"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [2, 2, 2], "window_size": 4}


def image(channels: int = 3, *sides: int) -> torch.Tensor:
    return torch.randn(2, channels, *(sides or (64, 64)), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `hf download` leaves it: config.json and model.safetensors."""
    from transformers import AutoConfig, AutoModel

    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(**DINO)).save_pretrained(folder)
    return folder


def test_a_folder_gives_the_tokens_that_the_library_gives(dino_folder: Path) -> None:
    from transformers import AutoModel

    ours = TransformersImage(str(dino_folder)).eval()
    theirs = AutoModel.from_pretrained(dino_folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(image()), theirs(image()).last_hidden_state)
    assert ours.num_prefix_tokens == 1


def test_one_channel_gives_what_the_repeated_image_gave(dino_folder: Path) -> None:
    colour = TransformersImage(str(dino_folder)).eval()
    grey = TransformersImage(str(dino_folder), in_channels=1).eval()
    one = image(1)
    with torch.no_grad():
        torch.testing.assert_close(grey(one), colour(one.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-5)
    assert grey.model.embeddings.patch_embeddings.projection.weight.shape[1] == 1


def test_other_channels_of_a_pretrained_model_are_refused(dino_folder: Path) -> None:
    with pytest.raises(ValueError, match="reads 3 channels; in_channels can be 3, or 1"):
        TransformersImage(str(dino_folder), in_channels=2)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_vision_tower_of_a_model_of_images_and_texts_is_read(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    tower = {**VIT, "intermediate_size": 64}
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    AutoModel.from_config(AutoConfig.for_model(kind, vision_config=tower, text_config=text)).save_pretrained(tmp_path)
    ours = TransformersImage(str(tmp_path)).eval()
    whole = AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        tokens = ours(image())
        pass_through = whole.vision_model(image())
    if kind == "clip":  # the library normalises the class token alone, which it calls pooled
        torch.testing.assert_close(ours.summary(tokens), pass_through.pooler_output)
    else:
        torch.testing.assert_close(tokens, pass_through.last_hidden_state)


def test_nothing_of_a_folder_is_left_at_random_in_silence(dino_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    TransformersImage(str(dino_folder), in_channels=1)
    assert not [record for record in caplog.records if "begin at random" in record.getMessage()]


def test_a_folder_is_rebuilt_without_it(dino_folder: Path) -> None:
    first = TransformersImage(str(dino_folder), in_channels=1).eval()
    again = TransformersImage(**first.architecture()).eval()
    again.load_state_dict(first.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(image(1)), first(image(1)))


def test_entries_of_a_pretrained_configuration_can_be_changed(dino_folder: Path) -> None:
    assert TransformersImage(str(dino_folder), {"drop_path_rate": 0.5}).model.config.drop_path_rate == 0.5


def test_a_masked_pass_over_all_patches_is_the_whole_pass() -> None:
    encoder = TransformersImage(config=DINO).eval()
    with torch.no_grad():
        whole = encoder(image())
        order = torch.randperm(16)
        kept = encoder(image(), order.expand(2, -1))
    torch.testing.assert_close(kept[:, :1], whole[:, :1])
    torch.testing.assert_close(kept[:, 1:], whole[:, 1:][:, order])


def test_registers_count_as_prefix() -> None:
    encoder = TransformersImage(config={**DINO, "model_type": "dinov2_with_registers", "num_register_tokens": 3})
    assert encoder.num_prefix_tokens == 4
    assert encoder.grid_size((96, 64)) == (6, 4)


@pytest.mark.parametrize(
    ("config", "channels", "strides"),
    [
        ({"model_type": "convnext", **STAGES}, (8, 12, 16, 24), (4, 8, 16, 32)),
        ({"model_type": "resnet", **STAGES, "layer_type": "basic"}, (8, 12, 16, 24), (4, 8, 16, 32)),
        ({**SWIN, "image_size": 64}, (8, 16, 32), (4, 8, 16)),
    ],
)  # fmt: skip
def test_stages_give_feature_maps(config: dict[str, Any], channels: Any, strides: Any) -> None:
    encoder = TransformersImage(config=config)
    assert isinstance(encoder, GivesFeatureMaps)
    assert (tuple(encoder.feature_channels), tuple(encoder.feature_strides)) == (channels, strides)
    shorter = TransformersImage(config=config, token_stride=8)
    assert shorter.num_features == channels[1]
    assert shorter.grid_size((64, 64)) == (8, 8)


def test_a_plain_transformer_has_no_feature_maps() -> None:
    encoder = TransformersImage(config=DINO)
    assert not isinstance(encoder, GivesFeatureMaps)
    with pytest.raises(ValueError, match="has no stages"):
        TransformersImage(config=DINO, token_stride=8)


def test_patches_are_centred_and_strided_odd_kernels_are_not() -> None:
    assert TransformersImage(config=DINO).token_shift() == (0.0, 0.0)
    residual = TransformersImage(config={"model_type": "resnet", **STAGES, "layer_type": "basic"}, token_stride=16)
    assert residual.token_shift() == (-15 / 32, -15 / 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "takes pretrained .* or config .* got neither"),
        ({"config": {"hidden_size": 8}}, "needs a model_type"),
        ({"config": {"model_type": "dinov22"}}, "no model_type 'dinov22'; near: dinov2"),
        ({"config": {"model_type": "dinov2", "hiden_size": 8}}, "no entry 'hiden_size'; near: hidden_size"),
        ({"config": {"model_type": "bert"}}, "bert. cannot read an image of 224 × 224"),
        ({"config": {"model_type": "vit_mae", **VIT}}, "vit_mae. gives 5 tokens of an image of 64 × 64"),
        ({"config": {"model_type": "resnet", **STAGES}, "token_stride": 5}, "is 5, and .* has strides 4, 8, 16, 32"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        TransformersImage(**arguments)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"vision model .* cannot be loaded: the folder .* does not exist"):
        TransformersImage(str(tmp_path / "absent"))


def test_a_hub_name_is_not_asked_for_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="it was not downloaded before, and HF_HUB_OFFLINE is set"):
        TransformersImage("nobody/nothing-of-this-name")


def test_a_frozen_encoder_stays_as_it_is_while_the_rest_trains() -> None:
    config = {"model_type": "resnet", **STAGES, "embedding_size": 8, "layer_type": "basic"}
    encoder = TransformersImage(config=config, freeze=True)
    network = torch.nn.Sequential(encoder, torch.nn.Linear(24, 2)).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimizer = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=0.1)
    network(image()).sum().backward()
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not any(one.requires_grad or one.grad is not None for one in encoder.parameters())
