from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from PIL import Image

from medvlp_toolkit.data.records import Box
from medvlp_toolkit.evaluation.maps.overlays import (
    Overlay,
    displayed,
    heat_colours,
    write_contact_sheet,
    write_overlay,
    write_overlays,
)
from medvlp_toolkit.evaluation.maps.volume_slices import overlay_of, picture_of
from medvlp_toolkit.images.picture_colours import BACKGROUND


def overlay(**changes) -> Overlay:
    heat = np.zeros((4, 4))
    heat[0, 3] = 1
    arguments = {"image": np.full((64, 64), 9, np.uint8), "heat": heat, "label": "nodule", "score": 0.93}
    return Overlay(**(arguments | changes))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def picture_part(path: Path) -> np.ndarray:
    """Without the caption above it."""
    array = pixels(path)
    return array[array.shape[0] - array.shape[1] :]


def test_heat_is_clear_where_lowest_and_strongest_where_highest() -> None:
    colours = heat_colours(np.array([[0.0, 0.5], [1.0, 0.25]]))
    opacity = colours[..., 3]
    assert opacity[0, 0] == 0
    assert opacity[1, 0] == opacity.max() < 1
    assert opacity[0, 0] < opacity[1, 1] < opacity[0, 1] < opacity[1, 0]
    assert heat_colours(np.full((2, 2), 0.3))[..., 3].max() == 0


def test_colour_lies_where_the_heat_is_and_nowhere_else(tmp_path: Path) -> None:
    array = picture_part(write_overlay(tmp_path / "o.png", overlay(), "nearest"))
    size = len(array)
    colourful = np.ptp(array, axis=2) > 40
    quarter = size // 4
    assert colourful[: quarter - 4, -quarter + 4 :].all()
    colourful[: quarter + 4, -quarter - 4 :] = False
    assert not colourful.any()


def test_true_boxes_are_outlined_at_their_place(tmp_path: Path) -> None:
    flat = overlay(heat=np.zeros((4, 4)))
    boxed = overlay(heat=np.zeros((4, 4)), boxes=[Box("nodule", 0.25, 0.5, 0.5, 0.25)])
    without, with_box = (picture_part(write_overlay(tmp_path / f"{i}.png", o)) for i, o in enumerate((flat, boxed)))
    changed = np.nonzero((without != with_box).any(axis=2))
    size = len(without)
    for axis, (low, high) in enumerate([(0.5, 0.75), (0.25, 0.75)]):
        assert changed[axis].min() == pytest.approx(low * size, abs=6)
        assert changed[axis].max() == pytest.approx(high * size, abs=6)


def test_the_caption_is_drawn_and_differs_by_score(tmp_path: Path) -> None:
    pictures = [pixels(write_overlay(tmp_path / f"{s}.png", overlay(score=s))) for s in (0.93, 0.12)]
    caption = len(pictures[0]) - pictures[0].shape[1]
    assert (pictures[0][:caption] != pictures[1][:caption]).any()
    assert (pictures[0][caption:] == pictures[1][caption:]).all()


def test_file_names_are_running_numbers_and_findings(tmp_path: Path) -> None:
    (tmp_path / "overlay_009_old.png").write_bytes(b"")
    (tmp_path / "mine.png").write_bytes(b"")
    paths = write_overlays(tmp_path, [overlay(), overlay(label="Pleural Effusion / left", score=None)], "Synthetic")
    assert [path.name for path in paths] == [
        "overlays.png",
        "overlay_001_nodule.png",
        "overlay_002_pleural-effusion-left.png",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["mine.png", *(path.name for path in paths)])
    assert write_overlays(tmp_path, []) == []


def test_images_of_any_range_shape_and_channels_are_drawn(tmp_path: Path) -> None:
    for number, image in enumerate(
        [np.random.default_rng(0).normal(size=(3, 40, 60)), np.zeros((1, 30, 20), np.int16), np.ones((50, 30))]
    ):
        path = write_overlay(tmp_path / f"{number}.png", overlay(image=image))
        height, width = pixels(path).shape[:2]
        assert height > width * image.shape[-2] / image.shape[-1]


def test_a_sheet_has_a_row_for_every_columns_pictures(tmp_path: Path) -> None:
    heights = [len(pixels(write_contact_sheet(tmp_path / "s.png", [overlay()] * n, columns=2))) for n in (1, 2, 3)]
    assert heights[0] == heights[1]
    assert heights[2] > 1.7 * heights[1]


def test_volumes_and_empty_sheets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="slice of a volume"):
        write_overlay(tmp_path / "o.png", overlay(heat=np.zeros((2, 2, 2))))
    with pytest.raises(ValueError, match=r"image \(H, W\)"):
        write_overlay(tmp_path / "o.png", overlay(image=np.zeros((8, 8, 8))))
    with pytest.raises(ValueError, match="at least one picture"):
        write_contact_sheet(tmp_path / "s.png", [])


# -- an image alone ------------------------------------------------------------------------------


def test_a_volume_is_shown_by_its_middle_axial_slice_from_percentile_to_percentile() -> None:
    volume = np.zeros((1, 10, 10, 5), np.int16)
    volume[0, :, :, 2] = np.arange(100).reshape(10, 10) * 10 - 1000
    shown = displayed(picture_of(volume))
    assert shown.shape == (10, 10)
    assert (shown[0, 0], shown[9, 9]) == (255, 0)  # right and front at the upper left
    assert abs(int(shown[0, 5]) - 128) < 10


@pytest.mark.parametrize("codes", ["LPS", "PIR"])
def test_an_image_alone_is_the_slice_that_its_overlays_show(codes: str) -> None:
    """Of a volume in whichever orientation: its picture, and that beneath its map."""
    volume = np.random.default_rng(0).integers(-1000, 3000, (7, 6, 5)).astype(np.int16)
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
    affine, given = inv_ornt_aff(turn, volume.shape), apply_orientation(volume, turn)
    heat = apply_orientation(np.eye(5)[2] * np.ones((7, 6, 1)), turn)
    expected = picture_of(volume[None])
    np.testing.assert_array_equal(picture_of(given[None], affine), expected)
    np.testing.assert_array_equal(overlay_of(given[None], heat, "nodule", affine=affine).image, expected)


def test_colour_stays_colour() -> None:
    picture = np.zeros((3, 4, 6), np.uint8)
    picture[2] = 9
    assert displayed(picture_of(picture)).shape == (4, 6, 3)
    assert displayed(picture)[0, 0].tolist() == [0, 0, 9]


def test_the_legend_has_the_colours_of_the_maps(tmp_path: Path) -> None:
    sheet = write_contact_sheet(
        tmp_path / "s.png", [overlay(image=np.zeros((64, 64), np.uint8), heat=np.zeros((4, 4)))]
    )
    foot = pixels(sheet)[-60:].reshape(-1, 3)
    colours = heat_colours(np.linspace(0, 1, 64)[None])[0]
    page = np.array([int(BACKGROUND[i : i + 2], 16) for i in (1, 3, 5)])
    for colour in colours[[32, 63]]:
        drawn = colour[3] * colour[:3] * 255 + (1 - colour[3]) * page
        assert np.abs(foot - drawn).max(axis=1).min() <= 2
