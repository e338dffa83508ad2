"""Reading pictures and DICOM radiographs as uint8."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import radiograph, write_radiograph
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless, RLELossless

from medvlp_toolkit.images import ImageReadError, fit_box, height_and_width, read_image

RAMP = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (48, 1))  # 48 × 64, dark on the left


def reason_for(path: Path) -> str:
    with pytest.raises(ImageReadError) as error:
        read_image(path)
    assert error.value.path == path
    return error.value.reason


class TestPictures:
    def test_grey_picture_stays_one_channel(self, tmp_path: Path) -> None:
        pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert np.array_equal(read_image(tmp_path / "a.png"), pixels[None])

    def test_colour_picture_gives_three_channels_or_its_luma(self, tmp_path: Path) -> None:
        pixels = np.zeros((6, 8, 3), np.uint8)
        pixels[..., 1] = 200
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert np.array_equal(read_image(tmp_path / "a.png", channels=3), pixels.transpose(2, 0, 1))
        assert read_image(tmp_path / "a.png").shape == (1, 6, 8)
        assert read_image(tmp_path / "a.png")[0, 0, 0] == round(200 * 0.587)

    def test_palette_picture_shows_its_colours_not_its_indices(self, tmp_path: Path) -> None:
        picture = Image.new("P", (4, 4), 1)
        picture.putpalette([0, 0, 0, 250, 250, 250])
        picture.save(tmp_path / "a.png")
        assert (read_image(tmp_path / "a.png") == 250).all()

    def test_sixteen_bit_png_fills_the_eight_bits(self, tmp_path: Path) -> None:
        Image.fromarray(RAMP).save(tmp_path / "a.png")
        read = read_image(tmp_path / "a.png")
        assert read.dtype == np.uint8
        assert (read.min(), read.max()) == (0, 255)
        assert np.allclose(read[0, 0], np.arange(64) * 255 / 63, atol=0.51)

    def test_size_is_height_and_width(self, tmp_path: Path) -> None:
        Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png", (30, 20)).shape == (1, 30, 20)
        assert read_image(tmp_path / "a.png", 32).shape == (1, 32, 32)

    @pytest.mark.parametrize("size", [0, -3, (4,), (4, 0), 2.5])
    def test_impossible_size_is_refused(self, tmp_path: Path, size: object) -> None:
        with pytest.raises(ValueError, match=r"size"):
            read_image(tmp_path / "a.png", size)  # type: ignore[arg-type]

    def test_pad_keeps_the_aspect_ratio_on_black(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((20, 40), 200, np.uint8)).save(tmp_path / "a.png")
        read = read_image(tmp_path / "a.png", 40, fit="pad")[0]
        assert (read[10:30] == 200).all()
        assert not read[:10].any()
        assert not read[30:].any()

    def test_crop_keeps_the_aspect_ratio_and_the_middle(self, tmp_path: Path) -> None:
        pixels = np.zeros((20, 40), np.uint8)
        pixels[:, 10:30] = 200
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert (read_image(tmp_path / "a.png", 20, fit="crop") == 200).all()

    def test_large_jpeg_at_reduced_size_looks_like_the_full_decode(self, tmp_path: Path) -> None:
        rows, columns = np.mgrid[0:1200, 0:1600]
        pixels = (127 + 60 * np.sin(rows / 90) + 60 * np.cos(columns / 70)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
        full = np.asarray(Image.open(tmp_path / "a.jpg").resize((64, 64), Image.Resampling.BILINEAR))
        read = read_image(tmp_path / "a.jpg", 64)[0]
        assert np.abs(read.astype(int) - full).max() <= 4

    def test_exif_orientation_is_applied(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # turned a quarter to the left: shown turned to the right
        pixels = np.zeros((16, 32), np.uint8)
        pixels[:, :16] = 255
        Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
        read = read_image(tmp_path / "a.jpg")
        assert read.shape == (1, 32, 16)
        assert read[0, 2, 8] > 200
        assert read[0, 30, 8] < 50

    def test_kind_is_detected_from_content_not_from_name(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((4, 4), 9, np.uint8)).save(tmp_path / "a.png")
        (tmp_path / "a.png").rename(tmp_path / "a.dcm")
        assert (read_image(tmp_path / "a.dcm") == 9).all()

    def test_animated_picture_is_refused(self, tmp_path: Path) -> None:
        frames = [Image.new("L", (4, 4), value) for value in (1, 200)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        assert reason_for(tmp_path / "a.gif") == "the file holds 2 pictures; one is expected"

    def test_what_is_no_picture_is_one_error(self, tmp_path: Path) -> None:
        (tmp_path / "empty.png").touch()
        (tmp_path / "text.png").write_text("not an image")
        assert "empty" in reason_for(tmp_path / "empty.png")
        assert "no image of a known kind" in reason_for(tmp_path / "text.png")
        assert "folder" in reason_for(tmp_path)
        assert "does not exist" in reason_for(tmp_path / "nowhere.png")

    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a16.png"])
    def test_truncated_picture_is_one_error(self, tmp_path: Path, name: str) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64))
        Image.fromarray(noise.astype(np.uint16 if "16" in name else np.uint8)).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        assert "cannot be decoded" in reason_for(tmp_path / name)

    def test_boxes_follow_the_fit(self) -> None:
        box = (0.25, 0.25, 0.5, 0.5)
        assert fit_box(box, (100, 200), (50, 50), "stretch") == box
        # A wide image on a square: its 25 rows take half of the height, below 13 of padding.
        assert fit_box(box, (100, 200), (50, 50), "pad") == pytest.approx((0.25, 0.26 + 0.25 / 2, 0.5, 0.25))
        # Cropped to the square in the middle: the box fills the width.
        assert fit_box(box, (100, 200), (50, 50), "crop") == pytest.approx((0.0, 0.25, 1.0, 0.5))

    @pytest.mark.parametrize(("fit", "size"), [("pad", 256), ("crop", 45), ("pad", (77, 50)), ("crop", (77, 50))])
    def test_boxes_lie_on_the_pixels_that_are_stored(self, tmp_path: Path, fit: Any, size: Any) -> None:
        """Also where the padding or what is cut is an odd number of pixels."""
        original = (1008, 2000)
        sides = height_and_width(size)
        pixels = np.zeros(original, np.uint8)
        pixels[252:756, 800:1200] = 255
        Image.fromarray(pixels).save(tmp_path / "a.png")
        read = read_image(tmp_path / "a.png", size, fit=fit)[0] / 255
        x, y, w, h = fit_box((0.4, 0.25, 0.2, 0.5), original, sides, fit)
        for axis, (start, length, side) in enumerate(((y, h, sides[0]), (x, w, sides[1]))):
            lit = read.max(axis=1 - axis)
            middle = float((lit * (np.arange(side) + 0.5)).sum() / lit.sum())
            assert middle == pytest.approx((start + length / 2) * side, abs=0.02)
            assert lit.sum() == pytest.approx(length * side, abs=0.1)

    def test_a_padded_pictures_box_covers_its_rows(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((1008, 2000), 255, np.uint8)).save(tmp_path / "a.png")
        rows = np.flatnonzero(read_image(tmp_path / "a.png", 256, fit="pad")[0].any(axis=1))
        assert (rows[0], rows[-1]) == (64, 192)
        assert fit_box((0, 0, 1, 1), (1008, 2000), (256, 256), "pad") == (0, 64 / 256, 1, 129 / 256)

    def test_a_jpeg_that_lies_on_its_side_is_not_decoded_smaller_than_it_is_shown(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        shown = np.zeros((1600, 400), np.uint8)
        shown[:, 8::16] = shown[:, 9::16] = shown[:, 10::16] = shown[:, 11::16] = 255  # stripes
        Image.fromarray(np.rot90(shown)).save(tmp_path / "a.jpg", exif=exif, quality=95)
        Image.fromarray(shown).save(tmp_path / "a.png")
        lying, upright = (read_image(tmp_path / name, (50, 200))[0].astype(int) for name in ("a.jpg", "a.png"))
        assert np.abs(lying - upright).mean() < 25


class TestDicom:
    def test_without_window_the_range_of_the_image_is_shown(self, tmp_path: Path) -> None:
        read = read_image(write_radiograph(tmp_path / "a.dcm", RAMP))
        assert read.shape == (1, 48, 64)
        assert (read[0, 0, 0], read[0, 0, -1]) == (0, 255)

    def test_window_is_applied_after_the_rescale(self, tmp_path: Path) -> None:
        path = write_radiograph(
            tmp_path / "a.dcm", RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=0, WindowWidth=1024
        )
        read = read_image(path)[0, 0]
        values = RAMP[0].astype(float) - 1024
        expected = np.clip(((values + 0.5) / 1023 + 0.5) * 255, 0, 255)  # PS3.3, C.11.2.1.2.1
        assert np.abs(read - expected).max() <= 0.51

    def test_first_of_several_windows_is_used(self, tmp_path: Path) -> None:
        several = write_radiograph(tmp_path / "a.dcm", RAMP, WindowCenter=[1000, 3000], WindowWidth=[500, 100])
        one = write_radiograph(tmp_path / "b.dcm", RAMP, WindowCenter=1000, WindowWidth=500)
        assert np.array_equal(read_image(several), read_image(one))

    def test_monochrome1_is_turned_over(self, tmp_path: Path) -> None:
        bright = read_image(write_radiograph(tmp_path / "a.dcm", RAMP, WindowCenter=2048, WindowWidth=4096))
        dark = write_radiograph(
            tmp_path / "b.dcm", RAMP, WindowCenter=2048, WindowWidth=4096, PhotometricInterpretation="MONOCHROME1"
        )
        assert np.array_equal(read_image(dark), 255 - bright)

    def test_voi_lut_is_applied(self, tmp_path: Path) -> None:
        lut = pydicom.Dataset()
        lut.LUTDescriptor = [4096, 0, 16]
        lut.LUTData = np.where(np.arange(4096) >= 2048, 65535, 0).astype(np.uint16).tobytes()
        lut["LUTData"].VR = "OW"
        dataset = radiograph(RAMP)
        dataset.VOILUTSequence = [lut]
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        read = read_image(tmp_path / "a.dcm")[0, 0]
        assert np.array_equal(read, np.where(RAMP[0] >= 2048, 255, 0))

    def test_signed_values_are_read_as_signed(self, tmp_path: Path) -> None:
        pixels = (RAMP.astype(np.int16) - 2048).astype(np.int16)
        read = read_image(write_radiograph(tmp_path / "a.dcm", pixels))[0, 0]
        assert (np.diff(read.astype(int)) >= 0).all()
        assert (read[0], read[-1]) == (0, 255)

    def test_window_of_zero_width_counts_as_none(self, tmp_path: Path) -> None:
        read = read_image(write_radiograph(tmp_path / "a.dcm", RAMP, WindowCenter=0, WindowWidth=0))
        assert (read.min(), read.max()) == (0, 255)

    def test_eight_bit_radiograph(self, tmp_path: Path) -> None:
        pixels = (RAMP // 16).astype(np.uint8)
        read = read_image(write_radiograph(tmp_path / "a.dcm", pixels, WindowCenter=128, WindowWidth=256))
        assert np.abs(read[0].astype(int) - pixels).max() <= 1

    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
    def test_lossless_compression_changes_nothing(self, tmp_path: Path, syntax: pydicom.uid.UID) -> None:
        plain = read_image(write_radiograph(tmp_path / "a.dcm", RAMP))
        dataset = radiograph(RAMP)
        dataset.compress(syntax)
        dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
        assert np.array_equal(read_image(tmp_path / "b.dcm"), plain)

    @pytest.mark.parametrize(
        "name",
        [
            "MR_small_RLE.dcm",
            "MR_small_jp2klossless.dcm",
            "MR_small_jpeg_ls_lossless.dcm",
            "MR_small_bigendian.dcm",
            "MR_small_implicit.dcm",
        ],
    )
    def test_every_transfer_syntax_gives_the_same_picture(self, name: str) -> None:
        plain, other = (get_testdata_file(file, download=False) for file in ("MR_small.dcm", name))
        assert np.array_equal(read_image(str(other)), read_image(str(plain)))

    @pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_dcmtk.dcm", "image_dfl.dcm"])
    def test_jpeg_and_deflated_files_are_decoded(self, name: str) -> None:
        assert read_image(str(get_testdata_file(name, download=False))).any()

    def test_colour_dicom_keeps_its_colours(self, tmp_path: Path) -> None:
        pixels = np.zeros((6, 8, 3), np.uint8)
        pixels[..., 0] = 180
        path = write_radiograph(tmp_path / "a.dcm", pixels)
        assert np.array_equal(read_image(path, channels=3), pixels.transpose(2, 0, 1))
        assert read_image(path).shape == (1, 6, 8)

    def test_palette_dicom_is_colour(self) -> None:
        read = read_image(str(get_testdata_file("examples_palette.dcm", download=False)), channels=3)
        assert (read[0] != read[1]).any()

    def test_multi_frame_is_refused_with_the_number_of_frames(self, tmp_path: Path) -> None:
        pixels = np.stack([RAMP, RAMP, RAMP])
        path = write_radiograph(tmp_path / "a.dcm", RAMP, NumberOfFrames=3, PixelData=pixels.tobytes())
        assert reason_for(path) == "a multi-frame DICOM of 3 frames; a single frame is expected"

    def test_no_pixel_data(self, tmp_path: Path) -> None:
        dataset = radiograph(RAMP)
        del dataset.PixelData
        dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        assert reason_for(tmp_path / "a.dcm") == "the DICOM file has no pixel data"

    @pytest.mark.parametrize(
        ("attributes", "words"),
        [
            ({"BitsAllocated": 32}, "8 to 16 bits"),
            ({"BitsStored": 0}, "8 to 16 bits"),
            ({"BitsStored": 20}, "8 to 16 bits"),
            ({"Rows": 0}, "empty DICOM image"),
            ({"Columns": 0}, "empty DICOM image"),
            ({"PixelData": b""}, "empty DICOM image"),
            ({"Rows": 60000, "Columns": 60000}, "more than"),
            ({"Rows": 96}, "cannot be decoded"),
            ({"PhotometricInterpretation": "HSV"}, "HSV"),
        ],
    )
    def test_wrong_headers_are_one_error(self, tmp_path: Path, attributes: dict[str, object], words: str) -> None:
        assert words in reason_for(write_radiograph(tmp_path / "a.dcm", RAMP, **attributes))

    def test_truncated_file_is_one_error(self, tmp_path: Path) -> None:
        path = write_radiograph(tmp_path / "a.dcm", RAMP)
        path.write_bytes(path.read_bytes()[:-2000])
        assert "DICOM" in reason_for(path)

    def test_nothing_of_the_header_is_repeated(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = write_radiograph(tmp_path / "a.dcm", RAMP, PatientBirthDate="Doe", WindowCenter=2, WindowWidth=1)
        content = path.read_bytes()
        caplog.clear()  # writing the file told
        told = []
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            for end in range(200, len(content), 61):
                path.write_bytes(content[:end])
                try:
                    read_image(path)
                except ImageReadError as error:
                    told.append(str(error))
        output = capfd.readouterr()
        told += [caplog.text, output.out, output.err, *(str(warning.message) for warning in shown)]
        assert len(told) > 50
        assert not [text for text in told if "Doe" in text]


@pytest.mark.slow
class TestFuzz:
    """Whatever bytes are in a file: an image, or one ImageReadError."""

    def damaged(self, content: bytes, count: int) -> list[bytes]:
        rng = np.random.default_rng(0)
        variants = []
        for _ in range(count):
            changed = bytearray(content)
            for place in rng.integers(0, min(len(content), 1500), rng.integers(1, 6)):
                changed[place] = rng.integers(0, 256)
            variants.append(bytes(changed))
        variants += [content[:end] for end in range(0, len(content), max(1, len(content) // 150))]
        return variants

    @pytest.mark.parametrize("kind", ["dicom", "rle", "jpeg2000", "jpeg", "png", "gif", "tiff"])
    def test_damaged_files(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "file"
        if kind in ("dicom", "rle", "jpeg2000"):
            dataset = radiograph(RAMP, WindowCenter=2000, WindowWidth=4000, RescaleSlope=1, RescaleIntercept=0)
            if kind != "dicom":
                dataset.compress(RLELossless if kind == "rle" else JPEG2000Lossless)
            dataset.save_as(path, enforce_file_format=True)
        else:
            noise = np.random.default_rng(1).integers(0, 255, (48, 64)).astype(np.uint8)
            Image.fromarray(noise).save(path, format=kind)
        for content in self.damaged(path.read_bytes(), 600):
            path.write_bytes(content)
            try:
                read = read_image(path, 32)
            except ImageReadError:
                continue
            assert (read.dtype, read.shape) == (np.uint8, (1, 32, 32))
