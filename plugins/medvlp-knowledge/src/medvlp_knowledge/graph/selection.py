"""Selects the entities and triples of a knowledge source that occur in a corpus (Chen et al. 2022, section 3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medvlp_toolkit.data.knowledge_graph import GraphError
from medvlp_toolkit.data.records import Triple
from medvlp_toolkit.data.store.store import PackedStore


@dataclass(frozen=True)
class Selection:
    """Entities in the order of their index in the graph, and the triples among them in the source's order."""

    entities: tuple[str, ...]
    triples: tuple[Triple, ...]


def count_mentions(store: PackedStore, splits: Sequence[str] = ()) -> Counter[str]:
    """Number of links to each entity in the reports of the splits (default: all splits).

    Raises:
        GraphError: when the store was prepared without an entity linker.
    """
    table = store.table("links", ["study", "entity"])
    if not table.num_rows:
        raise GraphError(
            f"{store.path}: no linked entities; prepare the store with an entity_linker, as bundles/arl's "
            "prepare.yaml does"
        )
    rows = store.rows(*splits)
    if not len(rows):
        raise GraphError(f"{store.path}: no study in split {', '.join(splits)}; the links of none can be counted")
    of_splits = np.isin(table.column("study").to_numpy(), store.first_images(rows))
    encoded = table.column("entity").combine_chunks().dictionary_encode()
    counts = np.bincount(encoded.indices.to_numpy()[of_splits], minlength=len(encoded.dictionary))
    return Counter(dict(zip(encoded.dictionary.to_pylist(), counts.tolist(), strict=True)))


def select(mentions: Mapping[str, int], triples: Sequence[Triple], threshold: int = 20) -> Selection:
    """Entities mentioned more than ``threshold`` times that are in a triple with another such entity.

    Entities are ordered by (number of triples they are in, id), both descending, as in the published graph.

    Raises:
        GraphError: when no entity is frequent enough, or no triple joins two of them.
    """
    frequent = {entity for entity, count in mentions.items() if count > threshold}
    if not frequent:
        most = max(mentions.values(), default=0)
        raise GraphError(
            f"no entity is linked more than {threshold} times (the most frequent {most} times); "
            "lower the threshold, or prepare more reports"
        )
    kept = [triple for triple in triples if triple.head in frequent and triple.tail in frequent]
    if not kept:
        raise GraphError(
            f"none of the {len(triples)} triples joins two of the {len(frequent)} frequent entities; "
            "give the knowledge source that the store was linked with, one with triples, or lower the threshold"
        )
    degrees = Counter(entity for triple in kept for entity in (triple.head, triple.tail))
    entities = sorted(degrees, key=lambda entity: (degrees[entity], entity), reverse=True)
    return Selection(tuple(entities), tuple(kept))
