"""From a data source to a packed store: images decoded once, reports filtered once."""

from __future__ import annotations

import errno
import inspect
import json
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import xxhash

from medvlp_toolkit.data.concept_source import names_of
from medvlp_toolkit.data.contracts import (
    Fingerprinted,
    KnowledgeSource,
    ReadsSections,
    ReportFilter,
    image_reader,
    mask_reader,
)
from medvlp_toolkit.data.headings import Headings, read_headings, shipped_headings
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.sections import DEFAULT_SECTIONS
from medvlp_toolkit.data.store.rejected import Reason, write_rejected
from medvlp_toolkit.data.store.store import (
    META_FILE,
    SCHEMA_VERSION,
    PackedStore,
    StoreError,
    partial_path,
)
from medvlp_toolkit.data.store.tokens import Tokenizer, write_tokens
from medvlp_toolkit.data.tally import RunningTally
from medvlp_toolkit.data.views import Views, checked_views
from medvlp_toolkit.files import sha256_of
from medvlp_toolkit.images import Fit, StoredFormat
from medvlp_toolkit.preparing.executors import packing
from medvlp_toolkit.preparing.journal import Journal, StoreLockedError, remove_journal
from medvlp_toolkit.preparing.listing import Listing, encoded
from medvlp_toolkit.preparing.packing import Annotator, ChunkPacker, Row
from medvlp_toolkit.preparing.splits import LeakCheck, LeakError
from medvlp_toolkit.preparing.tables import batches, write_tables
from medvlp_toolkit.progress import Progress, duration
from medvlp_toolkit.terminal import show_log_lines

log = logging.getLogger(__name__)

CHUNK_BYTES = 8 * 2**20  # of pixels in a chunk, a worker's unit of work
CHUNK_STUDIES = 64
# Libraries whose version can change the store's content.
LIBRARIES = ("medvlp-toolkit", "numpy", "pillow", "pydicom", "pyarrow", "monai", "nibabel")


class PrepareError(RuntimeError):
    """A store cannot be prepared; the message gives the cause and the fix."""


@dataclass(frozen=True)
class Summary:
    """Counts of a run of `Prepare`. ``listed == stored + sum(rejected.values())``, all of them images.

    ``studies`` is the number of studies of the stored images; ``passed_over`` images are of other ``views``. ``unread``
    reports have text but none in the selected sections; in ``without_findings`` reports the filter found nothing; both
    count stored and rejected items. ``tally`` has a line for each of the report filter's counts in this run, such as
    reports it does not know.
    """

    store: Path
    listed: int
    stored: int
    rejected: dict[str, int]
    splits: dict[str, int]
    rows: dict[str, int]
    resumed_from: int
    seconds: float
    already_complete: bool = False
    studies: int = 0
    passed_over: int = 0
    unread: int = 0
    without_findings: int = 0
    tally: tuple[str, ...] = ()

    def __str__(self) -> str:
        common = sorted(self.rejected.items(), key=lambda item: -item[1])
        left_out = ", ".join(f"{count} {reason}" for reason, count in common)
        what = "studies" if self.studies in (0, self.stored) else f"images (of {self.studies} studies)"
        lines = [
            f"{self.store}: {self.stored} of {self.listed} {what} stored"
            + (f"; left out: {left_out}" if left_out else ""),
            f"records: {self.listed + self.passed_over} read = {self.stored} stored"
            + f" + {sum(self.rejected.values())} rejected"
            + (f" + {self.passed_over} of other views" if self.passed_over else ""),
        ]
        if self.rejected:
            lines.append(f"what was left out, and why: {self.store / 'rejected.csv'}")
        if self.splits:
            lines.append("splits: " + ", ".join(f"{name} {count}" for name, count in self.splits.items()))
        lines.append(f"no section that is read: {self.unread}; no finding: {self.without_findings}")
        if self.already_complete:
            lines.append("the store is already complete; nothing to do")
        else:
            rate = (self.listed - self.resumed_from) / self.seconds if self.seconds else 0.0
            begun = f" (resumed after {self.resumed_from})" if self.resumed_from else ""
            lines.append(f"{duration(self.seconds)}, {rate:.0f} studies/s{begun}")
        return "\n".join([*lines, *self.tally])


