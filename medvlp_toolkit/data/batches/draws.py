"""Random numbers per study: a pure function of (seed, epoch, study), independent of rank and worker.

A counter-based generator: SplitMix64's finaliser (Steele, Lea and Flood 2014) over the three keys and a counter,
vectorised over a whole batch. It has no state to save or resume.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
    (np.uint64(31), None),
)


def study_keys(study_ids: list[str]) -> NDArray[np.uint64]:
    """A stable 64-bit key for each study id."""
    digests = (hashlib.blake2b(study.encode(), digest_size=8).digest() for study in study_ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def uniform(seed: int, epoch: int, stream: int, keys: NDArray[np.uint64], count: int) -> NDArray[np.float32]:
    """(B,) study keys -> (B, count) numbers in [0, 1).

    ``stream`` separates purposes (augmentation, positions …): an additional number for one does not change the others.
    """
    with np.errstate(over="ignore"):
        base = _mix(np.uint64(seed & 0xFFFFFFFFFFFFFFFF) + _GOLDEN)
        base = _mix(base + np.uint64(epoch) * _GOLDEN + np.uint64(stream))
        counters = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        mixed = _mix(_mix(keys ^ base)[:, None] + counters[None, :])
    return (mixed >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _mix(x: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    mixed = np.array(x, dtype=np.uint64)
    shifted = np.empty_like(mixed)
    for shift, factor in _ROUNDS:  # in place, to make only a few passes over one array
        np.right_shift(mixed, shift, out=shifted)
        np.bitwise_xor(mixed, shifted, out=mixed)
        if factor is not None:
            np.multiply(mixed, factor, out=mixed)
    return mixed
