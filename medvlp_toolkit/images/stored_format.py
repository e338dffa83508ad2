"""How image files become arrays of one shape: the same for a store and for inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medvlp_toolkit.images.fit import Fit, shown_share, shown_start
from medvlp_toolkit.images.picture import read_image_and_size
from medvlp_toolkit.images.volume import read_stored_volume

Array = npt.NDArray[Any]
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
        for name in ("spacing", "window"):
            if settings.get(name) is not None:
                settings[name] = tuple(float(value) for value in settings[name])
        if settings.get("series") is not None:
            settings["series"] = str(settings["series"])
        return cls(size, **settings)

    @classmethod
    def from_mapping(cls, described: Mapping[str, Any]) -> Self:
        """From what :meth:`as_mapping` gave; raises ValueError for anything else."""
        if not {"shape", "fit"} <= set(described):
            raise ValueError(f"stored images are described by their shape and fit, not by {dict(described)!r}")
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

    def read(self, path: Path | str) -> dict[str, Array]:
        """A file, or a folder with a series, as arrays.

        Returns:
            ``image`` (C, H, W) or (1, D, H, W) of :attr:`dtype`, and ``input_shape``, the sides in the file. Of a
            picture ``input_share`` and ``input_start`` (2,), the file's sides as shares of the image's, and where they
            begin in it (`shown_share`, `shown_start`). Of a volume
            ``image_scale``, slope and intercept; ``affine`` (4, 4) and that of the file, ``input_affine``.

        Raises:
            ImageReadError: for whatever is wrong with the file.
        """
        if not self.volume:
            size = (self.size[0], self.size[1])
            pixels, shape = read_image_and_size(path, size, self.channels, self.fit)
            return {
                "image": pixels,
                "input_shape": np.array(shape, np.int64),
                "input_share": np.array(shown_share(shape, size, self.fit)),
                "input_start": np.array(shown_start(shape, size, self.fit)),
            }
        read = read_stored_volume(path, self.size, self.spacing, self.orientation, self.window, self.series)
        return {
            "image": read.voxels,
            "input_shape": np.array(read.grid.shape, np.int64),
            "image_scale": np.array([read.slope, read.intercept]),
            "affine": read.affine,
            "input_affine": read.grid.affine,
        }

    def nothing(self) -> dict[str, Array]:
        """What several reads, stacked, are without one."""
        empty = {
            "image": np.zeros((0, *self.shape), self.dtype),
            "input_shape": np.zeros((0, len(self.size)), np.int64),
        }
        if not self.volume:
            return empty | {"input_share": np.zeros((0, 2)), "input_start": np.zeros((0, 2))}
        return (
            empty | {"image_scale": np.zeros((0, 2))} | {key: np.zeros((0, 4, 4)) for key in ("affine", "input_affine")}
        )
