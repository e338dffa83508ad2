"""Which labels an evaluation measures: columns of the store under whatever name, or what its reports state."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.dataset import Reported, StudyDataset
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.tables.columns import plain_name

logger = logging.getLogger(__name__)

_SHOWN = 12


class EntityNames:
    """The names by which labels, and boxes, mean a model's entities: whatever their case, spaces and punctuation.

    Args:
        entities: ids of the model's entities.
        known_as: further names, such as those that labelling schemes use -> entity.
    """

    def __init__(self, entities: Sequence[str], known_as: Mapping[str, str] | None = None) -> None:
        self.entities = frozenset(entities)
        self._known = {plain_name(name): entity for name, entity in (known_as or {}).items()}
        self._known |= {plain_name(entity): entity for entity in entities}

    def entity(self, name: str) -> str | None:
        """The model's entity of that name."""
        entity = name if name in self.entities else self.meant(name)
        return entity if entity in self.entities else None

    def meant(self, name: str) -> str | None:
        """The entity of that name, whether the model has it or not."""
        return self._known.get(plain_name(name))

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """Name -> entity, of the names that mean one of the model's."""
        meant = ((name, self.entity(name)) for name in names)
        return {name: entity for name, entity in meant if entity is not None}


class EvaluatedLabels:
    """The labels to evaluate on, and the entity that answers for each.

    The label columns of a store are matched to entities by name, whatever its case, spaces and punctuation, and through
    ``known_as``. A store without label columns is evaluated on what its reports state.

    Args:
        store: the store to evaluate on.
        labels: label of the store -> entity, or a list of its labels; ``stated`` for the findings that the reports
            state as present or absent, ``mentioned`` where a finding that a report does not mention counts as absent;
            None takes the label columns that name an entity, or ``stated`` where the store has no label columns.
        entities: ids of the model's entities; None takes every label column, whatever it names.
        known_as: further names of entities, such as those that labelling schemes use -> entity.
        splits: findings are labels where these splits have reports that say present and others that say absent.
        required: having nothing to evaluate is an error; otherwise one line says so.

    Attributes:
        entity_of: label -> the entity that answers for it; the label itself where no ``entities`` are given.
        reported: how reports' findings are the labels; None where the labels are the store's own.

    Raises:
        ValueError: in one line, for a label or an entity that is not there, and for nothing to evaluate.
    """

    def __init__(
        self,
        store: PackedStore,
        labels: Mapping[str, str] | Sequence[str] | Reported | None = None,
        entities: Sequence[str] | None = None,
        known_as: Mapping[str, str] | None = None,
        splits: Sequence[str] = (),
        required: bool = True,
    ) -> None:
        self.store, self.required, self.splits = store, required, tuple(splits)
        self.entities = None if entities is None else tuple(entities)
        self._named = EntityNames(self.entities or (), known_as)
        self.reported: Reported | None = _reported(labels)
        if self.reported is None and not labels and not store.labels:
            self.reported = "stated"
        if self.reported is not None:
            self.entity_of = self._of_reports(self.reported)
        elif labels:
            self.entity_of = self._asked(labels)
        else:
            self.entity_of = self._of_columns()

    @property
    def names(self) -> list[str]:
        """The labels, for a data set's ``labels``; not to be confused with readable names of entities."""
        return list(self.entity_of)

    def _of_columns(self) -> dict[str, str]:
        """Every label column that names an entity."""
        if self.entities is None:
            return {name: name for name in self.store.labels}
        meant = self._named.of(self.store.labels)
        unnamed = [name for name in self.store.labels if name not in meant]
        example = f"--labels \"{{'{unnamed[0] if unnamed else ''}': '{self.entities[0]}'}}\" says what a column means"
        if not meant:
            raise ValueError(
                f"{self.store.path}: nothing to evaluate: of its label columns ({_few(unnamed)}) none has the name "
                f"of one of the model's {len(self.entities)} entities ({self._known_names(unnamed)}); {example}, and "
                "--labels stated evaluates on the findings of the reports"
            )
        if unnamed:
            logger.warning("%s: label columns that name no entity are left out: %s (%s)",
                           self.store.path, ", ".join(unnamed), example)  # fmt: skip
        return meant

    def _asked(self, labels: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
        """The columns and entities of those that were named."""
        asked = labels if isinstance(labels, Mapping) else dict.fromkeys(labels)
        found: dict[str, str] = {}
        for name, entity in asked.items():
            column = self._column(name)
            if self.entities is None:
                found[column] = column
                continue
            meant = self._named.entity(column if entity is None else entity)
            if meant is None:
                raise ValueError(
                    f"labels: {entity or name!r} is none of the model's {len(self.entities)} entities "
                    f"({self._known_names([entity or name])})"
                )
            found[column] = meant
        return found

    def _column(self, name: str) -> str:
        """The label column that a name means: the one so called, else the only one alike."""
        columns = self.store.labels
        if name in columns:
            return name
        alike = [column for column in columns if plain_name(column) == plain_name(name)]
        entity = self._named.meant(name)
        if not alike and entity is not None:
            alike = [column for column in columns if self._named.meant(column) == entity]
        if len(alike) != 1:
            state = f"may be {' or '.join(alike)}" if alike else "is no label column"
            there = ", ".join(columns) or "none (prepare it with --label_columns)"
            raise ValueError(f"{self.store.path}: label {name!r} {state}; it has {there}")
        return alike[0]

    def _known_names(self, wanted: Iterable[str | None]) -> str:
        """Some of the entities' names, the nearest to those wanted first."""
        assert self.entities is not None
        near = [found for name in wanted if name for found in get_close_matches(name.lower(), self.entities, n=2)]
        return _few(dict.fromkeys([*near, *self.entities]))

    def _of_reports(self, reported: Reported) -> dict[str, str]:
        """The findings that the reports of the evaluated splits say are there, and say are not."""
        names = [name for name in self.store.entities if self.entities is None or name in self.entities]
        kept = np.ones(len(names), dtype=bool)
        for split in self.splits or (None,) if names else ():
            kept &= _both(self._targets(names, reported, split))
        if kept.any():
            chosen = [name for name, both in zip(names, kept, strict=True) if both]
            unmentioned = {
                "stated": "unknown; --labels mentioned takes it for absent",
                "mentioned": "taken for absent; --labels stated takes it for unknown",
            }
            logger.info(
                "%s: the findings of its reports are the labels (%d); what a report does not mention is %s",
                self.store.path, len(chosen), unmentioned[reported],
            )  # fmt: skip
            return {name: name for name in chosen}
        if names:
            where = f"{'each split' if len(self.splits) > 1 else 'split'} {', '.join(self.splits) or '(any)'}"
            missing = f"no finding is present in one report and absent in another of {where}"
        else:
            missing = "its reports were not read for findings of the model's entities"
        fixes = ["prepare the store with label columns (--label_columns \"['effusion']\")"]
        if names and reported == "stated":
            fixes.append("count a finding that a report does not mention as absent (--labels mentioned)")
        fixes.append("evaluate another split (--test_split)")
        none = "no label columns are asked for" if self.store.labels else "no label columns"
        text = f"{self.store.path}: nothing to evaluate: {none}, and {missing}; {', or '.join(fixes)}"
        if self.required:
            raise ValueError(text)
        logger.warning("%s", text)
        return {}

    def _targets(self, names: Sequence[str], reported: Reported, split: str | None) -> NDArray[np.int8]:
        """(S, L) what the reports of a split say."""
        splits = () if split is None else (split,)
        targets = StudyDataset(self.store, splits, entities=(), labels=names, reported=reported).targets
        assert targets is not None
        return targets


def _reported(labels: object) -> Reported | None:
    if not isinstance(labels, str):
        return None
    for known in get_args(Reported):
        if labels == known:
            found: Literal["stated", "mentioned"] = known
            return found
    raise ValueError(
        f"labels is a mapping from label to entity, a list of labels, {' or '.join(get_args(Reported))}, not {labels!r}"
    )


def _both(targets: NDArray[np.int8]) -> NDArray[np.bool_]:
    both: NDArray[np.bool_] = (targets == 1).any(axis=0) & (targets == 0).any(axis=0)
    return both


def _few(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
