"""A ``.npy`` file that grows by rows."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt


class ArrayFile:
    """Appends rows to a ``.npy`` file through ordinary writes.

    A memory map would be shorter, but a full disk ends a process that writes through one (SIGBUS), where a
    write raises OSError. The header is as long for any number of rows, so it is rewritten when closing.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, row_shape: tuple[int, ...], rows: int = 0) -> None:
        self.dtype, self.row_shape, self.rows = np.dtype(dtype), tuple(row_shape), rows
        self.row_bytes = self.dtype.itemsize * math.prod(self.row_shape)
        self.file = path.open("r+b" if rows else "w+b")
        self.write_header()
        self.start = self.file.tell()
        self.truncate(rows)

    def write_header(self) -> None:
        self.file.seek(0)
        shape = (self.rows, *self.row_shape)
        descr = np.lib.format.dtype_to_descr(self.dtype)
        np.lib.format.write_array_header_1_0(self.file, {"descr": descr, "fortran_order": False, "shape": shape})

    def truncate(self, rows: int) -> None:
        """Keep the first ``rows`` rows."""
        self.rows = rows
        self.file.truncate(self.start + rows * self.row_bytes)
        self.file.seek(0, 2)

    def append(self, array: npt.NDArray[Any]) -> None:
        """Write ``(n, *row_shape)`` at the end."""
        if array.shape[1:] != self.row_shape or array.dtype != self.dtype:
            raise ValueError(f"rows of {self.dtype} {self.row_shape} expected, not {array.dtype} {array.shape[1:]}")
        self.file.write(memoryview(np.ascontiguousarray(array)).cast("B") if array.size else b"")
        self.rows += len(array)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes of rows ``start`` to ``stop``."""
        self.file.flush()
        self.file.seek(self.start + start * self.row_bytes)
        content = self.file.read((stop - start) * self.row_bytes)
        self.file.seek(0, 2)
        return content

    def close(self) -> None:
        """Write the number of rows into the header and close."""
        if not self.file.closed:
            self.file.flush()
            self.write_header()
            self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            abandon(self)


def abandon(array_file: ArrayFile) -> None:
    """Close after a failure; what is still buffered may not fit on the disk, and that is not news any more."""
    try:
        array_file.file.close()
    except OSError:
        array_file.file.raw.close()  # type: ignore[attr-defined]
