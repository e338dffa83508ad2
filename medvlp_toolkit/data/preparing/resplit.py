"""A validation split carved out of a published training split, by patient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from medvlp_toolkit.data.preparing.splits import SplitByPatient
from medvlp_toolkit.data.records import Study


class Resplit:
    """A data source whose studies of one split are divided anew, by patient; the others keep theirs.

    Questions of that split go with their image, also where the image has questions of several splits, as in VQA-RAD.

    Args:
        source: the data source.
        split: the split to divide.
        fractions: name -> share of the new splits; they add up to 1.
        salt: gives another division.

    Example::

        source:
          _target_: medvlp_toolkit.data.preparing.resplit.Resplit
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

    def __getattr__(self, name: str) -> Any:
        # What else a source may offer: read_image, read_mask, rejected. Not Python's own protocols, which would
        # look for the source before there is one.
        if name.startswith("_") or name == "source":
            raise AttributeError(name)
        return getattr(self.source, name)
