"""Folders of DICOM series: every voxel where its affine says, or one line that says why not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import radiograph
from pydicom.uid import KeyObjectSelectionDocumentStorage
from series_files import AXIAL, COLUMNS, ROWS, STEP, off_place, write_series, write_slice

from medvlp_toolkit.images import ImageReadError, read_volume

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(ImageReadError) as error:
        read_volume(folder, **options)
    assert "\n" not in str(error.value)
    return error.value.reason


def check(folder: Path, slices: int = 5, **options: Any) -> None:
    voxels, affine = read_volume(folder, **options)
    assert sorted(voxels.shape[1:]) == sorted((COLUMNS, ROWS, slices))
    assert off_place(voxels, affine) <= 0.51


class TestOrder:
    @pytest.mark.parametrize(
        "numbers",
        [[3, 1, 5, 2, 4], [1, 1, 1, 1, 1], [5, 4, 3, 2, 1], [None] * 5],
        ids=["shuffled", "equal", "backwards", "missing"],
    )
    def test_slices_are_ordered_by_position_not_by_instance_number(self, tmp_path: Path, numbers: list[Any]) -> None:
        each = {place: {"InstanceNumber": number} for place, number in enumerate(numbers)}
        check(write_series(tmp_path / "s", each=each))

    def test_file_names_say_nothing(self, tmp_path: Path) -> None:
        check(write_series(tmp_path / "s", slices=[3, 0, 4, 1, 2]))

    @pytest.mark.parametrize("step", [STEP, -STEP], ids=["up", "down"])
    @pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, OBLIQUE], ids=["axial", "sagittal", "oblique"])
    def test_planes_of_any_direction(self, tmp_path: Path, orientation: tuple[float, ...], step: float) -> None:
        normal = np.cross(orientation[:3], orientation[3:]) * step
        check(write_series(tmp_path / "s", shift=tuple(normal), orientation=orientation))

    def test_tilted_gantry_shows_in_the_affine(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", shift=(0.0, 0.8, STEP))
        check(folder)
        assert abs(read_volume(folder)[1][1, 2]) == pytest.approx(0.8)

    def test_tilted_gantry_is_straightened_by_resampling(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", slices=range(9), shift=(0.0, 0.5, STEP))
        voxels, affine = read_volume(folder, spacing=(1, 2, 3), size=(3, 2, 3))
        assert np.allclose(affine[:3, :3], np.diag([1, 2, 3]), atol=1e-6)
        assert off_place(voxels, affine) <= 1.01  # both roundings

    def test_size_keeps_voxels_in_their_places(self, tmp_path: Path) -> None:
        voxels, affine = read_volume(write_series(tmp_path / "s"), size=(10, 12, 10))
        inner = (slice(None), slice(2, -2), slice(2, -2), slice(2, -2))
        shifted = affine.copy()
        shifted[:3, 3] = affine[:3, :3] @ [2, 2, 2] + affine[:3, 3]
        assert off_place(voxels[inner], shifted) <= 0.6

    def test_positions_may_be_rounded(self, tmp_path: Path) -> None:
        each = {n: {"ImagePositionPatient": [-20, -30, -40 + round(n * STEP + (-1) ** n * 0.03, 2)]} for n in range(5)}
        check(write_series(tmp_path / "s", each=each))

    def test_series_is_read_from_whatever_file_names_and_hidden_files_are_passed_over(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s")
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "DICOMDIR").write_bytes(b"x")
        os.mkfifo(folder / "pipe")
        check(folder)


class TestIncomplete:
    def test_a_missing_slice_is_named_with_the_distances(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", slices=[0, 1, 2, 4, 5])
        assert "1 slice is missing: images are 3 mm apart, and once 6 mm" in refusal(folder)

    def test_uneven_spacing(self, tmp_path: Path) -> None:
        each = {4: {"ImagePositionPatient": [-20, -30, -40 + 4 * STEP + 1.2]}}
        assert "unevenly spaced, 3 to 4.2 mm" in refusal(write_series(tmp_path / "s", each=each))

    def test_a_slice_shifted_within_its_plane(self, tmp_path: Path) -> None:
        each = {2: {"ImagePositionPatient": [-17, -30, -40 + 2 * STEP]}}
        assert "not on one line" in refusal(write_series(tmp_path / "s", each=each))

    @pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
    def test_what_places_a_slice_must_be_there(self, tmp_path: Path, keyword: str) -> None:
        assert keyword in refusal(write_series(tmp_path / "all", **{keyword: None}))
        reason = refusal(write_series(tmp_path / "one", each={1: {keyword: None}}))
        assert f"1 of 5 images have no usable {keyword}" in reason

    @pytest.mark.parametrize(
        ("keyword", "value", "words"),
        [
            ("PixelSpacing", [0, 0], "PixelSpacing"),
            ("PixelSpacing", [-1, 1], "PixelSpacing"),
            ("ImageOrientationPatient", [0] * 6, "ImageOrientationPatient"),
            ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "ImageOrientationPatient"),
            ("RescaleSlope", 0, "RescaleSlope"),
            ("NumberOfFrames", 3, "3 frames"),
        ],
    )
    def test_impossible_values(self, tmp_path: Path, keyword: str, value: Any, words: str) -> None:
        assert words in refusal(write_series(tmp_path / "s", **{keyword: value}))

    @pytest.mark.parametrize("value", [b"NaN ", b"inf ", b"x^y "])
    @pytest.mark.parametrize(
        "tag", [0x00200032, 0x00280030, 0x00281053, 0x00280008], ids=["position", "spacing", "slope", "frames"]
    )
    def test_what_is_no_number_is_refused_without_quoting_it(self, tmp_path: Path, tag: int, value: bytes) -> None:
        folder = write_series(tmp_path / "s", RescaleSlope=1, RescaleIntercept=0, NumberOfFrames=1)
        path = folder / "001"
        dataset = pydicom.dcmread(path)
        element = dataset[tag]
        count = 1 if tag in (0x00281053, 0x00280008) else len(element.value)
        raw = b"\\".join([value.strip()] * count)
        raw += b" " * (len(raw) % 2)
        kind = pydicom.dataelem.RawDataElement(element.tag, element.VR, len(raw), raw, 0, False, True)
        dataset._dict[element.tag] = kind
        dataset.save_as(path)
        assert "x^y" not in refusal(folder)

    def test_pixel_spacing_that_differs(self, tmp_path: Path) -> None:
        each = {3: {"PixelSpacing": [1.0, 1.0]}}
        assert "PixelSpacing differs" in refusal(write_series(tmp_path / "s", each=each))

    def test_a_single_image_needs_a_thickness(self, tmp_path: Path) -> None:
        check(write_series(tmp_path / "thick", slices=[0]), slices=1)
        assert "SliceThickness" in refusal(write_series(tmp_path / "s", slices=[0], SliceThickness=None))

    def test_colour_is_refused(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s")
        for path in folder.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.BitsAllocated = 3, 0, 8
            dataset.BitsStored, dataset.HighBit, dataset.PhotometricInterpretation = 8, 7, "RGB"
            dataset.PixelData = bytes(ROWS * COLUMNS * 3)
            dataset.save_as(path)
        assert "colour" in refusal(folder)

    def test_a_foreign_or_damaged_file_is_named(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s")
        (folder / "notes.txt").write_text("hello")
        with pytest.raises(ImageReadError, match="not DICOM") as error:
            read_volume(folder)
        assert error.value.path == folder / "notes.txt"

    @pytest.mark.parametrize("length", [132, 300, 420])
    def test_a_slice_at_the_end_whose_header_is_cut_is_not_passed_over(self, tmp_path: Path, length: int) -> None:
        last = write_series(tmp_path / "ct") / "004"
        last.write_bytes(last.read_bytes()[:length])
        assert "cut or damaged" in refusal(tmp_path / "ct")

    def test_what_lies_beside_the_images_is_passed_over(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "ct")
        for name in ("Thumbs.db", "desktop.ini", "DICOMDIR"):
            (folder / name).write_bytes(b"x")
        for number, sop_class in enumerate((KeyObjectSelectionDocumentStorage, "1.3.12.2.1107.5.9.1")):
            dataset = radiograph(np.zeros((2, 2), np.uint16), SOPClassUID=sop_class)
            del dataset.PixelData, dataset.Rows, dataset.Columns
            dataset.save_as(folder / f"document{number}", enforce_file_format=True)
        check(folder)


class TestSeveral:
    def test_each_slice_twice_is_read_once(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s")
        for path in list(folder.iterdir()):
            shutil.copy(path, folder / f"copy_of_{path.name}")
        check(folder)

    def test_other_pixels_at_the_same_place_are_refused(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s")
        again = write_slice(folder / "again", (-20, -30, -40))
        dataset = pydicom.dcmread(again)
        dataset.PixelData = bytes(len(dataset.PixelData))
        dataset.save_as(again)
        assert "1 of 6 images are at the place of another" in refusal(folder)

    def test_several_series_are_listed_and_chosen_by_number(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s")
        write_series(folder, slices=range(3), prefix="b", SeriesInstanceUID="1.2.4", SeriesNumber=7)
        reason = refusal(folder)
        assert reason.startswith("the folder holds 2 DICOM series: 4 (5 images), 7 (3 images)")
        assert "--series 4" in reason
        check(folder, series=4)
        check(folder, slices=3, series="7")
        check(folder, slices=3, series="1.2.4")
        check(folder, series="largest")
        assert "no series 5 in the folder; choose with --series among 4" in refusal(folder, series=5)

    def test_series_without_numbers_are_chosen_by_their_place(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", SeriesNumber=None)
        write_series(folder, slices=range(3), prefix="b", SeriesInstanceUID="1.2.4", SeriesNumber=None)
        assert "#1 (5 images), #2 (3 images)" in refusal(folder)
        check(folder, slices=3, series="#2")

    def test_planes_of_a_localizer(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s")
        write_series(folder, slices=range(4), shift=(STEP, 0, 0), orientation=SAGITTAL, prefix="b")
        assert "4/1 (5 images), 4/2 (4 images), which differ in orientation" in refusal(folder)
        check(folder, series="4/1")
        check(folder, slices=4, series="4/2")
        check(folder, series="largest")

    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("EchoTime", (10, 90)),
            ("EchoNumbers", (1, 2)),
            ("TemporalPositionIdentifier", (1, 2)),
            ("DiffusionBValue", (0.0, 1000.0)),
            ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"])),
            ("AcquisitionNumber", (1, 2)),
        ],
    )
    def test_echoes_and_phases_in_one_series(self, tmp_path: Path, keyword: str, values: tuple[Any, Any]) -> None:
        folder = write_series(tmp_path / "s", **{keyword: values[0]})
        write_series(folder, prefix="b", **{keyword: values[1]})
        assert f"4/1 (5 images), 4/2 (5 images), which differ in {keyword}" in refusal(folder)
        check(folder, series="4/2")
        assert "4/1 (5 images)" in refusal(folder, series="largest")
        assert "4/1 (5 images)" in refusal(folder, series=4)

    def test_two_attributes_may_tell_four_volumes_apart(self, tmp_path: Path) -> None:
        folder = tmp_path / "s"
        for number, (echo, kind) in enumerate([(1, "M"), (1, "P"), (2, "M"), (2, "P")]):
            write_series(folder, prefix=f"{number}", EchoTime=echo, ImageType=["ORIGINAL", "PRIMARY", kind])
        assert "4 volumes" in refusal(folder)
        check(folder, series="4/3")

    def test_times_of_single_slices_do_not_make_volumes(self, tmp_path: Path) -> None:
        each = {number: {"ContentTime": f"1200{number:02}"} for number in range(5)}
        folder = write_series(tmp_path / "s", each=each)
        check(folder)


def test_slopes_may_differ_from_slice_to_slice(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    for number, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        values = dataset.pixel_array.astype(np.float64)
        dataset.RescaleSlope, dataset.RescaleIntercept = (0.5, 100) if number % 2 else (2, -10)
        stored = np.rint((values - dataset.RescaleIntercept) / dataset.RescaleSlope).astype(np.uint16)
        dataset.PixelData = stored.tobytes()
        dataset.save_as(path)
    voxels, affine = read_volume(folder)
    assert off_place(voxels, affine) <= 1.6
