"""Pulmonary edema severity grades on MIMIC-CXR (Liao et al., PhysioNet 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from medvlp_datasets.lookup import Lookup
from medvlp_datasets.mimic_cxr import MimicCxrSource
from medvlp_datasets.source import FileSource, chosen, existing
from medvlp_toolkit.data.records import Study

GRADES = ("No edema", "Vascular congestion", "Interstitial edema", "Alveolar edema")
TABLES = {"regex": "regex_report", "expert": "expert_report", "consensus": "consensus_image"}


class EdemaSeveritySource(FileSource):
    """Radiographs of MIMIC-CXR graded by the severity of pulmonary edema.

    The grades as published: ``regex_report_edema_severity.csv``, ``expert_report_edema_severity.csv`` (columns
    subject_id, study_id, edema_severity) and ``consensus_image_edema_severity.csv`` (dicom_id as well).

    Args:
        root: the folder of these files.
        mimic_cxr: the MIMIC-CXR source of the images.
        grades: ``regex``, ``expert`` (read from reports) or ``consensus`` (read from images; its authors recommend it
            for testing).
        split: the split to assign to these studies; None keeps MIMIC-CXR's.

    The labels are the four grades, one of them 1; ``metadata["edema_severity"]`` is the number 0 to 3. Grades of
    reports apply to every image of the study. Tested on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.edema_severity
          root: /data/mimic-cxr-pe-severity
          grades: consensus
          split: test
          mimic_cxr:
            _target_: medvlp_toolkit.data_sources.mimic_cxr
            root: /data/mimic-cxr-jpg
    """

    def __init__(
        self, root: Path | str, mimic_cxr: MimicCxrSource, grades: str = "regex", split: str | None = None
    ) -> None:
        super().__init__()
        folder = existing(root, "the folder of edema severity grades")
        self.table = existing(
            folder / f"{TABLES[chosen(grades, tuple(TABLES), 'grades')]}_edema_severity.csv", "the table"
        )
        self.mimic_cxr = mimic_cxr
        self.by_image = grades == "consensus"
        self.split = split

    def studies(self) -> Iterator[Study]:
        key = "dicom_id" if self.by_image else "study_id"
        missing: dict[str, None] = {}
        with closing(self.lookup(self.table, key, required=("edema_severity",))) as table:
            missing.update(dict.fromkeys(name for name, _ in table.groups()))
            yield from self.graded(table, missing)
        for name in missing:
            self.reject(name, self.table, f"MIMIC-CXR has no image of this {key}")

    def graded(self, table: Lookup, missing: dict[str, None]) -> Iterator[Study]:
        for study in self.mimic_cxr:
            name = study.image_id if self.by_image else study.id
            row = table.first(name or "")
            if row is None:
                continue
            missing.pop(name or "", None)
            grade = row["edema_severity"]
            if grade not in ("0", "1", "2", "3"):
                self.reject(study.id, self.table, "an edema severity that is not 0, 1, 2 or 3")
                continue
            yield replace(
                study,
                labels={label: int(int(grade) == number) for number, label in enumerate(GRADES)},
                metadata={**study.metadata, "edema_severity": int(grade)},
                split=self.split or study.split,
            )
