"""The residual network: standard names, token order, cuts, volumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import medvlp_toolkit as mv
from medvlp_toolkit.interfaces import ImageEncoder

SMALL = {"depth": 18, "widths": (8, 16, 24, 32)}


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_is_an_image_encoder() -> None:
    encoder = mv.encoders.resnet(**SMALL)
    assert isinstance(encoder, ImageEncoder)
    assert (encoder.num_prefix_tokens, encoder.supports_masking) == (0, False)


def test_medklips_cut_of_a_224_pixel_image_gives_196_tokens_of_1024() -> None:
    encoder = mv.encoders.resnet().eval()
    with torch.no_grad():
        tokens = encoder(torch.zeros(1, 3, 224, 224))
    assert tokens.shape == (1, 196, 1024)
    assert encoder.num_features == 1024
    assert encoder.grid_size((224, 224)) == (14, 14)


@pytest.mark.parametrize(("last_stage", "grid", "features"), [(1, 16, 8), (2, 8, 16), (3, 4, 24), (4, 2, 32)])
def test_last_stage_cuts_the_network(last_stage: int, grid: int, features: int, image: torch.Tensor) -> None:
    encoder = mv.encoders.resnet(**SMALL, last_stage=last_stage)
    assert encoder(image).shape == (2, grid * grid, features)
    assert encoder.num_features == features
    names = set(encoder.state_dict())
    assert not any(name.startswith(f"layer{stage}.") for name in names for stage in range(last_stage + 1, 5))


@pytest.mark.parametrize("shape", [(64, 64), (65, 97), (33, 128), (224, 224)])
def test_grid_size_tells_the_number_of_tokens(shape: tuple[int, int]) -> None:
    encoder = mv.encoders.resnet(**SMALL).eval()
    with torch.no_grad():
        rows, columns = encoder.feature_map(torch.zeros(1, 3, *shape)).shape[2:]
    assert encoder.grid_size(shape) == (rows, columns)


def test_tokens_run_row_by_row(image: torch.Tensor) -> None:
    encoder = mv.encoders.resnet(**SMALL).eval()
    with torch.no_grad():
        tokens, feature_map = encoder(image), encoder.feature_map(image)
    assert torch.equal(tokens[:, 1 * 4 + 2], feature_map[:, :, 1, 2])


def test_grey_image_is_read_as_three_equal_channels(image: torch.Tensor) -> None:
    encoder = mv.encoders.resnet(**SMALL).eval()
    grey = image[:, :1]
    with torch.no_grad():
        assert torch.equal(encoder(grey), encoder(grey.expand(-1, 3, -1, -1)))


def test_two_channel_image_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="reads 3 channels, and the image has 2"):
        mv.encoders.resnet(**SMALL)(image[:, :2])


def test_state_dict_has_the_standard_names_and_shapes() -> None:
    state = mv.encoders.resnet(depth=50, last_stage=4).state_dict()
    expected = {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.conv2.weight": (64, 64, 3, 3),
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.weight": (256,),
        "layer2.3.bn3.weight": (512,),
        "layer3.5.conv3.weight": (1024, 256, 1, 1),
        "layer4.2.bn2.num_batches_tracked": (),
    }
    assert {name: tuple(state[name].shape) for name in expected} == expected
    assert not [name for name in state if name.endswith("conv1.bias") or name.endswith("downsample.0.bias")]
    # The common ResNet-50 without its classifier has 318 entries and 23,508,032 parameters.
    assert len(state) == 318
    assert sum(p.numel() for p in mv.encoders.resnet(depth=50, last_stage=4).parameters()) == 23_508_032


def test_bottleneck_strides_in_its_three_by_three_convolution() -> None:
    block = mv.encoders.resnet(depth=50).layer2[0]
    assert block.conv1.stride == (1, 1)
    assert block.conv2.stride == (2, 2)


def test_volume_gives_tokens_of_a_three_dimensional_grid() -> None:
    encoder = mv.encoders.resnet(depth=10, spatial_dims=3, in_channels=1, widths=(4, 8, 12, 16)).eval()
    with torch.no_grad():
        tokens = encoder(torch.randn(1, 1, 32, 48, 32))
    assert encoder.grid_size((32, 48, 32)) == (2, 3, 2)
    assert tokens.shape == (1, 12, 12)


def test_strides_set_the_grid(image: torch.Tensor) -> None:
    encoder = mv.encoders.resnet(**SMALL, strides=(1, 2, 1, 1))
    assert encoder.grid_size((64, 64)) == (8, 8)
    assert encoder(image).shape[1] == 64


@pytest.mark.parametrize("depth", [18, 50])
def test_pointwise_stages_add_no_receptive_field(depth: int) -> None:
    def reach(**options: object) -> int:
        encoder = mv.encoders.resnet(depth=depth, widths=(8, 8, 8), strides=(1, 2, 1), **options)
        encoder.eval()
        image = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0), requires_grad=True)
        encoder.feature_map(image)[0, :, 16, 16].abs().sum().backward()
        assert image.grad is not None
        rows = image.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
        return int(rows.max() - rows.min() + 1)

    plain, pointwise = reach(), reach(pointwise_stages=(3,))
    # Stage 3 works at stride 8 here: each of its 3x3 convolutions widens the field by 16 pixels.
    three_by_three = {18: 2 * 2, 50: 6}[depth]
    assert plain - pointwise == 16 * three_by_three


def test_summary_is_the_mean_over_positions() -> None:
    tokens = torch.randn(2, 5, 24)
    assert torch.allclose(mv.encoders.resnet(**SMALL).summary(tokens), tokens.mean(dim=1))


def test_scripted_network_gives_the_same_tokens(image: torch.Tensor, tmp_path: Path) -> None:
    encoder = mv.encoders.resnet(**SMALL).eval()
    torch.jit.script(encoder).save(str(tmp_path / "encoder.ts"))
    loaded = torch.jit.load(str(tmp_path / "encoder.ts"))
    with torch.no_grad():
        assert torch.equal(loaded(image), encoder(image))
        assert torch.equal(loaded(image[:, :1]), encoder(image[:, :1]))


def test_masked_pass_is_refused(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="no patches to keep"):
        mv.encoders.resnet(**SMALL)(image, torch.zeros(2, 3, dtype=torch.long))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, "depth 20 is not one of 10, 18, 34, 50, 101, 152"),
        ({"last_stage": 5}, "last_stage 5 is not between 1 and 4"),
        ({"widths": (8, 8)}, "a width and a stride for each of its 3 stages"),
    ],
)
def test_wrong_options_are_refused_with_the_choice(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mv.encoders.resnet(**options)


def test_position_encoding_tells_every_place_from_every_other() -> None:
    torch.manual_seed(0)
    plain = mv.encoders.resnet(depth=10, in_channels=1)
    encoded = mv.encoders.resnet(depth=10, in_channels=1, position_encoding=True)
    encoded.load_state_dict(plain.state_dict())
    image = torch.zeros(1, 1, 64, 96)
    added = (encoded.eval()(image) - plain.eval()(image))[0]
    assert added.shape == (4 * 6, plain.num_features)
    distances = torch.cdist(added, added) + torch.eye(len(added)) * 1e3
    assert distances.min() > 0.5
    assert added.abs().max() <= 1.0 + 1e-4


def test_token_shift_says_where_a_token_looks() -> None:
    """The pixels that a token's value depends on are centred where the shift says, not in the middle of its cell."""
    torch.manual_seed(0)
    encoder = mv.encoders.resnet(depth=10, in_channels=1, widths=(8, 8, 8), strides=(1, 2, 1), pointwise_stages=(1, 3))
    encoder.eval().double()
    image = torch.rand(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(image)[0, 8 * 16 + 8].sum(), image)
    rows = torch.nonzero(gradient[0, 0].abs().sum(dim=1)).flatten()
    seen = (float(rows[0]) + float(rows[-1]) + 1) / 2 / 8  # in cells of 8 pixels
    (shift, _) = encoder.token_shift()
    assert abs(seen - (8.5 + shift)) < 0.15
