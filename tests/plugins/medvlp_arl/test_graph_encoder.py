"""Graph attention against its formula, written out for every node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp_arl.graph_encoder import GraphAttention, GraphAttentionEncoder
from medvlp_toolkit.data.knowledge_graph import KnowledgeGraph
from medvlp_toolkit.weights.weights import load_weights

EDGES = [(0, 1), (0, 1), (2, 1), (3, 3), (3, 3), (1, 0), (4, 2)]


def graph(edges: list[tuple[int, int]] = EDGES, entities: int = 6, width: int = 5) -> KnowledgeGraph:
    generator = np.random.default_rng(0)
    return KnowledgeGraph(
        edge_index=np.array(edges, dtype=np.int64).T.reshape(2, -1),
        relations=np.zeros(len(edges), dtype=np.int64),
        entity_embeddings=generator.standard_normal((entities, width)).astype(np.float32),
        entity_ids=tuple(f"C{number}" for number in range(entities)),
        entity_names=tuple(f"entity {number}" for number in range(entities)),
        relation_names=("is_a",),
    )


def encoder(**changes: Any) -> GraphAttentionEncoder:
    torch.manual_seed(0)
    return GraphAttentionEncoder(**{"graph": graph(), "hidden": 3, "heads": 2, **changes}).eval()


def by_hand(layer: GraphAttention, x: Tensor, edges: list[tuple[int, int]]) -> Tensor:
    """Veličković et al. 2018, node by node: every edge but loops, and one loop for each node."""
    h = (x @ layer.linear.weight.t()).view(len(x), layer.heads, layer.features)
    rows = []
    for node in range(len(x)):
        sources = [head for head, tail in edges if tail == node and head != tail] + [node]
        heads = []
        for number in range(layer.heads):
            scores = torch.stack(
                [
                    h[source, number] @ layer.source_attention[number]
                    + h[node, number] @ layer.target_attention[number]
                    for source in sources
                ]
            )
            weights = F.leaky_relu(scores, 0.2).softmax(dim=0)
            heads.append(sum(weight * h[source, number] for weight, source in zip(weights, sources, strict=True)))
        rows.append(torch.cat(heads) if layer.concat else torch.stack(heads).mean(dim=0))
    return torch.stack(rows) + layer.bias


def test_output_is_that_of_the_formula() -> None:
    module = encoder()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x = F.elu(by_hand(module.conv1, module.embedding_ln(module.embeddings), EDGES))
    assert torch.allclose(module(), by_hand(module.conv2, x, EDGES), atol=1e-6)


def test_repeated_triples_count_each_time_and_loops_of_the_graph_do_not() -> None:
    once = encoder(graph=graph([(0, 1), (2, 1), (1, 0), (4, 2)]))
    twice, with_loops = encoder(), encoder(graph=graph([(0, 1), (2, 1), (1, 0), (4, 2), (5, 5)]))
    assert torch.allclose(once(), with_loops(), atol=1e-6)
    assert not torch.allclose(once()[1], twice()[1], atol=1e-6)


def test_knowledge_flows_from_head_to_tail_only() -> None:
    module = encoder(graph=graph([(0, 1)]))
    before = module().detach()
    with torch.no_grad():
        module.embeddings[0] += torch.tensor([1.0, -1.0, 2.0, 0.0, 0.5])
    changed = (module() - before).abs().amax(dim=1) > 1e-6
    assert changed.tolist() == [True, True, False, False, False, False]
    before = module().detach()
    with torch.no_grad():
        module.embeddings[1] += torch.tensor([1.0, -1.0, 2.0, 0.0, 0.5])
    changed = (module() - before).abs().amax(dim=1) > 1e-6
    assert changed.tolist() == [False, True, False, False, False, False]


def test_every_parameter_learns_and_dropout_is_off_in_evaluation() -> None:
    module = encoder().train()
    (module() * torch.linspace(-1, 1, 30).view(6, 5)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in module.parameters())
    assert not torch.equal(module(), module())
    module.eval()
    assert torch.equal(module(), module())


def test_file_of_a_graph_is_read(tmp_path: Path) -> None:
    path = graph().write(tmp_path / "graph.safetensors")
    assert torch.equal(encoder(graph=path)(), encoder()())
    with pytest.raises(FileNotFoundError, match="no knowledge graph at"):
        encoder(graph=tmp_path / "absent.safetensors")


def test_checkpoint_needs_no_graph_beside_it() -> None:
    module = encoder()
    empty = GraphAttentionEncoder(entities=6, triples=len(EDGES), width=5, hidden=3, heads=2).eval()
    assert torch.isfinite(empty()).all()
    empty.load_state_dict(module.state_dict())
    assert torch.equal(empty(), module())


@pytest.mark.parametrize("other", [EDGES[:-1], [*EDGES[:-1], (2, 4)]])
def test_checkpoint_of_another_graph_is_refused_in_one_line(other: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=r"knowledge graph \(6 entities, \d triples\) is not the one given") as told:
        encoder(graph=graph(other)).load_state_dict(encoder().state_dict())
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("entities", [6, 7])
def test_file_with_weights_of_another_graph_is_refused_in_one_line(tmp_path: Path, entities: int) -> None:
    torch.save(torch.nn.ModuleDict({"graph": encoder()}).state_dict(), tmp_path / "weights.pt")
    other = torch.nn.ModuleDict({"graph": encoder(graph=graph(EDGES[:-1], entities))})
    with pytest.raises(ValueError, match=rf"weights\.pt: the checkpoint's .* given \({entities} entities") as told:
        load_weights(other, tmp_path / "weights.pt")
    assert "\n" not in str(told.value)


def test_neither_graph_nor_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a graph"):
        GraphAttentionEncoder(entities=3)


def test_graph_without_triples_leaves_every_entity_to_itself() -> None:
    assert torch.isfinite(encoder(graph=graph([]))()).all()
