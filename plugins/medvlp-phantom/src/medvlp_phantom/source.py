"""The synthetic phantom as a data source, to try everything without a download."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from medvlp_phantom import FINDINGS, Phantom
from medvlp_toolkit.data.records import Box, Study

DEFAULT_FRACTIONS = {"train": 0.8, "validate": 0.1, "test": 0.1}


class PhantomSource:
    """``count`` synthetic studies of a seed; iterating gives records, :meth:`read_image` the pixels.

    Records have no image path: ``read_image(study)`` draws the image from the study's id. Study ids and reports depend
    only on ``seed`` and index. Some patients have two studies; a patient is in one split only. The splits are
    consecutive blocks in the order of ``fractions``, so their sizes are exact to one study.

    ``labels`` are the truth about the image (1 present, 0 absent, -1 doubtful), ``boxes`` bound what
    was painted, ``metadata`` has the synthetic ``sex``, ``age`` and ``view``. With ``mask_label`` the
    source also offers :meth:`read_mask`, the pixels of that finding.

    Args:
        seed: of everything that is drawn.
        count: number of studies.
        size: height and width of the images in pixels.
        fractions: split -> share of the studies, in the order of the blocks.
        second_study_rate: share of the pairs of studies that are one patient's.
        mask_label: the finding that :meth:`read_mask` gives; None for no masks.

    Example::

        source:
          _target_: medvlp_toolkit.data_sources.phantom
          count: 400
          seed: 1
    """

    def __init__(
        self,
        seed: int = 0,
        count: int = 1000,
        size: int = 128,
        fractions: Mapping[str, float] | None = None,
        second_study_rate: float = 0.2,
        mask_label: str | None = None,
    ) -> None:
        fractions = DEFAULT_FRACTIONS if fractions is None else fractions
        if count < 1:
            raise ValueError(f"count is {count}; a phantom data source needs at least one study")
        if not fractions or min(fractions.values()) < 0 or abs(sum(fractions.values()) - 1.0) > 1e-6:
            raise ValueError(f"fractions are {dict(fractions)}; give shares of 0 or more that add up to 1")
        if not 0.0 <= second_study_rate <= 1.0:
            raise ValueError(f"second_study_rate is {second_study_rate}; give a share between 0 and 1")
        if mask_label is not None and mask_label not in FINDINGS:
            raise ValueError(f"mask_label is {mask_label!r}; the phantom's findings are {', '.join(FINDINGS)}")
        self.phantom = Phantom(seed=seed, size=size)
        self.count = count
        self.fractions = dict(fractions)
        self.second_study_rate = second_study_rate
        self.mask_label = mask_label
        # A split ends on an even number, since studies 2k and 2k + 1 may be one patient's.
        ends = np.cumsum(list(self.fractions.values())) * count
        self._ends = [2 * round(end / 2) for end in ends[:-1].tolist()]

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Study]:
        return map(self.study, range(self.count))

    def patient(self, index: int) -> int:
        """The patient of a study: an odd study may belong to the patient of the one before."""
        pair = index // 2
        draw = np.random.default_rng(np.random.SeedSequence(self.phantom.seed, spawn_key=(5, pair))).random()
        return 2 * pair if draw < self.second_study_rate else index

    def split(self, index: int) -> str:
        """The split of a study."""
        block = sum(index >= end for end in self._ends)
        return list(self.fractions)[block]

    def study(self, index: int) -> Study:
        """The record of the study at a position."""
        patient = self.patient(index)
        truth = self.phantom.truth(index, patient)
        boxes = tuple(Box(finding.name, *finding.box) for finding in truth.findings if not finding.equivocal)
        return Study(
            id=truth.id,
            patient_id=f"phantom-{self.phantom.seed}-patient-{patient:06d}",
            image=None,
            report=truth.report,
            split=self.split(index),
            labels=dict(truth.presence),
            boxes=boxes,
            metadata={"sex": truth.sex, "age": truth.age, "view": truth.view},
        )

    def read_image(self, study: Study) -> NDArray[np.uint8]:
        """The synthetic image of a study of this source, uint8 (1, H, W)."""
        index = self._index(study)
        return self.phantom.image(index, self.patient(index))[None]

    @property
    def read_mask(self) -> Callable[[Study], NDArray[np.uint8]] | None:
        """Gives the pixels of ``mask_label`` in a study, uint8 (H, W) of 0 and 1; None without a ``mask_label``."""
        return None if self.mask_label is None else self._read_mask

    def _read_mask(self, study: Study) -> NDArray[np.uint8]:
        index = self._index(study)
        mask = np.zeros((self.phantom.size, self.phantom.size), np.uint8)
        for finding in self.phantom.truth(index, self.patient(index)).findings:
            if finding.name == self.mask_label and not finding.equivocal:
                mask |= finding.mask
        return mask

    def _index(self, study: Study) -> int:
        match = re.fullmatch(rf"phantom-{self.phantom.seed}-(\d+)", study.id)
        if match is None:
            raise ValueError(
                f"study {study.id} is not from this source, whose ids look like phantom-{self.phantom.seed}-000000"
            )
        return int(match.group(1))
