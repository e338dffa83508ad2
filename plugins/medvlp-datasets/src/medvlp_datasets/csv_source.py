"""Studies from a CSV table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from medvlp_datasets.lookup import Lookup, report_from, reports_by_id, table_by
from medvlp_datasets.source import FileSource, existing
from medvlp_datasets.text_files import columns_of, read_table
from medvlp_datasets.values import labels_of, metadata_value, numbers
from medvlp_toolkit.data.records import Box, Report, Study

DEMOGRAPHICS = ("sex", "age", "view")
# Words for "no finding" in a column of joined labels.
NO_FINDING = frozenset({"no finding", "no findings", "none", "normal"})


class CsvSource(FileSource):
    """One study per row of a table (``.csv``, ``.csv.gz``, or a CSV alone in a ``.zip``).

    Args:
        file: the table; its first line names the columns.
        image_column: column with the image's path; None: studies without images.
        image_root: folder that the paths are relative to (default: the table's).
        id_column: column with the study's id (default: ``study_id`` where it is there, else the image's path).
        patient_column: column with the patient's id; in a table without it each study is a patient of its own.
        report_column: column with the report's text.
        reports: where the reports come from otherwise: another data source, the path of an Open-i archive or folder,
            or a table with columns ``id`` and ``text``.
        report_id_column: column that says which of ``reports`` belongs to a row (default: the study's id). A row whose
            report is not there gets none.
        join: further tables that have the id column too, whose columns are added to the row.
        split_column: column with the split, if it is there.
        splits: the splits to keep (default: all).
        labels_column: column with joined labels (``Edema|Effusion``; empty or "No Finding": none).
        labels_separator: what stands between joined labels.
        labels: all joined labels that there are (default: those that occur); the ones a row does not name are 0.
        label_columns: columns that are 1, 0, -1 (uncertain) or empty, each a label.
        metadata_columns: columns kept as metadata: names, or a mapping from column to name (default: sex, age and view
            where they are there).
        boxes: table of boxes: the id column or ``image``, then ``label``, ``x``, ``y``, ``w``, ``h`` as fractions of
            the image.
        delimiter: between fields.

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
        report_column: str | None = None,
        reports: Iterable[Study] | Path | str | None = None,
        report_id_column: str | None = None,
        join: Sequence[Path | str] | Path | str = (),
        split_column: str = "split",
        splits: Sequence[str] | None = None,
        labels_column: str | None = None,
        labels_separator: str = "|",
        labels: Sequence[str] | None = None,
        label_columns: Sequence[str] = (),
        metadata_columns: Sequence[str] | Mapping[str, str] | None = None,
        boxes: Path | str | None = None,
        delimiter: str = ",",
    ) -> None:
        super().__init__()
        self.file = existing(file, "the table")
        self.image_column, self.patient_column, self.split_column = image_column, patient_column, split_column
        there = columns_of(self.file, delimiter)
        key = id_column or ("study_id" if "study_id" in there else image_column)
        if key is None:
            raise ValueError(f"{self.file}: a table without image_column needs an id_column")
        self.key = key
        self.image_root = self.file.parent if image_root is None else existing(image_root, "the folder of images")
        self.report_column, self.report_id_column = report_column, report_id_column
        if report_column is not None and reports is not None:
            raise ValueError("give report_column or reports, not both")
        self.reports = open_reports(reports)
        self.join = [existing(path, "the joined table") for path in ([join] if isinstance(join, (str, Path)) else join)]
        self.splits = None if splits is None else frozenset([splits] if isinstance(splits, str) else splits)
        self.labels_column, self.labels_separator = labels_column, labels_separator
        self.labels = None if labels is None else tuple(labels)
        self.label_columns = tuple(label_columns)
        self.metadata_columns = metadata_columns
        self.boxes = None if boxes is None else existing(boxes, "the table of boxes")
        self.delimiter = delimiter
        self.columns = self.check_columns(there)

    def check_columns(self, columns: list[str]) -> list[str]:
        """All columns of the table and those joined to it; raises ValueError naming the missing ones."""
        own = [self.key, *([self.image_column] if self.image_column else [])]
        for path in self.join:
            columns += [name for name in columns_of(path) if name not in columns]
        wanted = [*own, self.report_column, self.report_id_column, self.labels_column, *self.label_columns]
        wanted += list(self.metadata_columns or ())
        if self.splits is not None:
            wanted.append(self.split_column)
        missing = [name for name in wanted if name is not None and name not in columns]
        if missing:
            raise ValueError(
                f"{self.file}: no column {', '.join(map(repr, dict.fromkeys(missing)))}; there are {', '.join(columns)}"
            )
        return columns

    def rows(self) -> Iterator[tuple[int, dict[str, str] | None]]:
        """Rows with the joined tables' columns, of the splits asked for."""
        joined = [table_by(path, self.key) for path in self.join]
        try:
            for line, row in read_table(self.file, [self.key], self.delimiter):
                if row is not None:
                    for table in joined:
                        row = {**(table.first(row[self.key]) or {}), **row}
                    if self.splits is not None and row.get(self.split_column) not in self.splits:
                        continue
                yield line, row
        finally:
            for table in joined:
                table.close()

    def studies(self) -> Iterator[Study]:
        names = self.label_names()
        boxes = self.boxes_by_study()
        reports = None if self.reports is None else reports_by_id(self.reports)
        kept = self.metadata_names()
        try:
            for line, row in self.rows():
                if row is None:
                    self.reject_row(self.file, line)
                    continue
                try:
                    yield self.study(row, names, kept, boxes, reports)
                except ValueError as error:
                    self.reject(row[self.key], self.file, f"line {line}: {error}")
        finally:
            for lookup in (boxes, reports):
                if lookup is not None:
                    lookup.close()

    def study(
        self,
        row: dict[str, str],
        names: Sequence[str],
        kept: Mapping[str, str],
        boxes: Lookup | None,
        reports: Lookup | None,
    ) -> Study:
        key = row[self.key]
        image = row.get(self.image_column, "") if self.image_column else ""
        return Study(
            id=key,
            patient_id=row.get(self.patient_column) or key,
            image=self.image_root / image if image else None,
            report=self.report(row, key, reports),
            split=row.get(self.split_column) or None,
            labels=self.labels_from(row, names),
            boxes=tuple(box_of(values) for values in boxes.all(key)) if boxes is not None else (),
            metadata={name: metadata_value(name, row.get(column, "")) for column, name in kept.items()},
        )

    def report(self, row: dict[str, str], key: str, reports: Lookup | None) -> Report | None:
        if self.report_column is not None:
            return Report(row.get(self.report_id_column or "", "") or key, row.get(self.report_column, ""))
        if reports is None:
            return None
        wanted = row.get(self.report_id_column, "") if self.report_id_column else key
        found = reports.first(wanted)
        return None if found is None else report_from(found, wanted)

    def label_names(self) -> tuple[str, ...]:
        """All labels of the joined column, sorted, unless they were given."""
        if self.labels_column is None or self.labels is not None:
            return self.labels or ()
        found = {
            label for _, row in self.rows() if row is not None for label in self.split_labels(row[self.labels_column])
        }
        return tuple(sorted(found))

    def split_labels(self, joined: str) -> list[str]:
        labels = [label.strip() for label in joined.split(self.labels_separator)]
        return [label for label in labels if label and label.lower() not in NO_FINDING]

    def labels_from(self, row: dict[str, str], names: Sequence[str]) -> dict[str, int]:
        labels: dict[str, int] = {}
        if self.labels_column is not None:
            present = self.split_labels(row.get(self.labels_column, ""))
            unknown = [label for label in present if label not in names]
            if unknown:
                raise ValueError(f"label {unknown[0]!r} is none of those given")
            labels = {name: int(name in present) for name in names}
        return labels | labels_of(row, self.label_columns)

    def metadata_names(self) -> dict[str, str]:
        """Columns to keep, with the names they get."""
        if self.metadata_columns is None:
            return {name: name for name in DEMOGRAPHICS if name in self.columns}
        if isinstance(self.metadata_columns, Mapping):
            return dict(self.metadata_columns)
        return {name: name for name in self.metadata_columns}

    def boxes_by_study(self) -> Lookup | None:
        if self.boxes is None:
            return None
        key = self.key if self.key in columns_of(self.boxes) else "image"
        return table_by(self.boxes, key, required=("label", "x", "y", "w", "h"))


def open_reports(reports: Iterable[Study] | Path | str | None) -> Iterable[Study] | None:
    """The data source that a path stands for."""
    if not isinstance(reports, (str, Path)):
        return reports
    path = Path(reports)
    if ".csv" in path.suffixes:
        return CsvSource(path, image_column=None, id_column="id", report_column="text")
    from medvlp_datasets.open_i import OpenISource

    return OpenISource(path)


def box_of(values: Mapping[str, str]) -> Box:
    """A box of a row with label, x, y, w, h."""
    return Box(values["label"], *numbers((values[name] for name in ("x", "y", "w", "h")), "box coordinates"))
