"""NIfTI files as they are found: read with their contrast, or refused in one line before memory is asked for."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from peak_reading import peak_of_reading

from medvlp_toolkit.images import ImageReadError, StoredVolume, read_image, read_stored_volume, read_volume
from medvlp_toolkit.images.stored_scale import scale_of, stored

SHAPE = (6, 7, 8)
RAMP = np.arange(np.prod(SHAPE)).reshape(SHAPE)


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None, kind: Any = nibabel.Nifti1Image) -> Path:
    nibabel.save(kind(values, np.eye(4) if affine is None else affine), path)
    return path


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ImageReadError) as error:
        read_stored_volume(path, **options)
    assert "\n" not in str(error.value)
    return error.value.reason


def real(volume: StoredVolume) -> np.ndarray:
    return volume.voxels[0].astype(np.float64) * volume.slope + volume.intercept


class TestRefused:
    def test_what_is_no_volume_of_numbers(self, tmp_path: Path) -> None:
        colour = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
        assert "colour" in refusal(save(tmp_path / "rgb.nii.gz", colour))
        assert "complex" in refusal(save(tmp_path / "complex.nii", RAMP.astype(np.complex64)))
        assert "(6, 7, 8, 3)" in refusal(save(tmp_path / "four.nii", np.zeros((*SHAPE, 3), np.int16)))
        assert "(6, 7)" in refusal(save(tmp_path / "two.nii", np.zeros((6, 7), np.int16)))

    @pytest.mark.parametrize(
        ("value", "words"),
        [(0.0, "every voxel has the same value"), (np.nan, "no voxel has a finite"), (np.inf, "no voxel has a finite")],
    )
    def test_what_has_nothing_to_show(self, tmp_path: Path, value: float, words: str) -> None:
        assert words in refusal(save(tmp_path / "a.nii", np.full(SHAPE, value)))

    @pytest.mark.parametrize("length", [0, 3, 100, 352, 400])
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_truncated(self, tmp_path: Path, length: int, suffix: str) -> None:
        content = save(tmp_path / "a.nii", RAMP.astype(np.int16)).read_bytes()[:length]
        (tmp_path / f"b{suffix}").write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)
        refusal(tmp_path / f"b{suffix}")

    def test_truncated_compression(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 999, SHAPE).astype(np.int16)
        content = save(tmp_path / "a.nii.gz", noise).read_bytes()
        (tmp_path / "a.nii.gz").write_bytes(content[:-60])
        assert "cannot be read" in refusal(tmp_path / "a.nii.gz")

    def test_no_orientation(self, tmp_path: Path) -> None:
        nibabel.save(nibabel.Nifti1Image(RAMP.astype(np.int16), None), tmp_path / "a.nii")
        assert "neither sform nor qform is set" in refusal(tmp_path / "a.nii")

    def test_orientations_that_contradict_each_other(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(RAMP.astype(np.int16), np.eye(4))
        image.set_sform(np.diag([-1.0, 1, 1, 1]), 1)
        image.set_qform(np.eye(4), 1)
        nibabel.save(image, tmp_path / "a.nii")
        assert "sform and qform disagree" in refusal(tmp_path / "a.nii")

    @pytest.mark.parametrize(
        ("affine", "words"),
        [
            (np.diag([0.0, 1, 1, 1]), "spacing is 0"),
            (np.diag([np.nan, 1, 1, 1]), "not a number"),
            (np.array([[1.0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]), "two axes have the same direction"),
        ],
    )
    def test_affine_that_places_nothing(self, tmp_path: Path, affine: np.ndarray, words: str) -> None:
        image = nibabel.Nifti1Image(RAMP.astype(np.int16), np.eye(4))
        for name, row in zip(("srow_x", "srow_y", "srow_z"), affine, strict=False):
            image.header[name] = row
        content = bytearray(image.header.binaryblock + bytes(4) + RAMP.astype(np.int16).tobytes(order="F"))
        content[254:256] = (2).to_bytes(2, "little")  # sform_code
        content[108:112] = np.float32(352).tobytes()  # vox_offset
        content[344:348] = b"n+1\0"
        (tmp_path / "a.nii").write_bytes(content)
        assert words in refusal(tmp_path / "a.nii")

    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    def test_damaged_extensions_are_not_read_for_ever(self, tmp_path: Path, kind: Any) -> None:
        path = save(tmp_path / "a.nii", RAMP.astype(np.int16), kind=kind)
        content = bytearray(path.read_bytes())
        size = 348 if kind is nibabel.Nifti1Image else 540
        content[size] = 1  # extensions follow, it says; what follows is a length of 0
        path.write_bytes(content)
        assert np.array_equal(read_volume(path)[0][0], RAMP)

    def test_declared_size_is_compared_with_the_file(self, tmp_path: Path) -> None:
        header = nibabel.Nifti1Header()
        header.set_data_shape((800, 800, 800))
        header.set_data_dtype(np.int16)
        header.set_sform(np.eye(4), 1)
        header["magic"], header["vox_offset"] = b"n+1", 352
        (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(1000))
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1000)))
        for name in ("a.nii", "a.nii.gz"):
            assert "too short for shape (800, 800, 800)" in refusal(tmp_path / name)

    def test_a_large_volume_from_a_tiny_file(self, tmp_path: Path) -> None:
        header = nibabel.Nifti1Header()
        header.set_data_shape((600, 600, 600))
        header.set_data_dtype(np.int16)
        header.set_sform(np.eye(4), 1)
        header["magic"], header["vox_offset"] = b"n+1", 352
        with gzip.open(tmp_path / "a.nii.gz", "wb", compresslevel=1) as file:
            file.write(header.binaryblock + bytes(4))
            for _ in range(27):
                file.write(bytes(16_000_000))
        assert "432,000,000 bytes of values" in refusal(tmp_path / "a.nii.gz")

    @pytest.mark.parametrize("behind", [4, 8])
    def test_compressed_data_that_does_not_match_its_checksum_or_length(self, tmp_path: Path, behind: int) -> None:
        file = save(tmp_path / "a.nii.gz", RAMP.astype(np.int16))
        content = bytearray(file.read_bytes())
        content[-behind] ^= 1
        file.write_bytes(content)
        assert "damaged compression" in refusal(file)

    @pytest.mark.parametrize("behind", [bytes(64), b"anything else"])
    def test_what_lies_behind_compressed_data_does_not_matter(self, tmp_path: Path, behind: bytes) -> None:
        file = save(tmp_path / "a.nii.gz", RAMP.astype(np.int16))
        file.write_bytes(file.read_bytes() + behind)
        assert np.array_equal(read_volume(file)[0][0], RAMP)

    @pytest.mark.parametrize("offset", [0.0, 100.0, 348.0])
    def test_values_that_would_begin_within_the_header(self, tmp_path: Path, offset: float) -> None:
        file = save(tmp_path / "a.nii", RAMP.astype(np.int16))
        content = bytearray(file.read_bytes())
        content[108:112] = np.float32(offset).tobytes()
        file.write_bytes(content)
        assert "within its header" in refusal(file)

    def test_orientation_codes_below_zero_are_none(self, tmp_path: Path) -> None:
        file = save(tmp_path / "a.nii", RAMP.astype(np.int16))
        content = bytearray(file.read_bytes())
        content[252:256] = np.array([-1, -1], np.int16).tobytes()
        file.write_bytes(content)
        assert "neither sform nor qform" in refusal(file)

    def test_pair_of_files_and_other_formats(self, tmp_path: Path) -> None:
        nibabel.save(nibabel.Nifti1Pair(RAMP.astype(np.int16), np.eye(4)), tmp_path / "a.hdr")
        (tmp_path / "a.hdr").rename(tmp_path / "a.nii")
        assert ".img" in refusal(tmp_path / "a.nii")

    def test_named_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.nii")
        os.mkfifo(tmp_path / "a.png")
        assert "named pipe" in refusal(tmp_path / "a.nii")
        with pytest.raises(ImageReadError, match="named pipe"):
            read_image(tmp_path / "a.png")


class TestContrast:
    def test_hounsfield_units_are_stored_as_they_are(self, tmp_path: Path) -> None:
        units = np.linspace(-1024, 3071, RAMP.size).round().reshape(SHAPE)
        for kind in (np.int16, np.float32, np.float64):
            volume = read_stored_volume(save(tmp_path / "a.nii", units.astype(kind)))
            assert (volume.slope, volume.intercept) == (1, 0)
            assert np.array_equal(volume.voxels[0], units)

    def test_resampled_hounsfield_units_are_rounded(self, tmp_path: Path) -> None:
        units = np.linspace(-1024.3, 3071.8, RAMP.size).reshape(SHAPE)
        volume = read_stored_volume(save(tmp_path / "a.nii", units))
        assert (volume.slope, volume.intercept) == (1, 0)
        assert np.abs(volume.voxels[0] - units).max() <= 0.5

    @pytest.mark.parametrize("scale", [1e-6, 1.0, 200.0, 1e5, 1e30])
    @pytest.mark.parametrize("offset", [0.0, -0.5, 1e3])
    def test_fractions_keep_their_contrast_whatever_their_range(
        self, tmp_path: Path, scale: float, offset: float
    ) -> None:
        values = (np.linspace(0, 1, RAMP.size).reshape(SHAPE) ** 2 + offset) * scale
        volume = read_stored_volume(save(tmp_path / "a.nii", values))
        assert np.abs(real(volume) - values).max() <= np.ptp(values) / 500
        assert len(np.unique(volume.voxels)) > 250

    def test_unsigned_values_beyond_32767_are_exact(self, tmp_path: Path) -> None:
        values = np.linspace(0, 65535, RAMP.size).astype(np.uint16).reshape(SHAPE)
        volume = read_stored_volume(save(tmp_path / "a.nii", values))
        assert volume.slope == 1
        assert np.array_equal(real(volume), values)

    def test_wide_integers_are_scaled(self, tmp_path: Path) -> None:
        values = (RAMP.astype(np.int32) - 100) * 100_000
        volume = read_stored_volume(save(tmp_path / "a.nii", values))
        assert np.abs(real(volume) - values).max() <= np.ptp(values) / 65534

    def test_a_few_values_far_out_do_not_flatten_the_others(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).random((20, 20, 20))
        values[0, 0, 0], values[1, 1, 1], values[2, 2, 2] = 1e20, -np.inf, np.nan
        volume = read_stored_volume(save(tmp_path / "a.nii", values))
        inside = np.isfinite(values) & (np.abs(values) <= 1)
        assert np.abs(real(volume) - values)[inside].max() < 0.005
        assert real(volume)[0, 0, 0] >= real(volume)[inside].max()
        assert real(volume)[2, 2, 2] <= real(volume)[inside].min()

    def test_header_slope_is_applied(self, tmp_path: Path) -> None:
        image = nibabel.Nifti1Image(RAMP.astype(np.int16), np.eye(4))
        image.header.set_slope_inter(2, -1024)
        nibabel.save(image, tmp_path / "a.nii")
        raw = bytearray((tmp_path / "a.nii").read_bytes())
        raw[112:120] = np.array([2, -1024], np.float32).tobytes()
        raw[352:] = RAMP.astype(np.int16).tobytes(order="F")
        (tmp_path / "a.nii").write_bytes(raw)
        assert np.array_equal(read_volume(tmp_path / "a.nii")[0][0], RAMP * 2 - 1024)
        raw[112:120] = np.array([np.inf, 0], np.float32).tobytes()
        (tmp_path / "a.nii").write_bytes(raw)
        assert "slope or intercept" in refusal(tmp_path / "a.nii")

    def test_window_cuts_values(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.nii", (RAMP * 10 - 1500).astype(np.int16))
        volume = read_stored_volume(path, window=(-1000, 400))
        assert np.array_equal(volume.voxels[0], np.clip(RAMP * 10 - 1500, -1000, 400))
        assert "one side of the window" in refusal(path, window=(5000, 6000))

    def test_scaled_values_are_resampled_in_place(self, tmp_path: Path) -> None:
        values = np.linspace(0, 1, 20)[:, None, None] * np.ones((20, 20, 20))
        volume = read_stored_volume(save(tmp_path / "a.nii", values), size=(10, 10, 10))
        assert np.allclose(real(volume)[2:-2, 5, 5], np.linspace(0.5, 18.5, 10)[2:-2] / 19, atol=1e-4)


class TestForms:
    @pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_versions_and_byte_orders(self, tmp_path: Path, kind: Any, suffix: str) -> None:
        header = kind.header_class(endianness=">")
        nibabel.save(kind(RAMP.astype(">i2"), np.eye(4), header), tmp_path / f"a{suffix}")
        assert np.array_equal(read_volume(tmp_path / f"a{suffix}")[0][0], RAMP)

    def test_a_name_does_not_say_whether_it_is_compressed(self, tmp_path: Path) -> None:
        save(tmp_path / "a.nii.gz", RAMP.astype(np.int16)).rename(tmp_path / "a.nii")
        assert np.array_equal(read_volume(tmp_path / "a.nii")[0][0], RAMP)

    @pytest.mark.parametrize(("unit", "millimetres"), [("meter", 1000), ("mm", 1), ("micron", 0.001), ("unknown", 1)])
    def test_the_unit_of_the_header_is_brought_to_millimetres(
        self, tmp_path: Path, unit: str, millimetres: float
    ) -> None:
        image = nibabel.Nifti1Image(RAMP.astype(np.int16), np.diag([2.0, 3.0, 4.0, 1.0]))
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / "a.nii")
        assert np.allclose(read_volume(tmp_path / "a.nii")[1].diagonal()[:3], np.array([2, 3, 4]) * millimetres)

    def test_a_fourth_axis_of_one_is_dropped(self, tmp_path: Path) -> None:
        assert read_volume(save(tmp_path / "a.nii", RAMP[..., None].astype(np.int16)))[0].shape == (1, *SHAPE)

    @pytest.mark.parametrize("size", [(6, 7, 16), (12, 6, 8), (6, 7, 8)])
    def test_outer_voxels_are_not_mixed_with_zeros(self, tmp_path: Path, size: tuple[int, int, int]) -> None:
        air = np.full((24, 28, 32), -1000, np.int16)
        air[10:14, 10:14, 10:14] = 50
        voxels, _ = read_volume(save(tmp_path / "a.nii", air), size=size)
        assert (voxels[0, 0] == -1000).all()
        assert (voxels[0, :, -1] == -1000).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_integers_come_back_from_any_memory_order(order: Any) -> None:
    values = np.asarray(np.random.default_rng(0).random((30, 40, 50)), order=order)[::-1].transpose(1, 0, 2)
    scale = scale_of(values)
    back = stored(scale(values)) * scale.slope + scale.intercept
    assert np.abs(back - values).max() <= scale.slope


@pytest.mark.slow
def test_a_small_file_of_a_large_volume_takes_little_memory(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((384, 384, 384))
    header.set_data_dtype(np.int16)
    header.set_sform(np.eye(4), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    with gzip.open(tmp_path / "a.nii.gz", "wb", compresslevel=1) as file:
        file.write(header.binaryblock + bytes(4))
        for plane in range(384):
            file.write(np.full((384, 384), plane, np.int16).tobytes())
    assert peak_of_reading(tmp_path / "a.nii.gz", 64, 64, 64) < 108 + 200  # MiB: the values once, some planes of them
