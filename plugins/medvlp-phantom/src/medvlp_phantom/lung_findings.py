"""Findings of lung, pleura and heart. Shapes follow the textbook signs of each finding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from medvlp_phantom.anatomy import Anatomy, FloatArray, side_index, side_sign
from medvlp_phantom.canvas import LUNG_TRANSPARENCY, Canvas, ramp
from medvlp_phantom.finding import BoolArray, FindingPlan, Site, graded

ZONES: dict[str, tuple[float, float]] = {"upper": (0.20, 0.40), "mid": (0.47, 0.63), "lower": (0.72, 0.90)}
"""Heights of the centre of a finding, as fractions from the apex to the dome."""

PLATE_ZONES: dict[str, tuple[float, float]] = {"upper": (0.28, 0.42), "mid": (0.50, 0.62), "lower": (0.72, 0.84)}
"""The same for atelectasis, whose plates are long and need the lung's width."""


def _zone_height(rng: np.random.Generator, anatomy: Anatomy, side: str, level: str) -> float:
    return anatomy.height(side_index(side), float(rng.uniform(*ZONES[level])))


def _lens(canvas: Canvas, centre: float, half_length: float, depth: float) -> FloatArray:
    """Distance inside a lens that lies along the chest wall, its greatest depth at height ``centre``."""
    profile = np.clip(1.0 - ((canvas.y - centre) / half_length) ** 2, 0.0, None)
    return np.where(profile > 0, depth * np.sqrt(profile) - canvas.to_wall, np.float32(-1.0))


@dataclass(frozen=True, slots=True)
class Effusion(FindingPlan):
    """Fluid that fills the costophrenic angle up to a meniscus, or is loculated along the chest wall."""

    name: ClassVar[str] = "effusion"
    height: float
    rise: float
    contrast: float
    centre: float

    @classmethod
    def draw(cls, site: Site) -> Effusion:
        rng, anatomy, difficulty = site.rng, site.anatomy, site.difficulty
        height, grade = graded(rng, difficulty.effusion_height)
        return cls(
            side=site.side,
            level=site.level,
            strength=site.strength,
            grade=grade,
            height=height,
            rise=float(rng.uniform(0.10, 0.20)),
            contrast=site.strength * float(rng.uniform(*difficulty.effusion_contrast)),
            centre=anatomy.height(side_index(site.side), float(rng.uniform(0.35, 0.60))),
        )

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        side = side_index(self.side)
        if self.level == "lower":
            a = canvas.anatomy
            # Height is measured from the depth of the costophrenic angle; the level climbs towards the wall.
            floor = a.dome_y[side] + a.dome_depth[side]
            outward = np.clip(canvas.distance / a.half_width[side], 0.0, 1.1)
            surface = floor - self.height + self.rise * (0.6 - outward * outward * outward)
            inside = ramp(canvas.y - surface, 0.05)
        else:
            inside = ramp(_lens(canvas, self.centre, 0.17 + 0.35 * self.height, 0.11 + 0.26 * self.height), 0.03)
        change = canvas.replace_air(inside * canvas.side_masks[side] * np.float32(self.contrast))
        mask = self.visible(change)
        return mask, mask


@dataclass(frozen=True, slots=True)
class Pneumothorax(FindingPlan):
    """Air between lung and chest wall: darker, without vessels, bounded by the pleural line."""

    name: ClassVar[str] = "pneumothorax"
    depth: float
    rim: float
    centre: float
    darkening: float
    line: float

    @classmethod
    def draw(cls, site: Site) -> Pneumothorax:
        rng, anatomy, difficulty = site.rng, site.anatomy, site.difficulty
        depth, grade = graded(rng, difficulty.pneumothorax_depth)
        low, high = difficulty.pneumothorax_rim
        fraction = {"apical": 0.0, "mid": rng.uniform(0.42, 0.60), "lower": rng.uniform(0.88, 1.0)}[site.level]
        return cls(
            side=site.side,
            level=site.level,
            strength=site.strength,
            grade=grade,
            depth=depth,
            rim=low + grade * (high - low),
            centre=anatomy.height(side_index(site.side), float(fraction)),
            darkening=difficulty.pneumothorax_darkening * site.strength,
            line=difficulty.pleural_line * site.strength,
        )

    def _inside(self, canvas: Canvas) -> FloatArray:
        """Distance inside the space between chest wall and collapsed lung."""
        if self.level != "apical":
            return _lens(canvas, self.centre, 0.34, self.rim)
        side, a = side_index(self.side), canvas.anatomy
        sunk = replace(a, apex_y=(a.apex_y[0] + self.depth, a.apex_y[1] + self.depth))
        fade = np.clip(1.0 - (canvas.y - a.apex_y[side]) / 0.75, 0.0, 1.0)
        lung = np.minimum(
            sunk.lateral(side, canvas.y) - 0.7 * self.rim * fade - canvas.distance, canvas.y - sunk.apex_y[side]
        )
        space = np.where(fade > 0, -lung, np.float32(-1.0))
        return canvas.slope_corrected(space)

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        side = canvas.side_masks[side_index(self.side)]
        inside = self._inside(canvas)
        lung = canvas.lung * side
        space = ramp(inside, 1.5 * canvas.pixel) * lung * canvas.air
        width = max(0.013, 0.8 * canvas.pixel)
        near_lung = canvas.to_wall > 2.0 * width
        line = np.clip(1.2 - np.abs(inside) / width, 0.0, 1.0) * lung * near_lung * canvas.air
        canvas.air = canvas.air + self.darkening * space
        canvas.markings = canvas.markings * (1.0 - np.clip(self.strength * 1.2, 0.0, 1.0) * space)
        canvas.overlay = canvas.overlay + self.line * line
        change = self.darkening * LUNG_TRANSPARENCY * space + self.line * line
        mask = self.visible(change)
        return mask, mask


