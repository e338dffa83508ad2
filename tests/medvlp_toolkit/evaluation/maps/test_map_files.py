"""Heat maps as NIfTI: in the input's space, whatever its orientation and spacing."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medvlp_toolkit.data import ImageFiles
from medvlp_toolkit.data.boxes import box_mask
from medvlp_toolkit.evaluation.maps.map_files import (
    clear_maps,
    item_of,
    map_formats,
    map_on_file,
    map_path,
    resampled,
    write_nifti,
)
from medvlp_toolkit.evaluation.maps.volume_slices import axial_slice, overlay_of
from medvlp_toolkit.evaluation.zero_shot.volume_boxes import VolumeBoxes
from medvlp_toolkit.images import Fit, StoredFormat, read_stored_volume
from medvlp_toolkit.images.fit import placement

#: Voxel axes to millimetres in RAS: straight; turned, mirrored and of unequal steps; oblique.
STRAIGHT = np.array([[4.0, 0, 0, -60], [0, 4, 0, -40], [0, 0, 4, -30], [0, 0, 0, 1]])
TURNED = np.array([[0, -3.0, 0, 70], [0, 0, 2.5, -45], [-4, 0, 0, 50], [0, 0, 0, 1]])
_C, _S = np.cos(0.2), np.sin(0.2)
OBLIQUE = np.array([[3.5 * _C, -3.5 * _S, 0, -50], [3.5 * _S, 3.5 * _C, 0, -50], [0, 0, 5, -40], [0, 0, 0, 1]])
SHAPE = (26, 34, 22)


def scan(path: Path, affine: np.ndarray, spot: tuple[int, int, int]) -> Path:
    """A volume with one bright region of 5 voxels' radius."""
    axes = np.meshgrid(*[np.arange(side) for side in SHAPE], indexing="ij")
    distance = np.sqrt(sum((axis - place) ** 2 for axis, place in zip(axes, spot, strict=True)))
    nibabel.save(nibabel.Nifti1Image((500 * (distance < 5)).astype(np.int16), affine), path)
    return path


