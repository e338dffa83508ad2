"""Pictures of dermatology, pathology and endoscopy, and unusual forms of picture files: right, or refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peak_reading import peak_of_reading
from PIL import Image, ImageCms

from medvlp_toolkit.images import ImageReadError, read_image

RAMP = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (16, 1))  # 16 × 32
COLOUR = np.stack([RAMP, 255 - RAMP, np.full_like(RAMP, 100)], axis=-1)
LUMA = COLOUR @ np.array([0.299, 0.587, 0.114])
DEEP = RAMP.astype(np.uint16) * 16


def save(path: Path, picture: np.ndarray | Image.Image, **options: Any) -> Path:
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def shown(path: Path, channels: int = 3) -> np.ndarray:
    """(H, W, C) as numbers that can be subtracted."""
    return read_image(path, channels=channels).transpose(1, 2, 0).astype(int)


def refusal(path: Path) -> str:
    with pytest.raises(ImageReadError) as error:
        read_image(path)
    return error.value.reason


def write_png(path: Path, values: np.ndarray, colour_type: int) -> Path:
    """A PNG of 16 bits, which Pillow reads and does not write in colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


class TestColour:
    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp", "a.jp2"])
    def test_colour_is_kept_in_three_channels_and_luma_in_one(self, tmp_path: Path, name: str) -> None:
        path = save(tmp_path / name, COLOUR, **({"lossless": True} if "webp" in name else {}))
        assert np.abs(shown(path) - COLOUR).max() <= 1
        assert np.abs(shown(path, 1)[..., 0] - LUMA).max() <= 1

    def test_jpeg_of_another_colour_model(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", Image.fromarray(COLOUR).convert("CMYK"), quality=95)
        assert np.abs(shown(path) - COLOUR).max() <= 12

    def test_tiff_of_other_colour_models(self, tmp_path: Path) -> None:
        for mode in ("CMYK", "YCbCr"):
            path = save(tmp_path / f"{mode}.tif", Image.fromarray(COLOUR).convert(mode))
            assert np.abs(shown(path) - COLOUR).max() <= 3
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        lab = ImageCms.applyTransform(Image.fromarray(COLOUR), ImageCms.buildTransform(*profiles, "RGB", "LAB"))
        assert isinstance(lab, Image.Image)
        grey = shown(save(tmp_path / "lab.tif", lab), 1)[8:, 4:, 0]
        assert np.abs(grey - LUMA[8:, 4:]).max() <= 8

    def test_grey_fills_three_equal_channels(self, tmp_path: Path) -> None:
        assert np.array_equal(shown(save(tmp_path / "a.png", RAMP)), np.repeat(RAMP[..., None], 3, axis=2))

    @pytest.mark.parametrize("name", ["a.png", "a.tif"])
    def test_one_bit_is_black_and_white(self, tmp_path: Path, name: str) -> None:
        path = save(tmp_path / name, RAMP > 100)
        assert np.array_equal(shown(path, 1)[..., 0], np.where(RAMP > 100, 255, 0))

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
    def test_orientation_in_exif_is_honoured(self, tmp_path: Path, name: str, orientation: int) -> None:
        stored_as = {  # what turns an upright picture into the stored one
            1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
            5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, 1),
            7: lambda p: p[::-1, ::-1].transpose(1, 0, 2), 8: lambda p: np.rot90(p, -1),
        }  # fmt: skip
        upright = COLOUR.copy()
        upright[:4] = 0
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = np.ascontiguousarray(stored_as[orientation](upright))
        path = save(tmp_path / name, stored, exif=exif, **({"quality": 95} if name == "a.jpg" else {}))
        assert np.abs(shown(path, 1)[8:, 2:-2] - shown(save(tmp_path / "b.png", upright), 1)[8:, 2:-2]).max() <= 12


