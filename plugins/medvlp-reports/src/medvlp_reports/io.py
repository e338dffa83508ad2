"""Reports in and findings out: text, CSV, JSON lines, MIMIC-CXR folders, Open-i XML; JSON lines and CSV.

An unusable report never stops the run and is never dropped silently: the reader records its place and the reason. No
message contains report text.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from medvlp_reports.labels import LabelledReport
from medvlp_toolkit.data.records import Finding, Presence, Report
from medvlp_toolkit.data.sections import report_from_open_i
from medvlp_toolkit.tables.cells import filled, identifier
from medvlp_toolkit.tables.columns import Columns, section_of
from medvlp_toolkit.tables.content import Line, decode, open_bytes, open_lines
from medvlp_toolkit.tables.table import Table

_TABLES = (".csv", ".tsv", ".tab", ".xlsx")
_ARCHIVES = (".tgz", ".tar.gz", ".tar")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A report that was not read: ``place`` is a file, or a file and line; ``reason`` says why."""

    place: str
    reason: str


@dataclass
class ReportReader:
    """Iterates over the reports of a file or folder; afterwards ``rejected`` and ``empty`` account for the others.

    ``source`` may be a ``.txt`` file (its id is the file's name), a table (``.csv``, ``.tsv``, ``.xlsx``) or ``.jsonl``
    (also ``.gz``), an Open-i ``.xml``, a ``.tgz`` or ``.tar`` of such files, or a folder of them
    (MIMIC-CXR's ``files/p10/p10000032/s50414267.txt``). Text is UTF-8, or else Windows-1252; tables are
    read by :class:`~medvlp_toolkit.tables.table.Table`. NULs become spaces. A report repeated with
    the same id (tables with a row per image) is read once and counted in ``repeated``; a different report with that id
    is rejected; a report without text is read and counted in ``empty``. All rows, lines or files are counted:
    ``rows == read + repeated + len(rejected)``. ``place`` is the place of the last report.

    Args:
        source: file or folder.
        id_column, text_column: columns (keys) of a table; by default columns with usual names, such as ``study_id``,
            ``accession``, ``uid`` and ``report``, ``text``, or else ``findings`` and ``impression``.
        encoding: of a table or ``.jsonl``; detected when None.

    Raises (on iteration): FileNotFoundError, or ValueError for a source of another kind, a table
    without the columns, or an archive that is damaged.
    """

    source: str | Path
    id_column: str | None = None
    text_column: str | None = None
    encoding: str | None = None
    rejected: list[Rejected] = field(default_factory=list, init=False)
    rows: int = field(default=0, init=False)
    empty: int = field(default=0, init=False)
    read: int = field(default=0, init=False)
    repeated: int = field(default=0, init=False)
    unit: str = field(default="files", init=False)
    id_name: str = field(default="id", init=False)
    place: str = field(default="", init=False)

    def __iter__(self) -> Iterator[Report]:
        path = Path(self.source)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        self.rejected, self.rows, self.empty, self.read, self.repeated = [], 0, 0, 0, 0
        seen: dict[str, int] = {}
        for place, report in self._reports(path):
            text = hash(report.text)
            if report.id in seen:
                if seen[report.id] == text:
                    self.repeated += 1
                else:
                    self.rejected.append(Rejected(place, "duplicate id"))
                continue
            seen[report.id] = text
            self.read += 1
            self.place = place
            if not report.text.strip():
                self.empty += 1
            yield report

    def leave_out(self, reason: str) -> None:
        """Count the latest report as rejected, if its consumer cannot use it."""
        self.read -= 1
        self.rejected.append(Rejected(self.place, reason))

    def _reports(self, path: Path) -> Iterator[tuple[str, Report]]:
        if path.is_dir():
            yield from self._folder(path)
            return
        kind = _kind(path.name)
        if kind in _TABLES:
            yield from self._table(path)
        elif kind == ".jsonl":
            yield from self._json_lines(path)
        elif kind == ".tar":
            yield from self._archive(path)
        elif kind in (".txt", ".xml"):
            self.id_name = _file_id_name(path.stem, kind)
            yield from self._document(str(path), path.name, path.read_bytes())
        else:
            raise ValueError(
                f"{path}: cannot read reports from this kind of file; "
                "expected .txt, .csv, .tsv, .xlsx, .jsonl, .xml, .tgz or a folder"
            )

    def _folder(self, folder: Path) -> Iterator[tuple[str, Report]]:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".txt", ".xml") and path.is_file())
        if not paths:
            raise ValueError(f"{folder}: no .txt or .xml report in this folder")
        self.id_name = _file_id_name(paths[0].stem, paths[0].suffix.lower())
        for path in paths:
            place = str(path.relative_to(folder))
            try:
                content = path.read_bytes()
            except OSError as error:
                self.rows += 1
                self.rejected.append(Rejected(place, f"cannot be read ({error.strerror})"))
                continue
            yield from self._document(place, path.name, content)

    def _archive(self, path: Path) -> Iterator[tuple[str, Report]]:
        found = False
        try:
            # tarfile's own decompression treats a truncated stream as the end of the archive; gzip raises.
            with open_bytes(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
                for member in archive:
                    if not member.isfile() or not member.name.lower().endswith((".txt", ".xml")):
                        continue
                    stream = archive.extractfile(member)
                    if stream is None:
                        continue
                    name = PurePosixPath(member.name)
                    if not found:
                        self.id_name = _file_id_name(name.stem, name.suffix.lower())
                    found = True
                    yield from self._document(f"{path.name}:{member.name}", name.name, stream.read())
                while content.read(1 << 20):
                    pass
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
            raise ValueError(f"{path}: damaged archive, after {self.read} reports ({type(error).__name__})") from None
        if not found:
            raise ValueError(f"{path}: no .txt or .xml report in this archive")

    def _document(self, place: str, name: str, content: bytes) -> Iterator[tuple[str, Report]]:
        self.rows += 1
        if name.lower().endswith(".xml"):
            try:
                yield place, _clean(report_from_open_i(content))
            except ValueError as error:
                self.rejected.append(Rejected(place, str(error)))
        else:
            yield place, _clean(Report(name[: -len(".txt")], decode(content)))

    def _table(self, path: Path) -> Iterator[tuple[str, Report]]:
        asked = [name for name in (self.id_column, self.text_column) if name is not None]
        table = Table(path, encoding=self.encoding, expected=asked)
        self.unit = "rows"
        if not table.columns:
            raise ValueError(f"{path}: empty; expected a header line with an id and a text column")
        id_name, text_names = self._columns(table)
        self.id_name = id_name
        for row in table:
            self.rows += 1
            place = f"{path.name}:{row.line}" if row.line == row.end else f"{path.name}:{row.line}-{row.end}"
            if row.values is None:
                self.rejected.append(Rejected(place, row.problem))
                continue
            report = self._row(place, row.values[id_name], [(name, row.values[name]) for name in text_names])
            if report is not None:
                yield place, report

    def _json_lines(self, path: Path) -> Iterator[tuple[str, Report]]:
        names: tuple[str, list[str]] | None = None
        self.unit = "lines"
        with open_lines(path, self.encoding) as lines:
            for line in lines:
                if not line.text.strip():
                    continue
                self.rows += 1
                place = f"{path.name}:{line.number}"
                record = _json_object(line)
                if isinstance(record, str):
                    self.rejected.append(Rejected(place, record))
                    continue
                if names is None:
                    names = self._columns(Columns(path, list(record)))
                    self.id_name = names[0]
                id_name, text_names = names
                missing = [name for name in (id_name, *text_names[:1]) if name not in record]
                if missing:
                    self.rejected.append(Rejected(place, f"no key {missing[0]!r}"))
                    continue
                try:
                    parts = [(name, _text(record.get(name))) for name in text_names]
                    report = self._row(place, _text(record[id_name]), parts)
                except ValueError as error:
                    self.rejected.append(Rejected(place, str(error)))
                    continue
                if report is not None:
                    yield place, report

    def _columns(self, table: Columns) -> tuple[str, list[str]]:
        """The column of the id, and those of the text."""
        id_option, text_option = "id_column (--id-column)", "text_column (--text-column)"
        id_name = table.column("study", self.id_column, id_option)
        if id_name is None and self.id_column is None:
            id_name = table.column("image", None, id_option)
        if id_name is None:
            raise table.column_error("no id column (study_id, accession, uid, id)", f"set {id_option}")
        text = table.column("report", self.text_column, text_option)
        if text is not None:
            return id_name, [text]
        sections = [table.column(name, None, text_option) for name in ("findings", "impression")]
        if not any(sections):
            usual = "report, text, findings, impression"
            raise table.column_error(f"no text column ({usual})", f"set {text_option}")
        return id_name, [name for name in sections if name is not None]

    def _row(self, place: str, report_id: str, parts: Sequence[tuple[str, str]]) -> Report | None:
        try:
            report_id = identifier(report_id.replace("\0", ""), "id")
        except ValueError as error:
            self.rejected.append(Rejected(place, str(error)))
            return None
        if not report_id:
            self.rejected.append(Rejected(place, "no id"))
            return None
        if len(parts) == 1:
            return _clean(Report(report_id, filled(parts[0][1])))
        sections = {section_of(name): filled(text).strip() for name, text in parts if filled(text).strip()}
        text = "\n".join(f"{name.upper()}: {body}" for name, body in sections.items())
        return _clean(Report(report_id, text, sections))


def write_findings(
    path: str | Path,
    rows: Iterable[tuple[Report, Sequence[Finding]]],
    language: Callable[[Report], str | None] | None = None,
) -> int:
    """Write findings as JSON lines, one report per line (``{"id": …, "findings": […]}``); returns their number.

    ``language`` gives the language of a report that was not read because of it, written as ``"language": …``.
    """
    count = 0
    with replacing(path) as stream:
        for report, findings in rows:
            record: dict[str, Any] = {"id": report.id, "findings": [_finding_record(finding) for finding in findings]}
            other = language(report) if language is not None else None
            if other is not None:
                record["language"] = other
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_findings(path: str | Path) -> dict[str, list[Finding]]:
    """The findings that ``write_findings`` wrote, by the report's id.

    Raises FileNotFoundError, or ValueError with the line if it is not a file of findings.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected findings that `medvlp filter` has written")
    found: dict[str, list[Finding]] = {}
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                found[str(record["id"])] = [_finding(item) for item in record["findings"]]
            except (ValueError, KeyError, TypeError, RecursionError):
                raise ValueError(f"{path}, line {number}: no findings as `medvlp filter` writes them") from None
    return found


def _finding(item: dict[str, Any]) -> Finding:
    presence, span = item["presence"], item.get("span")
    return Finding(
        str(item["entity"]),
        None if presence is None else Presence(presence),
        item.get("position"),
        None if span is None else (int(span[0]), int(span[1])),
        item.get("concept_id"),
    )


def write_labels(path: str | Path, rows: Iterable[LabelledReport], labels: Sequence[str], reader: ReportReader) -> int:
    """Write a label table as CSV: the id with the reader's name for it, then one column per label.

    Values are 1, 0, -1 or blank. Returns how many rows.
    """
    count = 0
    with replacing(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        # The id's name is known once the first report has been read.
        for row in rows:
            if count == 0:
                writer.writerow([reader.id_name, *labels])
            writer.writerow([row.id, *("" if row.labels[label] is None else row.labels[label] for label in labels)])
            count += 1
        if count == 0:
            writer.writerow([reader.id_name, *labels])
    return count


def _finding_record(finding: Finding) -> dict[str, Any]:
    return {
        "entity": finding.entity,
        "presence": None if finding.presence is None else str(finding.presence),
        "position": finding.position,
        "span": None if finding.span is None else list(finding.span),
        "concept_id": finding.concept_id,
    }


def _kind(name: str) -> str:
    lower = name.lower()
    if lower.endswith(_ARCHIVES):
        return ".tar"
    return PurePosixPath(lower.removesuffix(".gz").removesuffix(".zip")).suffix


def _file_id_name(stem: str, kind: str) -> str:
    """Name of the id column for reports in files: study ids for MIMIC-CXR, uids for Open-i."""
    if kind == ".xml":
        return "uid"
    return "study_id" if stem[:1] == "s" and stem[1:].isdigit() else "id"


def _json_object(line: Line) -> dict[str, Any] | str:
    """The object in a line, or the reason why there is none."""
    if line.problem:
        return line.problem
    try:
        record = json.loads(line.text)
    except (ValueError, RecursionError):
        return "no readable JSON"
    return record if isinstance(record, dict) else "no JSON object"


def _text(value: Any) -> str:
    """A text or number as text; raises ValueError for a list, an object, true or false."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("a value that is neither text nor number")
    return str(value)


def _clean(report: Report) -> Report:
    if "\0" not in report.text:
        return report
    sections = {name: text.replace("\0", " ") for name, text in report.sections.items()}
    return Report(report.id, report.text.replace("\0", " "), sections, report.spans)


@contextmanager
def replacing(path: str | Path) -> Iterator[TextIO]:
    """A text file that is renamed to its final name when complete."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