def centre(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centre of mass in millimetres."""
    axes = np.meshgrid(*[np.arange(side) for side in values.shape], indexing="ij")
    place = [float((values * axis).sum() / values.sum()) for axis in axes]
    return (affine @ [*place, 1])[:3]


@pytest.mark.parametrize("affine", [STRAIGHT, TURNED, OBLIQUE], ids=["straight", "turned", "oblique"])
@pytest.mark.parametrize("spacing", [None, (4.0, 4.0, 4.0)], ids=["whole", "cropped"])
def test_a_map_lies_on_the_voxels_of_the_input_file(
    tmp_path: Path, affine: np.ndarray, spacing: tuple[float, ...] | None
) -> None:
    """What the model sees as bright is bright at the same place of the file."""
    path = scan(tmp_path / "scan.nii.gz", affine, (9, 20, 12))
    read = read_stored_volume(path, size=(32, 32, 32), spacing=spacing)
    bright = (read.voxels[0] > 250).astype(np.float32).reshape(16, 2, 16, 2, 16, 2).mean(axis=(1, 3, 5))
    item = {"image": read.voxels, "affine": read.affine}
    item |= {"input_shape": np.array(read.grid.shape), "input_affine": read.grid.affine}
    written = write_nifti(tmp_path / "map.nii.gz", *map_on_file(bright, item))
    image, original = nibabel.load(written), nibabel.load(path)
    assert image.shape == original.shape
    np.testing.assert_allclose(image.affine, original.affine, atol=1e-4)
    found = centre(np.asarray(image.dataobj), image.affine)
    expected = centre(np.asarray(original.dataobj), original.affine)
    assert np.abs(found - expected).max() < 2  # millimetres: half a voxel


def test_a_map_of_a_store_keeps_the_affine_of_the_store(tmp_path: Path) -> None:
    placed = map_on_file(np.ones((2, 2, 2)), {"image": np.zeros((1, 8, 8, 8)), "affine": STRAIGHT})
    image = nibabel.load(write_nifti(tmp_path / "map.nii.gz", *placed))
    assert image.shape == (8, 8, 8)
    np.testing.assert_allclose(image.affine, STRAIGHT)
    assert image.get_data_dtype() == np.float32


def test_voxels_that_the_model_did_not_see_get_nothing() -> None:
    half = STRAIGHT.copy()
    values = resampled(np.ones((4, 8, 8), np.float32), half, (8, 8, 8), STRAIGHT)
    assert (values[:4] == 1).all()
    assert (values[5:] == 0).all()


def test_the_rim_keeps_its_value_up_to_the_volumes_edge() -> None:
    fine = STRAIGHT.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] = STRAIGHT[:3, 3] - 1  # the same corner, half the voxel size
    np.testing.assert_allclose(resampled(np.ones((4, 4, 4), np.float32), STRAIGHT, (8, 8, 8), fine), 1, atol=1e-5)


def test_a_radiographs_map_is_upright_for_viewers(tmp_path: Path) -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 1  # the upper corner on the patient's left
    item = {"image": np.zeros((1, 8, 8)), "input_shape": np.array([40, 60])}
    image = nibabel.load(write_nifti(tmp_path / "map.nii.gz", *map_on_file(heat, item)))
    assert image.shape == (60, 1, 40)
    assert nibabel.aff2axcodes(image.affine) == ("L", "A", "I")
    column, _, row = np.unravel_index(np.asarray(image.dataobj).argmax(), image.shape)
    assert column > 45
    assert row < 10


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_a_map_lies_on_the_pixels_of_the_radiograph_however_it_was_made_to_fit(tmp_path: Path, fit: Fit) -> None:
    """What the model sees as bright is bright at the same place of the file; what it did not see gets 0."""
    pixels = np.zeros((60, 120), np.uint8)
    pixels[20:32, 42:54] = 255
    Image.fromarray(pixels).save(tmp_path / "radiograph.png")
    batch = ImageFiles(tmp_path / "radiograph.png", StoredFormat((48, 48), fit=fit)).__getitems__([0])
    bright = (batch["image"][0, 0].numpy() / 255).reshape(24, 2, 24, 2).mean(axis=(1, 3)).astype(np.float32)
    placed, _ = map_on_file(bright, item_of(batch, 0))
    assert placed.shape == pixels.shape
    rows, columns = (np.arange(side) + 0.5 for side in pixels.shape)
    found = [(placed.sum(axis=1) * rows).sum() / placed.sum(), (placed.sum(axis=0) * columns).sum() / placed.sum()]
    assert found == pytest.approx([26, 48], abs=1)
    everywhere, _ = map_on_file(np.ones((24, 24), np.float32), item_of(batch, 0))
    assert (everywhere > 0).mean() == (0.5 if fit == "crop" else 1)


@pytest.mark.parametrize(("fit", "original"), [("pad", (65, 125)), ("crop", (60, 121))])
def test_a_map_lies_on_the_files_pixels_where_the_rest_is_odd(
    tmp_path: Path, fit: Fit, original: tuple[int, int]
) -> None:
    """Half a stored pixel is seen: one row of the image, as a map of its pixels, at the rows that it was made of."""
    Image.fromarray(np.zeros(original, np.uint8)).save(tmp_path / "radiograph.png")
    batch = ImageFiles(tmp_path / "radiograph.png", StoredFormat((48, 48), fit=fit)).__getitems__([0])
    (tall, wide), (top, left) = placement(original, (48, 48), fit)
    assert (tall - 48) % 2 or (wide - 48) % 2
    heat = np.zeros((48, 48), np.float32)
    heat[20, 30] = 1
    placed, _ = map_on_file(heat, item_of(batch, 0))
    rows, columns = ((np.arange(side) + 0.5) / side for side in original)
    found = [(placed.sum(axis=1) * rows).sum() / placed.sum(), (placed.sum(axis=0) * columns).sum() / placed.sum()]
    assert found == pytest.approx([(20.5 + top) / tall, (30.5 + left) / wide], abs=0.002)


def test_formats_are_named_one_by_one_or_together() -> None:
    assert map_formats("nifti") == ("nifti",)
    assert map_formats("png, npy") == ("png", "npy")
    assert map_formats(["nifti", "png"]) == ("png", "nifti")
    with pytest.raises(ValueError, match="'jpeg'; expected any of png, npy, nifti"):
        map_formats("jpeg")


def test_clearing_removes_the_maps_of_an_earlier_run_and_no_file_of_a_user(tmp_path: Path) -> None:
    written = [map_path(tmp_path, 7, "Pleural Effusion", name) for name in ("nifti", "npy")]
    own = [tmp_path / name for name in ("map_of_mine.nii.gz", "map_1_nodule.nii.gz", "map_001_nodule.nii", "maps.csv")]
    for path in (*written, *own):
        path.touch()
    clear_maps(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(own)
    assert [path.name for path in written] == ["map_007_pleural-effusion.nii.gz", "map_007_pleural-effusion.npy"]


# -- truth in volumes -------------------------------------------------------------------------


def table(folder: Path, *rows: str) -> Path:
    path = folder / "boxes.csv"
    path.write_text("\n".join(["study_id,label,x_min,y_min,z_min,x_max,y_max,z_max", *rows]) + "\n")
    return path


def test_a_box_in_millimetres_is_the_same_place_on_any_grid(tmp_path: Path) -> None:
    boxes = VolumeBoxes.read(table(tmp_path, "a,nodule,-20,0,-10,4,30,22", "a,nodule,20,40,30,30,50,40"))
    for affine in (STRAIGHT, TURNED, OBLIQUE):
        mask = boxes.mask("a", "nodule", (40, 40, 40), affine)
        assert mask is not None
        axes = np.meshgrid(*[np.arange(40)] * 3, indexing="ij")
        space = np.einsum("ij,j...->i...", affine[:3, :3], np.stack(axes)) + affine[:3, 3, None, None, None]
        low, high = (np.reshape(corner, (3, 1, 1, 1)) for corner in ([-20, 0, -10], [4, 30, 22]))
        one = ((space >= low - 1e-6) & (space < high - 1e-6)).all(0)
        two = (
            (space >= np.reshape([20, 40, 30], (3, 1, 1, 1)) - 1e-6)
            & (space < np.reshape([30, 50, 40], (3, 1, 1, 1)) - 1e-6)
        ).all(0)
        np.testing.assert_array_equal(mask, one | two)
    assert boxes.mask("a", "effusion", (4, 4, 4), STRAIGHT) is None
    assert boxes.mask("b", "nodule", (4, 4, 4), STRAIGHT) is None


def test_two_boxes_with_a_common_face_share_no_voxel(tmp_path: Path) -> None:
    """As boxes in radiographs do: a voxel whose centre is on the face is in one of them."""
    boxes = VolumeBoxes.read(table(tmp_path, "a,nodule,0,0,0,2,4,4", "a,cyst,2,0,0,4,4,4"))
    low, high = (boxes.mask("a", label, (5, 5, 5), np.eye(4)) for label in ("nodule", "cyst"))
    assert low is not None
    assert high is not None
    assert not (low & high).any()
    assert np.flatnonzero((low | high).any(axis=(1, 2))).tolist() == [0, 1, 2, 3]
    flat = [box_mask([box], (1, 5)) for box in ((-0.1, 0, 0.4, 1), (0.3, 0, 0.4, 1))]  # centres at 0.1, 0.3, …
    assert [mask[0].tolist() for mask in flat] == [[True, *[False] * 4], [False, True, True, False, False]]


def test_a_malformed_table_of_boxes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 2: expected six numbers"):
        VolumeBoxes.read(table(tmp_path, "a,nodule,x,0,0,1,1,1"))
    (tmp_path / "other.csv").write_text("study_id,label\n")
    with pytest.raises(ValueError, match=r"no column .x_min"):
        VolumeBoxes.read(tmp_path / "other.csv")
    with pytest.raises(FileNotFoundError, match="no table of boxes"):
        VolumeBoxes.read(tmp_path / "absent.csv")


def test_a_slice_has_the_front_up_and_the_patients_right_on_the_left() -> None:
    volume = np.zeros((4, 6, 8))
    volume[3, 5, 2] = 1  # right, front
    shown = axial_slice(volume, 2)
    assert shown.shape == (6, 4)
    assert np.unravel_index(shown.argmax(), shown.shape) == (0, 0)


def test_a_slice_is_the_same_whichever_way_the_axes_of_its_volume_run() -> None:
    """The patient's right is on the left of the picture: with a store in LPS or PIR as well."""
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

    generator = np.random.default_rng(0)
    volume, heat, shift = generator.random((4, 6, 8)), generator.random((4, 6, 8)), (0.1, 0.2, -0.3)
    truth = volume > 0.8
    expected = overlay_of(volume[None], heat, "nodule", 0.9, truth, shift)
    for codes in ("LPS", "PIR", "SLA"):
        turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes))
        affine = np.eye(4) @ inv_ornt_aff(turn, volume.shape)
        given = [apply_orientation(array, turn) for array in (volume, heat, truth)]
        moved = [0.0] * 3
        for part, (axis, sign) in zip(shift, turn, strict=True):
            moved[int(axis)] = sign * part
        shown = overlay_of(given[0][None], given[1], "nodule", 0.9, given[2], moved, affine)
        np.testing.assert_array_equal(shown.image, expected.image)
        np.testing.assert_array_equal(shown.heat, expected.heat)
        assert shown.shift == pytest.approx(expected.shift)
        assert (shown.note, shown.boxes) == (expected.note, expected.boxes)


def test_the_slice_of_highest_attention_is_drawn_with_the_box_of_the_truth() -> None:
    heat = np.zeros((4, 4, 4), np.float32)
    heat[0, 0, 3] = 1
    truth = np.zeros((16, 16, 16), bool)
    truth[0:4, 0:4, 12:15] = True
    overlay = overlay_of(np.zeros((1, 16, 16, 16), np.int16), heat, "nodule", 0.9, truth)
    assert overlay.note == "slice 15 of 16"
    assert overlay.boxes == [(0.75, 0.75, 0.25, 0.25)]  # left and back: the lower right corner
    assert np.unravel_index(overlay.heat.argmax(), (4, 4)) == (3, 3)
