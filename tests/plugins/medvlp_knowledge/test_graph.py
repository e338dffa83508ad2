"""The knowledge graph: which entities and triples are kept, their embeddings, and the file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvlp_knowledge.graph.build import BuildGraph
from medvlp_knowledge.graph.selection import count_mentions, select
from medvlp_knowledge.graph.transe import TransE
from medvlp_toolkit.data.knowledge_graph import GraphError, KnowledgeGraph
from medvlp_toolkit.data.records import Triple
from medvlp_toolkit.data.store.store import PackedStore

SMALL = TransE(dimension=8, epochs=2)


def test_mentions_are_counted_over_all_reports_or_those_of_a_split(linked_store: Path) -> None:
    store = PackedStore.open(linked_store)
    assert count_mentions(store) == {"C1": 4, "C2": 3, "C3": 2, "C4": 2}
    assert count_mentions(store, ["train"])["C1"] == 2


def test_entities_are_kept_above_the_threshold_and_numbered_by_degree_then_id_descending() -> None:
    triples = [Triple("a", "r", "b"), Triple("a", "r", "c"), Triple("d", "r", "a"), Triple("b", "s", "rare")]
    chosen = select(Counter(a=21, b=30, c=22, d=25, rare=20, alone=99), triples)
    assert chosen.entities == ("a", "d", "c", "b")
    assert chosen.triples == tuple(triples[:3])


@pytest.mark.parametrize(("threshold", "message"), [(99, "most frequent 4 times"), (3, "none of the 4 triples")])
def test_an_empty_graph_is_an_error_with_the_fix(
    linked_store: Path, knowledge: Any, tmp_path: Path, threshold: int, message: str
) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        BuildGraph(linked_store, knowledge, tmp_path / "g.safetensors", threshold, embedding=SMALL).run()
    assert "lower the threshold" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_without_links_is_named(unlinked_store: Path) -> None:
    with pytest.raises(GraphError, match="no linked entities; prepare the store with an entity_linker"):
        count_mentions(PackedStore.open(unlinked_store))


@pytest.fixture(scope="module")
def built(linked_store: Path, knowledge: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graph") / "graph.safetensors"
    BuildGraph(linked_store, knowledge, file, threshold=1, embedding=SMALL).run()
    return file


def test_the_file_holds_everything(built: Path) -> None:
    graph = KnowledgeGraph.read(built)
    assert graph.entity_ids == ("C4", "C2", "C3", "C1")
    assert graph.entity_names == ("lung", "edema", "heart", "effusion")
    assert graph.edge_index.tolist() == [[1, 3, 2], [0, 1, 0]]
    assert [graph.relation_names[n] for n in graph.relations] == ["located_in", "seen_with", "adjacent_to"]
    assert graph.entity_embeddings.shape == (4, 8)
    assert graph.entity_embeddings.dtype == np.float32
    assert graph.source["threshold"] == 1
    assert len(graph.source["knowledge_sha256"]) == 64
    assert graph.index["C1"] == 3


def test_the_same_seed_gives_the_same_file(built: Path, linked_store: Path, knowledge: Any, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    BuildGraph(linked_store, knowledge, again, threshold=1, embedding=SMALL).run()
    assert again.read_bytes() == built.read_bytes()
    other = TransE(dimension=8, epochs=2, seed=1)
    changed = BuildGraph(linked_store, knowledge, tmp_path / "other", threshold=1, embedding=other).run()
    assert not np.array_equal(changed.entity_embeddings, KnowledgeGraph.read(built).entity_embeddings)


def test_embeddings_learn_the_triples() -> None:
    """Two chains of entities: what a triple joins ends up nearer than what none does."""
    triples = np.array([(n, 0, n + 1) for n in range(9)] + [(n, 0, n + 1) for n in range(10, 19)], dtype=np.int64)
    vectors = TransE(dimension=16, epochs=25, negatives=5).fit(triples, 20, 1, progress=False)
    joined = np.abs(vectors[triples[:, 0]] - vectors[triples[:, 2]]).sum(axis=1).mean()
    apart = np.abs(vectors[:9] - vectors[11:]).sum(axis=1).mean()
    assert joined < apart


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="medvlp graph STORE --out"):
        KnowledgeGraph.read(tmp_path / "graph.safetensors")


def test_another_file_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "graph.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(GraphError, match="cannot be read"):
        KnowledgeGraph.read(tmp_path / "graph.safetensors")


def test_an_edge_to_no_entity_is_refused() -> None:
    with pytest.raises(GraphError, match="names entity 7; the graph has 2"):
        KnowledgeGraph(
            np.array([[0], [7]]), np.array([0]), np.zeros((2, 4), np.float32), ("a", "b"), ("a", "b"), ("r",)
        )
