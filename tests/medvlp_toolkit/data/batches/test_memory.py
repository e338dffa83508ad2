"""Memory of a prepare does not grow with the number of studies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_studies import write_images

SCRIPT = Path(__file__).parents[2] / "importable" / "peak_memory.py"


def peak(image: Path, output: Path, count: int) -> int:
    command = [sys.executable, str(SCRIPT), str(image), str(output), str(count)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_forty_thousand_studies_take_no_more_memory_than_eight_thousand(tmp_path: Path) -> None:
    (image,) = write_images(tmp_path / "images", 1)
    some, many = (peak(image, tmp_path / str(count), count) for count in (8_000, 40_000))
    # All texts, ids and findings of the further studies together are 40 MB.
    assert many - some < 20
