"""Builds the knowledge graph that training reads from a store with linked entities."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medvlp_knowledge.graph.selection import count_mentions, select
from medvlp_knowledge.graph.transe import TransE
from medvlp_toolkit.data.knowledge_graph import KnowledgeGraph
from medvlp_toolkit.data.store.store import PackedStore

if TYPE_CHECKING:
    from medvlp_toolkit.interfaces import KnowledgeSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildGraph:
    """Selects the entities mentioned in the store's reports and the triples among them, and embeds the entities.

    Args:
        store: folder of a packed store prepared with an entity linker, or the store.
        knowledge: a knowledge source with triples, usually the linker's.
        output: the file to write.
        threshold: entities mentioned more often than this are kept.
        splits: splits in which mentions are counted; all when empty.
        embedding: method to embed entities.
        progress: show a progress bar; None: only if standard error is a terminal.

    Example::

        graph:
          _target_: medvlp_knowledge.graph.build.BuildGraph
          store: "@dataset_dir"
          knowledge: "@knowledge"
          output: "@graph_file"
        run: $@graph.run()
    """

    store: PackedStore | Path | str
    knowledge: KnowledgeSource
    output: Path | str
    threshold: int = 20
    splits: Sequence[str] = ()
    embedding: TransE = field(default_factory=TransE)
    progress: bool | None = None

    def run(self) -> KnowledgeGraph:
        """Build and write the graph.

        Raises:
            GraphError: when no entity or no triple is left; the message gives the fix.
        """
        store = self.store if isinstance(self.store, PackedStore) else PackedStore.open(self.store)
        splits = (self.splits,) if isinstance(self.splits, str) else tuple(self.splits)
        chosen = select(count_mentions(store, splits), self.knowledge.triples, self.threshold)
        number = {entity: n for n, entity in enumerate(chosen.entities)}
        relation_names = tuple(dict.fromkeys(triple.relation for triple in chosen.triples))
        relation_number = {relation: n for n, relation in enumerate(relation_names)}
        triples = np.array(
            [(number[t.head], relation_number[t.relation], number[t.tail]) for t in chosen.triples], dtype=np.int64
        )
        names = {concept.id: concept.name for concept in self.knowledge.concepts if concept.id in number}
        graph = KnowledgeGraph(
            edge_index=triples[:, [0, 2]].T.copy(),
            relations=triples[:, 1].copy(),
            entity_embeddings=self.embedding.fit(triples, len(number), len(relation_names), self.progress),
            entity_ids=chosen.entities,
            entity_names=tuple(names.get(entity, entity) for entity in chosen.entities),
            relation_names=relation_names,
            source={
                "knowledge": repr(self.knowledge),
                "knowledge_sha256": knowledge_sha256(self.knowledge),
                "records_sha256": store.meta["records_sha256"],
                "splits": list(splits),
                "threshold": self.threshold,
                "embedding": {"method": type(self.embedding).__name__, **asdict(self.embedding)},
            },
        )
        path = graph.write(self.output)
        logger.info("%s: %s", path, graph.summary())
        return graph


def knowledge_sha256(knowledge: KnowledgeSource) -> str:
    """A hash of a knowledge source's concepts (ids and names) and triples."""
    digest = hashlib.sha256()
    for concept in knowledge.concepts:
        digest.update(repr((concept.id, concept.name)).encode())
    for triple in knowledge.triples:
        digest.update(repr((triple.head, triple.relation, triple.tail)).encode())
    return digest.hexdigest()
