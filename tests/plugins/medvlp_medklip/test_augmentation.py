"""MedKLIP's augmentation against Pillow's operations, and the faults of the published one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_medklip.augmentation import OPERATIONS, MedklipAugmentation, auto_contrast, equalize, sharpen
from medvlp_toolkit.data.batches.augmentation import EvaluationTransform

DRAWS = 32


def picture(low: int = 40, high: int = 200, side: int = 48, seed: int = 0) -> Image.Image:
    """Grey noise over a gradient; its values do not reach 0 or 255."""
    rng = np.random.default_rng(seed)
    values = np.linspace(low, high, side)[None] + rng.normal(0, 20, (side, side))
    return Image.fromarray(values.clip(low, high).astype(np.uint8))


def tensor(image: Image.Image) -> Tensor:
    """(1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255)[None, None]


def levels(image: Tensor) -> np.ndarray:
    return np.asarray((image * 255)[0, 0])


@pytest.mark.parametrize(("low", "high"), [(1, 254), (40, 200), (0, 255), (90, 91)])
def test_auto_contrast_is_pillows(low: int, high: int) -> None:
    image = picture(low, high)
    difference = levels(auto_contrast(tensor(image))) - np.asarray(ImageOps.autocontrast(image)).astype(float)
    assert np.abs(difference).max() <= 1  # Pillow rounds down to whole levels


def test_auto_contrast_does_not_turn_an_image_white() -> None:
    """The published one does, as soon as no pixel is black: its subtraction wraps around."""
    stretched = levels(auto_contrast(tensor(picture(1, 254))))
    assert stretched.min() == 0
    assert stretched.max() == 255
    assert 90 < stretched.mean() < 160


def test_auto_contrast_treats_each_image_of_a_batch_for_itself() -> None:
    dark, bright = tensor(picture(10, 60)), tensor(picture(180, 250))
    together = auto_contrast(torch.cat([dark, bright]))
    torch.testing.assert_close(together[:1], auto_contrast(dark))
    torch.testing.assert_close(together[1:], auto_contrast(bright))


def test_a_flat_image_stays_as_it_is() -> None:
    flat = torch.full((1, 1, 8, 8), 0.4)
    assert torch.equal(auto_contrast(flat), flat)
    torch.testing.assert_close(equalize(flat), flat)


def test_equalize_is_pillows_within_its_rounding() -> None:
    values = 60 + 120 * np.random.default_rng(0).beta(2, 5, (96, 96))  # few pixels at either end
    image = Image.fromarray(values.astype(np.uint8))
    difference = levels(equalize(tensor(image))) - np.asarray(ImageOps.equalize(image)).astype(float)
    assert np.abs(difference).max() <= 6  # Pillow takes half of each level's pixels with it, in whole steps
    assert np.abs(difference).mean() < 4


def test_brightness_and_sharpness_are_pillows_at_factor_1_36() -> None:
    augmentation = MedklipAugmentation(48, flip=0)
    image = picture()
    sign = torch.ones(1)
    for name, enhancer in (("brightness", ImageEnhance.Brightness), ("sharpness", ImageEnhance.Sharpness)):
        expected = np.asarray(enhancer(image).enhance(1.36)).astype(float)
        assert np.abs(levels(augmentation.operate(name, tensor(image), sign)) - expected).max() <= 1.5, name


def test_sharpening_by_one_changes_nothing() -> None:
    image = tensor(picture())
    torch.testing.assert_close(sharpen(image, 1.0), image)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_translation_is_seven_pixels_with_grey_behind(sign: float) -> None:
    augmentation = MedklipAugmentation(48, flip=0)
    image = tensor(picture())
    moved = augmentation.operate("translate_x", image, torch.tensor([sign]))
    inner = moved[..., 7:] if sign < 0 else moved[..., :-7]
    kept = image[..., :-7] if sign < 0 else image[..., 7:]
    torch.testing.assert_close(inner, kept, atol=1e-4, rtol=0)
    border = moved[..., :6] if sign < 0 else moved[..., -6:]
    torch.testing.assert_close(border, torch.full_like(border, 128 / 255))


