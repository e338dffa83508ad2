"""Heat maps are drawn where tokens look."""

from __future__ import annotations

import numpy as np

from medvlp_toolkit.evaluation.maps.heat_maps import upsample


def test_linear_upsampling_places_a_token_where_it_looks() -> None:
    heat = np.zeros((4, 4))
    heat[2, 1] = 1.0
    middle = upsample(heat, (64, 64), "linear")
    shifted = upsample(heat, (64, 64), "linear", shift=(-0.5, -0.5))
    assert np.allclose(np.argwhere(middle == middle.max()).mean(axis=0), [39.5, 23.5])
    assert np.allclose(np.argwhere(shifted == shifted.max()).mean(axis=0), [31.5, 15.5])
    assert np.array_equal(upsample(heat, (64, 64), "nearest", shift=(-0.5, -0.5)), upsample(heat, (64, 64), "nearest"))
