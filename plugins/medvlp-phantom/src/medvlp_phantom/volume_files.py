"""The volume phantom as files, laid out like a CT data set: NIfTI volumes, a table of studies, one of boxes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medvlp_phantom.volume import VOLUME_FINDINGS, VolumePhantom

if TYPE_CHECKING:
    from medvlp_phantom.volume import VolumeStudy

STUDIES_FILE, BOXES_FILE, MADE_FILE = "studies.csv", "boxes.csv", "made.json"
#: Split of every tenth study: seven for training, one for validation, two for testing.
SPLITS = ("train",) * 7 + ("validate",) + ("test",) * 2


def write_volumes(folder: str | Path, count: int, size: int = 48, seed: int = 0) -> Path:
    """Write ``count`` synthetic chest volumes; returns the path of ``studies.csv``.

    ``studies.csv`` has study_id, patient_id, image, split, report and a column per finding (1, 0); ``boxes.csv`` the
    findings' boxes in millimetres, axes RAS (:mod:`medvlp_toolkit.evaluation.zero_shot.volume_boxes`). A folder that
    holds the same volumes already is left alone.
    """
    import nibabel

    root = Path(folder)
    made = {"count": count, "size": size, "seed": seed}
    record = root / MADE_FILE
    if record.is_file() and json.loads(record.read_text(encoding="utf-8")) == made:
        return root / STUDIES_FILE
    (root / "volumes").mkdir(parents=True, exist_ok=True)
    studies: list[list[Any]] = []
    boxes: list[list[Any]] = []
    for study in VolumePhantom(seed, size).generate(count):
        name = f"volumes/{study.id}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(study.volume, study.affine), root / name)
        present = [study.presence[finding] for finding in VOLUME_FINDINGS]
        split = SPLITS[study.index % len(SPLITS)]
        studies.append([study.id, study.id, name, split, study.report.text, *present])
        boxes += [[study.id, finding, *box] for finding, box in _boxes(study)]
    header = ["study_id", "patient_id", "image", "split", "report", *VOLUME_FINDINGS]
    _write(root / STUDIES_FILE, header, studies)
    _write(root / BOXES_FILE, ["study_id", "label", "x_min", "y_min", "z_min", "x_max", "y_max", "z_max"], boxes)
    record.write_text(json.dumps(made) + "\n", encoding="utf-8")
    return root / STUDIES_FILE


def _boxes(study: VolumeStudy) -> list[tuple[str, list[float]]]:
    """Finding and corners in millimetres of every box."""
    sides = np.array(study.volume.shape, float)
    found = []
    for finding in study.findings:
        low, extent = np.array(finding.box[:3]), np.array(finding.box[3:])
        # A fraction of the volume is a place between voxel edges: -0.5 at 0, side - 0.5 at 1.
        corners = [study.affine @ np.append(fraction * sides - 0.5, 1.0) for fraction in (low, low + extent)]
        ends = np.stack(corners)[:, :3]
        found.append((finding.name, [*ends.min(axis=0).tolist(), *ends.max(axis=0).tolist()]))
    return found


def _write(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
