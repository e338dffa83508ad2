"""The generator: maps seed and index to a synthetic radiograph with report and ground truth."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_phantom.anatomy import draw_anatomy
from medvlp_phantom.canvas import Canvas, Projection
from medvlp_phantom.difficulty import FINDINGS, PhantomDifficulty
from medvlp_phantom.finding import BoxTuple, PlacedFinding, bounding_box
from medvlp_phantom.planning import Observation, plan_findings
from medvlp_phantom.rendering import render
from medvlp_phantom.report_text import write_report
from medvlp_toolkit.data.records import Finding, Report

MIN_SIZE = 32
CHUNK = 64
"""Studies that a worker process makes at a time."""


@dataclass(frozen=True, slots=True)
class PhantomTruth:
    """The ground truth of a synthetic study.

    ``presence`` has every finding: 1 present, 0 absent, -1 doubtful. ``findings`` lists what was
    painted, one entry a side. ``statements`` lists the report's statements, with positions of the
    MedKLIP vocabulary and spans in the text; findings that the report does not mention are not in it.
    """

    id: str
    index: int
    patient: int
    findings: tuple[PlacedFinding, ...]
    presence: dict[str, int]
    report: Report
    statements: tuple[Finding, ...]
    sex: str
    age: int
    view: str

    def boxes(self, name: str) -> list[BoxTuple]:
        """(x, y, width, height), in fractions of the image, of each definite finding of a name."""
        return [finding.box for finding in self.findings if finding.name == name and not finding.equivocal]


@dataclass(frozen=True, slots=True)
class PhantomStudy(PhantomTruth):
    """A synthetic study: its truth and ``image``, uint8 (H, W), bright where the body is dense.

    As in a radiograph, the patient's left is on the image's right.
    """

    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Painting:
    """A canvas with everything painted on it, before it is rendered."""

    canvas: Canvas
    observations: list[Observation]
    placed: tuple[PlacedFinding, ...]


class Phantom:
    """Synthetic chest-radiograph-like images with reports and ground truth.

    A study depends on ``seed``, its index, its patient and the difficulty alone: not on how many
    are made, in which order or by how many processes. ``size`` is the side of the square image in
    pixels; report and findings are the same at every size.
    """

    def __init__(self, seed: int = 0, size: int = 128, difficulty: PhantomDifficulty | None = None) -> None:
        if seed < 0:
            raise ValueError(f"seed is {seed}; give a number of 0 or more")
        if size < MIN_SIZE:
            raise ValueError(f"size is {size} pixels; the smallest phantom is {MIN_SIZE}")
        self.seed = seed
        self.size = size
        self.difficulty = difficulty or PhantomDifficulty()

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))

    def study(self, index: int, patient: int | None = None) -> PhantomStudy:
        """The study of an index. Studies of one ``patient`` (the index if None) share a body."""
        painting = self._paint(index, patient)
        return PhantomStudy(**self._truth(painting, index, patient), image=self._render(painting, index))

    def truth(self, index: int, patient: int | None = None) -> PhantomTruth:
        """As :meth:`study` without the image, in about half the time."""
        return PhantomTruth(**self._truth(self._paint(index, patient), index, patient))

    def image(self, index: int, patient: int | None = None) -> NDArray[np.uint8]:
        """The image of :meth:`study` alone, uint8 (H, W)."""
        return self._render(self._paint(index, patient), index)

    def _paint(self, index: int, patient: int | None) -> _Painting:
        if index < 0:
            raise ValueError(f"index is {index}; give a number of 0 or more")
        body = draw_anatomy(self._generator(0, index if patient is None else patient), self.difficulty)
        observations, anatomy = plan_findings(self._generator(1, index), body, self.difficulty)
        canvas = Canvas(anatomy, self._draw_projection(self._generator(2, index)), self.size)
        placed = []
        for plan in (plan for seen in observations for plan in seen.plans):
            mask, core = plan.paint(canvas)
            if core.any():
                placed.append(
                    PlacedFinding(
                        name=plan.name,
                        side=plan.side,
                        level=plan.level,
                        size=plan.size,
                        box=bounding_box(core),
                        mask=mask,
                        equivocal=plan.strength < 1.0,
                    )
                )
        return _Painting(canvas, observations, tuple(placed))

    def _render(self, painting: _Painting, index: int) -> NDArray[np.uint8]:
        return render(painting.canvas, self._generator(4, index))

    def _truth(self, painting: _Painting, index: int, patient: int | None) -> dict[str, Any]:
        study_id = f"phantom-{self.seed}-{index:06d}"
        view = painting.canvas.projection.view
        written = write_report(self._generator(3, index), study_id, painting.observations, view)
        presence = dict.fromkeys(FINDINGS, 0)
        presence.update({seen.name: 1 if seen.certain else -1 for seen in painting.observations})
        return {
            "id": study_id,
            "index": index,
            "patient": index if patient is None else patient,
            "findings": painting.placed,
            "presence": presence,
            "report": written.report,
            "statements": written.statements,
            "sex": painting.canvas.anatomy.sex,
            "age": painting.canvas.anatomy.age,
            "view": view,
        }

    def generate(self, count: int, start: int = 0, workers: int = 0) -> Iterator[PhantomStudy]:
        """Studies ``start`` to ``start + count - 1`` in order, made by ``workers`` processes (0: this one)."""
        indices = range(start, start + count)
        if workers < 1:
            yield from map(self.study, indices)
            return
        chunks = [indices[at : at + CHUNK] for at in range(0, count, CHUNK)]
        # Spawned, not forked: the caller may have started threads of torch or OpenMP.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for studies in pool.map(partial(_studies, self), chunks):
                yield from studies

    def _draw_projection(self, rng: np.random.Generator) -> Projection:
        d = self.difficulty
        return Projection(
            rotation=float(rng.uniform(-d.rotation, d.rotation)),
            scale=float(rng.uniform(*d.scale)),
            shift=(float(rng.uniform(-d.shift, d.shift)), float(rng.uniform(-d.shift, d.shift))),
            gamma=float(rng.uniform(*d.gamma)),
            gain=float(rng.uniform(*d.gain)),
            noise=float(rng.uniform(*d.noise)),
            vessels=float(rng.uniform(*d.vessel_contrast)),
            ribs=float(rng.uniform(*d.rib_contrast)),
            vessel_phase=tuple(float(phase) for phase in rng.uniform(-np.pi, np.pi, 6)),
            view="AP" if rng.random() < 0.4 else "PA",
        )


def _studies(phantom: Phantom, indices: range) -> list[PhantomStudy]:
    return [phantom.study(index) for index in indices]
