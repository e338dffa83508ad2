"""Training, validation and test splits by patient, and the check for leaks between them."""

from __future__ import annotations

import csv
import hashlib
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import xxhash


@dataclass(frozen=True)
class SplitByPatient:
    """Assigns every patient to one split, by a hash of the patient's id.

    The assignment depends only on the id, the fractions and the salt, not on the order of the studies or on the other
    patients. ``fractions`` maps a split's name to its share; the shares add up to 1.
    """

    fractions: Mapping[str, float] = field(default_factory=lambda: {"train": 0.8, "validate": 0.1, "test": 0.1})
    salt: str = ""

    def __post_init__(self) -> None:
        shares = list(self.fractions.values())
        if not shares or min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
            raise ValueError(f"the fractions of a split are at least 0 and add up to 1, not {dict(self.fractions)}")

    def __call__(self, patient_id: str) -> str:
        """The split of this patient."""
        digest = hashlib.sha256(f"{self.salt}\x00{patient_id}".encode("utf-8", "surrogatepass")).digest()
        point = int.from_bytes(digest[:8], "big") / 2**64
        reached = 0.0
        for name, share in self.fractions.items():
            reached += share
            if point < reached:
                return name
        return next(name for name, share in reversed(list(self.fractions.items())) if share > 0)


class LeakError(ValueError):
    """A patient or an image occurs in more than one split."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A patient, or an image content, that occurs in several splits. ``kind`` is ``patient`` or ``image``."""

    kind: str
    splits: tuple[str, ...]
    study_ids: tuple[str, ...]


#: Study id, split (None: not checked), patient id, hexadecimal hash of the image content (None: not known).
Member = tuple[str, str | None, str, str | None]


class LeakCheck:
    """Collects studies and finds leaks between splits, in constant memory.

    Studies without a split are not checked.
    """

    def __init__(self) -> None:
        # An unnamed SQLite database is a temporary file that is deleted when the connection closes.
        self.database = sqlite3.connect("", isolation_level=None)
        self.database.execute("PRAGMA cache_size = -8000")
        self.database.execute("BEGIN")
        self.database.execute("CREATE TABLE member (kind TEXT, key BLOB, split TEXT, study TEXT)")

    def add(self, members: Iterable[Member]) -> None:
        """Add studies: id, split or None, patient id, and hash of the image content or None."""
        rows = []
        for study_id, split, patient_id, image_hash in members:
            if split is not None:
                study = study_id.encode("utf-8", "surrogatepass")
                patient = xxhash.xxh3_128_digest(patient_id.encode("utf-8", "surrogatepass"))
                rows.append(("patient", patient, split, study))
                if image_hash is not None:
                    rows.append(("image", bytes.fromhex(image_hash), split, study))
        self.database.executemany("INSERT INTO member VALUES (?, ?, ?, ?)", rows)

    def leaks(self) -> Iterator[Leak]:
        """The leaks, patients first, in the order of the first study concerned."""
        self.database.execute("CREATE INDEX IF NOT EXISTS by_key ON member (kind, key)")
        keys = self.database.execute(
            "SELECT kind, key FROM member GROUP BY kind, key HAVING COUNT(DISTINCT split) > 1 "
            "ORDER BY kind DESC, MIN(rowid)"
        )
        for kind, key in keys:
            members = self.database.execute(
                "SELECT split, study FROM member WHERE kind = ? AND key = ? ORDER BY rowid", (kind, key)
            ).fetchall()
            studies = tuple(dict.fromkeys(study.decode("utf-8", "surrogatepass") for _, study in members))
            yield Leak(kind, tuple(sorted({split for split, _ in members})), studies)

    def write(self, path: Path) -> dict[str, int]:
        """Write the leaks to a CSV file (columns kind, splits, study_ids); returns the number of each kind."""
        counts = {"patient": 0, "image": 0}
        with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("kind", "splits", "study_ids"))
            for leak in self.leaks():
                writer.writerow((leak.kind, "|".join(leak.splits), "|".join(leak.study_ids)))
                counts[leak.kind] += 1
        return counts

    def close(self) -> None:
        self.database.close()
