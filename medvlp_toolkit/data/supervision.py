"""Findings of reports as the labels that entity losses read: presence, and position candidates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.draws import uniform
from medvlp_toolkit.data.records import Presence

PositionNegatives = Literal["other_positions", "whole_matrix"]

# interfaces.py documents these values; repeated as plain numbers here so that this module stays free of torch.
_PRESENT, _ABSENT, _NOT_MENTIONED, _UNCERTAIN = 1, 0, -1, 2
_UNSPECIFIED = "unspecified"


@dataclass(frozen=True)
class EntityLabels:
    """Labels of S studies over Q entities and P positions, kept sparse.

    ``presence`` (S, Q) int8. ``rows`` (T, 3) int32 of (study, entity, position) for every positive
    position, sorted by study, with ``offsets`` (S + 1,) marking each study's slice.
    """

    presence: NDArray[np.int8]
    rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    positions: int

    @classmethod
    def from_findings(
        cls,
        findings: Iterable[tuple[int, str, str | None, str | None]],
        studies: int,
        entities: Sequence[str],
        positions: Sequence[str],
        excluded: Sequence[str] = (),
    ) -> EntityLabels:
        """Gather (study, entity, presence, position) findings.

        Present wins over absent, absent over uncertain. A present finding without a position, or with
        one outside ``positions``, counts at ``unspecified`` where the positions have it, and otherwise
        carries existence only. ``excluded`` entities carry no loss.

        Raises:
            ValueError: when ``excluded`` names an entity that is not among ``entities``.
        """
        unknown = sorted(set(excluded) - set(entities))
        if unknown:
            raise ValueError(f"excluded entities {', '.join(unknown)} are not among the {len(entities)} trained ones")
        entity_index = {name: i for i, name in enumerate(entities) if name not in set(excluded)}
        position_index = {name: i for i, name in enumerate(positions)}
        elsewhere = position_index.get(_UNSPECIFIED)
        presence = np.full((studies, len(entities)), _NOT_MENTIONED, dtype=np.int8)
        rank = {_NOT_MENTIONED: 0, _UNCERTAIN: 1, _ABSENT: 2, _PRESENT: 3}
        value_of = {Presence.PRESENT: _PRESENT, Presence.ABSENT: _ABSENT, Presence.UNCERTAIN: _UNCERTAIN}
        rows: set[tuple[int, int, int]] = set()
        for study, entity, found, position in findings:
            q = entity_index.get(entity)
            if q is None or found is None:
                continue
            value = value_of[Presence(found)]
            if rank[value] > rank[int(presence[study, q])]:
                presence[study, q] = value
            if value == _PRESENT:
                p = position_index.get(position, elsewhere) if position is not None else elsewhere
                if p is not None:
                    rows.add((study, q, p))
        table = np.array(sorted(rows), dtype=np.int32).reshape(-1, 3)
        offsets = np.searchsorted(table[:, 0], np.arange(studies + 1)).astype(np.int64)
        return cls(presence, table, offsets, len(positions))

    def position_candidates(
        self,
        studies: NDArray[np.int64],
        keys: NDArray[np.uint64],
        seed: int,
        epoch: int,
        candidates: int = 8,
        negatives: PositionNegatives = "other_positions",
    ) -> NDArray[np.int64]:
        """Draw each present entity's positive position and its negatives.

        Args:
            studies: (B,) indices.
            keys: (B,) the studies' random keys (:mod:`medvlp_toolkit.data.draws`).
            candidates: K, the positive and K - 1 negatives.
            negatives: ``other_positions``, the published sampler: without replacement among the positions
                that are not positive for this entity. ``whole_matrix``, the sampler published until April
                2023: the position of cells of the study's whole position × entity matrix that are not
                positive, which repeats positions and may draw the positive one.

        Returns:
            (B, Q, K) int64; arbitrary where the entity has no position: those carry no loss.

        Raises:
            ValueError: when there are fewer positions than candidates.
        """
        if candidates > self.positions:
            raise ValueError(f"{candidates} position candidates asked for, and there are {self.positions} positions")
        entities = self.presence.shape[1]
        chosen = np.broadcast_to(np.arange(candidates), (len(studies), entities, candidates)).copy()
        # One line per (sample, entity, position) that is positive, then one per (sample, entity).
        samples = np.repeat(np.arange(len(studies)), self.offsets[studies + 1] - self.offsets[studies])
        rows = np.concatenate([self.rows[self.offsets[i] : self.offsets[i + 1]] for i in studies])
        pairs, line_of = np.unique(samples * entities + rows[:, 1], return_inverse=True)
        if not len(pairs):
            return chosen
        sample, entity = pairs // entities, pairs % entities
        positive = np.zeros((len(pairs), self.positions), dtype=bool)
        positive[line_of, rows[:, 2]] = True
        with np.errstate(over="ignore"):
            pair_keys = keys[sample] + entity.astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
        order = uniform(seed, epoch, _POSITIONS_STREAM, pair_keys, 2 * self.positions)
        first = np.where(positive, order[:, : self.positions], 2.0).argmin(axis=1)
        if negatives == "other_positions":
            others = _other_positions(positive, order[:, self.positions :], candidates - 1)
        else:
            others = np.stack(
                [
                    self._anywhere(int(studies[b]), uniform(seed, epoch, _CELLS_STREAM, key[None], self._cells)[0])
                    for b, key in zip(sample, pair_keys, strict=True)
                ]
            )[:, : candidates - 1]
        chosen[sample, entity] = np.concatenate([first[:, None], others], axis=1)
        return chosen

    @property
    def _cells(self) -> int:
        return self.positions * self.presence.shape[1]

    def _anywhere(self, study: int, order: NDArray[np.float32]) -> NDArray[np.int64]:
        """Positions of the cells of one study's matrix that are not positive, in random order."""
        rows = self.rows[self.offsets[study] : self.offsets[study + 1]]
        width = self.presence.shape[1]
        order = order.copy()
        order[rows[:, 2] * width + rows[:, 1]] = 2.0
        return order.argsort() // width


_POSITIONS_STREAM, _CELLS_STREAM = 1, 2


def _other_positions(positive: NDArray[np.bool_], order: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(T, P) -> (T, count) positions that are not positive, in random order; repeated when there are too few."""
    drawn = np.where(positive, 2.0, order).argsort(axis=1)[:, :count]
    taken = np.take_along_axis(positive, drawn, axis=1)
    return np.where(taken, drawn[:, :1], drawn)