class TestTransparency:
    ALPHA = np.where(np.arange(32) < 16, 0, 255).astype(np.uint8)[None].repeat(16, axis=0)

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
    def test_what_is_transparent_is_black(self, tmp_path: Path, name: str) -> None:
        layered = np.dstack([COLOUR, self.ALPHA])
        read = shown(save(tmp_path / name, layered, **({"lossless": True} if "webp" in name else {})))
        assert not read[:, :16].any()
        assert np.array_equal(read[:, 16:], COLOUR[:, 16:])

    def test_grey_with_transparency(self, tmp_path: Path) -> None:
        read = shown(save(tmp_path / "a.png", np.dstack([255 - RAMP, self.ALPHA])), 1)[..., 0]
        assert not read[:, :16].any()
        assert np.array_equal(read[:, 16:], (255 - RAMP)[:, 16:])

    def test_half_transparent_is_half_as_bright(self, tmp_path: Path) -> None:
        read = shown(save(tmp_path / "a.png", np.dstack([COLOUR, np.full_like(RAMP, 128)])))
        assert np.abs(read - COLOUR * (128 / 255)).max() <= 1

    @pytest.mark.parametrize("mode", ["L", "P", "RGB"])
    def test_a_value_that_is_declared_transparent(self, tmp_path: Path, mode: str) -> None:
        picture = Image.fromarray(COLOUR if mode == "RGB" else RAMP).convert(mode)
        transparent: Any = tuple(COLOUR[0, 20]) if mode == "RGB" else int(np.asarray(picture)[0, 20])
        options = {"transparency": tuple(map(int, transparent)) if mode == "RGB" else transparent}
        read = shown(save(tmp_path / "a.png", picture, **options), 1)[..., 0]
        assert not read[:, 20].any()
        assert read[:, 21].all()


class TestDepth:
    def test_colour_of_sixteen_bits_keeps_its_upper_eight(self, tmp_path: Path) -> None:
        assert np.array_equal(shown(write_png(tmp_path / "a.png", COLOUR.astype(np.uint16) * 257, 2)), COLOUR)

    @pytest.mark.parametrize(("planes", "kind"), [(3, 2), (2, 4), (4, 6)], ids=["colour", "grey+alpha", "colour+alpha"])
    def test_colour_that_uses_twelve_of_sixteen_bits_is_refused_not_black(
        self, tmp_path: Path, planes: int, kind: int
    ) -> None:
        values = np.stack([DEEP] * planes, axis=-1)
        if planes != 3:
            values[..., -1] = 65535
        assert "16-bit" in refusal(write_png(tmp_path / "a.png", values, kind))

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    def test_deep_grey_fills_eight_bits(self, tmp_path: Path, dtype: Any) -> None:
        read = shown(save(tmp_path / "a.tif", DEEP.astype(dtype)), 1)[..., 0]
        assert np.abs(read - RAMP * (255 / 248)).max() <= 0.51

    def test_tiff_of_sixteen_bits_in_which_zero_is_white(self, tmp_path: Path) -> None:
        read = shown(save(tmp_path / "a.tif", DEEP, tiffinfo={262: 0}), 1)[..., 0]
        assert np.abs(read - (255 - RAMP * (255 / 248))).max() <= 0.51

    def test_floats_that_are_no_numbers(self, tmp_path: Path) -> None:
        values = DEEP.astype(np.float32)
        values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
        read = shown(save(tmp_path / "a.tif", values), 1)[..., 0]
        assert read[0, :3].tolist() == [0, 255, 0]
        assert np.abs(read[1:] - RAMP[1:] * (255 / 248)).max() <= 0.51
        assert refusal(save(tmp_path / "b.tif", np.full_like(values, np.nan))) == "no pixel has a finite value"

    @pytest.mark.slow
    def test_a_large_picture_of_sixteen_bits_takes_little_memory(self, tmp_path: Path) -> None:
        lines = zlib.compressobj(1)
        line = b"\0" + np.arange(8000, dtype=">u2").tobytes()
        content = b"".join(lines.compress(line) for _ in range(8000)) + lines.flush()
        path = write_png(tmp_path / "a.png", np.zeros((1, 8000), np.uint16), 0)
        raw = path.read_bytes()
        header = raw[:20] + struct.pack(">I", 8000) + raw[24:29]

        def chunk(kind: bytes, body: bytes) -> bytes:
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        crc = struct.pack(">I", zlib.crc32(header[12:]))
        path.write_bytes(header + crc + chunk(b"IDAT", content) + chunk(b"IEND", b""))
        assert read_image(path, 32)[0].max() > 200
        assert peak_of_reading(path, 256) < 64 * (2 + 2 + 1 + 2)  # MiB: 64 megapixels twice at 16 bits, once at 8


class TestSeveral:
    @pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tif", "a.webp"])
    def test_animations_and_pages_are_refused(self, tmp_path: Path, name: str) -> None:
        frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert refusal(tmp_path / name) == "the file holds 2 pictures; one is expected"

    def test_the_first_picture_of_a_camera_s_pair(self, tmp_path: Path) -> None:
        frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
        frames[0].save(tmp_path / "a.mpo", save_all=True, append_images=frames[1:], quality=95)
        assert np.abs(shown(tmp_path / "a.mpo") - COLOUR).max() <= 12
