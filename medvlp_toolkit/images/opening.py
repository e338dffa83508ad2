"""Opens image files: only regular files, and every failure raises the same error."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from medvlp_toolkit.images.errors import ImageReadError

MISSING = "the file does not exist"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# Without O_NONBLOCK, opening a pipe without a writer blocks forever.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading; raises `ImageReadError` when opening or reading it fails."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            yield file
    except FileNotFoundError:
        raise ImageReadError(path, MISSING) from None
    except PermissionError:
        raise ImageReadError(path, "the file may not be read (permissions)") from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise  # a problem of this process, not of the image
        why = "a socket, not an image file" if error.errno == errno.ENXIO else None
        why = why or f"the file cannot be read ({error.strerror or type(error).__name__})"
        raise ImageReadError(path, why) from None


def _open_regular(path: str, flags: int) -> int:
    """A descriptor of a regular file: reading a pipe or device could block or never end."""
    try:
        descriptor = os.open(path, _FLAGS)
    except ValueError:  # a null character in the path
        raise ImageReadError(path, "not a valid path") from None
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        raise ImageReadError(path, f"{_KINDS.get(kind, 'a special file')}, not an image file")
    return descriptor