@dataclass
class Prepare:
    """Writes a packed store (`medvlp_toolkit.data.store.store`) from a data source.

    Args:
        source: iterable of `Study`. It may offer ``read_image(study) -> uint8 (C, H, W)`` (or int16 volumes) and
            ``read_mask(study) -> (H, W)`` of its own, and ``rejected``, the items that it left out itself.
        output_dir: folder of the store. It is built as ``<output_dir>.partial`` and renamed when complete. An
            interrupted run resumes where it stopped, with a byte-identical result.
        image_size: one number, ``(height, width)``, or ``(D, H, W)`` for volumes; None for a store of reports only.
        channels: 1 (grey) or 3 (colour).
        fit: ``stretch``, ``pad`` or ``crop`` (`medvlp_toolkit.images.fit.resize`).
        spacing: millimetres per axis that volumes are resampled to (`read_volume`).
        orientation: axis codes of volumes.
        window: (low, high) that the values of volumes are cut to before they are stored; None keeps their range.
        series: which volume to read where a folder holds several DICOM series (or one series several volumes): a series
            number, ``number/part``, or ``largest``; None rejects such a folder and lists its series.
        report_filter: called with reports, gives findings per report (`medvlp_toolkit.interfaces.ReportFilter`).
        entity_linker: the same for mentions of a knowledge source's concepts.
        positions: ids of the positions that a recipe trains with, so that a filter which places findings elsewhere is
            refused before anything is written; None for recipes that read no positions.
        concepts: knowledge sources with the readable names of entities and positions; the store keeps those it needs.
        tokenizer: hub name, folder, ``tokenizer.json`` or object whose token ids are stored beside the text.
        text_length: tokens after which texts are cut.
        sections: report sections whose text supervises; None: those that the report filter reads, else
            `DEFAULT_SECTIONS`; empty: the whole text.
        headings: a YAML file of headings besides those that come with the package
            (`medvlp_toolkit.data.headings`).
        split: maps a patient id to its split, for studies that have none; for example `SplitByPatient`.
        views: images of a study to store: ``all``, ``frontal`` or ``first`` (`medvlp_toolkit.data.views`).
        require_report: False keeps studies without text (evaluation sets).
        require_findings: False keeps studies whose report has no finding.
        max_rejected: stop with an error as soon as more items than this are rejected.
        on_leak: if a patient or an image content is in two splits, ``stop``, or ``report``: only write ``leaks.csv``.
        workers: worker processes (None: all cores, 0: none).
        scheduler: address of a Dask scheduler whose cluster does the work instead.
        overwrite: replace a complete store that was made from other data or settings.
        progress: show a progress bar (None: on a terminal, and log lines elsewhere; False: neither).

    Example::

        prepare:
          _target_: medvlp_toolkit.preparing.prepare.Prepare
          source: "@source"
          report_filter: "@report_filter"
          output_dir: data/store
          image_size: 256
        run: $@prepare.run()
    """

    source: Iterable[Study]
    output_dir: Path | str
    image_size: int | Sequence[int] | None = 224
    channels: int = 1
    fit: Fit = "stretch"
    spacing: Sequence[float] | None = None
    orientation: str = "RAS"
    window: Sequence[float] | None = None
    series: str | int | None = None
    report_filter: Annotator | None = None
    entity_linker: Annotator | None = None
    positions: Sequence[str] | None = None
    concepts: Sequence[KnowledgeSource] = ()
    tokenizer: Any = None
    text_length: int = 128
    sections: Sequence[str] | None = None
    headings: Path | str | None = None
    split: Callable[[str], str] | None = None
    views: Views = "all"
    require_report: bool = True
    require_findings: bool = True
    max_rejected: int | None = None
    on_leak: str = "stop"
    workers: int | None = None
    scheduler: str | None = None
    overwrite: bool = False
    progress: bool | None = None
    output: Path = field(init=False)
    image: StoredFormat | None = field(init=False)
    read_headings: Headings = field(init=False)
    kept_sections: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.output = Path(os.path.abspath(self.output_dir))
        if self.on_leak not in ("stop", "report"):
            raise ValueError(f"on_leak is 'stop' or 'report', not {self.on_leak!r}")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers is None (all cores), 0 (this process) or more, not {self.workers}")
        if isinstance(self.sections, str):
            raise ValueError(f"sections is a list of names, not the text {self.sections!r}")
        self.kept_sections = self._sections()
        self.views = checked_views(self.views)
        if self.positions is not None and isinstance(self.report_filter, ReportFilter):
            check_positions(self.report_filter, self.positions)
        self.read_headings = shipped_headings() if self.headings is None else read_headings(self.headings)
        self.image = None
        if self.image_size is not None:
            self.image = StoredFormat.of(
                self.image_size, channels=self.channels, fit=self.fit, spacing=self.spacing,
                orientation=self.orientation, window=self.window, series=self.series,
            )  # fmt: skip

    def _sections(self) -> tuple[str, ...]:
        """The sections to keep; a filter that reads none of them would read others instead, and say nothing."""
        read = tuple(self.report_filter.sections) if isinstance(self.report_filter, ReadsSections) else ()
        if self.sections is None:
            return read or DEFAULT_SECTIONS
        kept = tuple(self.sections)
        if read and kept and not set(read) & set(kept):
            raise ValueError(
                f"the report filter reads the sections {', '.join(read)}, and the store keeps {', '.join(kept)} alone; "
                "leave out `sections` of prepare, which are then the filter's"
            )
        return kept

    def run(self) -> Summary:
        """Prepare the store, and log what was done.

        Raises `PrepareError`, `LeakError` or ValueError with one line that says why.
        """
        if self.progress is not False:
            show_log_lines()
        summary = self.prepare()
        for line in str(summary).splitlines():
            log.info("%s", line)
        return summary

    def prepare(self) -> Summary:
        """As :meth:`run`, without logging."""
        started = time.monotonic()
        partial = partial_path(self.output)
        tokenizer = None if self.tokenizer is None else Tokenizer(self.tokenizer, self.text_length)
        try:
            if self.output.exists() and not (self.output / META_FILE).exists():
                raise PrepareError(f"{self.output}: exists and is not a store; give another output_dir or remove it")
            partial.mkdir(parents=True, exist_ok=True)
            journal = Journal(partial)
        except StoreLockedError as error:
            raise PrepareError(str(error)) from None
        except (OSError, sqlite3.Error) as error:
            raise self.storage_error(error) from None
        try:
            with closing(self.list_studies(partial)) as listing:
                summary = self.existing(listing, tokenizer, started)
                if summary is None:
                    summary = self.fill(journal, listing, tokenizer, started)
                else:
                    journal.remove(partial)
                    shutil.rmtree(partial, ignore_errors=True)
        except (OSError, sqlite3.Error) as error:
            raise self.storage_error(error) from None
        finally:
            journal.close()
        return summary

    def list_studies(self, partial: Path) -> Listing:
        total = len(self.source) if isinstance(self.source, Sized) else None
        with Progress("listing", total, self.progress) as progress:
            listing = Listing(self.source, partial, self.chunk_size(), self.split, self.views, progress.advance)
        if listing.count == 0:
            listing.close()
            raise PrepareError("the data source has no studies; check its paths")
        return listing

    def chunk_size(self) -> int:
        """Studies per chunk, computed from the settings alone, so that a resumed run makes the same chunks."""
        if self.image is None:
            return CHUNK_STUDIES
        pixels = self.image.dtype.itemsize
        for side in self.image.shape:
            pixels *= side
        return max(1, min(CHUNK_STUDIES, CHUNK_BYTES // pixels))

    def packer(self) -> ChunkPacker:
        return ChunkPacker(
            image=self.image,
            sections=self.kept_sections,
            headings=self.read_headings,
            report_filter=self.report_filter,
            entity_linker=self.entity_linker,
            read_image=image_reader(self.source),
            read_mask=mask_reader(self.source),
            require_report=self.require_report,
            require_findings=self.require_findings,
        )

    def settings(self) -> dict[str, Any]:
        """What determines the store besides the records; chunks made with other settings are not reused."""
        return {
            "schema_version": SCHEMA_VERSION,
            "image": None if self.image is None else self.image.as_mapping(),
            "sections": list(self.kept_sections),
            "views": self.views,
            "headings": self.read_headings.digest,
            "source": described(self.source),
            "report_filter": described(self.report_filter),
            "entity_linker": described(self.entity_linker),
            "require_report": self.require_report,
            "require_findings": self.require_findings,
            "versions": {name: version for name in LIBRARIES if (version := version_of(name)) is not None},
        }

    def existing(self, listing: Listing, tokenizer: Tokenizer | None, started: float) -> Summary | None:
        """The summary of an existing complete store with the same records and settings, else None.

        Raises `PrepareError` if a different store exists and may not be replaced.
        """
        if not self.output.exists() or self.overwrite:
            return None
        replace_it = "pass overwrite=True (--overwrite) to replace it, or give another output_dir"
        try:
            store = PackedStore.open(self.output)
        except StoreError as error:
            raise PrepareError(f"{error}") from None
        made_by = store.meta["made_by"]
        changed = [name for name, value in self.settings().items() if made_by.get(name) != value]
        if listing.digest != store.meta["records_sha256"]:
            changed.append("the source's records")
        if changed:
            raise PrepareError(
                f"{self.output}: a complete store made with other settings ({', '.join(changed)}); {replace_it}"
            )
        if tokenizer is not None:
            texts = store.table("studies", ["text"]).column("text")
            filled = ([text or "" for text in part.to_pylist()] for part in texts.chunks)
            write_tokens(self.output / "tokens", tokenizer, filled, len(store))
        remove_journal(self.output)  # left by a run that was killed between its last two steps
        counts = store.meta["counts"]
        return Summary(
            self.output, counts["listed"], len(store), counts["rejected"], counts["splits"], counts["rows"],
            counts["listed"], time.monotonic() - started, True, counts["studies"], counts.get("passed_over", 0),
            counts["unread"], counts["without_findings"],
        )  # fmt: skip

    def fill(self, journal: Journal, listing: Listing, tokenizer: Tokenizer | None, started: float) -> Summary:
        """Pack the missing chunks, then complete the store."""
        if self.on_leak == "stop":
            self.stop_at_leaks(listing.leaks, journal.folder)
        packer, settings = self.packer(), self.settings()
        before = journal.settings
        if before != settings:
            if before is not None:
                changed = [name for name in settings if before.get(name) != settings[name]]
                log.warning("settings changed since the interrupted run (%s): starting over", ", ".join(changed))
            journal.begin(settings)
        todo = journal.resume(packer.array_specs(), listing.digests, self.chunk_size())
        resumed = listing.count - listing.count_of(todo)
        tally = self.pack(journal, listing, packer, todo, resumed)
        return replace(self.complete(journal, listing, tokenizer, resumed, started), tally=tuple(tally.lines()))

    def pack(
        self, journal: Journal, listing: Listing, packer: ChunkPacker, todo: list[int], resumed: int
    ) -> RunningTally:
        """Pack and record the remaining chunks; returns the report filter's counts."""
        tally = RunningTally(self.report_filter)
        tally.take()  # discards counts from before this run, such as of reading the filter's files
        rejected = sum(1 for _ in journal.rejected())
        self.check_rejected(rejected, journal)
        if not todo:
            return tally
        # Packing a few chunks takes less time than starting processes.
        workers = 0 if self.workers is None and len(todo) <= 4 else self.workers
        place = packing(packer, journal.folder, self.chunk_size(), len(todo), workers, self.scheduler)
        with closing(place), Progress("packing", listing.count, self.progress, tally.rate) as progress:
            progress.advance(resumed, counted=False)
            for number, chunk in place.pack((number, listing.chunk(number)) for number in todo):
                journal.note(number, listing.digests[number], number * self.chunk_size(), chunk)
                rejected += len(chunk.rejected)
                self.check_rejected(rejected, journal)
                tally.add(chunk.tally)
                progress.advance(chunk.count + len(chunk.rejected))
        return tally

    def check_rejected(self, count: int, journal: Journal) -> None:
        if self.max_rejected is not None and count > self.max_rejected:
            path = journal.folder / "rejected.csv"
            write_rejected(path, journal.rejected())
            raise PrepareError(
                f"{count} items rejected, max_rejected is {self.max_rejected}: see {path}; "
                "fix them or raise max_rejected, then run again to resume"
            )

    def stop_at_leaks(self, leaks: LeakCheck, partial: Path) -> None:
        if next(leaks.leaks(), None) is None:
            return
        counts = leaks.write(partial / "leaks.csv")
        found = " and ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts.items() if count)
        raise LeakError(
            f"{found} in more than one split: see {partial / 'leaks.csv'}; "
            "fix the splits, or allow it with on_leak: report"
        )

    def complete(
        self, journal: Journal, listing: Listing, tokenizer: Tokenizer | None, resumed: int, started: float
    ) -> Summary:
        """Write tables and description, check for leaks, and rename the folder to its final name."""
        partial = journal.folder
        clear(partial, journal)
        rejected_lines = write_rejected(partial / "rejected.csv", journal.rejected())
        reasons = Counter(item.reason for item in journal.rejected())
        count = journal.row_count()
        if count == 0:
            hint, root = "", getattr(self.source, "image_root", None)
            if reasons[Reason.MISSING_IMAGE] and root is not None:
                hint = f"; the paths are relative to {root}, for another folder --set source::image_root=FOLDER"
            raise PrepareError(
                f"none of {listing.count} studies can be used ({most_common(reasons)}): "
                f"see {partial / 'rejected.csv'}{hint}"
            )
        journal.close_gaps()
        with ThreadPoolExecutor(1) as hashing, closing(LeakCheck()) as leaks:
            # Hashing releases the interpreter lock, so it runs while the tables are written.
            array_files = {path.name: hashing.submit(described_file, path) for path in sorted(partial.glob("*.npy"))}
            splits: Counter[str] = Counter()
            studies: set[int] = set()
            linked: set[str] = set()
            nothing: Counter[str] = Counter()  # of reports that are stored nevertheless

            def gather(batch: list[Row]) -> None:
                for row in batch:
                    if row["text"] is not None and not row["text"].strip():
                        nothing["unread"] += bool(row["sections"])
                    elif row["text"] is not None and self.report_filter is not None:
                        nothing["without_findings"] += not row["findings"]
                splits.update(row["split"] or "none" for row in batch)
                studies.update(xxhash.xxh3_64_intdigest(encoded(row["study_id"])) for row in batch)
                linked.update(link[0] for row in batch for link in row["links"])
                leaks.add(
                    (row["study_id"], split, row["patient_id"], row.get("image_hash"))
                    for row in batch
                    for split in sorted({row["split"] or "", *(question[5] or "" for question in row["questions"])})
                    if split
                )

            labels, metadata_types = journal.columns()
            rows = write_tables(partial, journal.rows(), labels, metadata_types, gather)
            if self.on_leak == "stop":
                self.stop_at_leaks(leaks, partial)
            leak_counts = leaks.write(partial / "leaks.csv")
            files = {name: future.result() for name, future in array_files.items()}
        if not any(leak_counts.values()):
            (partial / "leaks.csv").unlink()
        rejected = {reason.value: reasons[reason] for reason in Reason if reasons[reason]}
        if tokenizer is not None:
            texts = ([row["text"] or "" for row in batch] for batch in batches(journal.rows(), 4096))
            write_tokens(partial / "tokens", tokenizer, texts, count)
        assert rejected_lines + count == listing.count
        filtered = self.report_filter if isinstance(self.report_filter, ReportFilter) else None
        entities = [] if filtered is None else list(filtered.entities)
        positions = [] if filtered is None else list(filtered.positions)
        unread = nothing["unread"] + reasons[Reason.NO_SECTION]
        without_findings = nothing["without_findings"] + reasons[Reason.NO_FINDINGS]
        names = names_of(*self.concepts)
        meta = {
            "schema_version": SCHEMA_VERSION,
            "counts": {
                "listed": listing.count,
                "images": count,
                "studies": len(studies),
                "passed_over": listing.passed_over.count,
                "rejected": rejected,
                "splits": dict(sorted(splits.items())),
                "rows": rows,
                "leaks": leak_counts,
                "unread": unread,
                "without_findings": without_findings,
            },
            "labels": labels,
            "entities": entities,
            "positions": positions,
            "linked_entities": sorted(linked),
            "names": {id_: names[id_] for id_ in (*entities, *positions, *sorted(linked)) if id_ in names},
            "records_sha256": listing.digest,
            "made_by": self.settings(),
            "files": files | {path.name: described_file(path) for path in tables_of(partial)},
        }
        text = json.dumps(meta, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (partial / META_FILE).write_text(text, encoding="utf-8", errors="backslashreplace")
        self.publish(partial)
        journal.remove(self.output)
        return Summary(
            self.output, listing.count, count, rejected, meta["counts"]["splits"], rows,  # type: ignore[index]
            resumed, time.monotonic() - started, False, len(studies), listing.passed_over.count,
            unread, without_findings,
        )  # fmt: skip

    def publish(self, partial: Path) -> None:
        """Rename the finished folder; an old store is first moved aside, then deleted."""
        old = self.output.with_name(f".{self.output.name}.replaced")
        if self.output.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(self.output, old)
        os.replace(partial, self.output)
        shutil.rmtree(old, ignore_errors=True)

    def storage_error(self, error: OSError | sqlite3.Error) -> PrepareError:
        """A one-line error for a failure of the file system or of the journal."""
        where = self.output.parent
        text = str(error)
        code = getattr(error, "errno", None)
        if code in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "disk is full" in text:
            return PrepareError(
                f"{where}: the disk is full (or that of temporary files, {tempfile.gettempdir()}); "
                "free some space and run again to resume"
            )
        named = Path(error.filename) if isinstance(error, OSError) and error.filename else where
        ours = named in where.parents or named == where or where in named.parents
        if (code in (errno.EROFS, errno.EACCES, errno.EPERM) and ours) or "readonly" in text:
            reason = getattr(error, "strerror", None) or "read-only"
            return PrepareError(f"{where}: cannot be written ({reason}); give another output_dir")
        if isinstance(error, sqlite3.Error):
            partial = partial_path(self.output)
            return PrepareError(f"{partial}: the journal of the unfinished work is damaged; remove it and run again")
        return PrepareError(f"{named}: {error.strerror}" if error.strerror else text.splitlines()[0])


def check_positions(report_filter: ReportFilter, positions: Sequence[str]) -> None:
    """Raise ValueError when a report filter uses positions that the recipe does not have."""
    unknown = sorted(set(report_filter.positions) - set(positions))
    if unknown:
        shown = f"{', '.join(unknown[:5])}{f' and {len(unknown) - 5} more' if len(unknown) > 5 else ''}"
        raise ValueError(
            f"{type(report_filter).__name__} places findings at {shown}, which the recipe's positions "
            f"({', '.join(list(positions)[:3])} …) do not have: let the filter use their ids, or set "
            "`positions`, here and in training, to a knowledge source that has the filter's"
        )


def clear(partial: Path, journal: Journal) -> None:
    """Remove files that an earlier attempt to complete the store left behind."""
    keep = {f"{name}.npy" for name in journal.arrays}
    for path in partial.iterdir():
        if path.suffix in (".npy", ".parquet", ".csv", ".json") and path.name not in keep:
            path.unlink()


def tables_of(partial: Path) -> list[Path]:
    """The files of the store that are neither arrays nor tokens (which can be added later)."""
    return sorted(path for path in partial.iterdir() if path.suffix in (".parquet", ".csv"))


def described_file(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def most_common(reasons: Counter[Reason]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())


def described(plugin: Any) -> dict[str, Any] | None:
    """What identifies a plugin's results: its type, its ``fingerprint`` or its options, and its ids."""
    if plugin is None:
        return None
    kind = plugin if isinstance(plugin, type) or inspect.isroutine(plugin) else type(plugin)
    fingerprint = plugin.fingerprint if isinstance(plugin, Fingerprinted) else None
    if fingerprint is None:
        fingerprint = options_of(plugin, depth=2)
    ids = {}
    if isinstance(plugin, ReportFilter):
        ids = {"entities": list(plugin.entities), "positions": list(plugin.positions)}
    return {"type": f"{kind.__module__}.{getattr(kind, '__qualname__', kind)}", "fingerprint": fingerprint, **ids}


def options_of(value: Any, depth: int) -> Any:
    """The public attributes of an object that are plain values, or lists, mappings or objects of these."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple, Mapping)) and len(value) > 1000:
        return f"{len(value)} items"
    if depth and isinstance(value, (list, tuple)):
        return [options_of(item, depth - 1) for item in value]
    if depth and isinstance(value, Mapping):
        return {str(name): options_of(item, depth - 1) for name, item in value.items()}
    if depth and hasattr(value, "__dict__") and not callable(value):
        return options_of({name: item for name, item in vars(value).items() if not name.startswith("_")}, depth)
    return type(value).__qualname__


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
