"""Arrays shared by the processes of a machine instead of copied to each."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def shared_arrays(folder: Path, key: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """The result of ``make``, memory-mapped read-only: computed by the first process, read by all.

    They are cached in ``folder`` under a hash of ``key``, which must contain everything that they depend on. If the
    folder is not writable, every process computes its own.
    """
    from filelock import FileLock

    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
    target = folder / digest
    if not target.is_dir():
        try:
            folder.mkdir(exist_ok=True)
            with FileLock(folder / ".lock"):
                if not target.is_dir():
                    _write(target, make())
        except OSError:
            return make()
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(target.glob("*.npy"))}


def _write(target: Path, arrays: Arrays) -> None:
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir()
        for name, array in arrays.items():
            np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


class TextColumn(Sequence[str]):
    """Texts stored as an array of bytes, decoded one at a time."""

    def __init__(self, values: NDArray[np.bytes_]) -> None:
        self.values = values

    @staticmethod
    def pack(texts: Iterable[str]) -> NDArray[np.bytes_]:
        """(N,) bytes of one width."""
        return np.array([text.encode() for text in texts], dtype=np.bytes_)

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [value.decode() for value in self.values[index]]
        text: str = self.values[index].decode()
        return text
