"""Synthetic chest-radiograph-like images with reports and ground truth, for experiments and tests.

The phantom needs no download and no patient: thorax, lungs, heart, ribs, spine and diaphragm with
natural variation; nine findings with masks and boxes; a report in varied words and what it states.
It is a drawing, not a simulation of X-rays: a result on it shows that a method works, and
nothing about its accuracy on patients.

    >>> study = Phantom(seed=1).study(0)
    >>> study.image.shape
    (128, 128)

The parts, in the order of the work: ``difficulty`` (every constant that figures depend on),
``anatomy`` (a body as functions of position), ``planning`` (which findings, and where),
``canvas`` and the findings that are painted on it, ``rendering`` (to pixels), ``report_text``,
``generator``, and ``volume`` (the same in three dimensions, coarser).
"""

from __future__ import annotations

from medvlp_phantom.difficulty import FINDINGS, FOCAL_FINDINGS, PhantomDifficulty
from medvlp_phantom.finding import PlacedFinding
from medvlp_phantom.generator import Phantom, PhantomStudy, PhantomTruth
from medvlp_phantom.volume import FOCAL_VOLUME_FINDINGS, VOLUME_FINDINGS, VolumeFinding, VolumePhantom, VolumeStudy

__all__ = [
    "FINDINGS",
    "FOCAL_FINDINGS",
    "FOCAL_VOLUME_FINDINGS",
    "VOLUME_FINDINGS",
    "Phantom",
    "PhantomDifficulty",
    "PhantomStudy",
    "PhantomTruth",
    "PlacedFinding",
    "VolumeFinding",
    "VolumePhantom",
    "VolumeStudy",
]
