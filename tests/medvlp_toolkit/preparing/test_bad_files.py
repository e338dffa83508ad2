"""A folder with one of each bad file: every good one is stored, every bad one is a line, and the totals add up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from dicom_files import write_radiograph, write_sample
from PIL import Image
from pydicom.uid import JPEGLosslessSV1
from series_files import STEP, off_place, write_series
from small_studies import EffusionFilter

from medvlp_toolkit.data import PackedStore, Report, Study, StudyDataset, VolumeTransform
from medvlp_toolkit.images import decoders
from medvlp_toolkit.preparing import Prepare
from medvlp_toolkit.preparing.prepare import Summary
from tests.rejections import read_rejected

RAMP = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (48, 1))
NIFTI = (6, 7, 8)


def prepared(paths: list[Path], output: Path, size: Any, **options: Any) -> Summary:
    report = "FINDINGS: There is a left effusion."
    studies = [Study(f"s{n}", f"p{n}", path, Report(f"r{n}", report), "train") for n, path in enumerate(paths)]
    options = {"report_filter": EffusionFilter(), "workers": 0, "progress": False, **options}
    return Prepare(studies, output, size, **options).run()


def check_totals(summary: Summary, paths: list[Path], good: set[str]) -> None:
    rejected = read_rejected(summary.store / "rejected.csv")
    assert summary.listed == len(paths) == summary.stored + sum(summary.rejected.values())
    assert summary.stored == len(good) == len(PackedStore.open(summary.store))
    refused = [(Path(line.path), *Path(line.path).parents) for line in rejected]  # of a series, one of its files
    named = {path.name for path in paths if any(path in places for places in refused)}
    assert named == {path.name for path in paths} - good
    assert len(rejected) == len(paths) - len(good)
    assert all(line.detail or line.reason == "missing image" for line in rejected)


def one_of_each_picture(folder: Path) -> tuple[list[Path], set[str]]:
    folder.mkdir()
    grey = np.uint8(RAMP // 16)
    good = {"good.png": grey, "rgb.png": np.dstack([grey, grey, grey[::-1]]), "alpha.png": np.dstack([grey] * 4)}
    for name, values in good.items():
        Image.fromarray(values).save(folder / name)
    write_radiograph(folder / "good.dcm", RAMP, PixelPaddingValue=0)
    write_radiograph(folder / "IM0001", RAMP, VOILUTFunction="", WindowCenter=2000, WindowWidth=4000)
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "folder.png").mkdir()
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:60])
    (folder / "text.png").write_text("no picture")
    frames = [Image.new("RGB", (8, 8), (number, 9, 9)) for number in (1, 200)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(folder / "nan.tif")
    write_radiograph(folder / "slope.dcm", RAMP, RescaleSlope=0, RescaleIntercept=0)
    write_radiograph(folder / "padding.dcm", np.full((8, 8), 5, np.uint16), PixelPaddingValue=5)
    write_radiograph(folder / "frames.dcm", RAMP, NumberOfFrames=2, PixelData=RAMP.tobytes() * 2)
    (folder / "cut.dcm").write_bytes((folder / "good.dcm").read_bytes()[:-999])
    write_sample(folder / "damaged.dcm", JPEGLosslessSV1, content=b"\xff\xd8\xff\xc3" + bytes(90))
    write_sample(folder / "other_size.dcm", JPEGLosslessSV1)
    other = pydicom.dcmread(folder / "other_size.dcm")
    other.Rows = 16
    other.save_as(folder / "other_size.dcm")
    write_radiograph(folder / "bits.dcm", RAMP, BitsAllocated=32, BitsStored=32, PixelData=bytes(4 * RAMP.size))
    write_radiograph(folder / "no_pixels.dcm", RAMP, PixelData=None)
    write_radiograph(folder / "space.dcm", np.dstack([grey] * 3), PhotometricInterpretation="HSV")
    write_radiograph(folder / "huge.dcm", RAMP, Rows=65535, Columns=65535)
    for name, other_content in {
        "web.jpg": b"<html>404</html>",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1",
        "page.jpg": b"%PDF-1.4 ",
        "photo.heic": b"\0\0\0\x18ftypheic",
    }.items():
        (folder / name).write_bytes(other_content * 9)
    for name in ("two.tif", "two.webp", "two.png"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    checksum = bytearray((folder / "good.png").read_bytes())
    checksum[60] ^= 1
    (folder / "checksum.png").write_bytes(checksum)
    (folder / "dangling.png").symlink_to(folder / "nothing")
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4)), np.eye(4)), folder / "volume.nii")
    paths = [*sorted(folder.iterdir()), folder / "missing.png"]
    return paths, {*good, "good.dcm", "IM0001"}


def one_of_each_volume(folder: Path) -> tuple[list[Path], set[str]]:
    folder.mkdir()
    ramp = np.arange(np.prod(NIFTI)).reshape(NIFTI)

    def save(name: str, values: np.ndarray, placed: bool = True) -> None:
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if placed else None), folder / name)

    save("units.nii.gz", (ramp - 1000).astype(np.int16))
    save("fractions.nii.gz", ramp / ramp.size)
    save("wide.nii", (ramp * 190).astype(np.uint16))
    write_series(folder / "series")
    save("rgb.nii.gz", np.zeros(NIFTI, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    save("complex.nii", ramp.astype(np.complex64))
    save("four.nii", np.zeros((*NIFTI, 2), np.int16))
    save("zeros.nii", np.zeros(NIFTI))
    save("nan.nii", np.full(NIFTI, np.nan))
    save("nowhere.nii", ramp.astype(np.int16), placed=False)
    checksum = bytearray((folder / "units.nii.gz").read_bytes())
    checksum[-8] ^= 1
    (folder / "checksum.nii.gz").write_bytes(checksum)
    begin = bytearray((folder / "wide.nii").read_bytes())
    begin[108:112] = bytes(4)
    (folder / "begin.nii").write_bytes(begin)
    long = bytearray((folder / "wide.nii").read_bytes())
    long[42:48] = np.full(3, 900, np.int16).tobytes()
    (folder / "long.nii").write_bytes(long)
    (folder / "text.nii").write_text("no volume at all, but a text of some length")
    (folder / "cut.nii").write_bytes((folder / "wide.nii").read_bytes()[:500])
    (folder / "empty.nii.gz").touch()
    os.mkfifo(folder / "pipe.nii")
    write_series(folder / "gap", slices=[0, 1, 3])
    write_series(folder / "nowhere", ImagePositionPatient=None)
    write_series(folder / "frames", each={1: {"NumberOfFrames": 7}})
    write_series(folder / "slope", RescaleSlope=0, RescaleIntercept=0)
    write_series(folder / "spacing", PixelSpacing=[0, 0])
    write_series(write_series(folder / "two"), prefix="b", SeriesInstanceUID="1.2.4", SeriesNumber=9)
    write_series(folder / "uneven", each={2: {"ImagePositionPatient": [-20, -30, -33]}})
    write_series(folder / "echoes", prefix="a", EchoTime=1)
    write_series(folder / "echoes", prefix="b", EchoTime=9)
    last = write_series(folder / "end") / "004"
    last.write_bytes(last.read_bytes()[:300])
    (folder / "nothing").mkdir()
    paths = [*sorted(folder.iterdir()), folder / "missing.nii"]
    return paths, {"units.nii.gz", "fractions.nii.gz", "wide.nii", "series"}


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures(tmp_path: Path, channels: int) -> None:
    paths, good = one_of_each_picture(tmp_path / "files")
    check_totals(prepared(paths, tmp_path / "store", 24, channels=channels), paths, good)


def test_pictures_in_worker_processes(tmp_path: Path) -> None:
    paths, good = one_of_each_picture(tmp_path / "files")
    many = [path for path in paths if path.name in good] * 60 + paths  # enough chunks for workers to start
    summary = prepared(many, tmp_path / "store", 24, workers=2, on_leak="report")
    assert summary.stored == 61 * len(good)
    assert summary.listed == summary.stored + sum(summary.rejected.values())


def test_volumes(tmp_path: Path) -> None:
    paths, good = one_of_each_volume(tmp_path / "files")
    check_totals(prepared(paths, tmp_path / "store", [6, 7, 8]), paths, good)


def test_a_decoder_that_aborts_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = subprocess.Popen

    def aborting(command: list[str], **options: Any) -> Any:
        return start([command[0], "-c", "import os, sys; sys.stdin.buffer.read(1); os.abort()"], **options)

    monkeypatch.setattr(decoders.subprocess, "Popen", aborting)
    monkeypatch.setattr(decoders, "_beside", decoders.DecoderProcess())
    paths = [write_radiograph(tmp_path / "a.dcm", RAMP), write_sample(tmp_path / "b.dcm", JPEGLosslessSV1)]
    summary = prepared(paths, tmp_path / "store", 24)
    assert summary.rejected == {"unreadable image": 1}
    (line,) = read_rejected(tmp_path / "store" / "rejected.csv")
    assert line.path == str(paths[1])
    assert "aborted" in line.detail


def test_a_name_that_is_no_text_is_stored(tmp_path: Path) -> None:
    paths = [write_radiograph(tmp_path / os.fsdecode(b"Stra\xdfe.dcm"), RAMP)]
    assert prepared(paths, tmp_path / "store", 24).stored == 1


class TestScales:
    def store(self, tmp_path: Path, **options: Any) -> PackedStore:
        paths, _ = one_of_each_volume(tmp_path / "files")
        good = [path for path in paths if path.name in ("units.nii.gz", "fractions.nii.gz", "wide.nii")]
        prepared(good, tmp_path / "store", list(NIFTI), **options)
        return PackedStore.open(tmp_path / "store")

    def test_slope_and_intercept_bring_stored_integers_back_to_values(self, tmp_path: Path) -> None:
        store = self.store(tmp_path)
        assert store.scales is not None
        ramp = np.arange(np.prod(NIFTI)).reshape(NIFTI)
        slopes, intercepts = (store.scales[:, number, None, None, None] for number in (0, 1))
        values = store.images[:, 0] * slopes + intercepts
        assert np.abs(values[0] - ramp / ramp.size).max() < 1e-4  # in order of names: fractions, units, wide
        assert np.array_equal(values[1], ramp - 1000)
        assert np.array_equal(values[2], ramp * 190)
        assert store.scales[1].tolist() == [1, 0]

    def test_the_window_of_training_is_in_values_not_in_stored_integers(self, tmp_path: Path) -> None:
        dataset = StudyDataset(self.store(tmp_path), candidates=2)
        batch = dataset.__getitems__([0, 1, 2])
        shown = VolumeTransform(window=(0.0, 1.0), mean=0.0, std=1.0)(batch)
        assert "image_scale" not in shown
        ramp = torch.arange(int(np.prod(NIFTI))).reshape(NIFTI) / np.prod(NIFTI)
        assert torch.allclose(shown["image"][0, 0], ramp.float(), atol=1e-4)
        assert set(shown["image"][1].unique().tolist()) == {0.0}

    def test_a_store_without_scales_is_read_as_it_is(self, tmp_path: Path) -> None:
        import json

        store = self.store(tmp_path)
        meta = json.loads((store.path / "store.json").read_text())
        del meta["files"]["scales.npy"]
        (store.path / "store.json").write_text(json.dumps(meta))
        (store.path / "scales.npy").unlink()
        again = PackedStore.open(store.path)
        assert again.scales is None
        batch = StudyDataset(again, candidates=2).__getitems__([0])
        assert "image_scale" not in batch
        assert VolumeTransform(window=None)(batch)["image"].shape == (1, 1, *NIFTI)

    def test_values_are_cut_to_a_window_where_one_is_given(self, tmp_path: Path) -> None:
        store = self.store(tmp_path, window=(-900, -800))
        assert store.images.shape[0] == 1  # the others lie beside it
        assert (store.images.min(), store.images.max()) == (-900, -800)
        assert store.meta["made_by"]["image"]["window"] == [-900, -800]

    def test_a_store_with_a_window_is_complete_when_it_is_prepared_again(self, tmp_path: Path) -> None:
        paths = [path for path in one_of_each_volume(tmp_path / "files")[0] if path.name == "units.nii.gz"]
        for complete in (False, True):
            summary = prepared(paths, tmp_path / "store", list(NIFTI), window=(-900, 800), spacing=(2, 2, 2))
            assert summary.already_complete == complete


class TestSeries:
    def test_the_series_is_chosen_for_every_study(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "ct")
        write_series(folder, slices=range(3), prefix="b", SeriesInstanceUID="1.2.4", SeriesNumber=9)
        prepared([folder], tmp_path / "store", [5, 6, 3], series=9)
        store = PackedStore.open(tmp_path / "store")
        assert off_place(store.images[0], store.array("affines")[0]) <= 0.51
        assert np.linalg.norm(store.array("affines")[0][:3, 2]) == pytest.approx(STEP)

    def test_settings_that_make_no_sense_are_refused_before_any_image(self, tmp_path: Path) -> None:
        for options in ({"window": (3, 1)}, {"window": (1, 2, 3)}, {"orientation": "RAR"}, {"orientation": "xyz"}):
            with pytest.raises(ValueError, match=r"window|orientation"):
                prepared([tmp_path / "a.nii"], tmp_path / "store", [4, 4, 4], **options)
