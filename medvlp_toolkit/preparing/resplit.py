"""A validation split taken from a published training split, by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.contracts import Fingerprinted, RejectsRecords, image_reader, mask_reader
from medvlp_toolkit.data.records import Study
from medvlp_toolkit.data.store.rejected import Rejected
from medvlp_toolkit.preparing.splits import SplitByPatient


class Resplit:
    """A data source in which the studies of one split are divided into new splits by patient; others are unchanged.

    Questions of that split follow their image, even if the image has questions of several splits, as in VQA-RAD.

    Args:
        source: the data source.
        split: the split to divide.
        fractions: name -> share of the new splits; they add up to 1.
        salt: another value gives another division.

    Example::

        source:
          _target_: medvlp_toolkit.preparing.resplit.Resplit
          source: {_target_: medvlp_toolkit.data_sources.chestxray14, root: /data/ChestX-ray14}
          fractions: {train: 0.9, validate: 0.1}
    """

    def __init__(
        self,
        source: Iterable[Study],
        split: str = "train",
        fractions: Mapping[str, float] | None = None,
        salt: str = "",
    ) -> None:
        self.source = source
        self.split = split
        self.assign = SplitByPatient(dict(fractions or {"train": 0.9, "validate": 0.1}), salt)

    def __iter__(self) -> Iterator[Study]:
        for study in self.source:
            new = self.assign(study.patient_id)
            questions = tuple(
                replace(question, split=new) if question.split == self.split else question
                for question in study.questions
            )
            yield replace(study, split=new if study.split == self.split else study.split, questions=questions)

    # Optional capabilities of the source; None or empty if it lacks them.

    @property
    def read_image(self) -> Callable[[Study], NDArray[Any]] | None:
        return image_reader(self.source)

    @property
    def read_mask(self) -> Callable[[Study], NDArray[np.uint8] | None] | None:
        return mask_reader(self.source)

    @property
    def rejected(self) -> Sequence[Rejected]:
        return self.source.rejected if isinstance(self.source, RejectsRecords) else ()

    @property
    def fingerprint(self) -> Any:
        return self.source.fingerprint if isinstance(self.source, Fingerprinted) else None
