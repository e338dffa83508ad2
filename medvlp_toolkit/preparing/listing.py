"""The first pass over a data source: every record once, in chunks on disk, checked without reading images."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import xxhash

from medvlp_toolkit.data.contracts import RejectsRecords
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.store.rejected import Reason, Rejected
from medvlp_toolkit.data.views import Views, checked_views, is_frontal
from medvlp_toolkit.preparing.record_json import Item, dump
from medvlp_toolkit.preparing.splits import LeakCheck


class Listing:
    """The chunks of a data source, spooled to a temporary file in ``folder``.

    ``digests`` holds the SHA-256 of each chunk's records: listings with equal digests are of the same data. Only one
    chunk is in memory at a time.
    """

    def __init__(
        self,
        source: Iterable[Study],
        folder: Path,
        chunk_size: int,
        split: Callable[[str], str] | None = None,
        views: str = "all",
        on_items: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.leaks = LeakCheck()
        self.digests: list[str] = []
        self.chunk_size, self.count = chunk_size, 0
        self._ends: list[int] = [0]
        # Deleted with this object, or by the operating system when the process ends.
        self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        seen = Seen()
        self.passed_over = PassedOver(checked_views(views))
        chunk: list[Item] = []
        for item in items_of(source):
            if isinstance(item, Study):
                if split is not None and item.split is None:
                    item = replace(item, split=split(item.patient_id))
                if self.passed_over(item):
                    continue
                item = seen.checked(item)
            chunk.append(item)
            if len(chunk) == chunk_size:
                self.spool(chunk)
                on_items(len(chunk))
                chunk = []
        if chunk:
            self.spool(chunk)
            on_items(len(chunk))
        self._spool.flush()
        seen.close()
        self.passed_over.check()

    def spool(self, chunk: list[Item]) -> None:
        content = dump(chunk)
        self._spool.write(content)
        self._ends.append(self._spool.tell())
        self.digests.append(hashlib.sha256(content).hexdigest())
        self.count += len(chunk)
        self.leaks.add(
            (item.id, split, item.patient_id, None)
            for item in chunk
            if isinstance(item, Study)
            for split in sorted({item.split or "", *(question.split or "" for question in item.questions)})
            if split
        )

    def __len__(self) -> int:
        """The number of chunks."""
        return len(self.digests)

    def count_of(self, numbers: Collection[int]) -> int:
        """The number of items in these chunks."""
        full = len(numbers) * self.chunk_size
        return full - (self.chunk_size * len(self) - self.count) if len(self) - 1 in numbers else full

    @property
    def digest(self) -> str:
        """SHA-256 over all records."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    def chunk(self, number: int) -> bytes:
        """The records of a chunk, as `medvlp_toolkit.preparing.record_json` reads them."""
        self._spool.seek(self._ends[number])
        return self._spool.read(self._ends[number + 1] - self._ends[number])

    def close(self) -> None:
        self._spool.close()
        self.leaks.close()


class PassedOver:
    """Decides, called with a study, whether its image is passed over because of ``views``; counts those images.

    Args:
        views: see :data:`~medvlp_toolkit.data.views.Views`; ``first`` is the first that is listed.
    """

    def __init__(self, views: Views) -> None:
        self.views = views
        self.count = self.without_view = self.kept = 0
        self._studies: set[int] = set()

    def __call__(self, study: Study) -> bool:
        over = False
        if self.views == "frontal":
            view = study.metadata.get("view")
            self.without_view += not view
            over = not is_frontal(None if view is None else str(view))
        elif self.views == "first":
            key = xxhash.xxh3_64_intdigest(encoded(study.id))
            over = key in self._studies
            self._studies.add(key)
        self.count += over
        self.kept += not over
        return over

    def check(self) -> None:
        """Raise ValueError if frontal images are requested and no record gives its view."""
        if self.count and not self.kept and self.without_view == self.count:
            raise ValueError(
                "views: frontal is set, but no record gives its view; set views: all, or name the column of the view"
            )


class Seen:
    """The records listed so far: finds repeated images, and studies of one id that differ."""

    def __init__(self) -> None:
        self.database = sqlite3.connect("", isolation_level=None)
        self.database.execute("PRAGMA cache_size = -8000")
        self.database.execute(
            "CREATE TABLE study (id BLOB PRIMARY KEY, patient BLOB, text BLOB, images INT) WITHOUT ROWID"
        )
        self.database.execute("CREATE TABLE image (id BLOB PRIMARY KEY) WITHOUT ROWID")
        self.database.execute("BEGIN")
        self.latest: Study | None = None

    def checked(self, study: Study) -> Item:
        """The study with its image's id, or its rejection.

        A record is rejected if it has no id, if its image was listed before, or if an earlier record of the same id has
        another patient or report (these are two studies). An image without a report shares the report of the previous
        image, if that is of the same study.
        """
        path = "" if study.image is None else str(study.image)
        if not study.id:
            return Rejected("", path, Reason.MALFORMED, "the record has no id")
        patient, image = digest(study.patient_id), digest(f"{study.id}\0{study.image_id or path}")
        before = self.latest
        same = before is not None and (before.id, before.patient_id) == (study.id, study.patient_id)
        if same and before is not None and not has_text(study):
            study = replace(study, report=before.report)
        text = digest(study.report.text) if study.report is not None and has_text(study) else None
        key = digest(study.id)
        known = self.database.execute("SELECT patient, text, images FROM study WHERE id = ?", (key,)).fetchone()
        if known is not None:
            if known[0] != patient:
                return Rejected(study.id, path, Reason.DUPLICATE_ID, "an earlier record of this id has another patient")
            if text is not None and known[1] is not None and known[1] != text:
                return Rejected(study.id, path, Reason.DUPLICATE_ID, "an earlier record of this id has another report")
        if not self.add(image):
            return Rejected(study.id, path, Reason.DUPLICATE_ID, "an earlier record has this id and image")
        count = 1 if known is None else known[2] + 1
        self.database.execute(
            "INSERT INTO study VALUES (?, ?, ?, 1) ON CONFLICT (id) DO UPDATE "
            "SET images = images + 1, text = COALESCE(text, excluded.text)",
            (key, patient, text),
        )
        name = study.image_id or (study.id if count == 1 else f"{study.id}/{count}")
        if not self.add(digest(name)):  # an id that is unique only within its study
            name = f"{study.id}/{name}"
            self.add(digest(name))
        self.latest = replace(study, image_id=name)
        return self.latest

    def add(self, key: bytes) -> bool:
        """Whether the key is new."""
        return self.database.execute("INSERT OR IGNORE INTO image VALUES (?)", (key,)).rowcount == 1

    def close(self) -> None:
        self.database.close()


def has_text(study: Study) -> bool:
    return study.report is not None and bool(study.report.text.strip())


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def digest(text: str) -> bytes:
    return xxhash.xxh3_128_digest(encoded(text))


def items_of(source: Iterable[Study]) -> Iterator[Item]:
    """The source's studies, and the records that it rejected itself (`RejectsRecords`)."""
    given = 0
    for study in source:
        rejected = source.rejected if isinstance(source, RejectsRecords) else ()
        while given < len(rejected):
            yield rejected[given]
            given += 1
        yield study
    if isinstance(source, RejectsRecords):
        yield from list(source.rejected)[given:]
