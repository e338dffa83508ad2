"""Folders given to inference: what is an image is found by content, what is none is counted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import write_radiograph, write_sample
from PIL import Image
from pydicom.uid import JPEGLosslessSV1
from series_files import write_series

from medvlp_toolkit.data import open_images
from medvlp_toolkit.images import ImageReadError, decoders
from medvlp_toolkit.images.raster import FORMATS

PIXELS = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (48, 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images, and six files that are none."""
    root = tmp_path / "given"
    (root / "PAT001").mkdir(parents=True)
    write_radiograph(root / "PAT001" / "IM000001", PIXELS)
    write_radiograph(root / "PAT001" / "1.2.840.113619.2.55", PIXELS)
    write_radiograph(root / "PAT001" / "image.ima", PIXELS)
    write_radiograph(root / "a.dcm", PIXELS)
    Image.fromarray(np.uint8(PIXELS // 16)).save(root / "b.PNG")
    Image.fromarray(np.uint8(PIXELS // 16)).save(root / "scan", format="JPEG")
    (root / "DICOMDIR").write_bytes((root / "a.dcm").read_bytes())
    (root / "._a.dcm").write_bytes(b"of another file system")
    (root / "notes.txt").write_text("hello")
    (root / "empty").touch()
    (root / "report").write_text("FINDINGS: none of these letters is an image")
    os.mkfifo(root / "pipe")
    return root


def test_images_are_found_by_content_and_the_others_are_counted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = open_images(folder, 32)
    found = ["PAT001/1.2.840.113619.2.55", "PAT001/IM000001", "PAT001/image.ima", "a.dcm", "b.PNG", "scan"]
    assert files.names == found
    assert files.passed_over == 6
    assert "6 non-image files skipped" in caplog.text
    batch = files.__getitems__(list(range(6)))
    assert batch["image"].shape == (6, 1, 32, 32)
    assert files.unreadable == []


@pytest.mark.parametrize("format_", FORMATS)
def test_what_is_scored_as_a_file_is_found_in_a_folder(tmp_path: Path, format_: str) -> None:
    """By each of its suffixes, and without one."""
    first, *others = FORMATS[format_][0]
    content = tmp_path / f"picture{first}"
    Image.fromarray(np.uint8(PIXELS // 16)).save(content, format=format_)
    for name in ("IM0001", *(f"other{suffix.upper()}" for suffix in others)):
        (tmp_path / name).write_bytes(content.read_bytes())
    files = open_images(tmp_path, 32)
    assert (len(files.names), files.passed_over) == (len(others) + 2, 0)
    batch = files.__getitems__(list(range(len(files))))
    assert (len(batch["image"]), files.unreadable) == (len(files), [])


@pytest.mark.parametrize("text", ["BM is short for benchmark", "Python and P1", "GIFs", "II. Findings", "P4", "RIFF"])
def test_a_text_is_no_picture_whatever_its_first_letters(tmp_path: Path, text: str) -> None:
    (tmp_path / "README").write_text(text)
    with pytest.raises(FileNotFoundError, match=r"1 other files"):
        open_images(tmp_path, 32)


def test_a_folder_without_images_says_how_many_other_files_there_are(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FileNotFoundError, match=r"1 other files"):
        open_images(tmp_path, 32)


def test_names_that_are_no_text_can_be_written(folder: Path) -> None:
    write_radiograph(folder / os.fsdecode(b"Stra\xdfe.dcm"), PIXELS)
    names = open_images(folder, 32).names
    assert "Stra\\xdfe.dcm" in names
    "\n".join(names).encode()


def test_a_named_pipe_is_refused_at_once(folder: Path) -> None:
    with pytest.raises(ImageReadError, match="named pipe"):
        open_images(folder / "pipe", 32).__getitems__([0])


def test_a_decoder_that_aborts_costs_its_image_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample(folder / "damaged.dcm", JPEGLosslessSV1)
    start = subprocess.Popen

    def aborting(command: list[str], **options: Any) -> Any:
        return start([command[0], "-c", "import os, sys; sys.stdin.buffer.read(1); os.abort()"], **options)

    monkeypatch.setattr(decoders.subprocess, "Popen", aborting)
    monkeypatch.setattr(decoders, "_beside", decoders.DecoderProcess())
    files = open_images(folder, 32)
    batch = files.__getitems__(list(range(len(files))))
    assert len(batch["image"]) == 6
    assert [error.path.name for error in files.unreadable] == ["damaged.dcm"]


def test_volumes_are_nifti_files_and_folders_of_dicom(tmp_path: Path) -> None:
    import nibabel

    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(values / 60, np.eye(4)), tmp_path / "a.nii.gz")
    write_series(tmp_path / "ct" / "1")
    write_series(tmp_path / "ct" / "2")
    (tmp_path / "ct" / "readme").write_text("hello")
    files = open_images(tmp_path, [4, 4, 4])
    assert files.names == ["a.nii.gz", "ct/1", "ct/2"]
    assert files.passed_over == 1
    batch = files.__getitems__([0, 1, 2])
    assert batch["image"].shape == (3, 1, 4, 4, 4)
    slopes, intercepts = batch["image_scale"].T.tolist()
    assert slopes[0] == pytest.approx(59 / 60 / 65535)
    assert slopes[1:] == [1, 1]
    assert intercepts[1:] == [0, 0]


def test_the_volume_of_a_folder_with_several_is_chosen(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_series(tmp_path / "ct", slices=range(3), prefix="b", SeriesInstanceUID="1.2.4", SeriesNumber=7)
    with pytest.raises(ImageReadError, match="--series 4"):
        open_images(tmp_path / "ct", (4, 4, 4)).__getitems__([0])
    batch = open_images(tmp_path / "ct", (4, 4, 4), series=7).__getitems__([0])
    assert batch["input_shape"].tolist() == [[5, 6, 3]]