@dataclass(frozen=True, slots=True)
class Consolidation(FindingPlan):
    """A fuzzy patch of airless lung, on one edge sometimes cut sharply by a fissure."""

    name: ClassVar[str] = "consolidation"
    centre: tuple[float, float]
    radius: tuple[float, float]
    contrast: float
    texture: FloatArray
    fissure: int

    @classmethod
    def draw(cls, site: Site) -> Consolidation:
        rng, anatomy, difficulty = site.rng, site.anatomy, site.difficulty
        radius, grade = graded(rng, difficulty.consolidation_radius)
        y = _zone_height(rng, anatomy, site.side, site.level)
        inner, outer = anatomy.visible_span(side_index(site.side), y)
        margin = min(0.6 * radius, 0.4 * (outer - inner))
        x = side_sign(site.side) * float(rng.uniform(inner + margin, outer - margin))
        return cls(
            side=site.side,
            level=site.level,
            strength=site.strength,
            grade=grade,
            centre=(x, y),
            radius=(radius * float(rng.uniform(0.85, 1.1)), radius * float(rng.uniform(0.8, 1.05))),
            contrast=site.strength * float(rng.uniform(*difficulty.consolidation_contrast)),
            texture=rng.uniform(-1.0, 1.0, (15, 15)).astype(np.float32),
            fissure={"upper": 1, "mid": 0, "lower": -1}[site.level] * int(rng.random() < 0.4),
        )

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        u = (canvas.x - self.centre[0]) / self.radius[0]
        v = (canvas.y - self.centre[1]) / self.radius[1]
        texture = canvas.smooth_field(self.texture)
        depth = 1.0 - np.sqrt(u * u + v * v) + 0.30 * texture
        patch = ramp(depth, 0.7) * (0.88 + 0.12 * texture)
        if self.fissure:
            # The fissure bounds an upper lobe from below and a lower lobe from above.
            patch = patch * ramp(0.45 - self.fissure * v, 0.15)
        change = canvas.replace_air(patch * canvas.side_masks[side_index(self.side)] * np.float32(self.contrast))
        mask = self.visible(change * 0.5)
        return mask, mask


@dataclass(frozen=True, slots=True)
class Nodule(FindingPlan):
    """A small round opacity in free lung."""

    name: ClassVar[str] = "nodule"
    centre: tuple[float, float]
    radius: float
    squeeze: float
    contrast: float

    @classmethod
    def draw(cls, site: Site) -> Nodule:
        rng, anatomy, difficulty = site.rng, site.anatomy, site.difficulty
        radius, grade = graded(rng, difficulty.nodule_radius)
        index = side_index(site.side)
        y = min(_zone_height(rng, anatomy, site.side, site.level), anatomy.dome_y[index] - radius)
        spans = [anatomy.visible_span(index, y + d * radius) for d in (-0.7, 0.0, 0.7)]
        inner, outer = max(s[0] for s in spans) + 1.15 * radius, min(s[1] for s in spans) - 1.15 * radius
        x = side_sign(site.side) * float(rng.uniform(inner, outer) if inner < outer else 0.5 * (inner + outer))
        return cls(
            side=site.side,
            level=site.level,
            strength=site.strength,
            grade=grade,
            centre=(x, y),
            radius=radius,
            squeeze=float(rng.uniform(0.9, 1.1)),
            contrast=site.strength * float(rng.uniform(*difficulty.nodule_contrast)),
        )

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        u = (canvas.x - self.centre[0]) * np.float32(self.squeeze)
        v = (canvas.y - self.centre[1]) / np.float32(self.squeeze)
        depth = self.radius - np.sqrt(u * u + v * v)
        change = canvas.replace_air(ramp(depth, 0.035) * np.float32(self.contrast))
        mask = self.visible(change)
        return mask, mask


