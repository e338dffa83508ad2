"""Combines the scores of a study's images into one score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.evaluation.statistics.counting import UNKNOWN

#: How the scores of a study's images are combined: their mean, or the highest.
Pool = Literal["mean", "max"]


def checked_pool(pool: str | None) -> Pool | None:
    """The option's value; raises ValueError for another."""
    for known in get_args(Pool):
        if pool == known:
            return known
    if pool is None:
        return None
    raise ValueError(f"pool is {', '.join(get_args(Pool))} or null (one row per image), not {pool!r}")


class StudyPooling:
    """Rows of images as rows of studies, in the order of each study's first image.

    Args:
        study_ids: (S,) the study of each image.
        pool: see :data:`Pool`; None keeps a row per image.
    """

    def __init__(self, study_ids: Sequence[str], pool: Pool | None) -> None:
        self._study_ids = list(study_ids)
        self.images = len(study_ids)
        self.pool = pool
        numbers: dict[Any, int] = {}
        rows = study_ids if pool is not None else range(len(study_ids))
        #: (S,) index of each image's row.
        self.row_of = np.array([numbers.setdefault(study, len(numbers)) for study in rows], dtype=np.intp)
        self.studies = len(set(study_ids))
        self.rows = len(numbers)

    @cached_property
    def first(self) -> NDArray[np.intp]:
        """(rows,) index of each row's first image."""
        return np.unique(self.row_of, return_index=True)[1].astype(np.intp)

    def scores(self, scores: NDArray[Any]) -> NDArray[Any]:
        """(S, L) -> (rows, L)."""
        if self.rows == self.images:
            return scores
        if self.pool == "max":
            pooled = np.full((self.rows, *scores.shape[1:]), -np.inf, scores.dtype)
            np.maximum.at(pooled, self.row_of, scores)
            return pooled
        sums = np.zeros((self.rows, *scores.shape[1:]), np.float64)
        np.add.at(sums, self.row_of, scores)
        counts = np.bincount(self.row_of, minlength=self.rows).reshape(-1, *[1] * (scores.ndim - 1))
        means: NDArray[Any] = (sums / counts).astype(scores.dtype)
        return means

    def targets(self, targets: NDArray[np.int8]) -> NDArray[np.int8]:
        """(S, L) -> (rows, L): present if present in any image, else absent if known for any image."""
        pooled = np.full((self.rows, *targets.shape[1:]), UNKNOWN, np.int8)
        np.maximum.at(pooled, self.row_of, np.where(np.isin(targets, (0, 1)), targets, UNKNOWN).astype(np.int8))
        return pooled

    def values(self, values: Sequence[Any] | None) -> list[Any] | None:
        """(S,) values of a column -> (rows,): the distinct values, joined if several (``LATERAL + PA``)."""
        if values is None or self.rows == self.images:
            return None if values is None else list(values)
        found: list[set[Any]] = [set() for _ in range(self.rows)]
        for row, value in zip(self.row_of, values, strict=True):
            if value is not None:
                found[row].add(value)
        return [_joined(known) for known in found]

    def columns(self, columns: Mapping[str, Sequence[Any] | None]) -> dict[str, list[Any] | None]:
        """:meth:`values` of each column."""
        return {name: self.values(values) for name, values in columns.items()}

    @property
    def study_ids(self) -> list[str]:
        """(rows,) the study of each row."""
        return [self._study_ids[place] for place in self.first]

    def image_ids(self, image_ids: Sequence[str]) -> list[str] | None:
        """The image ids if they distinguish rows of one study, else None."""
        return list(image_ids) if self.rows > self.studies else None

    def described(self) -> dict[str, Any]:
        """The pooling of the rows, for ``metrics.json``; empty if every study has one image."""
        if self.studies == self.images:
            return {}
        return {"pool": self.pool, "images": self.images, "studies": self.studies}


def _joined(values: set[Any]) -> Any:
    if len(values) <= 1:
        return next(iter(values), None)
    if any(isinstance(value, str) for value in values):
        return " + ".join(sorted(map(str, values)))
    return max(values)
