"""The drawing surface: coordinate grids, the air in the lungs and overlying structures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from medvlp_phantom.anatomy import Anatomy, FloatArray

LUNG_TRANSPARENCY = 0.72
"""Share of the soft-tissue attenuation that air in the lung takes away."""

VISIBLE_CHANGE = 0.045
"""Change of attenuation from which a pixel counts as part of a finding (about twice the noise)."""


@dataclass(frozen=True, slots=True)
class Projection:
    """How the body was placed before the detector, and the exposure. Shifts are in image units (-1 to 1)."""

    rotation: float
    scale: float
    shift: tuple[float, float]
    gamma: float
    gain: float
    noise: float
    vessels: float
    ribs: float
    vessel_phase: tuple[float, ...]
    view: str


@lru_cache(maxsize=4)
def pixel_grid(size: int) -> tuple[FloatArray, FloatArray]:
    """x and y of the pixel centres, -1 to 1, shapes (1, size) and (size, 1)."""
    centres = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2.0 - 1.0).astype(np.float32)
    return centres[None, :], centres[:, None]


@lru_cache(maxsize=16)
def interpolation_matrix(size: int, knots: int) -> FloatArray:
    """(size, knots) weights of a smooth (raised-cosine) interpolation between evenly spaced knots."""
    place = (np.arange(size) + 0.5) / size * (knots - 1)
    distance = np.abs(place[:, None] - np.arange(knots)[None, :])
    return np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0.0).astype(np.float32)


def ramp(distance: FloatArray, width: float) -> FloatArray:
    """0 outside, 1 inside, linear over ``width`` around a border where ``distance`` is 0."""
    return np.clip(distance * np.float32(1.0 / width) + np.float32(0.5), 0.0, 1.0)


class Canvas:
    """Fields of one image, all (size, size) float32.

    ``air`` is 1 where lung is full of air and nothing dense lies before it; findings lower it.
    ``overlay`` is attenuation that is added on top (bones, devices).
    """

    def __init__(self, anatomy: Anatomy, projection: Projection, size: int) -> None:
        self.anatomy = anatomy
        self.projection = projection
        self.size = size
        px, py = pixel_grid(size)
        angle = np.deg2rad(projection.rotation)
        c, s = np.float32(np.cos(angle) / projection.scale), np.float32(np.sin(angle) / projection.scale)
        dx, dy = px - np.float32(projection.shift[0]), py - np.float32(projection.shift[1])
        self.x: FloatArray = c * dx + s * dy
        self.y: FloatArray = c * dy - s * dx
        self.pixel = 2.0 / size / projection.scale
        """Side of a pixel in body units."""
        self.edge = max(0.018, 1.2 * self.pixel)
        """Width of the blur of an anatomical border."""
        self.left: NDArray[np.bool_] = self.x > 0
        self.distance: FloatArray = np.abs(self.x)
        self.side_masks = (~self.left, self.left)

        # Inside distance to the walls of the lung, per side
        self.to_wall = self._per_side(lambda side: anatomy.lateral(side, self.y)) - self.distance
        to_mediastinum = self.distance - self._per_side(lambda side: anatomy.medial(side, self.y))
        self.to_dome = self._per_side(lambda side: anatomy.dome(side, self.distance)) - self.y
        self.to_apex = self.y - np.where(self.left, np.float32(anatomy.apex_y[1]), np.float32(anatomy.apex_y[0]))
        self.lung_distance = np.minimum(
            np.minimum(self.to_wall, to_mediastinum), np.minimum(self.to_dome, self.to_apex)
        )
        self.lung = ramp(self.lung_distance, self.edge)
        self.heart_distance = anatomy.heart(self.x, self.y)
        self.heart = ramp(self.heart_distance, 1.6 * self.edge)
        knob = anatomy.aortic_knob - np.hypot(self.x - 0.10, 0.8 * (self.y + 0.34))
        self.air: FloatArray = self.lung * (1.0 - 0.96 * self.heart) * (1.0 - 0.85 * ramp(knob, self.edge))
        self.markings: FloatArray = np.ones_like(self.air)
        """How much of the vessels shows; a pneumothorax has none."""
        self.overlay: FloatArray = np.zeros_like(self.air)

    def _per_side(self, function: Callable[[int], FloatArray]) -> FloatArray:
        return np.where(self.left, function(1), function(0)).astype(np.float32)

    def smooth_field(self, knots: FloatArray) -> FloatArray:
        """A smooth field over the image through ``knots`` (k, k), the same at every size."""
        weights = interpolation_matrix(self.size, knots.shape[0])
        return weights @ knots.astype(np.float32) @ weights.T

    def slope_corrected(self, distance: FloatArray) -> FloatArray:
        """Divide a level function by its gradient, so that it measures distance along the normal."""
        gy, gx = np.gradient(distance, self.pixel)
        return distance / np.clip(np.hypot(gx, gy), 0.5, 20.0)

    def replace_air(self, share: FloatArray) -> FloatArray:
        """Fill a share (0 to 1) of the air; returns the change of attenuation, (size, size)."""
        change = self.air * share
        self.air = self.air - change
        return change * LUNG_TRANSPARENCY
