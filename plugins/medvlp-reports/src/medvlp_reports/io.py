"""Reports in and findings out: text, CSV, JSON lines, MIMIC-CXR folders, Open-i XML; JSON lines and CSV.

A report that cannot be used never stops the run and never vanishes: the reader keeps where it was
and why. No text of a report is in any message.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import os
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, TextIO, cast

from medvlp_reports.labels import LabelledReport
from medvlp_toolkit.data.records import Finding, Presence, Report
from medvlp_toolkit.data.sections import report_from_open_i

ID_COLUMNS = ("uid", "id", "study_id")
TEXT_COLUMNS = ("text", "report")
SECTION_COLUMNS = ("findings", "impression")

_TABLES = {".csv": ",", ".tsv": "\t"}
_ARCHIVES = (".tgz", ".tar.gz", ".tar")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A report that was not read: ``place`` is a file, or a file and line; ``reason`` says why."""

    place: str
    reason: str


@dataclass
class ReportReader:
    """Iterates over the reports of a file or folder; afterwards ``rejected`` and ``empty`` say the rest.

    ``source`` may be a ``.txt`` file (its id is the file's name), a ``.csv``, ``.tsv`` or ``.jsonl``
    (also ``.gz``), an Open-i ``.xml``, a ``.tgz`` or ``.tar`` of such files, or a folder of them
    (MIMIC-CXR's ``files/p10/p10000032/s50414267.txt``). Text is UTF-8, or Latin-1 where it is not;
    NULs become spaces. A repeated id is rejected; a report without text is read and counted in
    ``empty``. ``place`` is where the last report stood.

    Args:
        source: file or folder.
        id_column, text_column: columns (keys) of a table; otherwise the first of ``uid``, ``id``,
            ``study_id`` and of ``text``, ``report``, or else ``findings`` and ``impression``.

    Raises (on iteration): FileNotFoundError, or ValueError for a source of another kind, a table
    without the columns, or an archive that is damaged.
    """

    source: str | Path
    id_column: str | None = None
    text_column: str | None = None
    rejected: list[Rejected] = field(default_factory=list, init=False)
    empty: int = field(default=0, init=False)
    read: int = field(default=0, init=False)
    id_name: str = field(default="id", init=False)
    place: str = field(default="", init=False)

    def __iter__(self) -> Iterator[Report]:
        path = Path(self.source)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        self.rejected, self.empty, self.read = [], 0, 0
        seen: set[str] = set()
        for place, report in self._reports(path):
            if report.id in seen:
                self.rejected.append(Rejected(place, "duplicate id"))
                continue
            seen.add(report.id)
            self.read += 1
            self.place = place
            if not report.text.strip():
                self.empty += 1
            yield report

    def leave_out(self, reason: str) -> None:
        """List the report that was given last as rejected: whoever reads it found that it cannot be used."""
        self.rejected.append(Rejected(self.place, reason))

    def _reports(self, path: Path) -> Iterator[tuple[str, Report]]:
        if path.is_dir():
            yield from self._folder(path)
            return
        kind = _kind(path.name)
        if kind in _TABLES:
            yield from self._table(path, _TABLES[kind])
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
                "expected .txt, .csv, .tsv, .jsonl, .xml, .tgz or a folder"
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
                self.rejected.append(Rejected(place, f"cannot be read ({error.strerror})"))
                continue
            yield from self._document(place, path.name, content)

    def _archive(self, path: Path) -> Iterator[tuple[str, Report]]:
        found = False
        try:
            # tarfile's own decompression takes a truncated stream for the archive's end; gzip raises.
            with _open_compressed(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
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
        if name.lower().endswith(".xml"):
            try:
                yield place, _clean(report_from_open_i(content))
            except ValueError as error:
                self.rejected.append(Rejected(place, str(error)))
        else:
            yield place, _clean(Report(name[: -len(".txt")], _decode(content)))

    def _table(self, path: Path, delimiter: str) -> Iterator[tuple[str, Report]]:
        # The default limit of 128 KiB a field stops at one long report; there is no per-reader limit.
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        with _open_text(path) as stream:
            rows = csv.reader(stream, delimiter=delimiter)
            header = next(rows, None)
            if not header:
                raise ValueError(f"{path}: empty; expected a header line with an id and a text column")
            header = [name.strip() for name in header]
            id_index, text_indexes = self._columns(path, header)
            self.id_name = header[id_index]
            try:
                for row in rows:
                    if not row:
                        continue
                    place = f"{path.name}:{rows.line_num}"
                    if len(row) != len(header):
                        self.rejected.append(Rejected(place, f"{len(row)} columns instead of {len(header)}"))
                        continue
                    report = self._row(place, row[id_index], [(header[i], row[i]) for i in text_indexes])
                    if report is not None:
                        yield place, report
            except csv.Error as error:
                raise ValueError(f"{path}, line {rows.line_num}: not readable as CSV ({error})") from None
            except (EOFError, zlib.error, gzip.BadGzipFile):
                raise ValueError(f"{path}: damaged file, after line {rows.line_num}") from None

    def _json_lines(self, path: Path) -> Iterator[tuple[str, Report]]:
        names: tuple[str, list[str]] | None = None
        with _open_text(path) as stream:
            for number, line in enumerate(_lines(path, stream), 1):
                if not line.strip():
                    continue
                place = f"{path.name}:{number}"
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    self.rejected.append(Rejected(place, "no readable JSON"))
                    continue
                if not isinstance(record, dict):
                    self.rejected.append(Rejected(place, "no JSON object"))
                    continue
                if names is None:
                    header = list(record)
                    id_index, text_indexes = self._columns(path, header)
                    names = header[id_index], [header[index] for index in text_indexes]
                    self.id_name = names[0]
                id_name, text_names = names
                missing = [name for name in (id_name, *text_names[:1]) if name not in record]
                if missing:
                    self.rejected.append(Rejected(place, f"no key {missing[0]!r}"))
                    continue
                parts = [(name, _text(record.get(name))) for name in text_names]
                report = self._row(place, _text(record[id_name]), parts)
                if report is not None:
                    yield place, report

    def _columns(self, path: Path, header: Sequence[str]) -> tuple[int, list[int]]:
        id_index = _column(header, self.id_column, ID_COLUMNS)
        text_index = _column(header, self.text_column, TEXT_COLUMNS)
        text_indexes = [text_index] if text_index is not None else []
        if text_index is None and self.text_column is None:
            text_indexes = [i for name in SECTION_COLUMNS if (i := _column(header, None, (name,))) is not None]
        for index, chosen, usual, option in (
            (id_index, self.id_column, ID_COLUMNS, "id"),
            (text_indexes or None, self.text_column, (*TEXT_COLUMNS, *SECTION_COLUMNS), "text"),
        ):
            if index is None:
                expected = f"column {chosen!r}" if chosen else f"{option} column ({', '.join(usual)})"
                shown = ", ".join(name[:40] for name in header[:20])
                raise ValueError(f"{path}: no {expected}; its columns are {shown}. Name the {option} column.")
        assert id_index is not None
        return id_index, text_indexes

    def _row(self, place: str, report_id: str, parts: Sequence[tuple[str, str]]) -> Report | None:
        report_id = report_id.replace("\0", "").strip()
        if not report_id:
            self.rejected.append(Rejected(place, "no id"))
            return None
        if len(parts) == 1:
            return _clean(Report(report_id, parts[0][1]))
        sections = {name.lower(): text.strip() for name, text in parts if text.strip()}
        text = "\n".join(f"{name.upper()}: {body}" for name, body in sections.items())
        return _clean(Report(report_id, text, sections))


def write_findings(
    path: str | Path,
    rows: Iterable[tuple[Report, Sequence[Finding]]],
    language: Callable[[Report], str | None] | None = None,
) -> int:
    """Write findings as JSON lines, one report a line (``{"id": …, "findings": […]}``); how many lines.

    ``language`` names the language of a report that was not read for it, noted as ``"language": …``.
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

    Raises FileNotFoundError, or ValueError with the line, where it is no file of findings.
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
    """Write a label table as CSV: the id under the reader's name for it, then one column a label.

    Values are 1, 0, -1 or blank. Returns how many rows.
    """
    count = 0
    with replacing(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        # The reader knows the id's name once the first report has been read.
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
    return PurePosixPath(lower.removesuffix(".gz")).suffix


def _file_id_name(stem: str, kind: str) -> str:
    """Name of the id column for reports that come as files: MIMIC-CXR's are study ids, Open-i's uids."""
    if kind == ".xml":
        return "uid"
    return "study_id" if stem[:1] == "s" and stem[1:].isdigit() else "id"


def _column(header: Sequence[str], chosen: str | None, usual: Sequence[str]) -> int | None:
    if chosen is not None:
        return header.index(chosen) if chosen in header else None
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in usual if name in lower), None)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _clean(report: Report) -> Report:
    if "\0" not in report.text:
        return report
    sections = {name: text.replace("\0", " ") for name, text in report.sections.items()}
    return Report(report.id, report.text.replace("\0", " "), sections, report.spans)


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _encoding(path: Path) -> str:
    """``utf-8-sig`` where the whole file is UTF-8, else ``latin-1``; read in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with _open_binary(path) as stream:
            while piece := stream.read(1 << 20):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1"
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError(f"{path}: damaged or truncated gzip file") from None
    return "utf-8-sig"


def _open_binary(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb"))


def _open_compressed(path: Path) -> IO[bytes]:
    """The bytes of a file, unpacked where it is gzip by its first bytes."""
    with path.open("rb") as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb") if compressed else path.open("rb"))


def _open_text(path: Path) -> TextIO:
    encoding = _encoding(path)
    if path.suffix.lower() == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding=encoding, newline=""))
    return path.open(encoding=encoding, newline="")


def _lines(path: Path, stream: TextIO) -> Iterator[str]:
    try:
        yield from stream
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError(f"{path}: damaged or truncated gzip file") from None


@contextmanager
def replacing(path: str | Path) -> Iterator[TextIO]:
    """A text file that takes its name only when it is complete."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
