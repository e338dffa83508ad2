"""The linked entities of a store's reports, and the tokens that they cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.text_links import align_mentions
from medvlp_toolkit.data.knowledge_graph import GraphError, KnowledgeGraph
from medvlp_toolkit.data.records import Presence
from medvlp_toolkit.data.store.store import PackedStore, StoreError


@dataclass(frozen=True)
class BatchLinks:
    """Linked entities of B reports of L tokens.

    Attributes:
        entities: (B, M) int64 indices in the graph, padded with -100.
        alignment: (B, M, L) float32, 1 where entity m covers token l.
        image_entities: (B, E) float32 multi-hot of the entities mentioned in the whole report.
        text_entities: (B, E) float32 multi-hot of those mentioned within the (truncated) tokens.
    """

    entities: NDArray[np.int64]
    alignment: NDArray[np.float32]
    image_entities: NDArray[np.float32]
    text_entities: NDArray[np.float32]


class ReportLinks:
    """Mentions of a graph's entities in the reports of selected rows of a store.

    Args:
        store: prepared with an entity linker.
        rows: rows of the store, ascending.
        graph: entities outside it are left out.
        max_entities: M, the first mentions of a report that are kept (published 24).
        negated: ``keep`` counts every mention for ``image_entities``, as published; ``drop`` leaves out mentions
            inside a finding that is absent according to the report ("no effusion").

    Raises:
        StoreError: when the store has no linked entities.
        GraphError: when none of them is in the graph.
    """

    def __init__(
        self,
        store: PackedStore,
        rows: NDArray[np.int64],
        graph: KnowledgeGraph,
        max_entities: int = 24,
        negated: str = "keep",
    ) -> None:
        if negated not in ("keep", "drop"):
            raise ValueError(f"negated is keep or drop, not {negated!r}")
        self.max_entities = max_entities
        self.graph_size = len(graph)
        table = store.table("links", ["study", "entity", "start", "end"])
        if not table.num_rows:
            raise StoreError(
                f"{store.path}: no linked entities; prepare the store with an entity_linker, as bundles/arl's "
                "prepare.yaml does"
            )
        encoded = table.column("entity").combine_chunks().dictionary_encode()
        known = np.array([graph.index.get(name, -1) for name in encoded.dictionary.to_pylist()], dtype=np.int64)
        if (known < 0).all():
            raise GraphError(
                f"{store.path}: none of its {len(known)} linked entities is in the knowledge graph; give the graph "
                "built from this store, or link the reports with the knowledge source of the graph"
            )
        numbers = known[encoded.indices.to_numpy()]
        place = np.full(len(store), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        studies = place[table.column("study").to_numpy()]
        starts = table.column("start").fill_null(-1).to_numpy()
        kept = (numbers >= 0) & (studies >= 0) & (starts >= 0)
        self.numbers, self.starts = numbers[kept], starts[kept].astype(np.int64)
        self.ends = table.column("end").fill_null(-1).to_numpy()[kept].astype(np.int64)
        studies = studies[kept]
        self.offsets = np.searchsorted(studies, np.arange(len(rows) + 1))
        self.counts_for_image = np.ones(len(self.numbers), dtype=bool)
        if negated == "drop":
            self.counts_for_image = ~_denied(store, place, studies, self.starts, self.ends)

    def __call__(self, studies: NDArray[np.int64], token_offsets: NDArray[np.int32]) -> BatchLinks:
        """Links of B rows (indices into ``rows``), whose tokens are at ``token_offsets`` (B, L, 2).

        A mention that extends beyond the tokens, because the report was truncated, is dropped.
        """
        batch = len(token_offsets)
        first, counts = self.offsets[studies], self.offsets[studies + 1] - self.offsets[studies]
        sample = np.repeat(np.arange(batch), counts)
        link = np.arange(len(sample)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        numbers, starts, ends = self.numbers[link], self.starts[link], self.ends[link]
        image = np.zeros((batch, self.graph_size), dtype=np.float32)
        text = np.zeros_like(image)
        counted = self.counts_for_image[link]
        image[sample[counted], numbers[counted]] = 1
        entities, alignment, whole = align_mentions(sample, numbers, starts, ends, token_offsets, self.max_entities)
        text[sample[whole], numbers[whole]] = 1
        return BatchLinks(entities, alignment, image, text)


def _denied(
    store: PackedStore,
    place: NDArray[np.int64],
    studies: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(T,) links inside a finding that is absent according to the report; links are sorted by study and start."""
    table = store.table("findings", ["study", "presence", "start", "end"])
    absent = np.array(table.column("presence").to_pylist(), dtype=object) == str(Presence.ABSENT)
    of = place[table.column("study").to_numpy()]
    begin = table.column("start").fill_null(-1).to_numpy()
    chosen = absent & (of >= 0) & (begin >= 0)
    of, begin, finish = of[chosen], begin[chosen], table.column("end").fill_null(-1).to_numpy()[chosen]
    scale = 1 + int(max(ends.max(initial=0), finish.max(initial=0)))
    # Links of a study do not overlap, so both starts and ends are ascending.
    low = np.searchsorted(studies * scale + ends, of * scale + begin, side="right")
    high = np.searchsorted(studies * scale + starts, of * scale + finish, side="left")
    marks = np.zeros(len(studies) + 1, dtype=np.int64)
    overlapping = low < high
    np.add.at(marks, low[overlapping], 1)
    np.add.at(marks, high[overlapping], -1)
    denied: NDArray[np.bool_] = np.cumsum(marks[:-1]) > 0
    return denied
