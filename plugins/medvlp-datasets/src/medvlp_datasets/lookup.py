"""Rows and reports looked up by key and stored on disk, in constant memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from medvlp_toolkit.data.records import Report, SectionSpan, Study


class Lookup:
    """Values by text key; several values of a key keep their order."""

    def __init__(self, items: Iterable[tuple[str, Any]]) -> None:
        # An unnamed SQLite database is a temporary file that is deleted when the connection closes.
        self.database = sqlite3.connect("", isolation_level=None)
        self.database.execute("PRAGMA cache_size = -16000")
        self.database.execute("CREATE TABLE item (key BLOB, value TEXT)")
        self.database.execute("BEGIN")
        self.database.executemany(
            "INSERT INTO item VALUES (?, ?)", ((encoded(key), json.dumps(value)) for key, value in items)
        )
        self.database.execute("CREATE INDEX by_key ON item (key)")
        self.database.execute("COMMIT")

    def all(self, key: str) -> list[Any]:
        found = self.database.execute("SELECT value FROM item WHERE key = ? ORDER BY rowid", (encoded(key),))
        return [json.loads(value) for (value,) in found]

    def first(self, key: str) -> Any | None:
        found = self.database.execute(
            "SELECT value FROM item WHERE key = ? ORDER BY rowid LIMIT 1", (encoded(key),)
        ).fetchone()
        return None if found is None else json.loads(found[0])

    def groups(self) -> Iterator[tuple[str, list[Any]]]:
        """Every key with its values, in the order of the keys' first occurrence."""
        keys = self.database.execute("SELECT key FROM item GROUP BY key ORDER BY MIN(rowid)")
        for (key,) in keys:
            name = key.decode("utf-8", "surrogatepass")
            yield name, self.all(name)

    def close(self) -> None:
        self.database.close()


def encoded(key: str) -> bytes:
    """A key as bytes, because file names that are not UTF-8 contain lone surrogates, which SQLite refuses."""
    return key.encode("utf-8", "surrogatepass")


def reports_by_id(studies: Iterable[Study]) -> Lookup:
    """The reports of a data source by id."""
    return Lookup(
        (study.report.id, [study.report.text, study.report.sections, study.report.spans])
        for study in studies
        if study.report is not None
    )


def report_from(value: Any, report_id: str) -> Report:
    text, sections, spans = value
    return Report(report_id, text, dict(sections), tuple(SectionSpan(*span) for span in spans))
