"""A lock that allows one training run at a time in an output folder."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import IO

LOCK_FILE = "run.lock"

_held: dict[Path, IO[str]] = {}


def lock_run(output_dir: str | Path) -> None:
    """Prevent other processes from training into this folder until this process ends.

    The operating system locks an open file, so a killed run leaves no lock behind. Locking again from the same process
    has no effect.

    Raises:
        ValueError: when another process holds it.
    """
    path = Path(output_dir).resolve() / LOCK_FILE
    if path in _held:
        return
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        # A lock of the process, not of the open file: workers that outlive a killed run do not keep it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = _holder(file)
        file.close()
        raise ValueError(
            f"another run is training into {output_dir}{holder}; wait for it, or set another output_dir"
        ) from None
    file.truncate(0)
    file.write(json.dumps({"process": os.getpid(), "host": platform.node()}) + "\n")
    file.flush()
    _held[path] = file


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        holder = json.loads(file.read())
        return f" (process {int(holder['process'])} on {holder['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
