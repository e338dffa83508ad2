"""Caches answers on disk, so that an interrupted run resumes without repeating requests.

The answers quote reports; the file is readable only by its owner.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any

import platformdirs


def default_cache_dir() -> Path:
    """The default folder of answers, in the user's cache."""
    return Path(platformdirs.user_cache_dir("medvlp_toolkit")) / "llm"


def key_of(*parts: Any) -> str:
    """The key of an answer: a hash of text, prompt, model and the rest of the request."""
    content = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


class AnswerCache:
    """Answers by key, in one SQLite file that several processes may use at once."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "answers.sqlite"
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            self._database = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            self._database.execute("CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, content TEXT NOT NULL)")
        except OSError as error:
            raise ValueError(f"{folder}: cannot be written ({error.strerror}); give another cache_dir") from None
        except sqlite3.Error as error:
            raise self._storage_error(error) from None

    def get(self, key: str) -> str | None:
        """The answer, or None."""
        try:
            with self._lock:
                found = self._database.execute("SELECT content FROM answer WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._storage_error(error) from None
        return None if found is None else str(found[0])

    def put(self, key: str, content: str) -> None:
        """Store an answer durably on disk."""
        try:
            with self._lock:
                self._database.execute("INSERT OR REPLACE INTO answer VALUES (?, ?)", (key, content))
        except sqlite3.Error as error:
            raise self._storage_error(error) from None

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _storage_error(self, error: sqlite3.Error) -> OSError:
        return OSError(
            f"{self.path}: the cache of answers cannot be used ({error}); remove it or give another cache_dir"
        )
