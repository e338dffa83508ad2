"""Plans the findings of an image and their locations, so that none hides another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medvlp_phantom.anatomy import Anatomy
from medvlp_phantom.device_findings import TIP_LEVELS, Catheter, Pacemaker
from medvlp_phantom.difficulty import FINDINGS, PhantomDifficulty
from medvlp_phantom.finding import FindingPlan, Site
from medvlp_phantom.lung_findings import (
    Atelectasis,
    Cardiomegaly,
    Consolidation,
    Edema,
    Effusion,
    Nodule,
    Pneumothorax,
)

PLANS: dict[str, type[FindingPlan]] = {
    plan.name: plan
    for plan in (
        Effusion,
        Pneumothorax,
        Consolidation,
        Nodule,
        Cardiomegaly,
        Atelectasis,
        Edema,
        Pacemaker,
        Catheter,
    )
}

EQUIVOCAL_FINDINGS: tuple[str, ...] = ("effusion", "pneumothorax", "consolidation", "nodule", "atelectasis")
"""Findings that radiologists hedge about."""

PAINTING_ORDER: tuple[str, ...] = (
    "cardiomegaly",
    "edema",
    "consolidation",
    "atelectasis",
    "nodule",
    "effusion",
    "pneumothorax",
    "catheter",
    "pacemaker",
)
"""Diffuse findings first, so that the mask of a focal finding has the change relative to them."""

ROOM: dict[str, tuple[str, ...]] = {
    "apical": ("apical", "upper"),
    "upper": ("upper",),
    "mid": ("mid",),
    "lower": ("lower",),
}
"""Levels of a lung that a finding at a level keeps to itself."""

BOTH = "both"


@dataclass(frozen=True, slots=True)
class Observation:
    """One finding as a reader would report it; ``plans`` holds one plan a side, none if nothing shows.

    ``side`` is ``left``, ``right``, ``both`` or ``midline``.
    """

    name: str
    side: str
    level: str
    size: str
    certain: bool
    plans: tuple[FindingPlan, ...]


def _shuffled(rng: np.random.Generator, items: tuple[str, ...], weights: tuple[float, ...]) -> list[str]:
    order = rng.choice(len(items), size=len(items), replace=False, p=np.asarray(weights) / sum(weights))
    return [items[int(i)] for i in order]


def _sites(name: str, rng: np.random.Generator, difficulty: PhantomDifficulty) -> Iterator[tuple[str, str]]:
    """Sides and levels for a finding, the first choice first."""
    right = difficulty.pacemaker_right_rate if name == "pacemaker" else 0.5
    sides = _shuffled(rng, ("right", "left"), (right, 1.0 - right))
    if name in ("cardiomegaly", "edema"):
        yield ("midline", "lower") if name == "cardiomegaly" else (BOTH, "mid")
        return
    if name == "effusion":
        loculated = difficulty.effusion_loculated_rate
        levels = _shuffled(rng, ("lower", "mid"), (1.0 - loculated, loculated))
        if levels[0] == "lower" and rng.random() < difficulty.bilateral_rate:
            yield BOTH, "lower"
    elif name == "pneumothorax":
        levels = _shuffled(rng, ("apical", "mid", "lower"), difficulty.pneumothorax_levels)
    elif name == "atelectasis":
        levels = _shuffled(rng, ("lower", "mid", "upper"), (0.6, 0.25, 0.15))
        if levels[0] == "lower" and rng.random() < difficulty.bilateral_rate:
            yield BOTH, "lower"
    elif name == "catheter":
        levels = _shuffled(rng, tuple(TIP_LEVELS), (0.5, 0.3, 0.2))
    elif name == "pacemaker":
        levels = ["upper"]
    else:
        levels = _shuffled(rng, ("upper", "mid", "lower"), (1.0, 1.0, 1.0))
    for level in levels:
        for side in sides:
            yield side, level


class _Planner:
    """Places findings one after another and remembers which parts of the lungs are taken."""

    def __init__(self, rng: np.random.Generator, anatomy: Anatomy, difficulty: PhantomDifficulty) -> None:
        self.rng = rng
        self.anatomy = anatomy
        self.difficulty = difficulty
        self.taken: set[tuple[str, str]] = set()

    def _claim(self, name: str, side: str, level: str) -> bool:
        if name in ("cardiomegaly", "edema", "catheter"):
            return True
        sides = ("right", "left") if side == BOTH else (side,)
        room = {(one, part) for one in sides for part in ROOM[level]}
        if room & self.taken:
            return False
        self.taken |= room
        return True

    def place(self, name: str, strength: float = 1.0) -> Observation | None:
        """The finding at the first site that is free, or None where none is."""
        for side, level in _sites(name, self.rng, self.difficulty):
            if self._claim(name, side, level):
                sides = ("right", "left") if side == BOTH else (side,)
                plans = []
                for one in sides:
                    site = Site(self.rng, self.anatomy, self.difficulty, one, level, strength)
                    plan = PLANS[name].draw(site)
                    self.anatomy = plan.adjust(self.anatomy)
                    plans.append(plan)
                size = max(plans, key=lambda plan: plan.grade).size
                return Observation(name, side, level, size, strength == 1.0, tuple(plans))
        return None


def plan_findings(
    rng: np.random.Generator, anatomy: Anatomy, difficulty: PhantomDifficulty
) -> tuple[list[Observation], Anatomy]:
    """Draw the findings of an image; returns the observations in painting order and the changed body."""
    planner = _Planner(rng, anatomy, difficulty)
    observations: list[Observation] = []
    if rng.random() >= difficulty.normal_share:
        count = 1 + int(rng.choice(len(difficulty.finding_counts), p=difficulty.finding_counts))
        names = [FINDINGS[int(i)] for i in rng.permutation(len(FINDINGS))[:count]]
        # An enlarged heart leaves less free lung, so what changes the body is placed first.
        names.sort(key=lambda name: PAINTING_ORDER.index(name) if name == "cardiomegaly" else len(PAINTING_ORDER))
        observations += [seen for name in names if (seen := planner.place(name)) is not None]
    if rng.random() < difficulty.equivocal_rate:
        shown = {seen.name for seen in observations}
        doubtful = [name for name in EQUIVOCAL_FINDINGS if name not in shown]
        if doubtful:
            visible = rng.random() < difficulty.equivocal_visible_rate
            before = planner.anatomy
            seen = planner.place(doubtful[int(rng.integers(len(doubtful)))], difficulty.equivocal_strength)
            if seen is not None and not visible:
                planner.anatomy = before
                seen = Observation(seen.name, seen.side, seen.level, seen.size, False, ())
            if seen is not None:
                observations.append(seen)
    observations.sort(key=lambda seen: PAINTING_ORDER.index(seen.name))
    return observations, planner.anatomy
