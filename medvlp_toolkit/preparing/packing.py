"""A worker's task for a chunk of studies: read images, select report text, find findings."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash
from PIL import Image

from medvlp_toolkit.data.contracts import LanguageAware, Tallying
from medvlp_toolkit.data.headings import Headings
from medvlp_toolkit.data.records import Finding, Report, Study
from medvlp_toolkit.data.sections import cut_to_sections, with_sections
from medvlp_toolkit.data.store.array_file import ArrayFile
from medvlp_toolkit.data.store.rejected import Reason, Rejected
from medvlp_toolkit.images import Fit, ImageReadError, StoredFormat, fit_box
from medvlp_toolkit.images.fit import fit_picture
from medvlp_toolkit.images.opening import MISSING
from medvlp_toolkit.preparing.record_json import load

Row = dict[str, Any]
Annotator = Callable[[Sequence[Report]], list[list[Finding]]]
ArraySpec = tuple[np.dtype[Any], tuple[int, ...]]


@dataclass
class PackedChunk:
    """A chunk's rows, arrays and rejected items, each in the order of the chunk's items.

    ``body`` is the rows as JSON, compressed by the worker. ``arrays`` has ``images`` (n, …), ``masks``, ``affines`` and
    ``scales`` as far as they apply, and is empty once they are written; ``array_digests`` has their XXH3 hashes.
    ``tally`` has the report filter's counts for this chunk.
    """

    count: int
    body: bytes
    columns: dict[str, Any]
    rejected: list[Rejected]
    arrays: dict[str, npt.NDArray[Any]]
    array_digests: dict[str, str]
    tally: dict[str, int] = field(default_factory=dict)


def unpack_rows(body: bytes) -> list[Row]:
    """The rows in a chunk's body."""
    rows: list[Row] = json.loads(zlib.decompress(body))
    return rows


