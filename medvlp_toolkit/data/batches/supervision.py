"""Report findings as labels for entity losses: presence, and position candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.batch_table import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN
from medvlp_toolkit.data.batches.draws import uniform
from medvlp_toolkit.data.records import STRENGTH, Presence

PositionNegatives = Literal["other_positions", "whole_matrix"]

_UNSPECIFIED = "unspecified"
_STRENGTH = {presence: strength for strength, presence in enumerate(STRENGTH, start=1)}
_VALUE_OF_STRENGTH = np.array([NOT_MENTIONED, UNCERTAIN, ABSENT, PRESENT], dtype=np.int8)

#: A text column: codes (T,), -1 for none, and the values that they index.
Codes = tuple[NDArray[np.int64], Sequence[str]]


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
    def from_columns(
        cls,
        study: NDArray[np.int64],
        columns: Mapping[str, Codes],
        studies: int,
        entities: Sequence[str],
        positions: Sequence[str],
        excluded: Sequence[str] = (),
    ) -> EntityLabels:
        """Labels from columns of findings: their study, ``entity``, ``presence`` and ``position``.

        ``study`` (T,) is -1 for findings to ignore. A column is codes (T,), -1 for none, and the values that they
        index.

        The strongest statement about an entity counts (:data:`~medvlp_toolkit.data.records.STRENGTH`). A present
        finding without a position, or with one outside ``positions``, counts at ``unspecified`` if that is one of the
        positions, and otherwise only for existence. ``excluded`` entities are excluded from the losses.

        Raises:
            ValueError: when ``excluded`` contains an entity that is not in ``entities``.
        """
        _check_excluded(excluded, entities)
        entity_index = {name: i for i, name in enumerate(entities) if name not in set(excluded)}
        strengths = {str(found): strength for found, strength in _STRENGTH.items()}
        entity = _recoded(columns["entity"], entity_index)
        strength = _recoded(columns["presence"], strengths)
        position = _recoded(columns["position"], {name: i for i, name in enumerate(positions)})
        kept = (study >= 0) & (entity >= 0) & (strength >= 0)
        return cls.from_codes(
            study[kept],
            entity[kept],
            strength[kept],
            position[kept],
            studies=studies,
            entities=len(entities),
            positions=positions,
        )

    @classmethod
    def from_codes(
        cls,
        study: NDArray[np.int64],
        entity: NDArray[np.int64],
        strength: NDArray[np.int64],
        position: NDArray[np.int64],
        *,
        studies: int,
        entities: int,
        positions: Sequence[str],
    ) -> EntityLabels:
        """(T,) findings as numbers: row, column, strength (1 uncertain to 3 present), and position or -1."""
        strongest = np.zeros((studies, entities), dtype=np.int8)
        np.maximum.at(strongest, (study, entity), strength.astype(np.int8))
        if _UNSPECIFIED in positions:
            position = np.where(position < 0, list(positions).index(_UNSPECIFIED), position)
        placed = (strength == _STRENGTH[Presence.PRESENT]) & (position >= 0)
        places = len(positions)
        # One number per (study, entity, position), so that `unique` sorts and removes duplicates.
        keys = np.unique((study[placed] * entities + entity[placed]) * places + position[placed])
        pair, place = np.divmod(keys, max(places, 1))
        table = np.stack([*np.divmod(pair, max(entities, 1)), place], axis=1).astype(np.int32)
        offsets = np.searchsorted(table[:, 0], np.arange(studies + 1)).astype(np.int64)
        return cls(_VALUE_OF_STRENGTH[strongest], table, offsets, places)

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
            keys: (B,) the studies' random keys (:mod:`medvlp_toolkit.data.batches.draws`).
            candidates: K, the positive and K - 1 negatives.
            negatives: ``other_positions``, the published sampler: without replacement from the positions that are not
                positive for this entity. ``whole_matrix``, the sampler published until April 2023: the positions of
                non-positive cells of the study's whole position × entity matrix, which may repeat positions and draw
                the positive one.

        Returns:
            (B, Q, K) int64; arbitrary for entities without a position, which are excluded from the loss.

        Raises:
            ValueError: when there are fewer positions than candidates.
        """
        if candidates > self.positions:
            raise ValueError(f"{candidates} position candidates requested, and there are {self.positions} positions")
        entities = self.presence.shape[1]
        chosen = np.broadcast_to(np.arange(candidates), (len(studies), entities, candidates)).copy()
        # One row per positive (sample, entity, position), then one per (sample, entity).
        first_row, counts = self.offsets[studies], self.offsets[studies + 1] - self.offsets[studies]
        samples = np.repeat(np.arange(len(studies)), counts)
        rows = self.rows[np.arange(len(samples)) + np.repeat(first_row - (np.cumsum(counts) - counts), counts)]
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
            others = self._anywhere(studies[sample], pair_keys, seed, epoch, candidates - 1)
        chosen[sample, entity] = np.concatenate([first[:, None], others], axis=1)
        return chosen

    def _anywhere(
        self, studies: NDArray[np.int64], keys: NDArray[np.uint64], seed: int, epoch: int, count: int
    ) -> NDArray[np.int64]:
        """(T,) studies -> (T, count) positions of non-positive cells of their matrices, in random order."""
        entities = self.presence.shape[1]
        drawn = np.empty((len(studies), count), dtype=np.int64)
        for start in range(0, len(studies), _PAIRS_AT_ONCE):  # bounded, because there is a number per cell and pair
            part = slice(start, start + _PAIRS_AT_ONCE)
            order = uniform(seed, epoch, _CELLS_STREAM, keys[part], self.positions * entities)
            for line, study in zip(order, studies[part], strict=True):
                rows = self.rows[self.offsets[study] : self.offsets[study + 1]]
                line[rows[:, 2] * entities + rows[:, 1]] = 2.0
            drawn[part] = _smallest(order, count) // entities
        return drawn


_POSITIONS_STREAM, _CELLS_STREAM = 1, 2
_PAIRS_AT_ONCE = 16


def _check_excluded(excluded: Sequence[str], entities: Sequence[str]) -> None:
    unknown = sorted(set(excluded) - set(entities))
    if unknown:
        raise ValueError(f"excluded entities {', '.join(unknown)} are not among the {len(entities)} trained ones")


def _recoded(column: Codes, index: Mapping[str, int]) -> NDArray[np.int64]:
    """The column's codes mapped to ``index``; -1 for none and for values that it lacks."""
    codes, values = column
    table = np.array([*(index.get(value, -1) for value in values), -1], dtype=np.int64)
    return table[codes]


def _smallest(order: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(T, C) -> (T, count) indices of each row's smallest values, in ascending order of value."""
    if not count:
        return np.empty((len(order), 0), dtype=np.int64)
    places = np.sort(np.argpartition(order, count - 1, axis=1)[:, :count], axis=1)
    ranks = np.take_along_axis(order, places, axis=1).argsort(axis=1, kind="stable")
    return np.take_along_axis(places, ranks, axis=1)


def _other_positions(positive: NDArray[np.bool_], order: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(T, P) -> (T, count) positions that are not positive, in random order; repeated if there are too few."""
    drawn = np.where(positive, np.float32(2.0), order).argsort(axis=1)[:, :count]
    taken = np.take_along_axis(positive, drawn, axis=1)
    return np.where(taken, drawn[:, :1], drawn)
