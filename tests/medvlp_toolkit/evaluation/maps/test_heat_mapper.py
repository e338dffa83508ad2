"""Heat maps ask the network's image encoder for what they need."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper


class Encoder(nn.Module):
    """Patches of 16 pixels after some class tokens."""

    def __init__(self, prefix: int = 0) -> None:
        super().__init__()
        self.num_prefix_tokens = prefix

    def grid_size(self, image_shape) -> tuple[int, ...]:
        return tuple(side // 16 for side in image_shape)


class ShiftedEncoder(Encoder):
    def token_shift(self) -> tuple[float, ...]:
        return (-0.25, -0.25)


class Network(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.image_encoder = encoder


def planted(prefix: int, cell: int, cells: int, on_prefix: float = 0.75) -> torch.Tensor:
    """(1, 2, 1, N) attention that class tokens and one cell share."""
    attention = torch.zeros(1, 2, 1, prefix + cells)
    attention[..., :prefix] = on_prefix / max(prefix, 1)
    attention[..., prefix + cell] = 1 - (on_prefix if prefix else 0)
    return attention


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize(("shape", "cell", "place"), [((48, 64), 6, (1, 2)), ((32, 32, 48), 7, (1, 0, 1))])
def test_a_planted_maximum_is_in_its_cell_whatever_comes_before_the_patches(prefix, shape, cell, place) -> None:
    grid = tuple(side // 16 for side in shape)
    (heat,) = HeatMapper(Network(Encoder(prefix))).on_grid(planted(prefix, cell, int(np.prod(grid))), shape)[0]
    assert heat.shape == grid
    assert np.unravel_index(heat.argmax(), grid) == place
    assert heat.sum() == pytest.approx(1)


def test_attention_that_falls_on_class_tokens_alone_is_a_map_of_zeros() -> None:
    maps = HeatMapper(Network(Encoder(1))).on_grid(planted(1, 0, 12, on_prefix=1.0), (48, 64))
    assert (maps == 0).all()


def test_the_shift_is_the_encoders_where_it_has_one() -> None:
    assert HeatMapper(Network(ShiftedEncoder())).shift == (-0.25, -0.25)
    assert HeatMapper(Network(Encoder())).shift == ()


def test_layers_are_chosen_for_all_maps_of_a_network() -> None:
    attention = torch.cat([planted(1, 0, 12)[:, :1], planted(1, 11, 12)[:, :1]], dim=1)
    for layer, place in ((0, (0, 0)), (1, (2, 3))):
        (heat,) = HeatMapper(Network(Encoder(1)), layers=layer).on_grid(attention, (48, 64))[0]
        assert np.unravel_index(heat.argmax(), heat.shape) == place


def test_a_grid_may_be_set_and_is_refused_where_it_does_not_fit() -> None:
    network, attention = Network(Encoder(1)), planted(1, 6, 12)
    assert HeatMapper(network, grid=(2, 6)).on_grid(attention, (48, 64)).shape == (1, 1, 2, 6)
    with pytest.raises(ValueError, match=r"grid is 4×4, .* 12 patches on a grid of 3×4; set grid to null"):
        HeatMapper(network, grid=(4, 4)).on_grid(attention, (48, 64))


class Attentive(Network):
    """It could give attention; nothing here asks it."""

    fuse = score = attend = nn.Module.forward


@pytest.mark.parametrize(
    ("network", "output", "reason"),
    [
        (Network, {"attention": None}, "Network gives no attention"),
        (Network, {}, "Network gives no attention"),
        (Attentive, {}, "does not request attention"),
    ],
)
def test_missing_attention_is_explained_once(network, output, reason, caplog: pytest.LogCaptureFixture) -> None:
    mapper = HeatMapper(network(Encoder()), what="pictures")
    with caplog.at_level(logging.WARNING):
        assert [mapper.maps(output) for _ in range(3)] == [None] * 3
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("pictures are left out: ")
    assert reason in message


def test_a_network_without_an_image_encoder_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Linear has no `image_encoder`"):
        HeatMapper(nn.Linear(1, 1)).on_grid(planted(0, 0, 12), (48, 64))