class RejectedError(Exception):
    """Reject this study."""

    def __init__(self, reason: Reason, detail: str = "", path: Path | str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.detail, self.path = reason, detail, path


@dataclass(frozen=True)
class ChunkPacker:
    """Packs chunks; sent to every worker once.

    ``read_image`` and ``read_mask`` are the data source's own readers, if it has any.
    """

    image: StoredFormat | None
    sections: tuple[str, ...] = ()
    headings: Headings | None = None
    report_filter: Annotator | None = None
    entity_linker: Annotator | None = None
    read_image: Callable[[Study], npt.NDArray[Any]] | None = None
    read_mask: Callable[[Study], npt.NDArray[Any] | None] | None = None
    require_report: bool = True
    require_findings: bool = True

    def __call__(self, content: bytes) -> PackedChunk:
        """Pack one chunk of records. A study with any problem is rejected."""
        items = load(content)
        reports = [self.divided(item) for item in items]
        texts = [None if report is None else cut_to_sections(report, self.sections) for report in reports]
        findings = self.annotate(self.report_filter, texts)
        links = self.annotate(self.entity_linker, texts)
        rows: list[Row] = []
        rejected: list[Rejected] = []
        specs = self.array_specs()
        arrays = {name: np.empty((len(items), *shape), dtype) for name, (dtype, shape) in specs.items()}
        for item, report, chosen, found, linked in zip(items, reports, texts, findings, links, strict=True):
            if isinstance(item, Rejected):
                rejected.append(item)
                continue
            try:
                statements = settled(found)
                self.check_text(report, chosen, statements)
                row = row_of(item, chosen, statements, settled(linked))
                row["sections"] = {} if report is None else report.sections
                for name, array in self.pixels(item, row).items():
                    arrays[name][len(rows)] = array
                rows.append(row)
            except RejectedError as why:
                path = why.path if why.path is not None else item.image
                rejected.append(Rejected(item.id, "" if path is None else str(path), why.reason, why.detail))
        kept = {name: array[: len(rows)] for name, array in arrays.items()}
        return PackedChunk(
            count=len(rows),
            body=zlib.compress(json.dumps(rows, separators=(",", ":")).encode("ascii"), 1),
            columns=columns_of(rows),
            rejected=rejected,
            arrays=kept,
            array_digests={name: xxhash.xxh3_128_hexdigest(array.data) for name, array in kept.items()},
            tally=dict(self.report_filter.take_tally()) if isinstance(self.report_filter, Tallying) else {},
        )

    def write(self, folder: Path, content: bytes, row: int) -> PackedChunk:
        """Pack one chunk and write its arrays into the files in ``folder``, from row number ``row`` on."""
        chunk = self(content)
        write_arrays(folder, self.array_specs(), chunk, row)
        return chunk

    def array_specs(self) -> dict[str, ArraySpec]:
        """Data type and shape per study of every array in a store with these settings."""
        if self.image is None:
            return {}
        specs: dict[str, ArraySpec] = {"images": (self.image.dtype, self.image.shape)}
        if self.image.volume:
            specs["affines"] = (np.dtype(np.float64), (4, 4))
            specs["scales"] = (np.dtype(np.float64), (2,))
        elif self.read_mask is not None:
            specs["masks"] = (np.dtype(np.uint8), (1, *self.image.size))
        return specs

    def annotate(
        self, annotator: Annotator | None, reports: Sequence[Report | None]
    ) -> list[list[Finding] | Exception]:
        """Findings per item, or the annotator's exception; a report shared by several images is annotated once."""
        distinct = {(report.id, report.text): report for report in reports if report is not None and report.text}
        if annotator is None or not distinct:
            return [[] for _ in reports]
        results = dict(zip(distinct, annotate_all(annotator, list(distinct.values())), strict=True))
        return [results.get((report.id, report.text), []) if report is not None else [] for report in reports]

    def divided(self, item: Study | Rejected) -> Report | None:
        """The item's report, divided into sections."""
        report = item.report if isinstance(item, Study) else None
        return None if report is None else with_sections(report, self.headings)

    def check_text(self, report: Report | None, chosen: Report | None, findings: list[Finding]) -> None:
        """Raise `RejectedError` if the store requires a text, or findings, and the item has none."""
        if not self.require_report:
            return
        if report is None or chosen is None:
            raise RejectedError(Reason.EMPTY_REPORT, "the record has no report")
        if not chosen.text.strip():
            # Every report with text has sections, selected or not.
            raise RejectedError(Reason.NO_SECTION if report.sections else Reason.EMPTY_REPORT)
        if self.report_filter is not None and self.require_findings and not findings:
            language = self.report_filter.foreign(chosen) if isinstance(self.report_filter, LanguageAware) else None
            raise RejectedError(Reason.NO_FINDINGS) if language is None else RejectedError(Reason.LANGUAGE, language)

    def pixels(self, study: Study, row: Row) -> dict[str, npt.NDArray[Any]]:
        """The study's arrays; adds ``image_hash`` and adapts the boxes to the fit."""
        if self.image is None:
            return {}
        try:
            arrays, original = self.read_volume(study) if self.image.volume else self.read_picture(study)
        except ImageReadError as error:
            missing = error.reason == MISSING
            reason = Reason.MISSING_IMAGE if missing else Reason.UNREADABLE_IMAGE
            raise RejectedError(reason, "" if missing else error.reason, error.path) from None
        row["image_hash"] = xxhash.xxh3_128_hexdigest(arrays["images"].data)
        if original is not None:
            row["height"], row["width"] = original
            if len(self.image.size) == 2:
                size = (self.image.size[0], self.image.size[1])
                row["boxes"] = [
                    (label, *fit_box((x, y, width, height), original, size, self.image.fit))
                    for label, x, y, width, height in row["boxes"]
                ]
        return arrays

    def read_picture(self, study: Study) -> tuple[dict[str, npt.NDArray[Any]], tuple[int, int] | None]:
        settings = self.image
        assert settings is not None
        size = (settings.size[0], settings.size[1])
        if self.read_image is not None:
            given = self.read_image(study)
            if given.ndim != 3 or given.dtype != np.uint8:
                raise ValueError(f"a source's read_image gives uint8 (C, H, W), not {given.dtype} {given.shape}")
            pixels, original = refit(given, size, settings.channels, settings.fit), (given.shape[1], given.shape[2])
        elif study.image is None:
            raise RejectedError(Reason.MISSING_IMAGE, "the record names no image")
        else:
            read = settings.read(study.image)
            pixels, original = read["image"], (int(read["input_shape"][0]), int(read["input_shape"][1]))
        arrays: dict[str, npt.NDArray[Any]] = {"images": pixels}
        if self.read_mask is not None:
            mask = self.read_mask(study)
            if mask is None:
                arrays["masks"] = np.zeros((1, *size), np.uint8)
            else:
                shown = refit((mask > 0).astype(np.uint8)[None] * np.uint8(255), size, 1, settings.fit)
                arrays["masks"] = (shown >= 128).astype(np.uint8)
        return arrays, original

    def read_volume(self, study: Study) -> tuple[dict[str, npt.NDArray[Any]], None]:
        settings = self.image
        assert settings is not None
        if self.read_image is not None:
            volume, affine, scale = np.asarray(self.read_image(study)), np.eye(4), np.array([1.0, 0.0])
            if volume.shape != settings.shape or volume.dtype != np.int16:
                raise ValueError(
                    f"the source's volumes are {volume.dtype} {volume.shape}, the store's int16 {settings.shape}; "
                    "set image_size to the source's"
                )
        elif study.image is None:
            raise RejectedError(Reason.MISSING_IMAGE, "the record names no image")
        else:
            read = settings.read(study.image)
            volume, affine, scale = read["image"], read["affine"], read["image_scale"]
        return {"images": volume, "affines": affine, "scales": scale}, None


def annotate_all(annotator: Annotator, reports: Sequence[Report]) -> list[list[Finding] | Exception]:
    """Findings of each report, or the exception that the annotator raises for this report alone.

    Errors that concern files or occur with every report are the annotator's own and are raised.
    """
    try:
        return list(annotator(reports))
    except OSError:
        raise
    except Exception:
        if len(reports) == 1:
            raise
    results: list[list[Finding] | Exception] = []
    for report in reports:
        try:
            results += annotator([report])
        except Exception as error:
            results.append(error)
    failures = [result for result in results if isinstance(result, Exception)]
    if len(failures) == len(reports):
        raise failures[0]
    return results


def settled(result: list[Finding] | Exception) -> list[Finding]:
    """The findings; raises `RejectedError` instead of the annotator's exception, whose message may quote text."""
    if isinstance(result, Exception):
        raise RejectedError(Reason.FILTER_FAILED, type(result).__name__)
    return result


def refit(pixels: npt.NDArray[Any], size: tuple[int, int], channels: int, fit: Fit) -> npt.NDArray[np.uint8]:
    """uint8 ``(C, H, W)`` brought to the store's size and channels."""
    if pixels.shape == (channels, *size):
        return np.ascontiguousarray(pixels)
    picture = pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)
    return fit_picture(Image.fromarray(np.ascontiguousarray(picture)), size, channels, fit)


