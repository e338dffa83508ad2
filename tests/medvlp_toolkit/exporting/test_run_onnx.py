"""The sample beside an exported model reads pictures as the toolkit does, which it does without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medvlp_toolkit.exporting.run_onnx import prepare
from medvlp_toolkit.images import Fit, read_image


def pictures(folder: Path) -> list[Path]:
    """Grey, lying on its side by EXIF, and with transparent pixels, in colour and in grey."""
    ramp = np.tile(np.arange(0, 240, 2, np.uint8), (50, 1))
    Image.fromarray(ramp).save(folder / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ramp).save(folder / "lying.jpg", exif=exif, quality=95)
    clear = np.full(ramp.shape, 255, np.uint8)
    clear[:20] = 0
    Image.fromarray(np.dstack([ramp, ramp[::-1], ramp, clear])).save(folder / "colour.png")
    Image.fromarray(np.dstack([ramp, clear]), "LA").save(folder / "transparent.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_the_sample_reads_every_picture_as_the_toolkit(tmp_path: Path, fit: Fit, channels: int) -> None:
    steps = {"size": (33, 48), "channels": channels, "fit": fit, "mean": [0.0] * channels, "std": [1.0] * channels}
    steps["input_size"] = steps["size"]
    for path in pictures(tmp_path):
        expected = read_image(path, (33, 48), channels, fit)
        np.testing.assert_array_equal(np.rint(prepare(path, steps)[0] * 255), expected, err_msg=path.name)
