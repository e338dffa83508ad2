"""The base of the phantom's findings: planned (random draws) first, painted later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medvlp_phantom.anatomy import Anatomy, FloatArray
from medvlp_phantom.canvas import VISIBLE_CHANGE, Canvas
from medvlp_phantom.difficulty import PhantomDifficulty

BoolArray = NDArray[np.bool_]
BoxTuple = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class PlacedFinding:
    """A finding as it was painted.

    ``side`` is the patient's side: ``left`` (on the image's right), ``right``, or ``midline``.
    ``level`` is ``apical``, ``upper``, ``mid`` or ``lower``; for a catheter it names where the tip
    lies: ``svc``, ``cavoatrial_junction`` or ``right_atrium``. ``size`` is ``small``, ``moderate``
    or ``large`` among findings of its name. ``mask`` (H, W) holds the pixels that visibly
    change; ``box`` is (x, y, width, height) in fractions of the image and bounds the mask, except
    for a pacemaker, where it bounds the generator and leaves out the lead. ``equivocal`` marks a
    faint change that the report calls uncertain.
    """

    name: str
    side: str
    level: str
    size: str
    box: BoxTuple
    mask: BoolArray
    equivocal: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Where to draw a finding: side and level of a body, and how strongly it shows (1: fully)."""

    rng: np.random.Generator
    anatomy: Anatomy
    difficulty: PhantomDifficulty
    side: str
    level: str
    strength: float


@dataclass(frozen=True, slots=True)
class FindingPlan(ABC):
    """All random draws of one finding; painting it is deterministic.

    ``strength`` is 1, or less for a finding that is only faintly there. ``grade`` (0 to 1) says how
    large it is among findings of its name.
    """

    name: ClassVar[str]

    side: str
    level: str
    strength: float
    grade: float

    @classmethod
    @abstractmethod
    def draw(cls, site: Site) -> FindingPlan:
        """Draw size, shape and exact place at a site."""

    def adjust(self, anatomy: Anatomy) -> Anatomy:
        """The body as this finding changes it (an enlarged heart, a raised diaphragm)."""
        return anatomy

    @abstractmethod
    def paint(self, canvas: Canvas) -> tuple[BoolArray, BoolArray]:
        """Paint onto the canvas; returns the mask and the part of it that the box bounds, both (H, W)."""

    @property
    def size(self) -> str:
        """The adjective a report uses."""
        return "small" if self.grade < 0.34 else "moderate" if self.grade < 0.72 else "large"

    def visible(self, change: FloatArray) -> BoolArray:
        """Pixels that change enough to be seen; a faint finding is outlined at its own scale."""
        return np.abs(change) > VISIBLE_CHANGE * self.strength


def bounding_box(mask: BoolArray) -> BoxTuple:
    """(x, y, width, height) in fractions of the image of the pixels of a mask (H, W) that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    return left / width, top / height, (right - left) / width, (bottom - top) / height


def graded(rng: np.random.Generator, limits: tuple[float, float]) -> tuple[float, float]:
    """A value drawn uniformly between limits, and its relative position between them (0 to 1)."""
    grade = float(rng.random())
    return limits[0] + grade * (limits[1] - limits[0]), grade
