"""Reading NIfTI files and DICOM series as int16 volumes."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import radiograph
from pydicom.uid import generate_uid

from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.images import ImageReadError, read_volume
from medvlp_toolkit.preparing.prepare import Prepare

# Values that tell where a voxel was: x + 10 y + 100 z, in millimetres of RAS.
SHAPE = (4, 5, 6)


def world_values(affine: np.ndarray) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in SHAPE), indexing="ij"), -1)
    world = grid @ affine[:3, :3].T + affine[:3, 3]
    return world @ np.array([1.0, 10.0, 100.0])


def write_nifti(path: Path, affine: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(world_values(affine).astype(np.float32), affine), path)
    return path


def check_world(volume: np.ndarray, affine: np.ndarray) -> None:
    """Every voxel holds the value of the place its affine says it is at."""
    shape = volume.shape[1:]
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"), -1)
    world = grid @ affine[:3, :3].T + affine[:3, 3]
    assert np.abs(volume[0] - world @ np.array([1.0, 10.0, 100.0])).max() <= 0.51


@pytest.mark.parametrize(
    "axes",
    [np.diag([1.0, 1, 1]), np.diag([-1.0, -1, 1]), np.array([[0, 0, 2.0], [-1, 0, 0], [0, 1, 0]])],
    ids=["RAS", "LPS", "turned"],
)
def test_axes_run_to_right_anterior_superior_whatever_the_file_says(tmp_path: Path, axes: np.ndarray) -> None:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, (3, -7, 11)
    volume, placed = read_volume(write_nifti(tmp_path / "a.nii.gz", affine))
    assert volume.dtype == np.int16
    assert (np.diag(placed)[:3] > 0).all()
    check_world(volume, placed)


def test_orientation_can_be_chosen(tmp_path: Path) -> None:
    volume, placed = read_volume(write_nifti(tmp_path / "a.nii", np.eye(4)), orientation="LPS")
    assert np.diag(placed).tolist() == [-1, -1, 1, 1]
    check_world(volume, placed)


def test_spacing_resamples_and_the_affine_says_so(tmp_path: Path) -> None:
    volume, placed = read_volume(write_nifti(tmp_path / "a.nii", np.diag([2.0, 2, 2, 1])), spacing=(1, 1, 1))
    assert np.diag(placed)[:3] == pytest.approx([1, 1, 1])
    assert volume.shape == (1, 7, 9, 11)
    check_world(volume, placed)


def test_spacing_that_asks_for_too_many_voxels_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "volume.nii", np.diag([1e5, 1e5, 1e5, 1.0]))
    with pytest.raises(ImageReadError, match=r"mm is too large for voxels of \[1, 1, 1\] mm"):
        read_volume(path, spacing=(1, 1, 1))


def test_size_with_spacing_crops_and_pads_around_the_centre(tmp_path: Path) -> None:
    volume, placed = read_volume(write_nifti(tmp_path / "a.nii", np.eye(4)), size=(2, 9, 6), spacing=(1, 1, 1))
    assert volume.shape == (1, 2, 9, 6)
    assert (volume[0, :, 0] == volume.min()).all()
    inside = volume[:, :, 2:7]
    shifted = placed.copy()
    shifted[:3, 3] += placed[:3, 1] * 2
    check_world(inside, shifted)


def test_size_alone_resamples_the_whole_volume(tmp_path: Path) -> None:
    volume, placed = read_volume(write_nifti(tmp_path / "a.nii", np.eye(4)), size=(8, 10, 12))
    assert volume.shape == (1, 8, 10, 12)
    assert np.linalg.norm(placed[:3, 0]) == pytest.approx(0.5, rel=0.2)


def write_series(folder: Path, series: str | None = None) -> Path:
    """A series of three axial slices 2 mm apart, pixels of 0.5 mm, values x + 10 y + 100 z after rescale."""
    folder.mkdir(exist_ok=True)
    uid = series or generate_uid(entropy_srcs=["series"])
    for index in (2, 0, 1):
        column, row = np.meshgrid(np.arange(6), np.arange(4))
        left, posterior, superior = column * 0.5, row * 0.5, index * 2.0
        values = (-left + 10 * -posterior + 100 * superior) * 2 + 1000
        dataset = radiograph(values.astype(np.uint16), RescaleSlope=0.5, RescaleIntercept=-500, Modality="CT")
        dataset.SeriesInstanceUID = uid
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [0, 0, float(index * 2)]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing = [0.5, 0.5]
        dataset.SliceThickness = 2
        dataset.save_as(folder / f"{series or 'slice'}{index}.dcm", enforce_file_format=True)
    return folder


def test_dicom_series_is_one_volume_in_its_place(tmp_path: Path) -> None:
    volume, placed = read_volume(write_series(tmp_path / "series"))
    assert volume.shape == (1, 6, 4, 3)
    assert np.diag(placed)[:3] == pytest.approx([0.5, 0.5, 2.0])
    check_world(volume, placed)


def test_what_is_no_volume_is_one_error(tmp_path: Path) -> None:
    def reason(path: Path) -> str:
        with pytest.raises(ImageReadError) as error:
            read_volume(path)
        return error.value.reason

    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"no volume"))
    write_nifti(tmp_path / "cut.nii.gz", np.eye(4))
    content = (tmp_path / "cut.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) - 40])
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)), tmp_path / "four.nii")
    write_series(write_series(tmp_path / "two", "1.2.3"), "1.2.4")
    write_series(tmp_path / "mixed")
    (tmp_path / "mixed" / "notes.txt").write_text("hello")
    assert "does not exist" in reason(tmp_path / "nowhere.nii")
    assert "not a volume" in reason(tmp_path / "a.png")
    assert "cannot be read" in reason(tmp_path / "a.nii.gz")
    assert "cannot be read" in reason(tmp_path / "cut.nii.gz")
    assert "three axes" in reason(tmp_path / "four.nii")
    assert "empty" in reason(tmp_path / "empty")
    assert "2 DICOM series" in reason(tmp_path / "two")
    assert "not DICOM" in reason(tmp_path / "mixed")


def test_volumes_are_packed_with_their_affines(tmp_path: Path) -> None:
    report = Report("r", "Clear.")
    studies = [Study(name, name, tmp_path / f"{name}.nii.gz", report) for name in ("a", "b", "missing")]
    write_nifti(tmp_path / "a.nii.gz", np.diag([-1.0, -1, 1, 1]))
    write_nifti(tmp_path / "b.nii.gz", np.diag([1.0, 2, 1, 1]))
    summary = Prepare(studies, tmp_path / "store", (4, 9, 6), spacing=(1, 1, 1), sections=(), workers=0).run()
    assert summary.rejected == {"missing image": 1}
    store = PackedStore.open(tmp_path / "store")
    assert store.images.shape == (2, 1, 4, 9, 6)
    assert store.images.dtype == np.int16
    affines = store.array("affines")
    check_world(store.images[1], affines[1])
    assert not np.array_equal(affines[0], affines[1])


def test_source_of_volumes_is_packed_as_it_is(tmp_path: Path) -> None:
    class Cubes(list[Study]):
        def read_image(self, study: Study) -> np.ndarray:
            return np.full((1, 3, 4, 5), int(study.id), np.int16)

    cubes = Cubes(Study(str(number), str(number), None, Report("r", "Clear.")) for number in (7, -900))
    Prepare(cubes, tmp_path / "store", (3, 4, 5), sections=(), workers=0).run()
    assert [int(image.mean()) for image in PackedStore.open(tmp_path / "store").images] == [7, -900]
    with pytest.raises(ValueError, match=r"set image_size to the source's"):
        Prepare(cubes, tmp_path / "other", (3, 4, 6), sections=(), workers=0).run()


def test_volume_in_a_store_of_pictures_is_rejected_with_the_fix(tmp_path: Path) -> None:
    from medvlp_toolkit.images import read_image

    with pytest.raises(ImageReadError, match=r"give three sizes"):
        read_image(write_nifti(tmp_path / "a.nii.gz", np.eye(4)))
