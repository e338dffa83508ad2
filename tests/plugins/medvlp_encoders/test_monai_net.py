"""MONAI's networks by name, in two and three dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medvlp_encoders.monai_net import MonaiNet
from medvlp_toolkit.interfaces import GivesFeatureMaps

DENSE: dict[str, Any] = {"name": "DenseNet", "init_features": 8, "growth_rate": 4, "block_config": [2, 2, 2]}
SWIN: dict[str, Any] = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [2, 2, 2, 2], "window_size": 4}
VIT: dict[str, Any] = {"name": "ViT", "hidden_size": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 32}


def image(*shape: int) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def test_tokens_of_a_dense_network_are_the_positions_that_monai_pools() -> None:
    from monai.networks.nets import DenseNet121

    torch.manual_seed(0)
    theirs = DenseNet121(spatial_dims=2, in_channels=3, out_channels=2).eval()
    ours = MonaiNet("DenseNet121").eval()
    ours.net.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("class_layers.out")})
    with torch.no_grad():
        logits = theirs.class_layers.out(ours.summary(ours(image(3, 64, 64))))
        torch.testing.assert_close(logits, theirs(image(3, 64, 64)))
    assert (ours.num_features, ours.grid_size((224, 224))) == (1024, (7, 7))


def test_swin_gives_what_monai_gives_of_every_stage() -> None:
    ours = MonaiNet("SwinTransformer", image_size=64, **SWIN).eval()
    with torch.no_grad():
        maps, theirs = ours.feature_maps(image(3, 64, 64)), ours.net(image(3, 64, 64))
        torch.testing.assert_close(ours(image(3, 64, 64)), theirs[-1].flatten(2).transpose(1, 2))
    assert len(maps) == 5
    for one, other in zip(maps, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_vit_gives_what_monai_gives_and_reads_other_sizes() -> None:
    ours = MonaiNet(**VIT, image_size=64, classification=True).eval()
    with torch.no_grad():
        tokens = ours(image(3, 64, 64))
        assert ours(image(3, 96, 64)).shape == (2, 1 + 6 * 4, 24)
    assert ours.num_prefix_tokens == 1
    assert tokens.shape == (2, 17, 24)
    assert ours.supports_masking


def test_a_masked_pass_over_all_patches_is_the_whole_pass() -> None:
    ours = MonaiNet(**VIT, image_size=64).eval()
    order = torch.randperm(16)
    with torch.no_grad():
        torch.testing.assert_close(ours(image(3, 64, 64), order.expand(2, -1)), ours(image(3, 64, 64))[:, order])


@pytest.mark.parametrize(
    ("arguments", "grid", "width"),
    [
        ({"name": "DenseNet169"}, (7, 7), 1664),
        ({"name": "EfficientNetBN", "model_name": "efficientnet-b2"}, (7, 7), 1408),
        ({"name": "EfficientNetBN", "token_stride": 16}, (14, 14), 112),
        ({"name": "resnet18", "conv1_t_stride": 2}, (7, 7), 512),
        ({"name": "SEResNet50"}, (7, 7), 2048),
    ],
)
def test_networks_are_built_by_name(arguments: dict[str, Any], grid: tuple[int, ...], width: int) -> None:
    encoder = MonaiNet(**arguments)
    assert (encoder.grid_size((224, 224)), encoder.num_features) == (grid, width)
    assert all(one.requires_grad for one in encoder.parameters())


@pytest.mark.parametrize(
    "arguments",
    [
        {**DENSE, "token_stride": 8},
        {"name": "resnet10", "widen_factor": 0.25},
        {**VIT, "patch_size": 8},
        {"name": "SwinUNETR", "feature_size": 12, "depths": [1, 1, 1, 1]},
    ],
)
def test_volumes_are_read(arguments: dict[str, Any]) -> None:
    encoder = MonaiNet(**arguments, spatial_dims=3, in_channels=1, image_size=32).eval()
    with torch.no_grad():
        tokens = encoder(image(1, 32, 32, 32))
    assert len(encoder.grid_size((32, 32, 32))) == 3
    assert tokens.shape == (2, int(torch.tensor(encoder.grid_size((32, 32, 32))).prod()), encoder.num_features)


def test_layers_after_the_last_token_stride_are_not_kept() -> None:
    whole, shorter = MonaiNet(**DENSE), MonaiNet(**DENSE, token_stride=8)
    assert isinstance(shorter, GivesFeatureMaps)
    assert tuple(whole.feature_strides) == (2, 4, 8, 16)
    assert tuple(shorter.feature_strides) == (2, 4, 8)
    assert len(list(shorter.parameters())) < len(list(whole.parameters()))


def test_convolutions_look_where_their_strides_and_pads_say() -> None:
    # Two strided odd kernels with half padding keep the first pixel; a pool of two adds half a stride.
    assert MonaiNet(**DENSE).token_shift() == ((4 / 2 + 8 / 2 - 15 / 2) / 16,) * 2


def test_weights_of_a_file_are_read_without_their_head(tmp_path: Path) -> None:
    from monai.networks.nets import DenseNet

    torch.manual_seed(1)
    theirs = DenseNet(2, 3, 5, init_features=8, growth_rate=4, block_config=(2, 2, 2))
    torch.save({f"module.{name}": value for name, value in theirs.state_dict().items()}, tmp_path / "dense.pt")
    ours = MonaiNet(**DENSE, weights=tmp_path / "dense.pt")
    torch.testing.assert_close(ours.net.features.conv0.weight, theirs.features.conv0.weight)
    with pytest.raises(ValueError, match="do not fit DenseNet"):
        MonaiNet(**{**DENSE, "init_features": 16}, weights=tmp_path / "dense.pt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "DenseNet12"}, r"MONAI has no network 'DenseNet12'; near: DenseNet"),
        ({"name": "UNet"}, "UNet cannot be built|cannot give tokens of UNet"),
        ({"name": "AutoEncoder", "channels": [4], "strides": [2]}, "cannot give tokens of AutoEncoder; supported are"),
        ({"name": "DenseNet121", "growthrate": 3}, "no keyword 'growthrate'; near: growth_rate"),
        ({"name": "DenseNet121", "pretrained": True}, "no keyword 'pretrained'.*weights: FILE"),
        ({"name": "ViT", "hidden_size": 10, "num_heads": 4}, "ViT cannot be built: hidden"),
        ({**DENSE, "token_stride": 7}, "token_stride is 7; DenseNet has 2, 4, 8, 16"),
        ({"image_size": [64, 64, 64]}, "has 3 sides, spatial_dims is 2"),
    ],
)
def test_a_mistake_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        MonaiNet(**arguments)
    assert len(str(caught.value).splitlines()) == 1
