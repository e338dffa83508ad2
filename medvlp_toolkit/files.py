"""Files that appear whole or not at all, and names for them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

#: Suffix of a file that is being written.
UNFINISHED = ".unfinished"


def write_whole(path: str | Path, write: Callable[[IO[bytes]], Any]) -> Path:
    """Write a temporary file with ``write``, sync it to disk, then rename it.

    An existing file is unchanged until the new one is complete, even if the machine stops.

    Raises:
        OSError: when the disk is full or the folder cannot be written to; no partial file is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + UNFINISHED)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(path)  # of a full disk Python names no file
        raise
    _sync_folder(path.parent)
    return path


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def name_part(label: str) -> str:
    """A finding or entity as a part of a file's name: at most 40 of a-z, 0-9, _ and -."""
    return (re.sub(r"[^a-z0-9_-]+", "-", label.lower()).strip("-") or "finding")[:40]


def _sync_folder(folder: Path) -> None:
    """Sync the renamed entry to disk, if the system supports it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
