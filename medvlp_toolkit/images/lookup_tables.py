"""DICOM lookup tables (PS3.3, C.11.1.1.1, C.11.2.1.1, C.7.6.3.1.5 and .6), including common deviations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True)
class LookupTable:
    """``entries[value - first]``; values beyond either end give the first or last entry.

    ``white`` is the entry for full brightness.
    """

    entries: npt.NDArray[np.uint16]
    first: int
    white: int

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]


def table_of(dataset: Dataset, descriptor: str, data: str, little_endian: bool, signed: bool) -> LookupTable | None:
    """The table described by two attributes of a dataset; None if they are absent, empty or invalid.

    ``signed``: whether the values to look up can be negative.
    """
    described = dataset.get(descriptor)
    if described is None or data not in dataset or len(described) != 3:
        return None
    count, first, bits = (int(number) for number in described)
    count = (count & 0xFFFF) or 65536
    if not 1 <= bits <= 16:
        return None
    element = dataset[data]
    # Eight-bit entries are packed in words, and swapped with them.
    entries = unpacked(element.value, count, bits, "<" if little_endian or element.VR == "OB" else ">")
    if not len(entries):
        return None
    if signed and first > 32767:
        first -= 65536  # written as an unsigned number
    return LookupTable(entries, first, white_of(entries, bits))


def unpacked(value: bytes | int | Sequence[int], count: int, bits: int, order: str) -> npt.NDArray[np.uint16]:
    """``count`` entries, fewer if the data is short.

    Eight-bit entries are stored one per word, or two per word with the first in the lower byte; the length of the data
    decides which, because the declared bits may be wrong.
    """
    if isinstance(value, (bytes, bytearray)):
        raw = bytes(value)
        words = np.frombuffer(raw[: len(raw) // 2 * 2], f"{order}u2").astype("<u2")
    else:
        numbers = [value] if isinstance(value, int) else list(value or ())
        words = (np.asarray(numbers, np.int64) & 0xFFFF).astype("<u2")
        raw = b""
    if len(words) < count and (bits <= 8 or len(words) == (count + 1) // 2):
        two_a_word = words.view(np.uint8)
        odd = np.frombuffer(raw[-1:] if len(raw) % 2 else b"", np.uint8)
        return np.concatenate([two_a_word, odd])[:count].astype(np.uint16)
    return words[:count].astype(np.uint16)


def white_of(entries: npt.NDArray[np.uint16], bits: int) -> int:
    """The entry displayed as white: by the declared bits, or the largest entry of a table that uses fewer of them.

    Some scanners declare 16 bits for entries of 10 or 12; others have larger entries than declared.
    """
    used = int(entries.max()).bit_length()
    if used < bits:
        return max(int(entries.max()), 1)
    return int(2**used - 1)


def first_table(items: Any, little_endian: bool, signed: bool) -> LookupTable | None:
    """The first item of a modality or VOI LUT sequence that holds a table."""
    tables = (table_of(item, "LUTDescriptor", "LUTData", little_endian, signed) for item in items or ())
    return next((table for table in tables if table is not None), None)
