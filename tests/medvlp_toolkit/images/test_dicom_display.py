"""What of a DICOM file is shown, where headers are empty, unusual or wrong."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import radiograph, write_radiograph
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medvlp_toolkit.images import ImageReadError, dicom, read_image

RAMP = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (48, 1))  # 48 × 64, dark on the left
SHOWN = np.arange(64) * 255 / 63  # the ramp over all of 8 bits
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
ENTRIES = np.arange(4096)


def save(path: Path, dataset: FileDataset) -> Path:
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    else:
        dataset.save_as(path, enforce_file_format=True)
    return path


def line(path: Path) -> np.ndarray:
    """The middle row of the picture, as numbers that can be subtracted."""
    return read_image(path)[0, 24].astype(int)


def is_ramp(shown: np.ndarray, tolerance: float = 4.5) -> bool:
    """Whether a row is dark on the left, bright on the right, even in between."""
    return bool(np.abs(shown - SHOWN).max() <= tolerance)


def refusal(path: Path) -> str:
    with pytest.raises(ImageReadError) as error:
        read_image(path)
    return error.value.reason


def with_raw(dataset: FileDataset, tag: int, kind: str, value: bytes) -> FileDataset:
    """The dataset with the bytes of an element, which pydicom would refuse to write."""
    value += b" " * (len(value) % 2)
    dataset._dict[Tag(tag)] = RawDataElement(Tag(tag), kind, len(value), value, 0, False, True)
    return dataset


def lut_item(bits: int, data: Any, count: int = 4096, first: int = 0, kind: str = "OW") -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.LUTDescriptor = [count, first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = data
    item["LUTData"].VR = kind
    return item


class TestVoiLut:
    @pytest.mark.parametrize(
        ("bits", "entries"),
        [
            (16, ENTRIES),  # of 12 bits, declared as of 16
            (16, ENTRIES >> 2),  # of 10
            (12, ENTRIES),
            (10, ENTRIES),  # of more than declared
            (14, ENTRIES * 2),
            (8, ENTRIES >> 4),
        ],
    )
    def test_the_largest_entry_is_white_whatever_bits_are_declared(
        self, tmp_path: Path, bits: int, entries: np.ndarray
    ) -> None:
        dataset = radiograph(RAMP)
        dataset.VOILUTSequence = [lut_item(bits, entries.astype("<u2").tobytes())]
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)))

    def test_a_table_that_uses_its_bits_keeps_its_brightness(self, tmp_path: Path) -> None:
        dataset = radiograph(RAMP)
        dataset.VOILUTSequence = [lut_item(16, (ENTRIES * 40000 // 4095).astype("<u2").tobytes())]
        assert line(save(tmp_path / "a.dcm", dataset))[-1] == pytest.approx(40000 / 65535 * 255, abs=3)

    @pytest.mark.parametrize("kind", ["OW", "US"])
    @pytest.mark.parametrize("packed", [False, True], ids=["one a word", "two a word"])
    def test_entries_of_eight_bits_in_both_packings(self, tmp_path: Path, kind: str, packed: bool) -> None:
        content = (ENTRIES >> 4).astype("u1" if packed else "<u2").tobytes()
        data = content if kind == "OW" else np.frombuffer(content, "<u2").tolist()
        dataset = radiograph(RAMP)
        dataset.VOILUTSequence = [lut_item(8, data, kind=kind)]
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)))

    def test_first_mapped_value_may_be_negative_and_written_either_way(self, tmp_path: Path) -> None:
        for first in (-2048, 65536 - 2048):
            dataset = radiograph(RAMP, RescaleSlope=1, RescaleIntercept=-2048)
            dataset.VOILUTSequence = [lut_item(12, ENTRIES.astype("<u2").tobytes(), first=first)]
            assert is_ramp(line(save(tmp_path / "a.dcm", dataset)))

    def test_values_beyond_the_table_get_its_ends(self, tmp_path: Path) -> None:
        dataset = radiograph(RAMP)
        dataset.VOILUTSequence = [lut_item(12, np.arange(1000, 3000).astype("<u2").tobytes(), 2000, 1000)]
        shown = line(save(tmp_path / "a.dcm", dataset))
        assert (shown[:15] == shown[0]).all()
        assert (shown[-15:] == 187).all()

    def test_big_endian_tables(self, tmp_path: Path) -> None:
        for bits, content in ((12, ENTRIES.astype(">u2")), (8, (ENTRIES >> 4).astype("u1").view("<u2").byteswap())):
            dataset = radiograph(RAMP)
            dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
            dataset.PixelData = RAMP.byteswap().tobytes()
            dataset.VOILUTSequence = [lut_item(bits, content.tobytes())]
            assert is_ramp(line(save(tmp_path / "a.dcm", dataset)))

    def test_an_empty_item_with_a_window_is_passed_over(self, tmp_path: Path) -> None:
        dataset = radiograph(RAMP, **WINDOW)
        dataset.VOILUTSequence = [pydicom.Dataset()]
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)))

    @pytest.mark.parametrize("bits", [0, 17, 40000])
    def test_an_impossible_table_is_passed_over(self, tmp_path: Path, bits: int) -> None:
        dataset = radiograph(RAMP, **WINDOW)
        dataset.VOILUTSequence = [lut_item(bits, ENTRIES.astype("<u2").tobytes())]
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)))


class TestWindow:
    @pytest.mark.parametrize("function", ["", "LOG", "linear", None])
    def test_linear_is_the_default_of_the_function(self, tmp_path: Path, function: str | None) -> None:
        path = write_radiograph(tmp_path / "a.dcm", RAMP, VOILUTFunction=function, **WINDOW)
        assert is_ramp(line(path))

    def test_sigmoid_and_exact_functions(self, tmp_path: Path) -> None:
        values = RAMP[24].astype(float)
        sigmoid = write_radiograph(tmp_path / "a.dcm", RAMP, VOILUTFunction="SIGMOID", **WINDOW)
        assert np.abs(line(sigmoid) - 255 / (1 + np.exp(-4 * (values - 2048) / 4096))).max() <= 0.51
        exact = write_radiograph(tmp_path / "b.dcm", RAMP, VOILUTFunction="LINEAR_EXACT", **WINDOW)
        assert np.abs(line(exact) - ((values - 2048) / 4096 + 0.5) * 255).max() <= 0.51

    def test_width_of_one_is_a_threshold(self, tmp_path: Path) -> None:
        shown = line(write_radiograph(tmp_path / "a.dcm", RAMP, WindowCenter=2048, WindowWidth=1))
        assert np.array_equal(shown, np.where(RAMP[24] > 2047.5, 255, 0))

    @pytest.mark.parametrize(
        ("centre", "width"),
        [(b"", b""), (b"2048", b""), (b"NaN", b"4096"), (b"2048", b"inf"), (b"a b", b"4096"), (b"9", b"-5")],
    )
    def test_a_window_that_is_none_leaves_the_range_of_the_image(
        self, tmp_path: Path, centre: bytes, width: bytes
    ) -> None:
        dataset = with_raw(with_raw(radiograph(RAMP), 0x00281050, "DS", centre), 0x00281051, "DS", width)
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)), 0.51)

    def test_the_first_usable_of_several_windows(self, tmp_path: Path) -> None:
        path = write_radiograph(tmp_path / "a.dcm", RAMP, WindowCenter=[100, 2048], WindowWidth=[0, 4096])
        assert is_ramp(line(path))

    @pytest.mark.parametrize("centre", [-50000, 90000])
    def test_a_window_outside_all_values_shows_nothing_so_the_range_is_used(self, tmp_path: Path, centre: int) -> None:
        assert is_ramp(line(write_radiograph(tmp_path / "a.dcm", RAMP, WindowCenter=centre, WindowWidth=100)), 0.51)


class TestRescale:
    @pytest.mark.parametrize("slope", [b"0", b"NaN", b"inf", b"-inf", b"1e400"])
    def test_a_slope_that_leaves_nothing_is_refused(self, tmp_path: Path, slope: bytes) -> None:
        dataset = with_raw(radiograph(RAMP, RescaleIntercept=0), 0x00281053, "DS", slope)
        assert "RescaleSlope" in refusal(save(tmp_path / "a.dcm", dataset))

    def test_empty_attributes_count_as_absent(self, tmp_path: Path) -> None:
        dataset = with_raw(radiograph(RAMP, RescaleIntercept=-1024, **WINDOW), 0x00281053, "DS", b"")
        shown = line(save(tmp_path / "a.dcm", dataset))
        assert np.abs(shown - np.clip((RAMP[24] - 1024.0) / 4095 * 255, 0, 255)).max() <= 1.5

    def test_negative_slope_turns_the_picture_over(self, tmp_path: Path) -> None:
        path = write_radiograph(tmp_path / "a.dcm", RAMP, RescaleSlope=-1, RescaleIntercept=4095)
        assert is_ramp(255 - line(path))

    def test_modality_table(self, tmp_path: Path) -> None:
        dataset = radiograph(RAMP)
        item = lut_item(16, (4095 - ENTRIES).astype("<u2").tobytes())
        item.ModalityLUTType = "US"
        dataset.ModalityLUTSequence = [item]
        assert is_ramp(255 - line(save(tmp_path / "a.dcm", dataset)))


class TestPadding:
    def framed(self, value: int, kind: Any = np.uint16) -> np.ndarray:
        pixels = (1000 + RAMP // 4).astype(kind)
        pixels[:4] = pixels[:, :4] = pixels[:, -4:] = value
        return pixels

    @pytest.mark.parametrize("value", [65535, 0, 4095])
    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    def test_padding_is_black_and_sets_no_range(self, tmp_path: Path, value: int, photometric: str) -> None:
        path = write_radiograph(
            tmp_path / "a.dcm", self.framed(value), PixelPaddingValue=value, PhotometricInterpretation=photometric
        )
        read = read_image(path)[0]
        assert not read[:4].any()
        assert not read[:, -4:].any()
        inside = read[4:, 4:-4].astype(int)
        assert (inside.min(), inside.max()) == (0, 255)
        assert (np.diff(inside[0]) > 0).all() == (photometric == "MONOCHROME2")

    def test_a_range_of_padding(self, tmp_path: Path) -> None:
        pixels = self.framed(3000)
        pixels[2] = 4000
        for ends in ((3000, 4095), (4095, 3000)):
            path = write_radiograph(
                tmp_path / "a.dcm", pixels, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1]
            )
            read = read_image(path)[0]
            assert not read[:4].any()
            assert read[4:, 4:-4].max() == 255

    @pytest.mark.parametrize("written", [-2000, 63536])
    def test_sign_of_the_value_may_be_written_either_way(self, tmp_path: Path, written: int) -> None:
        dataset = radiograph(self.framed(-2000, np.int16), BitsStored=16)
        kind = "SS" if written < 0 else "US"
        raw = int(written).to_bytes(2, "little", signed=written < 0)
        path = save(tmp_path / "a.dcm", with_raw(dataset, 0x00280120, kind, raw))
        read = read_image(path)[0]
        assert not read[:4].any()
        assert read[4:, 4:-4].max() == 255

    def test_padding_with_a_window(self, tmp_path: Path) -> None:
        pixels = RAMP.copy()
        pixels[:4] = 4095
        pixels[4:, -1] = 4000
        read = read_image(write_radiograph(tmp_path / "a.dcm", pixels, PixelPaddingValue=4095, **WINDOW))[0]
        assert not read[:4].any()
        assert is_ramp(read[24].astype(int), 7)

    def test_an_image_of_padding_alone_is_refused(self, tmp_path: Path) -> None:
        path = write_radiograph(tmp_path / "a.dcm", np.full((8, 8), 7, np.uint16), PixelPaddingValue=7)
        assert refusal(path) == "every pixel is padding"


class TestCells:
    @pytest.mark.parametrize("signed", [False, True])
    def test_left_justified_values(self, tmp_path: Path, signed: bool) -> None:
        values = (RAMP.astype(np.int32) - 2048).astype(np.int16) if signed else RAMP
        dataset = radiograph((values << 4).astype(values.dtype))
        dataset.HighBit = 15
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)), 0.51)

    def test_high_bit_that_the_values_contradict(self, tmp_path: Path) -> None:
        dataset = radiograph(RAMP, **WINDOW)
        dataset.HighBit = 15
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)))

    def test_unused_bits_may_hold_anything(self, tmp_path: Path) -> None:
        overlay = RAMP | (np.arange(48, dtype=np.uint16)[:, None] % 2 << 15)
        assert is_ramp(line(write_radiograph(tmp_path / "a.dcm", overlay)), 0.51)

    @pytest.mark.parametrize("keyword", ["HighBit", "BitsStored", "PixelRepresentation", "SamplesPerPixel"])
    def test_what_describes_pixels_may_be_missing(self, tmp_path: Path, keyword: str) -> None:
        dataset = radiograph(RAMP * 16)
        dataset.BitsStored, dataset.HighBit = 16, 15
        del dataset[keyword]
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)), 0.51)

    def test_photometric_interpretation_may_be_missing(self, tmp_path: Path) -> None:
        dataset = radiograph(RAMP)
        del dataset.PhotometricInterpretation
        assert is_ramp(line(save(tmp_path / "a.dcm", dataset)), 0.51)

    @pytest.mark.parametrize("value", [b"1.5", b"1\\2", b"a^b"])
    def test_number_of_frames_that_is_none(self, tmp_path: Path, value: bytes) -> None:
        reason = refusal(save(tmp_path / "a.dcm", with_raw(radiograph(RAMP), 0x00280008, "IS", value)))
        assert reason == "NumberOfFrames is not a whole number"

    @pytest.mark.parametrize("value", [b"", b"1.0", b" 1"])
    def test_number_of_frames_that_is_one(self, tmp_path: Path, value: bytes) -> None:
        assert is_ramp(line(save(tmp_path / "a.dcm", with_raw(radiograph(RAMP), 0x00280008, "IS", value))), 0.51)


@pytest.mark.parametrize(
    ("photometric", "shape", "turned"),
    [
        ("MONOCHROME1", "", True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        (" monochrome1 ", "?", True),
    ],
)
def test_presentation_lut_shape_says_what_is_bright(tmp_path: Path, photometric: str, shape: str, turned: bool) -> None:
    path = write_radiograph(
        tmp_path / "a.dcm", RAMP, PhotometricInterpretation=photometric, PresentationLUTShape=shape, **WINDOW
    )
    shown = line(path)
    assert is_ramp(255 - shown if turned else shown)


class TestFileMeta:
    def stripped(self, path: Path, syntax: UID, keep_meta: bool) -> Path:
        """A file whose transfer syntax is not stated, or that begins with its data set."""
        big = syntax == ExplicitVRBigEndian
        dataset = radiograph(RAMP.byteswap() if big else RAMP, **WINDOW)
        dataset.file_meta.TransferSyntaxUID = syntax
        save(path, dataset)
        content = path.read_bytes()
        begin = content.index(b"\0\x08\0\x16" if big else b"\x08\0\x16\0")
        stated = content.index(b"\x02\0\x10\0UI")
        after = stated + 8 + int.from_bytes(content[stated + 6 : stated + 8], "little")
        meta = content[132:stated] + content[after:begin]
        meta = meta[meta.index(b"\x02\0\x02\0") :]  # without a group length
        path.write_bytes((bytes(128) + b"DICM" + meta if keep_meta else b"") + content[begin:])
        return path

    @pytest.mark.parametrize("keep_meta", [True, False], ids=["no syntax", "no preamble"])
    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
    def test_transfer_syntax_is_seen_from_the_data_set(self, tmp_path: Path, syntax: UID, keep_meta: bool) -> None:
        assert is_ramp(line(self.stripped(tmp_path / "a.dcm", syntax, keep_meta)))

    def test_other_files_are_not_taken_for_dicom(self, tmp_path: Path) -> None:
        for content in (b"\x08\x00 not at all dicom, but it begins so" * 5, b"\x02\x00" * 200, bytes(500)):
            (tmp_path / "a").write_bytes(content)
            assert "no image of a known kind" in refusal(tmp_path / "a")


class TestPalette:
    def coloured(self, path: Path, words: np.ndarray, bits: int, syntax: UID = ExplicitVRLittleEndian) -> Path:
        """Indices 0 … 255 through red up, green down, blue constant."""
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        pixels = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
        dataset = radiograph(pixels, PhotometricInterpretation="PALETTE COLOR")
        dataset.file_meta.TransferSyntaxUID = syntax
        for colour, entries in (("Red", words), ("Green", words[::-1]), ("Blue", np.full_like(words, words[100]))):
            setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, bits])
            content = entries.astype(f"{order}u2").tobytes()
            setattr(dataset, f"{colour}PaletteColorLookupTableData", content)
        if syntax == ExplicitVRBigEndian:
            dataset["PixelData"].VR = "OB"
        return save(path, dataset)

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
    @pytest.mark.parametrize(
        ("factor", "bits"), [(257, 16), (1, 8), (1, 16)], ids=["16 bits", "8 bits", "8 bits, declared as 16"]
    )
    def test_palettes_of_both_depths_and_byte_orders(self, tmp_path: Path, factor: int, bits: int, syntax: UID) -> None:
        read = read_image(self.coloured(tmp_path / "a.dcm", np.arange(256) * factor, bits, syntax), channels=3)
        assert np.array_equal(read[0, 0], np.arange(256))
        assert np.array_equal(read[1, 0], np.arange(256)[::-1])
        assert (read[2] == 100).all()

    def test_two_entries_a_word(self, tmp_path: Path) -> None:
        path = self.coloured(tmp_path / "a.dcm", np.arange(256), 8)
        dataset = pydicom.dcmread(path)
        for colour in ("Red", "Green", "Blue"):
            setattr(dataset, f"{colour}PaletteColorLookupTableData", bytes(range(256)))
        assert np.array_equal(read_image(save(path, dataset), channels=3)[0, 0], np.arange(256))

    def test_without_palettes(self, tmp_path: Path) -> None:
        path = write_radiograph(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="PALETTE COLOR")
        assert "palettes" in refusal(path)


class TestColour:
    def test_ultrasound_keeps_its_colour_in_three_channels(self, tmp_path: Path) -> None:
        colour = np.zeros((16, 16, 3), np.uint8)
        colour[..., 0], colour[:, 8:, 2] = 200, 150
        full = pydicom.pixels.convert_color_space(colour, "RGB", "YBR_FULL")
        path = write_radiograph(tmp_path / "a.dcm", full, PhotometricInterpretation="YBR_FULL", Modality="US")
        read = read_image(path, channels=3)
        assert np.abs(read.transpose(1, 2, 0).astype(int) - colour).max() <= 2

    def test_planes_of_colour(self, tmp_path: Path) -> None:
        colour = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
        dataset = radiograph(colour, PlanarConfiguration=1)
        dataset.PixelData = colour.transpose(2, 0, 1).tobytes()
        path = save(tmp_path / "a.dcm", dataset)
        assert np.array_equal(read_image(path, channels=3), colour.transpose(2, 0, 1))

    def test_missing_planar_configuration_is_colour_by_pixel(self, tmp_path: Path) -> None:
        colour = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
        dataset = radiograph(colour)
        del dataset.PlanarConfiguration
        assert np.array_equal(read_image(save(tmp_path / "a.dcm", dataset), channels=3), colour.transpose(2, 0, 1))

    @pytest.mark.parametrize("space", ["YBR_PARTIAL_422", "HSV", "CMYK"])
    def test_other_colour_spaces_are_refused(self, tmp_path: Path, space: str) -> None:
        colour = np.full((16, 16, 3), 90, np.uint8)
        path = write_radiograph(tmp_path / "a.dcm", colour, PhotometricInterpretation=space)
        refusal(path)


class TestDeflated:
    def deflated(self, path: Path, more: int, keep_length: bool = True) -> Path:
        """The ramp, deflated, followed by so many MiB of zeros in a private element."""
        dataset = radiograph(RAMP, **WINDOW)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        content = save(path, dataset).read_bytes()
        begin = 144 + int.from_bytes(content[140:144], "little")
        body = zlib.decompress(content[begin:], -15)
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        parts = [content[:132], content[132 if keep_length else 144 : begin], deflate.compress(body)]
        parts.append(deflate.compress(struct.pack("<HH2sHI", 0x7FE1, 0x0010, b"OB", 0, more << 20)))
        parts += [deflate.compress(bytes(1 << 20)) for _ in range(more)]
        path.write_bytes(b"".join([*parts, deflate.flush()]))
        return path

    def test_a_deflated_file_is_read(self, tmp_path: Path) -> None:
        assert is_ramp(line(self.deflated(tmp_path / "a.dcm", 1)))

    @pytest.mark.parametrize("keep_length", [True, False])
    def test_one_that_grows_without_end_is_refused_before_it_does(
        self, tmp_path: Path, keep_length: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dicom, "MOST_INFLATED", 20 << 20)
        assert is_ramp(line(self.deflated(tmp_path / "a.dcm", 5, keep_length)))
        assert "a deflated DICOM file of more than" in refusal(self.deflated(tmp_path / "a.dcm", 30, keep_length))
