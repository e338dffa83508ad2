"""Devices: a pacemaker with its lead and a central venous catheter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from medvlp_phantom.anatomy import FloatArray, side_sign
from medvlp_phantom.canvas import Canvas, ramp
from medvlp_phantom.finding import BoolArray, FindingPlan, Site, graded

VENA_CAVA_X = -0.10
"""x of the superior vena cava, right of the midline."""

TIP_LEVELS: dict[str, tuple[float, float]] = {
    "svc": (-0.24, -0.04),
    "cavoatrial_junction": (0.00, 0.08),
    "right_atrium": (0.13, 0.26),
}
"""Heights at which a catheter's tip lies."""


def _stroke(
    across: FloatArray, slope: FloatArray, along: FloatArray, limits: tuple[float, float], width: float
) -> FloatArray:
    """A line of constant width around a curve ``across = 0`` with the given slope, between limits of ``along``."""
    distance = np.abs(across) / np.sqrt(1.0 + slope * slope)
    low, high = min(limits), max(limits)
    return np.clip(1.4 - distance / width, 0.0, 1.0) * ((along >= low) & (along <= high))


def _curve(
    canvas: Canvas, start: tuple[float, float], end: tuple[float, float], bend: float, width: float
) -> FloatArray:
    """A parabola from start to end, drawn over the axis along which it is longer."""
    steep = abs(end[1] - start[1]) > abs(end[0] - start[0])
    along, across = (canvas.y, canvas.x) if steep else (canvas.x, canvas.y)
    a0, c0 = (start[1], start[0]) if steep else start
    a1, c1 = (end[1], end[0]) if steep else end
    t = (along - np.float32(a0)) / np.float32(a1 - a0)
    course = c0 + (c1 - c0) * t + 4.0 * bend * t * (1.0 - t)
    slope = ((c1 - c0) + 4.0 * bend * (1.0 - 2.0 * t)) / (a1 - a0)
    return _stroke(across - course, slope, along, (a0, a1), width)


@dataclass(frozen=True, slots=True)
class Pacemaker(FindingPlan):
    """A generator below the clavicle with a lead through the vena cava into the right ventricle."""

    name: ClassVar[str] = "pacemaker"
    centre: tuple[float, float]
    radius: float
    aspect: float
    tilt: float
    tip: tuple[float, float]
    entry: float
    lead_contrast: float

    @classmethod
    def draw(cls, site: Site) -> Pacemaker:
        rng, anatomy, difficulty = site.rng, site.anatomy, site.difficulty
        radius, grade = graded(rng, difficulty.pacemaker_radius)
        return cls(
            side=site.side,
            level=site.level,
            strength=site.strength,
            grade=grade,
            centre=(side_sign(site.side) * float(rng.uniform(0.36, 0.66)), float(rng.uniform(-0.50, -0.14))),
            radius=radius,
            aspect=float(rng.uniform(0.75, 1.0)),
            tilt=float(rng.uniform(-0.5, 0.5)),
            tip=(float(rng.uniform(0.08, 0.20)), anatomy.heart_y + float(rng.uniform(0.10, 0.20))),
            entry=float(rng.uniform(-0.52, -0.42)),
            lead_contrast=difficulty.lead_contrast,
        )

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        dx, dy = canvas.x - self.centre[0], canvas.y - self.centre[1]
        u, v = (cos * dx + sin * dy) / self.radius, (cos * dy - sin * dx) / (self.radius * self.aspect)
        u2, v2 = u * u, v * v
        inside = 1.0 - (u2 * u2 + v2 * v2) ** 0.25
        generator = ramp(inside * self.radius, canvas.edge) * (1.0 - 0.35 * ramp(-0.5 - v, 0.2))
        width = max(0.012, 0.6 * canvas.pixel)
        lead = np.maximum(
            _curve(canvas, self.centre, (VENA_CAVA_X, self.entry), -0.04, width),
            _curve(canvas, (VENA_CAVA_X, self.entry), self.tip, -0.10, width),
        )
        canvas.overlay = canvas.overlay + 0.62 * generator + self.lead_contrast * lead * (1.0 - generator)
        return (generator > 0.3) | (lead > 0.4), generator > 0.3


@dataclass(frozen=True, slots=True)
class Catheter(FindingPlan):
    """A central venous line, from the neck or from under the clavicle, that ends in a tip."""

    name: ClassVar[str] = "catheter"
    start: tuple[float, float]
    corner: tuple[float, float] | None
    tip: tuple[float, float]
    bend: float
    half_width: float
    contrast: float

    @classmethod
    def draw(cls, site: Site) -> Catheter:
        rng, difficulty = site.rng, site.difficulty
        sign = side_sign(site.side)
        tip = VENA_CAVA_X + float(rng.uniform(-0.02, 0.02)), float(rng.uniform(*TIP_LEVELS[site.level]))
        through_neck = bool(rng.random() < 0.4)
        if through_neck:
            start = sign * float(rng.uniform(0.16, 0.30)), -1.05
            corner = None if site.side == "right" else (float(rng.uniform(-0.02, 0.03)), -0.50)
        else:
            start = sign * float(rng.uniform(0.62, 0.85)), float(rng.uniform(-0.66, -0.40))
            corner = (VENA_CAVA_X + 0.03 * sign, float(rng.uniform(-0.52, -0.42)))
        return cls(
            side=site.side,
            level=site.level,
            strength=site.strength,
            grade=float(rng.random()),
            start=start,
            corner=corner,
            tip=tip,
            bend=-0.03 * float(rng.uniform(0.3, 1.2)),
            half_width=difficulty.catheter_half_width,
            contrast=difficulty.catheter_contrast,
        )

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        width = max(self.half_width, 0.6 * canvas.pixel)
        if self.corner is None:
            line = _curve(canvas, self.start, self.tip, self.bend, width)
        else:
            line = np.maximum(
                _curve(canvas, self.start, self.corner, 2.0 * self.bend, width),
                _curve(canvas, self.corner, self.tip, self.bend, width),
            )
        tip = ramp(2.0 * width - np.hypot(canvas.x - self.tip[0], canvas.y - self.tip[1]), 1.5 * canvas.pixel)
        line = np.maximum(line, tip)
        canvas.overlay = canvas.overlay + self.contrast * line
        mask = line > 0.3
        return mask, mask
