"""The packed store: written once by `medvlp prepare`, read by training.

A store is a folder::

    store.json        schema version, counts, SHA-256 of every file, entities, positions, what made it
    images.npy        (N, C, H, W) uint8, or (N, C, D, H, W) int16; absent in a store of reports only
    masks.npy         (N, 1, H, W) uint8 0 or 1, where the data source has segmentation masks
    affines.npy       (N, 4, 4) float64 for volumes: voxel index to millimetres (RAS)
    scales.npy        (N, 2) float64 for volumes: slope and intercept; values are stored integer × slope + intercept
    studies.parquet   row i describes image i: study_id, image_id, patient_id, split, text (to which the findings' spans
                      refer), sections (all of them), image_path, image_hash (XXH3 of the stored pixels), height
                      and width (of the original), report_id, sex, age, view, other metadata, and ``label:<name>`` (1
                      present, 0 absent, -1 uncertain, null unknown; the last two are both -1 in a batch's ``targets``)
    findings.parquet  findings of the report filter: study (row), entity, presence, position, start, end, concept_id
    links.parquet     mentions of the entity linker, same columns
    boxes.parquet     study, label, x, y, width, height (fractions of the stored image)
    questions.parquet study, id, question, answer, category, answer_type, split
    tokens/<hash>/    the texts tokenised by one tokenizer (`medvlp_toolkit.data.store.tokens`)
    rejected.csv      rejected items with reasons
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.data.records import Box, Finding, Presence
from medvlp_toolkit.data.store.tokens import TokenTable
from medvlp_toolkit.data.views import chosen_images
from medvlp_toolkit.files import sha256_of
from medvlp_toolkit.images import StoredFormat

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 2
#: Supported versions of the store. In version 1 every image is a separate study.
READABLE_VERSIONS = (1, 2)
META_FILE = "store.json"
#: The name by which this package offers it.
file_sha256 = sha256_of
TABLES = ("studies", "findings", "links", "boxes", "questions")


class StoreError(ValueError):
    """A folder is not a store that this version can read."""


@dataclass(frozen=True)
class PackedStore:
    """A complete store, opened for reading. It is cheap to pickle: only the path is sent to workers.

    Row i of `images`, `studies` and the token tables is the same image; ``study`` in the other tables, which are sorted
    by it, is that row number. Rows with the same ``study_id`` are the images of one study: they share its report and
    findings, and each has its own ``image_id``.
    """

    path: Path

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open the store at ``path``; raises `StoreError` (one line, with the fix) if it cannot be read."""
        store = cls(Path(path))
        store.check()
        return store

    def check(self) -> None:
        """Raise `StoreError` if the store is missing, incomplete or of another schema version."""
        rebuild = f"`medvlp prepare CONFIG` with output_dir {self.path} writes it"
        if not (self.path / META_FILE).is_file():
            partial = partial_path(self.path)
            if partial.exists():
                raise StoreError(f"{self.path}: preparing this store was interrupted; {rebuild}, resuming there")
            what = "no store" if not self.path.exists() else f"not a store (no {META_FILE})"
            raise StoreError(f"{self.path}: {what}; {rebuild}")
        try:
            version = self.meta.get("schema_version")
        except (json.JSONDecodeError, UnicodeDecodeError, AttributeError):
            raise StoreError(f"{self.path / META_FILE}: damaged; {rebuild} again (with overwrite)") from None
        if version not in READABLE_VERSIONS:
            raise StoreError(
                f"{self.path}: written with store schema {version}, this version reads {SCHEMA_VERSION}; "
                f"{rebuild} again (with overwrite)"
            )
        for name, entry in self.meta["files"].items():
            file = self.path / name
            if not file.is_file() or file.stat().st_size != entry["bytes"]:
                state = "has changed size since it was written" if file.is_file() else "is missing"
                raise StoreError(f"{self.path}: {name} {state}; {rebuild} again (with overwrite)")

    def verify(self) -> None:
        """Compare every file with its SHA-256 in ``store.json``; raises `StoreError` naming the first that differs."""
        for name, entry in self.meta["files"].items():
            if sha256_of(self.path / name) != entry["sha256"]:
                raise StoreError(f"{self.path}: {name} has changed since it was written (SHA-256 differs)")

    def __repr__(self) -> str:
        """Counts, size and splits; no ids."""
        try:
            counts = self.meta["counts"]
            pictures = f", {' × '.join(map(str, self.images.shape[1:]))} {self.images.dtype}" if self.has_images else ""
            splits = ", ".join(f"{name} {count:,}" for name, count in counts["splits"].items())
            about = f"{len(self):,} rows of {counts['studies']:,} studies{pictures}; {splits}"
            return f"PackedStore({str(self.path)!r}: {about})"
        except (OSError, ValueError, LookupError, AttributeError):
            return f"PackedStore({str(self.path)!r}: not readable)"

    @cached_property
    def meta(self) -> dict[str, Any]:
        """The content of ``store.json``."""
        meta = json.loads((self.path / META_FILE).read_text(encoding="utf-8"))
        if not isinstance(meta, dict):
            raise AttributeError("store.json is not a mapping")
        return meta

    @property
    def fingerprint(self) -> str:
        """SHA-256 of ``store.json`` when first read; it covers all files' checksums and their provenance."""
        return hashlib.sha256(json.dumps(self.meta, sort_keys=True).encode()).hexdigest()

    def __len__(self) -> int:
        """Number of rows: images, or reports in a store without images."""
        counts = self.meta["counts"]
        return int(counts.get("images", counts["studies"]))

    @property
    def entities(self) -> tuple[str, ...]:
        """Entity ids declared by the report filter, in its order."""
        return tuple(self.meta["entities"])

    @property
    def positions(self) -> tuple[str, ...]:
        """Position ids declared by the report filter, in its order."""
        return tuple(self.meta["positions"])

    @property
    def has_images(self) -> bool:
        return "images.npy" in self.meta["files"]

    @property
    def stored_format(self) -> StoredFormat | None:
        """How image files were read into this store; None of a store of reports, and where it was not noted."""
        described = self.meta.get("made_by", {}).get("image")
        return None if described is None else StoredFormat.from_mapping(described)

    @cached_property
    def images(self) -> np.memmap[Any, np.dtype[Any]]:
        """(N, C, H, W) uint8 or (N, C, D, H, W) int16, memory-mapped read-only, so that processes share one copy."""
        return self.array("images")

    @cached_property
    def masks(self) -> np.memmap[Any, np.dtype[Any]]:
        """(N, 1, H, W) uint8, 1 inside the annotated finding."""
        return self.array("masks")

    @cached_property
    def scales(self) -> np.memmap[Any, np.dtype[Any]] | None:
        """(N, 2) slope and intercept of each volume; None for pictures and for volumes stored unscaled."""
        return self.array("scales") if "scales.npy" in self.meta["files"] else None

    def array(self, name: str) -> np.memmap[Any, np.dtype[Any]]:
        """The memory map of ``<name>.npy``; raises `StoreError` if the store has none."""
        if f"{name}.npy" not in self.meta["files"]:
            raise StoreError(f"{self.path}: this store has no {name}")
        mapped: np.memmap[Any, np.dtype[Any]] = np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return mapped

    def table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """One of the Parquet tables, or some of its columns; raises `StoreError` if it is damaged."""
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        try:
            return pq.read_table(self.path / f"{name}.parquet", columns=columns, partitioning=None)
        except (ArrowException, OSError) as error:
            raise StoreError(f"{self.path}: {name}.parquet is damaged ({type(error).__name__})") from None

    @cached_property
    def studies(self) -> pa.Table:
        return self.table("studies")

    @cached_property
    def findings(self) -> pa.Table:
        return self.table("findings")

    @cached_property
    def links(self) -> pa.Table:
        return self.table("links")

    @cached_property
    def boxes(self) -> pa.Table:
        return self.table("boxes")

    @cached_property
    def questions(self) -> pa.Table:
        return self.table("questions")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the source's own labels: the ``label:<name>`` columns of `studies`."""
        return tuple(self.meta["labels"])

    def rows(self, *splits: str) -> npt.NDArray[np.int64]:
        """Row numbers of the studies in the given splits (all rows when none is given)."""
        if not splits:
            return np.arange(len(self))
        column = self.table("studies", ["split"]).column("split").to_pylist()
        return np.array([row for row, split in enumerate(column) if split in splits], dtype=np.int64)

    def first_images(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The first row of each study among these rows, for reports, which the images of a study share."""
        return rows[chosen_images(self._column("study_id", rows), None, "first")]

    def values(self, name: str, rows: npt.NDArray[np.int64]) -> list[Any] | None:
        """A column of `studies` at some rows; None if the store has no such column."""
        if name not in self.studies.column_names:
            return None
        return list(self.studies.column(name).take(rows).to_pylist())

    def _column(self, name: str, rows: npt.NDArray[np.int64]) -> list[Any]:
        """A column that every store has, at some rows; other columns are not read."""
        return list(self.table("studies", [name]).column(name).take(rows).to_pylist())

    def image_ids(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The unique ids of the images at some rows."""
        # In a store of the first version every image is a separate study.
        return self._column("study_id" if self.meta["schema_version"] == 1 else "image_id", rows)

    def findings_of(self, row: int, table: str = "findings") -> list[Finding]:
        """The findings (or, with ``table="links"``, the linked entities) of one row, in the filter's order."""
        bounds = self.bounds(table)
        part = getattr(self, table).slice(bounds[row], bounds[row + 1] - bounds[row])
        return [finding_from_row(values) for values in part.to_pylist()]

    def boxes_of(self, row: int) -> list[Box]:
        """The boxes of one row, in fractions of its stored image."""
        return self._boxes.get(row, [])

    @cached_property
    def _boxes(self) -> dict[int, list[Box]]:
        boxes: dict[int, list[Box]] = {}
        for row in self.boxes.to_pylist():
            boxes.setdefault(row.pop("study"), []).append(Box(**row))
        return boxes

    def bounds(self, table: str) -> npt.NDArray[np.int64]:
        """(N + 1,) offsets: the rows of ``table`` that belong to study i are ``bounds[i]:bounds[i + 1]``."""
        if table not in self._bounds:
            study = self.table(table, ["study"]).column("study").to_numpy()
            self._bounds[table] = np.searchsorted(study, np.arange(len(self) + 1)).astype(np.int64)
        return self._bounds[table]

    @cached_property
    def _bounds(self) -> dict[str, npt.NDArray[np.int64]]:
        return {}

    def tokens(self, key: str | None = None) -> TokenTable:
        """The texts tokenised by the tokenizer with this hash, or by the only one."""
        folder = self.path / "tokens"
        keys = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        if key is None and len(keys) == 1:
            key = keys[0]
        if key not in keys:
            raise StoreError(f"{self.path}: no tokens for tokenizer {key}; there are {', '.join(keys) or 'none'}")
        return TokenTable.open(folder / str(key))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def finding_from_row(row: dict[str, Any]) -> Finding:
    """The record of one row of the findings or links table."""
    return Finding(
        entity=row["entity"],
        presence=None if row["presence"] is None else Presence(row["presence"]),
        position=row["position"],
        span=None if row["start"] is None else (row["start"], row["end"]),
        concept_id=row["concept_id"],
    )


def partial_path(path: Path) -> Path:
    """The folder in which a store is built before it is complete."""
    return path.with_name(path.name + ".partial")
