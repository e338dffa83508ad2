"""The first pass over a data source: every record once, in chunks on disk, with what can be told without images."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import xxhash

from medvlp_toolkit.data.contracts import RejectsRecords
from medvlp_toolkit.data.preparing.record_json import Item, dump
from medvlp_toolkit.data.preparing.splits import LeakCheck
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.store.rejected import Reason, Rejected


class Listing:
    """The chunks of a data source, spooled to a temporary file in ``folder``.

    ``digests`` has a SHA-256 per chunk over the records: two listings with equal digests are the same data.
    Memory holds one chunk, whatever the number of studies.
    """

    def __init__(
        self,
        source: Iterable[Study],
        folder: Path,
        chunk_size: int,
        split: Callable[[str], str] | None = None,
        on_items: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.leaks = LeakCheck()
        self.digests: list[str] = []
        self.chunk_size, self.count = chunk_size, 0
        self._ends: list[int] = [0]
        # Deleted with this object, or by the system when the process dies.
        self._spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        seen = sqlite3.connect("", isolation_level=None)
        seen.execute("PRAGMA cache_size = -8000")
        seen.execute("CREATE TABLE id (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        seen.execute("BEGIN")
        chunk: list[Item] = []
        for item in items_of(source):
            if isinstance(item, Study):
                if split is not None and item.split is None:
                    item = replace(item, split=split(item.patient_id))
                item = checked(item, seen)
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
        """How many items are in these chunks."""
        full = len(numbers) * self.chunk_size
        return full - (self.chunk_size * len(self) - self.count) if len(self) - 1 in numbers else full

    @property
    def digest(self) -> str:
        """SHA-256 over all records."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    def chunk(self, number: int) -> bytes:
        """The records of a chunk, as `medvlp_toolkit.data.preparing.record_json` reads them."""
        self._spool.seek(self._ends[number])
        return self._spool.read(self._ends[number + 1] - self._ends[number])

    def close(self) -> None:
        self._spool.close()
        self.leaks.close()


def checked(study: Study, seen: sqlite3.Connection) -> Item:
    """The study, or the line that rejects it because it has no id, or one that has been there before."""
    path = "" if study.image is None else str(study.image)
    if not study.id:
        return Rejected("", path, Reason.MALFORMED, "the record has no id")
    digest = xxhash.xxh3_128_digest(study.id.encode("utf-8", "surrogatepass"))
    if seen.execute("INSERT OR IGNORE INTO id VALUES (?)", (digest,)).rowcount == 0:
        return Rejected(study.id, path, Reason.DUPLICATE_ID, "an earlier record has this id; the first is kept")
    return study


def items_of(source: Iterable[Study]) -> Iterator[Item]:
    """The source's studies, and what it rejected itself (`RejectsRecords`) where it did so."""
    given = 0
    for study in source:
        rejected = source.rejected if isinstance(source, RejectsRecords) else ()
        while given < len(rejected):
            yield rejected[given]
            given += 1
        yield study
    if isinstance(source, RejectsRecords):
        yield from list(source.rejected)[given:]
