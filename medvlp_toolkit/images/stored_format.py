"""How image files become arrays of one shape: the same for a store and for inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.fit import Fit
from medvlp_toolkit.images.picture import read_image_and_size
from medvlp_toolkit.images.volume import StoredVolume, read_stored_volume

_AXES = ("LR", "PA", "IS")


@dataclass(frozen=True)
class StoredFormat:
    """The form in which a store has its images: 2-D uint8 with two sizes, or 3-D int16 with three.

    A store notes it in ``store.json``, a training in ``model.json``, so that inference reads a file as the store does.

    Args:
        size: (height, width) or (D, H, W).
        channels: 1 (grey) or 3 (colour); volumes have one.
        fit: what happens to a picture's aspect ratio (`medvlp_toolkit.images.fit.resize`).
        spacing, orientation, window, series: of volumes; see `read_stored_volume`.

    Raises:
        ValueError: for a value that is none of these.
    """

    size: tuple[int, ...]
    channels: int = 1
    fit: Fit = "stretch"
    spacing: tuple[float, ...] | None = None
    orientation: str = "RAS"
    window: tuple[float, ...] | None = None
    series: str | None = None

    def __post_init__(self) -> None:
        if len(self.size) not in (2, 3) or not all(isinstance(side, int) and side > 0 for side in self.size):
            raise ValueError(f"image_size is one number, (height, width) or (D, H, W), not {self.size}")
        if self.channels not in (1, 3) or (self.volume and self.channels != 1):
            raise ValueError(f"channels is 1, or 3 for two-dimensional colour images, not {self.channels}")
        if self.window is not None and not (len(self.window) == 2 and self.window[0] < self.window[1]):
            raise ValueError(f"the window of stored volumes is (low, high), not {self.window}")
        sides = sorted(next((i for i, pair in enumerate(_AXES) if code in pair), -1) for code in self.orientation)
        if sides != [0, 1, 2]:
            raise ValueError(f"orientation is one of L and R, of P and A, and of I and S, not {self.orientation!r}")

    @classmethod
    def of(cls, image_size: Any, **settings: Any) -> Self:
        """From values as a configuration has them: a side or several, lists, numbers for a series."""
        size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
        for name, number in (("spacing", float), ("window", float)):
            if settings.get(name) is not None:
                settings[name] = tuple(number(value) for value in settings[name])
        if settings.get("series") is not None:
            settings["series"] = str(settings["series"])
        return cls(size, **settings)

    @classmethod
    def from_mapping(cls, described: Mapping[str, Any]) -> Self:
        """From what :meth:`as_mapping` gave."""
        channels, *size = described["shape"]
        chosen = {name: described.get(name) for name in ("spacing", "window", "series")}
        return cls.of(
            size, channels=channels, fit=described["fit"], orientation=described.get("orientation") or "RAS", **chosen
        )

    def as_mapping(self) -> dict[str, Any]:
        """In values that JSON holds."""
        described: dict[str, Any] = {
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "fit": self.fit,
            "spacing": None if self.spacing is None else list(self.spacing),
            "orientation": self.orientation if self.volume else None,
        }
        # Named where they are set only: stores that were made before they could be are the same.
        chosen = {"window": None if self.window is None else list(self.window), "series": self.series}
        return described | {name: value for name, value in chosen.items() if self.volume and value is not None}

    @property
    def volume(self) -> bool:
        return len(self.size) == 3

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16 if self.volume else np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, *self.size)

    def read_picture(self, path: Path | str) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
        """A file as uint8 (C, H, W), and the (height, width) it had; raises `ImageReadError`."""
        return read_image_and_size(path, self.size, self.channels, self.fit)  # type: ignore[arg-type]

    def read_volume(self, path: Path | str) -> StoredVolume:
        """A file or a series as int16 (1, D, H, W), and where it lies; raises `ImageReadError`."""
        return read_stored_volume(path, self.size, self.spacing, self.orientation, self.window, self.series)
