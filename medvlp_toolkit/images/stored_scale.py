"""Volumes as int16: the mapping between values and integers.

Values are ``stored × slope + intercept``. Slope 1 and intercept 0 if the values themselves fit (Hounsfield units of
CT), an intercept if whole numbers are too large, and a slope if rounding would destroy the contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.errors import NoContrastError

Array = npt.NDArray[Any]
INT16 = np.iinfo(np.int16)
_LEVELS = 2**16
#: Fractions are rounded away if the bulk of the values keeps at least this many levels.
ENOUGH_LEVELS = 256
#: Number of values sampled to find the bulk, and the percentiles that bound it.
_SAMPLE = 1 << 20
_BULK = (0.5, 99.5)


@dataclass(frozen=True)
class StoredScale:
    """``value = stored × slope + intercept``; values beyond ``low`` and ``high`` are clipped, NaN becomes ``low``."""

    slope: float
    intercept: float
    low: float
    high: float

    def __call__(self, values: Array) -> npt.NDArray[np.float32]:
        """Values in stored units, not yet rounded, because they are resampled first."""
        order = memory_order(values)
        ordered = values.transpose(order)
        result = np.empty(ordered.shape, np.float32)
        several = max(1, _SAMPLE * len(ordered) // max(1, ordered.size))
        for start in range(0, len(ordered), several):  # the whole in double precision would need much memory
            result[start : start + several] = self._scaled(ordered[start : start + several])
        return result.transpose(np.argsort(order))

    def _scaled(self, values: Array) -> Array:
        exact = values.astype(np.float64)
        if values.dtype.kind == "f":
            np.nan_to_num(exact, copy=False, nan=self.low, posinf=self.high, neginf=self.low)
        np.clip(exact, self.low, self.high, out=exact)
        if (self.slope, self.intercept) != (1.0, 0.0):
            exact -= self.intercept
            exact /= self.slope
        return exact


def memory_order(values: Array) -> list[int]:
    """The axes by descending stride, the efficient order of iteration."""
    return [int(axis) for axis in np.argsort([-abs(stride) for stride in values.strides], kind="stable")]


def stored(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Values in stored units as the integers themselves, one plane after the other in memory."""
    return np.rint(np.clip(values, INT16.min, INT16.max)).astype(np.int16, order="C")


def scale_of(values: Array, window: Sequence[float] | None = None) -> StoredScale:
    """How the values of a volume are stored; with ``window`` (low, high) values beyond it are clipped first.

    Raises:
        NoContrastError: when the volume has no contrast.
    """
    is_finite = np.isfinite(values) if values.dtype.kind == "f" else np.True_
    finite = values if is_finite.all() else values[is_finite]
    if not finite.size:
        raise NoContrastError("no voxel has a finite value")
    lowest, highest = float(finite.min()), float(finite.max())
    low, high = (lowest, highest) if window is None else (max(lowest, window[0]), min(highest, window[1]))
    if lowest == highest:
        raise NoContrastError("every voxel has the same value")
    if low >= high:
        raise NoContrastError(f"all values are on one side of the window {list(window or ())}")
    bulk_low, bulk_high = np.percentile(_sample(finite).clip(low, high), _BULK)
    if _whole(finite):
        if INT16.min <= low and high <= INT16.max:
            return StoredScale(1.0, 0.0, low, high)
        if high - low < _LEVELS:
            intercept = -float(INT16.min) if low >= 0 and high < _LEVELS else low - INT16.min
            return StoredScale(1.0, intercept, low, high)
    elif INT16.min <= low and high <= INT16.max and bulk_high - bulk_low >= ENOUGH_LEVELS:
        return StoredScale(1.0, 0.0, low, high)
    spread = bulk_high - bulk_low
    if spread > 0 and (high - low) / spread > _LEVELS / ENOUGH_LEVELS:
        # A few outliers would leave the other values only a few levels.
        reach = spread * (_LEVELS / ENOUGH_LEVELS - 1) / 2
        low, high = max(low, bulk_low - reach), min(high, bulk_high + reach)
    slope = (high - low) / (_LEVELS - 1)
    return StoredScale(slope, low - INT16.min * slope, low, high)


def _sample(values: Array) -> Array:
    """An evenly spaced sample of the values, in memory order."""
    flat = values.ravel(order="K")
    return flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)


def _whole(values: Array) -> bool:
    if values.dtype.kind in "iu":
        return True
    flat = values.ravel(order="K")
    return all(
        bool((part == np.rint(part)).all()) for part in (flat[at : at + _SAMPLE] for at in range(0, flat.size, _SAMPLE))
    )
