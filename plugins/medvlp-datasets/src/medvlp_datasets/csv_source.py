"""Studies from a table: CSV, TSV or Excel."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from medvlp_datasets.lookup import Lookup, report_from, reports_by_id
from medvlp_datasets.source import FileSource, existing
from medvlp_datasets.values import is_label, labels_of, metadata_value, numbers
from medvlp_toolkit.data.contracts import RejectsRecords
from medvlp_toolkit.data.records import Box, Report, Study
from medvlp_toolkit.tables.cells import filled, identifier
from medvlp_toolkit.tables.columns import ROLES, find, plain_name, section_of
from medvlp_toolkit.tables.table import Table

logger = logging.getLogger(__name__)

DEMOGRAPHICS = ("sex", "age", "view")
# Words for "no finding" in a column of joined labels.
NO_FINDING = frozenset({"no finding", "no findings", "none", "normal"})
TABLES = frozenset({".csv", ".tsv", ".tab", ".xlsx"})
# Suffixes to try for an image named without one.
IMAGE_SUFFIXES = (".dcm", ".jpg", ".jpeg", ".png", ".nii.gz", ".nii")


class CsvSource(FileSource):
    """One image per row of a table (CSV, TSV, Excel; plain, gzipped, or alone in a ZIP archive).

    Rows with the same study id are the images of one study. Usual column names also match other common names
    (``filepath`` for ``image``, ``subject_id`` for ``patient_id``, ``accession`` for ``study_id``) if the match is
    unique.

    Args:
        file: the table; its first line names the columns.
        image_column: column of the image's path, or of its name without suffix; None for studies without images.
        image_root: folder that the paths are relative to (default: the folder of the table).
        id_column: column of the study's id (default: ``study_id`` if there is one, else the image's path).
        patient_column: column of the patient's id; without it, each study counts as a separate patient.
        report_column: column of the report's text, or several columns with its sections. ``report`` also matches the
            columns ``findings`` and ``impression``.
        reports: another source of the reports: a data source, the path of an Open-i archive or folder, or a table with
            an id and a text column.
        report_id_column: column of the row's id in ``reports`` (default: the study's id). A row whose id is not found
            has no report.
        join: further tables with the id column, whose columns are added to the row.
        split_column: column of the split, if there is one.
        splits: the splits to keep (default: all).
        labels_column: column with joined labels (``Edema|Effusion``; empty or "No Finding": none).
        labels_separator: what stands between joined labels.
        labels: all joined labels that there are (default: those that occur); the ones a row does not name are 0.
        label_columns: columns that are 1, 0, -1 (uncertain) or empty, each a label.
        known_labels: names of findings: a column with such a name, whatever its case and punctuation, is a label too
            where it holds nothing but 1, 0, -1 and empty fields.
        metadata_columns: columns kept as metadata: names, or a mapping from column to name (default: sex, age and view
            where they are there).
        boxes: table of boxes: the image column or the id column, then ``label``, ``x``, ``y``, ``w``, ``h`` as
            fractions of the image.
        delimiter: between fields; detected when None.
        encoding: of the text, such as ``cp1251`` or ``gb18030``; None accepts UTF-8, UTF-16 and Windows-1252.

    Raises:
        FileNotFoundError: when a file or folder does not exist.
        ValueError: in one line, when a column is missing or ambiguous.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.csv
          file: studies.csv
          image_column: image
          report_column: report
    """

    def __init__(
        self,
        file: Path | str,
        *,
        image_column: str | None = "image",
        image_root: Path | str | None = None,
        id_column: str | None = None,
        patient_column: str = "patient_id",
        report_column: str | Sequence[str] | None = None,
        reports: Iterable[Study] | Path | str | None = None,
        report_id_column: str | None = None,
        join: Sequence[Path | str] | Path | str = (),
        split_column: str = "split",
        splits: Sequence[str] | None = None,
        labels_column: str | None = None,
        labels_separator: str = "|",
        labels: Sequence[str] | None = None,
        label_columns: Sequence[str] = (),
        known_labels: Iterable[str] = (),
        metadata_columns: Sequence[str] | Mapping[str, str] | None = None,
        boxes: Path | str | None = None,
        delimiter: str | None = None,
        encoding: str | None = None,
    ) -> None:
        super().__init__()
        self.file = existing(file, "the table")
        self.image_root = self.file.parent if image_root is None else existing(image_root, "the folder of images")
        if report_column is not None and reports is not None:
            raise ValueError("give report_column or reports, not both")
        self.reports = open_reports(reports)
        self.join = [existing(path, "the joined table") for path in ([join] if isinstance(join, (str, Path)) else join)]
        self.boxes = None if boxes is None else existing(boxes, "the table of boxes")
        chosen = [splits] if isinstance(splits, str) else splits
        self.splits = None if chosen is None else frozenset(map(split_named, chosen))
        self.labels_column, self.labels_separator = labels_column, labels_separator
        self.labels = None if labels is None else tuple(labels)
        self.label_columns = tuple(label_columns)
        self.report_id_column = report_id_column
        self.delimiter, self.encoding = delimiter, encoding

        given = [report_column] if isinstance(report_column, str) else list(report_column or ())
        plain = [*given, *self.label_columns, *(metadata_columns or ()), labels_column, report_id_column]
        named = [name for name in [image_column, id_column, *plain] if name is not None]
        self.table = Table(self.file, delimiter=delimiter, encoding=encoding, expected=named)
        self.joined = [name for path in self.join for name in Table(path).columns if name not in self.table.columns]
        self.image_column, self.key = self.image_and_key(image_column, id_column)
        self.report_columns = self.text_columns(given)
        self.check(name for name in plain if name is not None and name not in given)
        self.patient_column = self.column("patient", patient_column, "patient_column")
        self.split_column = self.column("split", split_column, "split_column")
        if self.splits is not None and self.split_column is None:
            self.check([split_column])
        # If there is an image id in addition to the path, it distinguishes the images.
        image_id = find(self.columns, "image id").name
        self.image_id_column = None if image_id == self.key else image_id
        self.metadata_columns = self.metadata(metadata_columns)
        self._known_labels = {plain_name(name) for name in known_labels}
        if self.patient_column is None and self.image_column is not None:
            logger.warning("%s: no column of patient ids; each study counts as a patient", self.file)

    @property
    def columns(self) -> list[str]:
        """All columns of the table and of the joined tables."""
        return [*self.table.columns, *self.joined]

    def column(self, role: str, name: str | None, option: str, groups: int | None = None) -> str | None:
        """The column of a role; see :meth:`medvlp_toolkit.tables.table.Table.column`."""
        return self.table.column(role, name, option, self.joined, groups)

    def check(self, names: Iterable[str]) -> None:
        """Raise ValueError listing the missing columns."""
        missing = dict.fromkeys(name for name in names if name not in self.columns)
        if missing:
            raise self.table.column_error(f"no column {', '.join(map(repr, missing))}", further=self.joined)

    def image_and_key(self, image: str | None, key: str | None) -> tuple[str | None, str]:
        """The columns of the image and of the study's id."""
        found = None if image is None else self.column("image", image, "image_column")
        if image is not None and found is None:
            raise self.table.column_error(f"no column {image!r}", "set image_column", self.joined)
        # Without images, any id column identifies a report; with images, only some columns identify the study.
        chosen = self.column("study", key, "id_column", groups=None if image is None else 1) or found
        if chosen is None:
            raise self.table.column_error("a table without images needs an id column", "set id_column")
        if chosen not in self.table.columns:
            raise self.table.column_error(f"no column {chosen!r}", "set id_column")
        return found, chosen

    def text_columns(self, given: Sequence[str]) -> list[str]:
        """The columns of the report's text."""
        if len(given) != 1:
            self.check(given)
            return list(given)
        found = self.column("report", given[0], "report_column")
        if found is not None:
            return [found]
        sections = [self.column(name, None, "report_column") for name in ("findings", "impression")]
        if not any(sections):
            raise self.table.column_error(f"no column {given[0]!r}", "set report_column", self.joined)
        return [name for name in sections if name is not None]

    def metadata(self, given: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
        """Columns to keep as metadata, with their names there."""
        if isinstance(given, Mapping):
            return dict(given)
        if given is not None:
            return {name: name for name in given}
        # Ambiguous columns are skipped, since metadata is optional.
        found = {role: find(self.columns, role).name for role in DEMOGRAPHICS}
        return {column: role for role, column in found.items() if column is not None}

    def all_rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Rows of the requested splits, with the columns of the joined tables."""
        joined = [self.lookup(path, self.key) for path in self.join]
        try:
            for line, row in self.good_rows(self.table):
                for table in joined:
                    row = {**(table.first(row[self.key]) or {}), **row}
                if self.splits is None or self.split_of(row) in self.splits:
                    yield line, row
        finally:
            for table in joined:
                table.close()

    def studies(self) -> Iterator[Study]:
        names = self.label_names()
        self.label_columns = self.with_known_labels()
        self.rejected = []  # the pass for the names has rejected the same rows
        boxes = self.boxes_by_image()
        reports = None if self.reports is None else reports_by_id(self.reports)
        if isinstance(self.reports, RejectsRecords):
            self.rejected += self.reports.rejected
        try:
            for line, row in self.all_rows():
                try:
                    yield self.study(row, names, boxes, reports)
                except ValueError as error:
                    self.reject(row[self.key], self.file, f"line {line}: {error}")
        finally:
            for lookup in (boxes, reports):
                if lookup is not None:
                    lookup.close()

    def study(self, row: dict[str, str], names: Sequence[str], boxes: Boxes | None, reports: Lookup | None) -> Study:
        key = identifier(row[self.key], "study's id")
        image = filled(row.get(self.image_column)) if self.image_column else ""
        patient = identifier(row.get(self.patient_column), "patient's id") if self.patient_column else ""
        return Study(
            id=key,
            patient_id=patient or key,
            image=self.image_path(image) if image else None,
            report=self.report(row, key, reports),
            split=self.split_of(row),
            labels=self.labels_from(row, names),
            boxes=boxes.of(row) if boxes is not None else (),
            metadata={
                name: metadata_value(name, row.get(column, "")) for column, name in self.metadata_columns.items()
            },
            image_id=(filled(row.get(self.image_id_column)) if self.image_id_column else "") or None,
        )

    def split_of(self, row: dict[str, str]) -> str | None:
        """The split that a row names, in the toolkit's words."""
        return split_named(filled(row.get(self.split_column)) if self.split_column else "") or None

    def image_path(self, name: str) -> Path:
        """The image's file; for a name without a suffix, the existing file with a usual suffix."""
        path = self.image_root / name
        if "\\" in name and not path.is_file():  # written on Windows
            path = self.image_root / name.replace("\\", "/")
        if plain_name(self.image_column or "") in ROLES["image id"][0] and not path.suffix:
            candidates = [path, *(path.with_name(path.name + suffix) for suffix in IMAGE_SUFFIXES)]
            return next((candidate for candidate in candidates if candidate.is_file()), path)
        return path

    def report(self, row: dict[str, str], key: str, reports: Lookup | None) -> Report | None:
        wanted = row.get(self.report_id_column, "") if self.report_id_column else key
        if self.report_columns:
            texts = {column: filled(row.get(column)) for column in self.report_columns}
            if len(texts) == 1:
                return Report(wanted or key, next(iter(texts.values())))
            sections = {section_of(name): text for name, text in texts.items() if text}
            return Report(wanted or key, "\n".join(f"{n.upper()}: {text}" for n, text in sections.items()), sections)
        if reports is None:
            return None
        found = reports.all(wanted)
        if any(other != found[0] for other in found):
            raise ValueError(f"{len(found)} reports have its id")
        return report_from(found[0], wanted) if found else None

    def label_names(self) -> tuple[str, ...]:
        """All labels of the joined column, sorted, unless given."""
        if self.labels_column is None or self.labels is not None:
            return self.labels or ()
        found = {label for _, row in self.all_rows() for label in self.split_labels(row[self.labels_column])}
        return tuple(sorted(found))

    def with_known_labels(self) -> tuple[str, ...]:
        """The label columns, and those that hold labels and are called like a finding."""
        used = {self.image_column, self.key, self.patient_column, self.split_column, self.image_id_column}
        used |= {self.labels_column, self.report_id_column, *self.report_columns, *self.metadata_columns}
        found = [name for name in self.columns if plain_name(name) in self._known_labels and name not in used]
        found = [name for name in found if name not in self.label_columns]
        others = (
            Counter(name for _, row in self.all_rows() for name in found if not is_label(row.get(name)))
            if found
            else {}
        )
        labels = [name for name in found if not others[name]]
        if labels:
            logger.info("%s: label columns: %s", self.file, ", ".join(labels))
        for name in found:
            if others[name]:
                logger.info("%s: column %r is no label: %d of its fields are not 1, 0, -1 or empty",
                            self.file, name, others[name])  # fmt: skip
        return (*self.label_columns, *labels)

    def split_labels(self, joined: str) -> list[str]:
        labels = [label.strip() for label in joined.split(self.labels_separator)]
        return [label for label in labels if label and label.lower() not in NO_FINDING]

    def labels_from(self, row: dict[str, str], names: Sequence[str]) -> dict[str, int]:
        labels: dict[str, int] = {}
        if self.labels_column is not None:
            present = self.split_labels(row.get(self.labels_column, ""))
            unknown = [label for label in present if label not in names]
            if unknown:
                raise ValueError(f"{len(unknown)} of its {len(present)} labels are not among those given")
            labels = {name: int(name in present) for name in names}
        return labels | labels_of(row, self.label_columns)

    def boxes_by_image(self) -> Boxes | None:
        if self.boxes is None:
            return None
        there = Table(self.boxes).columns
        key = next((name for name in (self.image_column, self.key, "image") if name in there), "image")
        lookup = self.lookup(self.boxes, key, required=("label", "x", "y", "w", "h"))
        return Boxes(lookup, key, key in (self.image_column, "image"), self.key)


class Boxes:
    """The boxes of a row: of its image, or of its study if the table of boxes has no image column.

    Args:
        lookup: rows of the table of boxes by ``key``.
        key: the column common to both tables.
        by_image: whether ``key`` identifies the image.
        study_key: the column of the study's id.
    """

    def __init__(self, lookup: Lookup, key: str, by_image: bool, study_key: str) -> None:
        self.lookup, self.key, self.by_image, self.study_key = lookup, key, by_image, study_key
        self.given: set[str] = set()

    def of(self, row: Mapping[str, str]) -> tuple[Box, ...]:
        """The row's boxes; raises ValueError for invalid ones, or if the image of the study is ambiguous."""
        values = self.lookup.all(row.get(self.key, ""))
        if values and not self.by_image:
            if row[self.study_key] in self.given:
                raise ValueError("the table of boxes names its study, which has several images, and not the image")
            self.given.add(row[self.study_key])
        return tuple(box_of(value) for value in values)

    def close(self) -> None:
        self.lookup.close()


def open_reports(reports: Iterable[Study] | Path | str | None) -> Iterable[Study] | None:
    """The data source for a path."""
    if not isinstance(reports, (str, Path)):
        return reports
    path = Path(reports)
    if TABLES & {suffix.lower() for suffix in path.suffixes}:
        return CsvSource(path, image_column=None, report_column="report")
    from medvlp_datasets.open_i import OpenISource

    return OpenISource(path)


def box_of(values: Mapping[str, str]) -> Box:
    """The box in a row with label, x, y, w, h."""
    return Box(values["label"], *numbers((values[name] for name in ("x", "y", "w", "h")), "box coordinates"))


#: Words of tables for the toolkit's splits; any other word is a split of its own.
_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validate", "validation", "valid", "val", "dev", "development"), "validate"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}


def split_named(word: str) -> str:
    """The split that a word of a table means: ``Training`` is ``train``, ``val`` is ``validate``."""
    return _SPLITS.get(word.strip().lower(), word)
