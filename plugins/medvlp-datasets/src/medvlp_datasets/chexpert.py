"""CheXpert (Irvin et al., AAAI 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from medvlp_datasets.source import FileSource, existing, first_of
from medvlp_datasets.values import age_of, labels_of
from medvlp_toolkit.data.records import Study

LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
# The first part of a path within the data set's folder, and its split.
FOLDERS = {"train": "train", "valid": "validate", "val": "validate", "test": "test"}


class ChexpertSource(FileSource):
    """Radiographs and labels of CheXpert.

    CheXpert as published: ``CheXpert-v1.0*/`` with ``train.csv``, ``valid.csv``, later ``test.csv``, and images in
    ``train/patient00001/study1/view1_frontal.jpg``.

    Args:
        root: the folder of the tables.
        frontal_only: leave lateral views out.

    A study's id is ``train/patient00001/study1``; its images are distinguished by file name. Labels are the 14
    observations: 1, 0, -1 (uncertain); a blank field is no label. Tested on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.chexpert
          root: /data/CheXpert-v1.0-small
          frontal_only: true
    """

    def __init__(self, root: Path | str, frontal_only: bool = False) -> None:
        super().__init__()
        self.root = existing(root, "the CheXpert folder")
        names = ("train.csv", "valid.csv", "val.csv", "test.csv", "test_labels.csv")
        found = [first_of(self.root, name, f"{name}.gz") for name in names]
        self.tables = [table for table in found if table is not None]
        if not self.tables:
            raise FileNotFoundError(f"{self.root}: has no train.csv, valid.csv or test.csv")
        self.frontal_only = frontal_only

    def studies(self) -> Iterator[Study]:
        for table in self.tables:
            for line, row in self.rows(table, ("Path",)):
                parts = PurePosixPath(row["Path"]).parts
                begin = next((place for place, part in enumerate(parts) if part in FOLDERS), None)
                if begin is None or len(parts) < begin + 4:
                    self.reject("", table, f"line {line}: Path is no …/train/patientN/studyN/view.jpg")
                    continue
                split, patient, study, view = parts[begin], parts[begin + 1], parts[begin + 2], parts[-1]
                if self.frontal_only and "lateral" in view:
                    continue
                try:
                    labels = labels_of(row, LABELS)
                except ValueError as error:
                    self.reject(row["Path"], table, f"line {line}: {error}")
                    continue
                side = row.get("Frontal/Lateral", "")
                yield Study(
                    id=f"{split}/{patient}/{study}",
                    image_id=f"{split}/{patient}/{study}/{PurePosixPath(view).stem}",
                    patient_id=patient,
                    image=self.root.joinpath(*parts[begin:]),
                    split=FOLDERS[split],
                    labels=labels,
                    metadata={
                        "sex": row.get("Sex") or None,
                        "age": age_of(row.get("Age", "")),
                        "view": row.get("AP/PA") or side or None,
                    },
                )