def test_rotation_is_pillows_by_21_degrees() -> None:
    augmentation = MedklipAugmentation(97, flip=0)
    smooth = Image.fromarray(np.tile(np.linspace(0, 255, 97).astype(np.uint8), (97, 1)))
    rotated = levels(augmentation.operate("rotate", tensor(smooth), torch.ones(1)))
    options = [np.asarray(smooth.rotate(a, Image.Resampling.BILINEAR, fillcolor=128)).astype(float) for a in (21, -21)]
    inside = np.hypot(*(np.indices((97, 97)) - 48)) < 44
    assert min(np.abs(rotated - option)[inside].max() for option in options) < 4


def test_shear_moves_rows_by_a_fifth_of_their_distance_from_the_middle() -> None:
    augmentation = MedklipAugmentation(101, flip=0)
    image = torch.zeros(1, 1, 101, 101)
    image[..., 50] = 1
    sheared = augmentation.operate("shear_x", image, torch.ones(1))[0, 0]
    top, middle = (int(sheared[row, 20:80].argmax()) + 20 for row in (0, 50))
    assert middle == 50
    assert abs(abs(top - 50) - 0.21 * 50) <= 1


def batch(count: int, **more: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (count, 1, 40, 40), generator=generator, dtype=torch.uint8),
        "augmentation_draws": torch.rand(count, DRAWS, generator=generator),
        **more,
    }


def test_an_image_is_augmented_the_same_in_any_batch() -> None:
    augmentation = MedklipAugmentation(32, flip=0)
    whole = batch(6)
    together = augmentation(whole)["image"]
    for i in range(6):
        alone = augmentation({key: value[i : i + 1] for key, value in whole.items()})["image"]
        torch.testing.assert_close(alone, together[i : i + 1])


def test_every_operation_is_drawn_and_half_of_them_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    augmentation = MedklipAugmentation(16, flip=0)
    applied: dict[str, int] = {}
    original = augmentation.operate

    def counting(name: str, image: Tensor, sign: Tensor) -> Tensor:
        applied[name] = applied.get(name, 0) + len(image)
        return original(name, image, sign)

    monkeypatch.setattr(augmentation, "operate", counting)
    count = 2000
    draws = torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(1))
    augmentation.intensity(torch.rand(count, 1, 8, 8), draws)
    assert set(applied) == set(OPERATIONS) - {"identity"}
    assert sum(applied.values()) == pytest.approx(2 * count * 0.5 * 0.9, rel=0.05)


def test_output_is_normalised_and_finite_for_extreme_images() -> None:
    augmentation = MedklipAugmentation(32, flip=0)
    for value in (0, 255):
        given = batch(64)
        given["image"] = torch.full_like(given["image"], value)
        image = augmentation(given)["image"]
        assert image.shape == (64, 3, 32, 32)
        assert torch.isfinite(image).all()


def test_a_flip_swaps_left_and_right_in_the_position_labels() -> None:
    """The published augmentation flips the image and keeps the labels."""
    positions = mv.knowledge_sources.definitions("chest_positions")
    augmentation = MedklipAugmentation(32, positions=positions.ids, mirrors=positions.mirrors, flip=1.0)
    names = list(positions.ids)
    given = batch(
        1,
        entity_presence=torch.ones(1, 1, dtype=torch.int8),
        entity_position_candidates=torch.tensor([[[names.index("left_pleural"), names.index("right_hilar")]]]),
    )
    swapped = augmentation(given)["entity_position_candidates"][0, 0].tolist()
    assert [names[i] for i in swapped] == ["right_pleural", "left_hilar"]


def test_masks_are_refused_for_they_would_not_move_along() -> None:
    with pytest.raises(ValueError, match="TrainingAugmentation"):
        MedklipAugmentation(32, flip=0)(batch(1, mask=torch.zeros(1, 1, 40, 40)))


def test_evaluation_ignores_what_augmentation_would_draw() -> None:
    transform = EvaluationTransform(32)
    one = batch(3)
    other = {**one, "augmentation_draws": torch.rand(3, DRAWS)}
    assert torch.equal(transform(one)["image"], transform(other)["image"])
