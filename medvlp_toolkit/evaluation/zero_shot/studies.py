"""The studies of a zero-shot evaluation, with the requested labels and the locations of their findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.boxes import AnyBox, Mask
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.evaluation.results.names import Names, names_by_id
from medvlp_toolkit.evaluation.statistics.pooling import Pool, StudyPooling, checked_pool
from medvlp_toolkit.evaluation.zero_shot.evaluated_labels import EntityNames
from medvlp_toolkit.evaluation.zero_shot.label_maps import map_labels
from medvlp_toolkit.evaluation.zero_shot.volume_boxes import VolumeBoxes
from medvlp_toolkit.tables.columns import plain_name

Truth = Sequence[AnyBox] | Mask


class EvaluatedStudies:
    """The studies of an evaluation with their labels and annotations.

    Args:
        dataset: the data set to score, with ``labels`` if it has targets.
        entities: ids of the bank's entities, in its order.
        labels: label of the store -> entity that answers for it; the data set's labels that name an entity when None
            (:class:`~medvlp_toolkit.evaluation.EvaluatedLabels`).
        held_out: labels whose entities were kept out of training, or those entities.
        threshold_split: a split of the data set that is not evaluated but chooses thresholds.
        subgroups: further columns of the store to divide the images by, beside sex, age and view; those that the store
            lacks are passed over.
        pool: the scores of a study's images are made one, as their ``mean`` or ``max``: labels are measured by study,
            and a row of the scores table is one. None takes every image for a row. Where attention looks is measured
            image by image.
        mask_label: label that the store's masks outline: they are its truth instead of boxes.
        volume_boxes: table of the findings' boxes in volumes, which a store has no place for
            (:mod:`medvlp_toolkit.evaluation.zero_shot.volume_boxes`).
        names: readable names of the entities, in their order or by id, for tables, pages and pictures.
        known_as: further names of entities, such as those that labelling schemes use -> entity; boxes may have them.
    """

    def __init__(
        self,
        dataset: StudyDataset,
        entities: Sequence[str],
        labels: Mapping[str, str] | None = None,
        held_out: Sequence[str] = (),
        threshold_split: str | None = None,
        subgroups: Sequence[str] = ("scanner",),
        pool: Pool | None = "mean",
        mask_label: str | None = None,
        volume_boxes: str | Path | None = None,
        names: Sequence[str] | Names | None = None,
        known_as: Mapping[str, str] | None = None,
    ) -> None:
        self.dataset, self.store = dataset, dataset.store
        self.entities = tuple(entities)
        self._named = EntityNames(self.entities, known_as)
        self.labels = self._named.of(dataset.label_names) if labels is None else dict(labels)
        map_labels(np.zeros((0, len(self.entities))), self.entities, self.labels)  # raises for unknown entities
        apart = frozenset(held_out)
        self.held_out = {name: entity for name, entity in self.labels.items() if apart & {name, entity}}
        self.trained = {name: entity for name, entity in self.labels.items() if name not in self.held_out}
        self.threshold_split = threshold_split
        self.subgroups = tuple(subgroups)
        self.pool = checked_pool(pool)
        self.mask_label = mask_label
        self.names = names_by_id(self.entities, names)
        self.volume_boxes = VolumeBoxes.read(volume_boxes) if volume_boxes else None

    def column_of(self, label: str) -> int:
        """Column of the entity that represents a label."""
        return self.entities.index(self.labels[label])

    def targets(self, rows: NDArray[np.int64], labels: Sequence[str]) -> NDArray[np.int8] | None:
        """(S, L) targets of the given rows of the store; None for a data set without labels."""
        targets = self.dataset.targets if self.dataset.label_names else None
        if targets is None:
            return None
        columns = [self.dataset.label_names.index(name) for name in labels]
        chosen: NDArray[np.int8] = targets[[self._index_of[int(row)] for row in rows]][:, columns]
        return chosen

    def values(self, names: Sequence[str], rows: NDArray[np.int64]) -> dict[str, list[Any] | None]:
        """Columns of the store at the given rows, None for columns that it lacks."""
        return {name: self.store.values(name, rows) for name in names}

    def pooling(self, rows: NDArray[np.int64]) -> StudyPooling:
        """The pooling of the given rows of the store (images) into studies."""
        return StudyPooling(self.store.values("study_id", rows) or [], self.pool)

    def is_evaluated(self, row: int) -> bool:
        """False for rows used only to choose thresholds."""
        return row not in self._set_aside

    def truth(self, row: int, label: str) -> Truth | None:
        """The location of a finding in the image of a row; None without annotation.

        ``label`` is a label of the evaluation or an entity. Annotations may have its name in any spelling, or another
        name of its entity that is no label of the evaluation.
        """
        if self.mask_label is not None and self._means(self.mask_label, label):
            mask = np.asarray(self.store.masks[row, 0]) > 0
            return mask if mask.any() else None
        if self.volume_boxes is None:
            return [box for box in self.store.boxes_of(row) if self._means(box.label, label)] or None
        study = self.dataset.study_ids[self._index_of[row]]
        names = [name for name in self.volume_boxes.labels_of(study) if self._means(name, label)]
        shape, affine = self.store.images.shape[2:], self.affine_of(row)
        assert affine is not None
        masks = (self.volume_boxes.mask(study, name, shape, affine) for name in names)
        return reduce(np.logical_or, [mask for mask in masks if mask is not None]) if names else None

    def _means(self, annotated: str, label: str) -> bool:
        """Whether an annotation of this name is one of ``label``."""
        plain = plain_name(annotated)
        if plain == plain_name(label) or plain in self._plain_labels:
            return plain == plain_name(label)
        entity = self._named.entity(annotated)
        return entity is not None and entity == self.labels.get(label, label)

    @cached_property
    def _plain_labels(self) -> frozenset[str]:
        return frozenset(map(plain_name, self.labels))

    def affine_of(self, row: int) -> NDArray[np.float64] | None:
        """(4, 4) of a row's volume; None for a picture."""
        return None if self._affines is None else self._affines[row]

    @cached_property
    def _affines(self) -> NDArray[np.float64] | None:
        return np.asarray(self.store.array("affines")) if self.store.images.ndim == 5 else None

    @cached_property
    def _index_of(self) -> dict[int, int]:
        """Row of the store -> index in the data set."""
        return {int(row): i for i, row in enumerate(self.dataset.rows)}

    @cached_property
    def _set_aside(self) -> frozenset[int]:
        return frozenset(set_aside(self.store, self.threshold_split).tolist())


def set_aside(store: PackedStore, threshold_split: str | None) -> NDArray[np.int64]:
    """The rows of a store that only choose thresholds, and are not evaluated."""
    return np.empty(0, np.int64) if threshold_split is None else store.rows(threshold_split)


def tested_rows(store: PackedStore, rows: NDArray[np.int64], threshold_split: str | None) -> NDArray[np.bool_]:
    """(S,) True for the rows of a store that are evaluated, False for those :func:`set_aside`.

    Raises:
        ValueError: when no row is evaluated.
    """
    tested: NDArray[np.bool_] = ~np.isin(rows, set_aside(store, threshold_split))
    if not tested.any() and threshold_split is not None:
        raise ValueError(f"every study is in the threshold split {threshold_split}; name another test_split")
    return tested
