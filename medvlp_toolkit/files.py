"""Atomic file writes: files appear whole or not at all."""

from __future__ import annotations

import os
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
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


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