def row_of(study: Study, report: Report | None, findings: list[Finding], links: list[Finding]) -> Row:
    """A study's entries in the store's tables, as values that JSON can represent."""
    return {
        "study_id": study.id,
        "image_id": study.image_id or study.id,
        "patient_id": study.patient_id,
        "split": study.split,
        "image_path": None if study.image is None else str(study.image),
        "report_id": None if report is None else report.id,
        "text": None if report is None else report.text,
        "labels": study.labels,
        "metadata": study.metadata,
        "boxes": [(box.label, box.x, box.y, box.width, box.height) for box in study.boxes],
        "questions": [
            (question.id, question.text, question.answer, question.category, question.answer_type, question.split)
            for question in study.questions
        ],
        "findings": [finding_row(finding) for finding in findings],
        "links": [finding_row(finding) for finding in links],
    }


def finding_row(finding: Finding) -> tuple[str, str | None, str | None, int | None, int | None, str | None]:
    start, end = finding.span if finding.span is not None else (None, None)
    presence = None if finding.presence is None else str(finding.presence)
    return (finding.entity, presence, finding.position, start, end, finding.concept_id)


def write_arrays(folder: Path, specs: dict[str, ArraySpec], chunk: PackedChunk, row: int) -> None:
    """Move a chunk's arrays into the files in ``folder``, from row number ``row`` on."""
    for name, (dtype, shape) in specs.items():
        with ArrayFile(folder / f"{name}.npy", dtype, shape) as file:
            file.write(row, chunk.arrays[name])
    chunk.arrays = {}


def columns_of(rows: Iterable[Row]) -> dict[str, Any]:
    """The label names, and the type of each metadata entry (int, float, bool, str or null), of some rows."""
    labels: dict[str, None] = {}
    metadata: dict[str, str] = {}
    for row in rows:
        labels.update(dict.fromkeys(row["labels"]))
        for name, value in row["metadata"].items():
            metadata[name] = wider(metadata.get(name), "null" if value is None else type(value).__name__)
    return {"labels": list(labels), "metadata": metadata}


def wider(one: str | None, other: str) -> str:
    """The narrowest type that can represent values of both."""
    if one is None or one == other or one == "null":
        return other
    if other == "null":
        return one
    return "float" if {one, other} == {"int", "float"} else "str"