@dataclass(frozen=True, slots=True)
class Cardiomegaly(FindingPlan):
    """A heart that is too wide for its chest; the whole heart is its mask."""

    name: ClassVar[str] = "cardiomegaly"
    ratio: float

    @classmethod
    def draw(cls, site: Site) -> Cardiomegaly:
        rng, difficulty = site.rng, site.difficulty
        ratio, grade = graded(rng, difficulty.enlarged_cardiothoracic_ratio)
        return cls(side=site.side, level=site.level, strength=site.strength, grade=grade, ratio=ratio)

    def adjust(self, anatomy: Anatomy) -> Anatomy:
        growth = self.ratio / anatomy.cardiothoracic_ratio
        return replace(
            anatomy,
            cardiothoracic_ratio=self.ratio,
            heart_half_height=anatomy.heart_half_height * (1.0 + 0.15 * (growth - 1.0)),
        )

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        mask = (canvas.heart_distance > 0) & (canvas.to_dome > 0)
        return mask, mask


@dataclass(frozen=True, slots=True)
class Atelectasis(FindingPlan):
    """Parallel plates or a wedge of collapsed lung; the loss of volume raises the diaphragm."""

    name: ClassVar[str] = "atelectasis"
    centre: tuple[float, float]
    tilt: float
    length: float
    thickness: float
    contrast: float
    plates: int
    wedge: bool
    elevation: float

    @classmethod
    def draw(cls, site: Site) -> Atelectasis:
        rng, anatomy, difficulty = site.rng, site.anatomy, site.difficulty
        length, grade = graded(rng, difficulty.atelectasis_length)
        elevation = float(rng.uniform(*difficulty.diaphragm_elevation)) * site.strength
        raised = anatomy.with_raised_dome(side_index(site.side), elevation)
        y = raised.height(side_index(site.side), float(rng.uniform(*PLATE_ZONES[site.level])))
        inner, outer = raised.visible_span(side_index(site.side), y)
        middle = 0.5 * (inner + outer) + float(rng.uniform(-0.06, 0.06))
        return cls(
            side=site.side,
            level=site.level,
            strength=site.strength,
            grade=grade,
            centre=(side_sign(site.side) * middle, y),
            tilt=side_sign(site.side) * float(rng.uniform(-0.10, 0.45)),
            length=length,
            thickness=float(rng.uniform(*difficulty.atelectasis_thickness)),
            contrast=site.strength * float(rng.uniform(*difficulty.atelectasis_contrast)),
            plates=int(rng.integers(1, 4)),
            wedge=bool(rng.random() < 0.3),
            elevation=elevation,
        )

    def adjust(self, anatomy: Anatomy) -> Anatomy:
        return anatomy.with_raised_dome(side_index(self.side), self.elevation)

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        dx, dy = canvas.x - self.centre[0], canvas.y - self.centre[1]
        along, across = cos * dx + sin * dy, cos * dy - sin * dx
        end = ramp(0.5 * self.length - np.abs(along), 0.08)
        thickness = max(self.thickness, 0.75 * canvas.pixel)
        if self.wedge:
            # The tip points to the hilum, the base to the wall.
            outward = 0.5 + side_sign(self.side) * along / self.length
            bands = ramp(0.02 + 0.10 * np.clip(outward, 0.0, 1.0) - np.abs(across), 0.03)
        else:
            spacing = thickness * 4.0
            bands = np.zeros_like(across)
            for plate in range(self.plates):
                offset = (plate - 0.5 * (self.plates - 1)) * spacing
                bands = np.maximum(bands, np.exp(-(((across - offset) / thickness) ** 2)))
        share = bands * end * canvas.side_masks[side_index(self.side)]
        change = canvas.replace_air(share * np.float32(self.contrast))
        mask = self.visible(change)
        return mask, mask


@dataclass(frozen=True, slots=True)
class Edema(FindingPlan):
    """Haze around one hilum with Kerley-like septal lines at the base; the phantom has it on both sides."""

    name: ClassVar[str] = "edema"
    radius: float
    contrast: float
    texture: FloatArray

    @classmethod
    def draw(cls, site: Site) -> Edema:
        rng, difficulty = site.rng, site.difficulty
        radius, grade = graded(rng, difficulty.edema_radius)
        return cls(
            side=site.side,
            level=site.level,
            strength=site.strength,
            grade=grade,
            radius=radius,
            contrast=site.strength * float(rng.uniform(*difficulty.edema_contrast)),
            texture=rng.uniform(-1.0, 1.0, (13, 13)).astype(np.float32),
        )

    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        side, a = side_index(self.side), canvas.anatomy
        hilum = 0.20 * side_sign(self.side), a.height(side, 0.60)
        u, v = (canvas.x - hilum[0]) / self.radius, (canvas.y - hilum[1]) / (1.15 * self.radius)
        haze = np.exp(-0.9 * (u * u + v * v)) * (0.85 + 0.3 * canvas.smooth_field(self.texture))
        septa = np.clip(np.cos(canvas.y * np.float32(2 * np.pi / 0.065)) * 2.0 - 1.0, 0.0, 1.0)
        corner = ramp(0.16 - canvas.to_wall, 0.05) * ramp(canvas.y - a.height(side, 0.60), 0.1)
        share = np.clip(haze + 0.45 * septa * corner, 0.0, 1.2) * np.float32(self.contrast)
        change = canvas.replace_air(share * canvas.side_masks[side])
        mask = self.visible(change * 0.6)
        return mask, mask
