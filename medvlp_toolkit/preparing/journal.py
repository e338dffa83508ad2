"""The journal of an unfinished `prepare`, from which a run killed at any point resumes.

Chunk k starts at row ``k × chunk size`` of the array files. The process that packs it writes it there; then one SQLite
transaction records it. A chunk that was written but not recorded, or whose bytes differ from the recorded hashes (after
a power cut), is packed again. When every chunk is recorded, the gaps left by rejected studies are closed, chunk by
chunk, each move recorded.

The SQLite file is opened in exclusive mode, so it also locks out a second `prepare`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xxhash

from medvlp_toolkit.data.store.array_file import ArrayFile
from medvlp_toolkit.data.store.rejected import Reason, Rejected
from medvlp_toolkit.preparing.packing import ArraySpec, PackedChunk, Row, unpack_rows, wider

JOURNAL_FILE = "journal.sqlite"


class StoreLockedError(RuntimeError):
    """Another process is preparing the same store."""


class Journal:
    """The recorded chunks of an unfinished store in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrays: dict[str, ArrayFile] = {}
        self.database = sqlite3.connect(folder / JOURNAL_FILE, timeout=0, isolation_level=None)
        try:
            self.create()
        except sqlite3.OperationalError as error:
            self.database.close()
            if "locked" in str(error):
                raise StoreLockedError(
                    f"{folder}: another prepare is writing this store; wait for it or stop it"
                ) from None
            raise

    def create(self) -> None:
        self.database.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")
        self.database.execute("BEGIN EXCLUSIVE")
        self.database.execute("CREATE TABLE IF NOT EXISTS header (settings TEXT)")
        self.database.execute(
            "CREATE TABLE IF NOT EXISTS chunk (number INTEGER PRIMARY KEY, digest TEXT, place INTEGER, "
            "row_count INTEGER, array_digests TEXT, columns TEXT, rejected TEXT, body BLOB)"
        )
        self.database.execute("COMMIT")

    @property
    def settings(self) -> dict[str, Any] | None:
        """The settings that the recorded chunks were made with."""
        found = self.database.execute("SELECT settings FROM header").fetchone()
        return None if found is None else json.loads(found[0])

    def begin(self, settings: dict[str, Any]) -> None:
        """Discard every chunk and start with these settings."""
        self.database.execute("BEGIN")
        self.database.execute("DELETE FROM header")
        self.database.execute("DELETE FROM chunk")
        self.database.execute("INSERT INTO header VALUES (?)", (json.dumps(settings, sort_keys=True),))
        self.database.execute("COMMIT")

    def resume(self, specs: dict[str, ArraySpec], digests: Sequence[str], chunk_size: int) -> list[int]:
        """Open the array files, discard outdated chunks, and return the numbers of the chunks still to pack.

        A chunk is up to date if its records match ``digests``, its bytes match the recorded hashes, and no file that
        it rejected has changed since.
        """
        self.arrays = {name: ArrayFile(self.folder / f"{name}.npy", *spec) for name, spec in specs.items()}
        noted = self.database.execute(
            "SELECT number, digest, place, row_count, array_digests, rejected FROM chunk ORDER BY number"
        ).fetchall()
        kept: dict[int, int] = {}
        packed = 0  # the chunk's row once gaps are closed
        for number, digest, place, count, array_digests, rejected in noted:
            same = number < len(digests) and digest == digests[number]
            unchanged = all(file_state(item["path"]) == item["state"] for item in json.loads(rejected))
            wanted = json.loads(array_digests)
            # A run killed between a move and its record leaves the chunk at the second row.
            places = [here for here in (place, packed) if self.array_digests(here, count) == wanted]
            packed += count
            if same and unchanged and places:
                kept[number] = places[0]
        todo = [number for number in range(len(digests)) if number not in kept]
        if todo:  # a chunk that has moved may occupy the rows of one to be packed again
            kept = {number: place for number, place in kept.items() if place == number * chunk_size}
            todo = [number for number in range(len(digests)) if number not in kept]
        self.database.execute("BEGIN")
        self.database.executemany(
            "DELETE FROM chunk WHERE number = ?", [(number,) for number, *_ in noted if number not in kept]
        )
        self.database.executemany(
            "UPDATE chunk SET place = ? WHERE number = ?", [(place, number) for number, place in kept.items()]
        )
        self.database.execute("COMMIT")
        return todo

    def array_digests(self, place: int, count: int) -> dict[str, str]:
        """XXH3 hashes of ``count`` rows from row ``place`` on."""
        return {name: xxhash.xxh3_128_hexdigest(array.read_bytes(place, count)) for name, array in self.arrays.items()}

    def note(self, number: int, digest: str, place: int, chunk: PackedChunk) -> None:
        """Record a chunk whose arrays are written."""
        rejected = [{**asdict(item), "state": file_state(item.path)} for item in chunk.rejected]
        values = (json.dumps(value) for value in (chunk.array_digests, chunk.columns, rejected))
        self.database.execute(
            "INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (number, digest, place, chunk.count, *values, chunk.body),
        )

    def close_gaps(self) -> None:
        """Move the rows of every chunk directly behind those of the previous one, and finish the array files."""
        total = 0
        chunks = self.database.execute("SELECT number, place, row_count FROM chunk ORDER BY number").fetchall()
        for number, place, count in chunks:
            if place != total:
                for array in self.arrays.values():
                    array.write_bytes(total, array.read_bytes(place, count))
                self.database.execute("UPDATE chunk SET place = ? WHERE number = ?", (total, number))
            total += count
        for array in self.arrays.values():
            array.finish(total)

    def row_count(self) -> int:
        return int(self.database.execute("SELECT COALESCE(SUM(row_count), 0) FROM chunk").fetchone()[0])

    def rows(self) -> Iterator[Row]:
        """The rows of all chunks in order, one chunk in memory at a time."""
        for (body,) in self.database.execute("SELECT body FROM chunk ORDER BY number"):
            yield from unpack_rows(body)

    def rejected(self) -> Iterator[Rejected]:
        """The rejected items, in order."""
        for (items,) in self.database.execute("SELECT rejected FROM chunk ORDER BY number"):
            for item in json.loads(items):
                yield Rejected(item["study_id"], item["path"], Reason(item["reason"]), item["detail"])

    def columns(self) -> tuple[list[str], dict[str, str]]:
        """Label names, and metadata names with their types, over all chunks."""
        labels: dict[str, None] = {}
        metadata: dict[str, str] = {}
        for (text,) in self.database.execute("SELECT columns FROM chunk ORDER BY number"):
            found = json.loads(text)
            labels.update(dict.fromkeys(found["labels"]))
            for name, kind in found["metadata"].items():
                metadata[name] = wider(metadata.get(name), kind)
        return list(labels), metadata

    def close(self) -> None:
        """Close all files; the records are kept."""
        for array in self.arrays.values():
            array.close()
        self.database.close()

    def remove(self, folder: Path) -> None:
        """Delete the journal's files, which may have moved to another folder."""
        self.database.close()
        remove_journal(folder)


def remove_journal(folder: Path) -> None:
    """Delete the files of a journal in a folder."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        (folder / f"{JOURNAL_FILE}{suffix}").unlink(missing_ok=True)


def file_state(path: str) -> list[int] | None:
    """Size and modification time of a file; None if it does not exist."""
    try:
        state = Path(path).stat() if path else None
    except (OSError, ValueError):
        return None
    return None if state is None else [state.st_size, state.st_mtime_ns]
