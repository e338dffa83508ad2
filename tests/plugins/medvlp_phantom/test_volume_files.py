"""The volume phantom as files: what a data set of CT would look like."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np

from medvlp_phantom import VOLUME_FINDINGS, VolumePhantom
from medvlp_phantom.volume_files import write_volumes
from medvlp_toolkit.evaluation.zero_shot.volume_boxes import VolumeBoxes


def test_files_hold_the_studies_of_the_phantom(tmp_path: Path) -> None:
    rows = list(csv.DictReader(write_volumes(tmp_path, count=10, size=24, seed=3).open()))
    studies = list(VolumePhantom(3, 24).generate(10))
    assert [row["study_id"] for row in rows] == [study.id for study in studies]
    assert [row["split"] for row in rows].count("train") == 7
    for row, study in zip(rows, studies, strict=True):
        image = nibabel.load(tmp_path / row["image"])
        np.testing.assert_array_equal(np.asarray(image.dataobj), study.volume)
        assert {name: int(row[name]) for name in VOLUME_FINDINGS} == study.presence
        assert row["report"] == study.report.text


def test_boxes_in_millimetres_bound_the_findings(tmp_path: Path) -> None:
    write_volumes(tmp_path, count=12, size=24, seed=3)
    boxes = VolumeBoxes.read(tmp_path / "boxes.csv")
    seen = 0
    for study in VolumePhantom(3, 24).generate(12):
        for finding in study.findings:
            mask = boxes.mask(study.id, finding.name, study.volume.shape, study.affine)
            assert mask is not None
            assert mask[finding.mask].all()
            lows, highs = zip(*((int(p.min()), int(p.max()) + 1) for p in np.nonzero(finding.mask)), strict=True)
            if len(study.boxes(finding.name)) == 1:
                assert mask.sum() == np.prod(np.subtract(highs, lows))
            seen += 1
    assert seen > 5


def test_the_same_volumes_are_not_written_again(tmp_path: Path) -> None:
    table = write_volumes(tmp_path, count=2, size=24)
    before = table.stat().st_mtime_ns
    assert write_volumes(tmp_path, count=2, size=24).stat().st_mtime_ns == before
    assert len(list(csv.DictReader(write_volumes(tmp_path, count=3, size=24).open()))) == 3
