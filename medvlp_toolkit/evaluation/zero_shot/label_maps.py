"""Maps a data set's labels to a model's entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray


def map_labels(
    values: NDArray[Any], entities: Sequence[str], mapping: Mapping[str, str]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Select each label's entity from one column per entity.

    Args:
        values: (S, Q) scores or presence, one column per entity.
        entities: Q entity ids, the names of the columns.
        mapping: label -> entity id.

    Returns:
        (S, L) columns in the order of ``mapping``, and the L labels.

    Raises:
        ValueError: for an entity that the model does not have, with the nearest names.
    """
    if values.ndim != 2 or values.shape[1] != len(entities):
        raise ValueError(f"map_labels takes one column per entity: {len(entities)} entities, values {values.shape}")
    column = {entity: number for number, entity in enumerate(entities)}
    for label, entity in mapping.items():
        if entity not in column:
            near = ", ".join(get_close_matches(entity, entities)) or "none alike"
            raise ValueError(f"label {label!r} maps to entity {entity!r}, which the model does not have; near: {near}")
    columns = np.array([column[entity] for entity in mapping.values()], dtype=int)
    return values[:, columns], tuple(mapping)
