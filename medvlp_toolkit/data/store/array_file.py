"""A ``.npy`` file whose rows are written in any order, by several processes."""

from __future__ import annotations

import io
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt


class ArrayFile:
    """Rows of a ``.npy`` file, written and read at row numbers.

    It uses ordinary writes, which raise OSError on a full disk; a memory map would kill the process (SIGBUS). NumPy's
    header has the same length for any number of rows, so `finish` can write it last.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, row_shape: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row_shape = path, np.dtype(dtype), tuple(row_shape)
        self.row_bytes = self.dtype.itemsize * math.prod(self.row_shape)
        self.start = len(self.header(0))
        path.touch()
        self.file = path.open("r+b", buffering=0)

    def header(self, rows: int) -> bytes:
        buffer = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self.dtype)
        shape = (rows, *self.row_shape)
        np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
        return buffer.getvalue()

    def write(self, row: int, array: npt.NDArray[Any]) -> None:
        """Write ``(n, *row_shape)`` from row number ``row`` on."""
        if array.shape[1:] != self.row_shape or array.dtype != self.dtype:
            raise ValueError(f"rows of {self.dtype} {self.row_shape} expected, not {array.dtype} {array.shape[1:]}")
        if array.size:
            self.write_bytes(row, np.ascontiguousarray(array).data.cast("B"))

    def write_bytes(self, row: int, content: memoryview | bytes) -> None:
        self.file.seek(self.start + row * self.row_bytes)
        rest = memoryview(content)
        while rest:  # an unbuffered write may be partial
            rest = rest[self.file.write(rest) :]

    def read_bytes(self, row: int, count: int) -> bytes:
        """The bytes of ``count`` rows; fewer at the end of the file."""
        self.file.seek(self.start + row * self.row_bytes)
        parts = []
        wanted = count * self.row_bytes
        while wanted and (part := self.file.read(wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def finish(self, rows: int) -> None:
        """Truncate the file to ``rows`` rows and write the final header."""
        self.file.truncate(self.start + rows * self.row_bytes)
        self.file.seek(0)
        self.file.write(self.header(rows))
        self.close()

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
