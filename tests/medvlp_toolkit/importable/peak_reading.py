"""Prints by how many MiB reading a file raises the peak memory: ``peak_reading.py FILE SIDE [SIDE SIDE]``."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

from medvlp_toolkit.images import ImageReadError, is_volume, read_image, read_volume


def peak_of_reading(path: Path, *size: int) -> int:
    """What this file prints when it runs in a process of its own."""
    command = [sys.executable, __file__, str(path), *map(str, size)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    import monai.transforms  # noqa: F401 - what volumes are read with is no part of what reading takes
    import torch  # noqa: F401

    before = peak()
    given, sides = Path(sys.argv[1]), tuple(map(int, sys.argv[2:]))
    try:
        if is_volume(given):
            read_volume(given, size=sides)
        else:
            read_image(given, sides[0])
    except ImageReadError:
        pass
    print(peak() - before)
