"""The phantom in three dimensions: small synthetic chest volumes with organs, findings and reports.

It is coarser than the radiograph and has its own, fewer findings; reports are written by the same
author in the same words. Axes are RAS: the first runs to the patient's right, the second to
anterior, the third to superior. Coordinates ``u``, ``v``, ``w`` span -1 to 1 along them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp_phantom.anatomy import FloatArray
from medvlp_phantom.canvas import ramp
from medvlp_phantom.planning import ROOM, Observation
from medvlp_phantom.report_text import write_report
from medvlp_toolkit.data.records import Finding, Report

VOLUME_FINDINGS: tuple[str, ...] = ("effusion", "pneumothorax", "consolidation", "nodule", "cardiomegaly")
"""Findings of the volume, as entity ids of the MedKLIP vocabulary."""

FOCAL_VOLUME_FINDINGS: tuple[str, ...] = ("effusion", "pneumothorax", "consolidation", "nodule")

EXTENT = 384.0
"""Side of the cube in millimetres."""
MIN_VOLUME_SIZE = 24
NORMAL_SHARE = 0.25
FINDING_COUNTS = (0.45, 0.35, 0.20)
"""Probability of 1, 2 and 3 findings in a volume that is not normal."""
NOISE = 25.0
"""Standard deviation of the noise, in Hounsfield units."""

AIR, FAT, LUNG, SOFT_TISSUE, BLOOD, BONE, FLUID = -1000.0, -90.0, -800.0, 40.0, 120.0, 450.0, 10.0
"""Hounsfield units."""

VolumeBox = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class VolumeFinding:
    """A finding in a volume. ``mask`` is (D, H, W); ``box`` is (u, v, w, size_u, size_v, size_w) in fractions.

    ``side`` is the patient's side or ``midline``; ``level`` is ``apical``, ``upper``, ``mid`` or ``lower``.
    """

    name: str
    side: str
    level: str
    size: str
    box: VolumeBox
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class VolumeStudy:
    """A synthetic volume with its truth.

    ``volume`` is int16 (D, H, W) in Hounsfield units, axes RAS; ``affine`` (4, 4) maps voxel indices to
    millimetres. ``organs`` maps organs to their masks. The other fields are those of a radiograph's study.
    """

    id: str
    index: int
    volume: NDArray[np.int16]
    affine: NDArray[np.float64]
    organs: dict[str, NDArray[np.bool_]]
    findings: tuple[VolumeFinding, ...]
    presence: dict[str, int]
    report: Report
    statements: tuple[Finding, ...]

    def boxes(self, name: str) -> list[VolumeBox]:
        """Boxes of each finding of a name."""
        return [finding.box for finding in self.findings if finding.name == name]


def volume_box(mask: NDArray[np.bool_]) -> VolumeBox:
    """The box, in fractions of the volume, around a mask (D, H, W) that is not empty."""
    places = np.nonzero(mask)
    starts = [int(place.min()) for place in places]
    ends = [int(place.max()) + 1 for place in places]
    low = [start / side for start, side in zip(starts, mask.shape, strict=True)]
    size = [(end - start) / side for start, end, side in zip(starts, ends, mask.shape, strict=True)]
    return low[0], low[1], low[2], size[0], size[1], size[2]


class _Chest:
    """One body on a voxel grid: Hounsfield units and organ masks, (size, size, size)."""

    def __init__(self, rng: np.random.Generator, size: int, enlarged_heart: bool) -> None:
        self.voxel = 2.0 / size
        axis = ((np.arange(size) + 0.5) * self.voxel - 1.0).astype(np.float32)
        scale = float(rng.uniform(0.92, 1.05))
        self.u, self.v, self.w = (
            (values - np.float32(rng.uniform(-0.05, 0.05))) / scale
            for values in (axis[:, None, None], axis[None, :, None], axis[None, None, :])
        )
        depth = float(rng.uniform(0.62, 0.72))
        self.right: NDArray[np.bool_] = np.broadcast_to(self.u > 0, (size, size, size))
        self.centre = float(rng.uniform(0.40, 0.44)), float(rng.uniform(-0.04, 0.04))
        self.radius = float(rng.uniform(0.30, 0.34)), depth - float(rng.uniform(0.14, 0.18))
        self.apex = float(rng.uniform(0.72, 0.84))
        self.base = float(rng.uniform(-0.66, -0.54))

        rim = 1.0 - np.sqrt((self.u / 0.92) ** 2 + (self.v / depth) ** 2)
        body = ramp(rim, 0.06) + 0.0 * self.w
        self.across = (np.abs(self.u) - self.centre[0]) / self.radius[0]
        self.depth_wise = (self.v - self.centre[1]) / self.radius[1]
        radial = np.sqrt(self.across**2 + self.depth_wise**2)
        upward = np.clip((self.w + 0.1) / (self.apex + 0.1), 0.0, 1.0)
        dome = self.base + 0.30 * np.clip(1.0 - radial**2, 0.0, 1.0)
        wall = np.sqrt(1.0 - np.minimum(upward**3, 0.999)) - radial
        self.wall: FloatArray = wall * self.radius[0]
        inside = np.minimum(self.wall, self.w - dome)
        growth = float(rng.uniform(1.35, 1.55)) if enlarged_heart else float(rng.uniform(0.92, 1.08))
        heart = 1.0 - np.sqrt(
            ((self.u + 0.10) / (0.26 * growth)) ** 2
            + ((self.v - 0.14) / (0.24 * growth)) ** 2
            + ((self.w + 0.28) / (0.26 * growth)) ** 2
        )
        spine = 0.11 - np.sqrt(self.u**2 + (self.v + depth - 0.20) ** 2)
        aorta = 0.06 - np.sqrt((self.u + 0.13) ** 2 + (self.v + depth - 0.30) ** 2)
        self.air = ramp(inside, 1.5 * self.voxel) * (1.0 - ramp(heart * 0.25, 1.5 * self.voxel))

        ribs = ramp(0.03 - np.abs(self.wall + 0.06), 0.04) * (np.cos(self.w * 40.0 - 3.0 * self.v) > 0.2)
        solid = SOFT_TISSUE + (FAT - SOFT_TISSUE) * ramp(0.05 - rim, 0.03) + (BONE - SOFT_TISSUE) * 0.7 * ribs
        solid = solid + (BONE - SOFT_TISSUE) * ramp(spine, 0.04) + (BLOOD - SOFT_TISSUE) * ramp(aorta, 0.04)
        solid = solid + (BLOOD - SOFT_TISSUE) * ramp(heart * 0.25, 0.05)
        solid = solid + 25.0 * (self.w < dome) * (self.u > 0.1)
        self.units: FloatArray = AIR + (solid - AIR) * body
        self.units = self.units + (LUNG - self.units) * self.air

        lung = self.air > 0.5
        self.organs: dict[str, NDArray[np.bool_]] = {
            "right lung": lung & self.right,
            "left lung": lung & ~self.right,
            "heart": heart > 0,
            "spine": np.broadcast_to(spine > 0, lung.shape),
            "aorta": np.broadcast_to(aorta > 0, lung.shape),
            "liver": (self.w < dome) & (rim > 0.12) & (self.u > 0.1) & (self.w > self.base - 0.3),
        }

    def height(self, fraction: float) -> float:
        """w at a fraction of the way from the apex (0) to the dome (1)."""
        return self.apex + fraction * (self.base + 0.25 - self.apex)

    def fill(self, share: FloatArray, units: float) -> NDArray[np.bool_]:
        """Fill a share of the lung with a substance; returns the voxels where at least a third changed."""
        share = share * self.air
        self.units = self.units + (units - self.units) * share
        self.air = self.air - share
        return np.asarray(share > 1 / 3)


ZONES = {"upper": (0.20, 0.35), "mid": (0.45, 0.60), "lower": (0.72, 0.88)}


def _paint(
    chest: _Chest, rng: np.random.Generator, name: str, side: str, level: str, grade: float
) -> NDArray[np.bool_]:
    """Paint one finding at a side and level; returns its mask."""
    half = (chest.right if side == "right" else ~chest.right).astype(np.float32)
    if name == "cardiomegaly":
        return chest.organs["heart"]
    if name == "effusion":
        # Fluid gathers at the back of a patient who lies on it.
        surface = -1.0 + 0.55 + 0.45 * grade
        low = ramp(chest.height(0.45) - chest.w, 0.15)
        return chest.fill(half * ramp((surface - chest.depth_wise) * chest.radius[1], 0.05) * low, FLUID)
    if name == "pneumothorax":
        # Air rises to the front.
        surface = 1.0 - 0.45 - 0.35 * grade
        high = ramp(chest.w - chest.height(0.75), 0.15)
        space = ramp((chest.depth_wise - surface) * chest.radius[1], 0.05) * half * high
        line = np.exp(-(((chest.depth_wise - surface) * chest.radius[1] / (0.9 * chest.voxel)) ** 2)) * half * high
        chest.units = chest.units + 350.0 * line * chest.air * (1.0 - space)
        return chest.fill(space, AIR)
    radius = 0.11 + 0.06 * grade if name == "nodule" else 0.20 + 0.10 * grade
    w = chest.height(float(rng.uniform(*ZONES[level])))
    reach = 0.45 if name == "nodule" else 0.35
    sign = 1.0 if side == "right" else -1.0
    # The left lung gives way to the heart in front.
    lowest = -reach if side == "right" or level == "upper" else -reach - 0.1
    u = sign * (chest.centre[0] + chest.radius[0] * float(rng.uniform(-0.1, reach)))
    v = chest.centre[1] + chest.radius[1] * float(rng.uniform(lowest, reach if level == "upper" else 0.1))
    distance = np.sqrt((chest.u - u) ** 2 + (chest.v - v) ** 2 + (chest.w - w) ** 2)
    if name == "nodule":
        return chest.fill(ramp(radius - distance, chest.voxel), SOFT_TISSUE)
    return chest.fill(half * ramp(radius - distance, 0.8 * radius) * 0.9, SOFT_TISSUE)


class VolumePhantom:
    """Small synthetic chest volumes with organs, findings and reports; see :class:`Phantom`.

    A study depends on ``seed`` and its index alone. ``size`` is the side of the cubic volume in voxels.
    """

    def __init__(self, seed: int = 0, size: int = 48) -> None:
        if seed < 0:
            raise ValueError(f"seed is {seed}; give a number of 0 or more")
        if size < MIN_VOLUME_SIZE:
            raise ValueError(f"size is {size} voxels; the smallest volume phantom is {MIN_VOLUME_SIZE}")
        self.seed = seed
        self.size = size

    def study(self, index: int) -> VolumeStudy:
        """The study of an index."""
        if index < 0:
            raise ValueError(f"index is {index}; give a number of 0 or more")
        body, plan, words, noise = (
            np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index, stream))) for stream in range(4)
        )
        places = _draw_places(plan)
        chest = _Chest(body, self.size, enlarged_heart=any(name == "cardiomegaly" for name, _, _ in places))
        findings, observations = [], []
        for name, side, level in places:
            grade = float(plan.random())
            size = "small" if grade < 0.34 else "moderate" if grade < 0.72 else "large"
            mask = _paint(chest, plan, name, side, level, grade)
            if not mask.any():  # where another finding has taken the air, nothing is left to see or to report
                continue
            findings.append(VolumeFinding(name, side, level, size, volume_box(mask), mask))
            observations.append(Observation(name, side, level, size, True, ()))
        study_id = f"volume-phantom-{self.seed}-{index:06d}"
        written = write_report(words, study_id, observations, "CT", VOLUME_FINDINGS)
        units = chest.units + NOISE * noise.standard_normal(chest.units.shape, dtype=np.float32)
        spacing = EXTENT / self.size
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = -0.5 * EXTENT + 0.5 * spacing
        return VolumeStudy(
            id=study_id,
            index=index,
            volume=np.rint(np.clip(units, -1024, 3071)).astype(np.int16),
            affine=affine,
            organs=chest.organs,
            findings=tuple(findings),
            presence={name: int(any(finding.name == name for finding in findings)) for name in VOLUME_FINDINGS},
            report=written.report,
            statements=written.statements,
        )

    def generate(self, count: int, start: int = 0) -> Iterator[VolumeStudy]:
        """Studies ``start`` to ``start + count - 1`` in order."""
        return map(self.study, range(start, start + count))


def _draw_places(rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Names, sides and levels of the findings of one volume; no two share a part of a lung."""
    if rng.random() < NORMAL_SHARE:
        return []
    count = 1 + int(rng.choice(len(FINDING_COUNTS), p=FINDING_COUNTS))
    names = [VOLUME_FINDINGS[int(i)] for i in rng.permutation(len(VOLUME_FINDINGS))[:count]]
    places: list[tuple[str, str, str]] = []
    taken: set[tuple[str, str]] = set()
    for name in names:
        if name == "cardiomegaly":
            places.append((name, "midline", "lower"))
            continue
        levels = {"effusion": ["lower"], "pneumothorax": ["apical"]}.get(name, ["upper", "mid", "lower"])
        options = [(side, level) for side in ("right", "left") for level in levels]
        for choice in rng.permutation(len(options)):
            side, level = options[int(choice)]
            room = {(side, part) for part in ROOM[level]}
            if not room & taken:
                taken |= room
                places.append((name, side, level))
                break
    # The heart is part of the body; findings that fill air come after it.
    return sorted(places, key=lambda place: place[0] != "cardiomegaly")
