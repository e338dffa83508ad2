"""Volumes on the device: intensity window, resizing, small movements that follow from the draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medvlp_toolkit.data.batches.volume_augmentation import VolumeAugmentation, VolumeTransform

PLAIN: dict[str, Any] = {"mean": 0.0, "std": 1.0}


def batch(volume: Tensor, draws: float | None = None) -> dict[str, Tensor]:
    shape = (len(volume), 32)
    given = torch.rand(shape, generator=torch.Generator().manual_seed(0)) if draws is None else torch.full(shape, draws)
    return {"image": volume, "augmentation_draws": given}


def ball(centre: tuple[int, int, int], side: int = 24, radius: float = 4) -> Tensor:
    """A ball of soft tissue in air, int16 (1, 1, D, H, W)."""
    axes = np.meshgrid(*[np.arange(side)] * 3, indexing="ij")
    distance = np.sqrt(sum((axis - place) ** 2 for axis, place in zip(axes, centre, strict=True)))
    return torch.from_numpy(np.where(distance < radius, 40, -1000).astype(np.int16))[None, None]


def centre_of(image: Tensor) -> list[float]:
    weights = image[0, 0].double()
    return [
        float((weights.sum(dim=[a for a in range(3) if a != axis]) * torch.arange(weights.shape[axis])).sum())
        / float(weights.sum())
        for axis in range(3)
    ]


def test_the_window_becomes_zero_to_one() -> None:
    volume = torch.tensor([-3000, -1000, -300, 400, 3000], dtype=torch.int16).view(1, 1, 5, 1, 1)
    image = VolumeTransform(window=(-1000, 400), **PLAIN)({"image": volume})["image"]
    assert image.flatten().tolist() == [0, 0, 0.5, 1, 1]


def test_without_a_window_each_volume_has_its_own_range() -> None:
    values = torch.stack([torch.arange(1000), 50 * torch.arange(1000) // 100 + 7])
    volume = values.to(torch.int16).view(2, 1, 10, 10, 10)
    image = VolumeTransform(window=None, **PLAIN)({"image": volume})["image"]
    for one in image:
        assert one.min() == 0
        assert one.max() == 1
        assert 0.4 < float(one.mean()) < 0.6


def test_a_constant_volume_stays_finite() -> None:
    image = VolumeTransform(window=None)({"image": torch.zeros(1, 1, 4, 4, 4, dtype=torch.int16)})["image"]
    assert torch.isfinite(image).all()


@pytest.mark.parametrize("size", [(12, 12, 12), (20, 16, 30)])
def test_resizing_keeps_things_in_place(size: tuple[int, int, int]) -> None:
    image = VolumeTransform(size, **PLAIN)({"image": ball((6, 12, 18))})["image"]
    assert image.shape == (1, 1, *size)
    expected = [(place + 0.5) * new / 24 - 0.5 for place, new in zip((6, 12, 18), size, strict=True)]
    assert centre_of(image) == pytest.approx(expected, abs=0.35)


def test_values_are_normalised() -> None:
    image = VolumeTransform(mean=0.5, std=0.25)({"image": ball((12, 12, 12))})["image"]
    assert float(image.min()) == -2


def test_with_draws_in_the_middle_nothing_is_changed() -> None:
    given = batch(ball((6, 12, 18)), draws=0.5)
    torch.testing.assert_close(
        VolumeAugmentation(**PLAIN)(given)["image"], VolumeTransform(**PLAIN)(given)["image"], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_is_a_share_of_its_axis(axis: int) -> None:
    given = batch(ball((12, 12, 12)), draws=0.5)
    given["augmentation_draws"][:, 2 + axis] = 1.0
    augmentation = VolumeAugmentation(shift=0.125, zoom=0, rotate=0, **PLAIN)
    moved = centre_of(augmentation(given)["image"])
    expected = [12.0, 12.0, 12.0]
    expected[axis] -= 3  # an eighth of 24 voxels
    assert moved == pytest.approx(expected, abs=0.05)


def test_rotation_is_about_the_third_axis_and_in_voxels() -> None:
    volume = torch.full((1, 1, 24, 48, 20), -1000, dtype=torch.int16)
    volume[0, 0, 10:14, 34:38, 8:12] = 40
    given = batch(volume, draws=0.5)
    given["augmentation_draws"][:, 1] = 1.0
    image = VolumeAugmentation(shift=0, zoom=0, rotate=20, **PLAIN)(given)["image"]
    first, second, third = centre_of(image)
    assert third == pytest.approx(9.5, abs=0.05)
    before, after = np.hypot(0, 35.5 - 23.5), np.hypot(first - 11.5, second - 23.5)
    assert after == pytest.approx(before, abs=0.3)
    assert abs(np.degrees(np.arctan2(first - 11.5, second - 23.5))) == pytest.approx(20, abs=1)


def test_augmentation_follows_from_the_draws_alone() -> None:
    augmentation = VolumeAugmentation()
    volumes = torch.cat([ball((6, 12, 18)), ball((12, 12, 12)), ball((18, 8, 8))])
    given = batch(volumes)
    torch.manual_seed(1)
    one = augmentation(given)["image"]
    torch.manual_seed(2)
    assert torch.equal(one, augmentation(given)["image"])
    alone = augmentation({key: value[1:2] for key, value in given.items()})["image"]
    torch.testing.assert_close(alone, one[1:2])
    assert not torch.equal(one, VolumeTransform()(given)["image"])


def test_evaluation_is_not_random() -> None:
    given = batch(ball((6, 12, 18)))
    other = {**given, "augmentation_draws": torch.rand(1, 32)}
    assert torch.equal(VolumeTransform()(given)["image"], VolumeTransform()(other)["image"])


def test_pictures_and_misshapen_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="store of pictures"):
        VolumeTransform()({"image": torch.zeros(2, 1, 8, 8)})
    with pytest.raises(ValueError, match="window is"):
        VolumeTransform(window=(400, -1000))
    with pytest.raises(ValueError, match=r"size is \(D, H, W\)"):
        VolumeTransform((8, 8))
