"""Every DICOM file of pydicom's test data looks as dcmtk shows it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_files

from medvlp_toolkit.images import ImageReadError, read_image
from medvlp_toolkit.images.dicom import HEAD, is_dicom, quiet_pydicom

#: What differs on purpose.
BY_INTENTION = {
    "examples_overlay.dcm": "dcmtk burns the overlay in",
    "17166": "its window lies beside its values: dcmtk shows white alone",
    "17196": "its window lies beside its values: dcmtk shows white alone",
}


def dicom_files() -> list[Path]:
    files = (Path(name) for name in get_testdata_files() if Path(name).is_file())
    return sorted(path for path in files if is_dicom(path.read_bytes()[:HEAD]))


def shown_by_dcmtk(path: Path, folder: Path) -> np.ndarray | None:
    """uint8 (3, H, W) with the first window or the whole range; None where dcmtk cannot read the file."""
    with quiet_pydicom():
        dataset = pydicom.dcmread(path, force=True)
        grey = str(dataset.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
        window = ["+Wi", "1"] if dataset.get("WindowWidth") not in (None, "") else ["+Wm"]
        window = ["+Wl", "1"] if dataset.get("VOILUTSequence") else window
    out = folder / "out.png"
    out.unlink(missing_ok=True)
    subprocess.run(["dcmj2pnm", "+on", *(window if grey else []), str(path), str(out)], capture_output=True, timeout=60)
    if not out.exists() or not out.stat().st_size:
        return None
    return np.asarray(Image.open(out).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed")
def test_pictures_are_those_of_dcmtk(tmp_path: Path) -> None:
    compared, differing = 0, []
    for path in dicom_files():
        try:
            ours = read_image(path, channels=3)
        except ImageReadError:
            continue
        theirs = shown_by_dcmtk(path, tmp_path)
        if theirs is None or path.name in BY_INTENTION:
            continue
        compared += 1
        if ours.shape != theirs.shape or np.abs(ours.astype(int) - theirs).max() > 1:
            differing.append(path.name)
    assert differing == []
    assert compared >= 50
