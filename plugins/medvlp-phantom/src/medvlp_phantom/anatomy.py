"""The body of a synthetic patient as functions of position, in body units.

The frame is that of a radiograph seen by its reader: x grows to the right of the image, which is
the patient's *left*; y grows downwards; the unscaled image spans -1 to 1. Everything is analytic,
so one patient can be drawn at any size, turned and shifted, without resampling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_phantom.difficulty import PhantomDifficulty

FloatArray = NDArray[np.floating[Any]]
"""Fields are float32; NumPy's stubs cannot follow that through arithmetic with Python floats."""

SIDES: tuple[str, str] = ("right", "left")
"""Index 0 is the patient's right (x < 0), index 1 the left (x > 0)."""


def side_index(side: str) -> int:
    """0 for the patient's right, 1 for the left."""
    return SIDES.index(side)


def side_sign(side: str) -> float:
    """The sign of x on a side of the patient."""
    return 1.0 if side == "left" else -1.0


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Shapes of one body. Pairs are (right, left)."""

    sex: str
    age: int
    half_width: tuple[float, float]
    """Inner half width of the thorax at its base."""
    apex_x: float
    apex_y: tuple[float, float]
    lung_length: tuple[float, float]
    """Vertical distance over which a lung widens from its apex to its full width."""
    mediastinum: float
    dome_y: tuple[float, float]
    dome_x: float
    dome_depth: tuple[float, float]
    """How far the costophrenic angles reach below the domes."""
    cardiothoracic_ratio: float
    heart_y: float
    heart_half_height: float
    heart_tilt: float
    aortic_knob: float
    rib_pitch: float
    rib_phase: float
    rib_slope: float
    clavicle_y: tuple[float, float]
    breast: float
    stomach_bubble: float
    vertebra_pitch: float

    # Lungs -------------------------------------------------------------------------------------

    def lateral(self, side: int, y: FloatArray) -> FloatArray:
        """|x| of the outer wall of a lung at height y."""
        t = np.clip((y - self.apex_y[side]) / self.lung_length[side], 0.0, 1.0)
        return self.apex_x + (self.half_width[side] - self.apex_x) * np.sqrt(t * (2.0 - t))

    def medial(self, side: int, y: FloatArray) -> FloatArray:
        """|x| of the mediastinal border of a lung at height y."""
        t = np.clip((y - self.apex_y[side]) / (0.30 * self.lung_length[side]), 0.0, 1.0)
        return self.apex_x - (self.apex_x - self.mediastinum) * np.sqrt(t * (2.0 - t))

    def dome(self, side: int, distance: FloatArray) -> FloatArray:
        """y of the diaphragm at a distance |x| from the midline."""
        u = (distance - self.dome_x) / (self.half_width[side] - self.dome_x)
        return self.dome_y[side] + self.dome_depth[side] * np.where(u > 0, u * u, 0.35 * u * u)

    def heart(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Distance inside the heart's border, roughly in body units; negative outside."""
        width = self.cardiothoracic_ratio * (self.half_width[0] + self.half_width[1])
        centre = 0.02
        to_left, to_right = np.float32(1.0 / (0.66 * width - centre)), np.float32(1.0 / (0.34 * width + centre))
        u = (x - centre) * np.where(x > centre, to_left, to_right)
        v = (y - self.heart_y - self.heart_tilt * (x - centre)) / self.heart_half_height
        return (1.0 - np.sqrt(u * u + v * v)) * 0.3

    # For placing findings ----------------------------------------------------------------------

    def height(self, side: int, fraction: float) -> float:
        """y at a fraction of the way from the apex of a lung (0) to its dome (1)."""
        return self.apex_y[side] + fraction * (self.dome_y[side] - self.apex_y[side])

    def visible_span(self, side: int, y: float) -> tuple[float, float]:
        """|x| between which lung is not hidden by heart or mediastinum at height y."""
        heights = np.full(64, y, np.float32)
        distance = np.linspace(0.0, 1.0, 64, dtype=np.float32)
        outer = float(self.lateral(side, heights[:1])[0])
        inner = float(self.medial(side, heights[:1])[0])
        covered = distance[self.heart(distance if side == 1 else -distance, heights) > 0]
        return max([inner, *covered[-1:].tolist()]), outer

    def with_raised_dome(self, side: int, amount: float) -> Anatomy:
        """The same body after loss of volume of one lung."""
        domes = list(self.dome_y)
        domes[side] -= amount
        return replace(self, dome_y=(domes[0], domes[1]))


def draw_anatomy(rng: np.random.Generator, difficulty: PhantomDifficulty) -> Anatomy:
    """A body from a generator; it stays the same across a patient's studies."""

    def around(centre: float, spread: float) -> float:
        return centre + spread * rng.uniform(-1.0, 1.0)

    sex = "F" if rng.random() < 0.5 else "M"
    age = int(rng.integers(20, 91))
    width = around(0.69 if sex == "F" else 0.74, 0.05)
    dome = around(0.50, 0.08)
    length = around(0.92, 0.08)
    apex = around(-0.80, 0.04)
    return Anatomy(
        sex=sex,
        age=age,
        half_width=(width + around(0.0, 0.02), width + around(0.0, 0.02)),
        apex_x=around(0.31, 0.03),
        apex_y=(apex, apex + around(0.0, 0.02)),
        lung_length=(length, length + around(0.0, 0.04)),
        mediastinum=around(0.135, 0.02) + 0.0004 * (age - 55),
        # The right dome stands higher: the liver is under it.
        dome_y=(dome - around(0.03, 0.02), dome + around(0.03, 0.02)),
        dome_x=around(0.36, 0.03),
        dome_depth=(around(0.16, 0.05), around(0.16, 0.05)),
        cardiothoracic_ratio=float(rng.uniform(*difficulty.normal_cardiothoracic_ratio)),
        heart_y=dome - around(0.19, 0.03),
        heart_half_height=around(0.40, 0.03),
        heart_tilt=around(0.40, 0.12),
        aortic_knob=around(0.10, 0.015) + 0.0005 * (age - 55),
        rib_pitch=around(0.155, 0.012),
        rib_phase=around(0.0, 0.5),
        rib_slope=around(0.45, 0.12),
        clavicle_y=(around(-0.60, 0.05), around(-0.60, 0.05)),
        breast=around(0.10, 0.06) if sex == "F" else 0.0,
        stomach_bubble=max(0.0, around(0.10, 0.25)),
        vertebra_pitch=around(0.135, 0.01),
    )
