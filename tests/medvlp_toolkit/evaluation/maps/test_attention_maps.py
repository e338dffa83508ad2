from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medvlp_toolkit.evaluation.maps.heat_maps import attention_maps, upsample


@pytest.fixture
def attention() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 4, 6, generator=generator).softmax(dim=-1)


def test_maps_are_the_mean_over_layers_in_row_major_order(attention) -> None:
    maps = attention_maps(attention, (2, 3))
    assert maps.shape == (2, 4, 2, 3)
    assert maps[1, 2, 1, 0] == pytest.approx(float(attention[1, :, 2, 3].mean()))
    assert maps.sum(axis=(2, 3)) == pytest.approx(np.ones((2, 4)), abs=1e-6)


@pytest.mark.parametrize(("layers", "chosen"), [(-1, [2]), (0, [0]), ([0, 2], [0, 2])])
def test_one_layer_or_several_can_be_chosen(attention, layers, chosen) -> None:
    expected = attention[:, chosen].mean(dim=1).reshape(2, 4, 2, 3).numpy()
    assert attention_maps(attention.numpy(), (2, 3), layers) == pytest.approx(expected)


def test_prefix_tokens_are_left_out(attention) -> None:
    maps = attention_maps(attention, (5,), prefix_tokens=1)
    assert maps == pytest.approx(attention.mean(dim=1)[..., 1:].numpy())


def test_half_precision_attention_is_averaged_in_single_precision(attention) -> None:
    maps = attention_maps(attention.to(torch.bfloat16), (2, 3))
    assert maps.dtype == np.float32
    assert maps == pytest.approx(attention.to(torch.bfloat16).float().mean(dim=1).reshape(2, 4, 2, 3).numpy())


def test_a_grid_that_does_not_fit_or_a_layer_that_is_not_there_is_refused(attention) -> None:
    with pytest.raises(ValueError, match=r"6 tokens.*grid of 2×2 needs 4"):
        attention_maps(attention, (2, 2))
    with pytest.raises(ValueError, match="layers 0 to 2"):
        attention_maps(attention, (2, 3), layers=3)


def test_nearest_turns_each_cell_of_14_by_14_into_16_by_16_pixels() -> None:
    heat = np.random.default_rng(0).random((14, 14))
    assert (upsample(heat, (224, 224)) == np.kron(heat, np.ones((16, 16)))).all()


@pytest.mark.parametrize(("cells", "pixels"), [((3, 5), (10, 7)), ((4, 4), (9, 16)), ((5, 2), (5, 3))])
def test_both_ways_equal_torch(cells, pixels) -> None:
    heat = np.random.default_rng(1).random(cells)
    tensor = torch.from_numpy(heat)[None, None]
    nearest = F.interpolate(tensor, size=pixels, mode="nearest-exact")[0, 0].numpy()
    linear = F.interpolate(tensor, size=pixels, mode="bilinear", align_corners=False)[0, 0].numpy()
    assert (upsample(heat, pixels) == nearest).all()
    assert upsample(heat, pixels, "linear") == pytest.approx(linear)


def test_volumes_are_spread_trilinearly() -> None:
    heat = np.random.default_rng(1).random((2, 3, 4)).astype(np.float32)
    expected = F.interpolate(torch.from_numpy(heat)[None, None], size=(5, 6, 9), mode="trilinear")[0, 0].numpy()
    spread = upsample(heat, (5, 6, 9), "linear")
    assert spread.dtype == np.float32
    assert spread == pytest.approx(expected, rel=1e-5)


def test_an_unknown_way_or_a_misfitting_size_is_refused() -> None:
    with pytest.raises(ValueError, match="'nearest' or 'linear'"):
        upsample(np.zeros((2, 2)), (4, 4), "cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one size per axis"):
        upsample(np.zeros((2, 2)), (4, 4, 4))
