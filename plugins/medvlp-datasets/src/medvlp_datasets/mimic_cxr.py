"""MIMIC-CXR (Johnson et al., Scientific Data 2019) in its JPG and DICOM editions."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from medvlp_datasets.lookup import Lookup
from medvlp_datasets.source import FileSource, chosen, existing, first_of, one_of
from medvlp_datasets.text_files import read_text
from medvlp_datasets.values import age_of, labels_of
from medvlp_toolkit.data.records import Report, Study
from medvlp_toolkit.tables.content import decode

LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion",
    "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
SECTIONS = ("findings", "impression", "comparison", "last_paragraph")


class MimicCxrSource(FileSource):
    """Radiographs, reports, labels and official splits of MIMIC-CXR.

    MIMIC-CXR as published on PhysioNet.

    JPG edition: ``files/p10/p10000032/s50414267/<dicom_id>.jpg`` and tables ``mimic-cxr-2.0.0-metadata.csv.gz``,
    ``-split.csv.gz``, ``-chexpert.csv.gz``, ``-negbio.csv.gz``. DICOM edition: the same folders with ``.dcm``, and
    ``cxr-record-list.csv.gz``.

    Args:
        root: the folder that contains ``files/``.
        reports: text of the reports: ``mimic-cxr-reports.zip``, a folder that contains ``files/p10/…/s50414267.txt``
            (default: ``root``, if it does), or ``mimic_cxr_sectioned.csv`` (columns study, findings, impression,
            comparison, last_paragraph) as the official script writes it.
        edition: ``jpg``, ``dicom``, or ``auto``.
        tables: folder of the JPG edition's tables, if it is not ``root`` (the DICOM edition has no splits).
        labels: ``chexpert``, ``negbio`` or None.
        views: views to keep, such as ``["PA", "AP"]``; None keeps all (`Prepare` can keep the frontal ones).
        patients: MIMIC-IV's ``patients.csv.gz``, for sex and age (columns subject_id, gender, anchor_age).

    A record is one image (its ``image_id`` is the dicom_id) of a study (its id is the study_id), which has one report
    and one or more images; the report's id is its path ``p10/p10000032/s50414267.txt``, under which RadGraph lists it.
    Splits are the official ones. Tested on files written in this layout.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.mimic_cxr
          root: /data/mimic-cxr-jpg
          reports: /data/mimic-cxr-reports.zip
          views: [PA, AP]
    """

    def __init__(
        self,
        root: Path | str,
        reports: Path | str | None = None,
        edition: str = "auto",
        tables: Path | str | None = None,
        labels: str | None = "chexpert",
        views: Sequence[str] | None = None,
        patients: Path | str | None = None,
    ) -> None:
        super().__init__()
        self.root = existing(root, "the MIMIC-CXR folder")
        self.tables = existing(tables or root, "the folder of tables")
        records = first_of(self.root, "cxr-record-list.csv.gz", "cxr-record-list.csv")
        chosen(edition, ("auto", "jpg", "dicom"), "edition")
        self.edition = ("jpg" if records is None else "dicom") if edition == "auto" else edition
        names = ("mimic-cxr-*-metadata.csv.gz", "mimic-cxr-*-metadata.csv")
        self.metadata = first_of(self.tables, *names)
        if self.edition == "jpg" and self.metadata is None:
            raise FileNotFoundError(f"{self.tables}: has no mimic-cxr-2.0.0-metadata.csv.gz")
        if self.edition == "dicom":
            records = one_of(self.root, "cxr-record-list.csv.gz", "cxr-record-list.csv")
        self.records = records if self.edition == "dicom" else self.metadata
        self.split_table = first_of(self.tables, "mimic-cxr-*-split.csv.gz", "mimic-cxr-*-split.csv")
        self.label_table: Path | None = None
        if labels is not None:
            chosen(labels, ("chexpert", "negbio"), "labels")
            self.label_table = first_of(self.tables, f"mimic-cxr-*-{labels}.csv.gz", f"mimic-cxr-*-{labels}.csv")
        self.views = None if views is None else frozenset(views)
        self.patients = None if patients is None else existing(patients, "the table of patients")
        self.reports = self.root if reports is None else existing(reports, "the reports")

    def studies(self) -> Iterator[Study]:
        assert self.records is not None
        with ExitStack() as stack:

            def table(path: Path | None, *key: str) -> Lookup:
                return stack.enter_context(closing(self.lookup(path, *key)))

            splits = table(self.split_table, "dicom_id")
            labels = table(self.label_table, "study_id")
            patients = table(self.patients, "subject_id")
            views = table(self.metadata if self.edition == "dicom" else None, "dicom_id")
            read_report = stack.enter_context(closing(Reports(self.reports, self.lookup)))
            for line, row in self.rows(self.records, ("subject_id", "study_id", "dicom_id")):
                name, subject, study = row["dicom_id"], row["subject_id"], row["study_id"]
                about = row if self.edition == "jpg" else views.first(name) or {}
                view = about.get("ViewPosition") or None
                if self.views is not None and view not in self.views:
                    continue
                folder = f"p{subject[:2]}/p{subject}/s{study}"
                person = patients.first(subject) or {}
                try:
                    found = labels_of(labels.first(study) or {}, LABELS)
                except ValueError as error:
                    self.reject(study, self.records, f"line {line}: {error}")
                    continue
                yield Study(
                    id=study,
                    image_id=name,
                    patient_id=subject,
                    image=self.root / "files" / folder / f"{name}{'.jpg' if self.edition == 'jpg' else '.dcm'}",
                    report=read_report(folder, f"s{study}"),
                    split=(splits.first(name) or {}).get("split") or None,
                    labels=found,
                    metadata={
                        "sex": person.get("gender") or None,
                        "age": age_of(person.get("anchor_age", "")),
                        "view": view,
                        "imaging_study": study,
                    },
                )


class Reports:
    """Reports by folder and name, from a folder, a ZIP archive or the sectioned table, which ``lookup`` reads."""

    def __init__(self, path: Path, lookup: Callable[..., Lookup]) -> None:
        self.archive: zipfile.ZipFile | None = None
        self.table: Lookup | None = None
        self.read: Callable[[str, str], Report | None]
        self.path = path
        self.latest: tuple[str, Report | None] = ("", None)
        if path.is_dir():
            self.read = self.from_folder
        elif path.suffix == ".zip":
            try:
                self.archive = zipfile.ZipFile(path)
            except zipfile.BadZipFile:
                raise ValueError(f"{path}: not a ZIP archive, or a damaged one") from None
            self.read = self.from_archive
        else:
            self.table = lookup(path, "study", required=("findings", "impression"))
            self.read = self.from_table

    def __call__(self, folder: str, study: str) -> Report | None:
        """The report of a study; only the latest is cached, because the images of a study are consecutive."""
        if self.latest[0] != folder:
            self.latest = (folder, self.read(folder, study))
        return self.latest[1]

    def from_folder(self, folder: str, study: str) -> Report | None:
        path = self.path / "files" / f"{folder}.txt"
        return Report(f"{folder}.txt", read_text(path)) if path.is_file() else None

    def from_archive(self, folder: str, study: str) -> Report | None:
        assert self.archive is not None
        try:
            return Report(f"{folder}.txt", decode(self.archive.read(f"files/{folder}.txt")))
        except KeyError:
            return None
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(f"{self.path}: the archive is damaged ({type(error).__name__})") from None

    def from_table(self, folder: str, study: str) -> Report | None:
        assert self.table is not None
        row = self.table.first(study)
        if row is None:
            return None
        sections = {name: row[name] for name in SECTIONS if row.get(name)}
        # The last paragraph is used only for reports without headings.
        if "findings" in sections or "impression" in sections:
            sections.pop("last_paragraph", None)
        elif "last_paragraph" in sections:
            sections["findings"] = sections.pop("last_paragraph")
        text = "\n".join(f"{name.upper()}: {content}" for name, content in sections.items())
        return Report(f"{folder}.txt", text, sections)

    def close(self) -> None:
        if self.archive is not None:
            self.archive.close()
        if self.table is not None:
            self.table.close()
