"""ARL's graph encoder: embeds each entity of the knowledge graph from its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medvlp_toolkit.data.knowledge_graph import KnowledgeGraph
from medvlp_toolkit.model.vision_language import VisionLanguageModel


class GraphAttention(nn.Module):
    """One graph attention layer (Veličković et al. 2018).

    h = W x per head; the weight of the edge j -> i is softmax over i's incoming edges of
    LeakyReLU_0.2(⟨a_src, h_j⟩ + ⟨a_dst, h_i⟩); out_i is the weighted sum of h_j, plus a bias. Every node has one edge
    to itself; such edges of the graph itself do not count. Repeated edges count each time.
    """

    def __init__(self, in_features: int, features: int, heads: int, concat: bool, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.features = features
        self.concat = concat
        self.linear = nn.Linear(in_features, heads * features, bias=False)
        self.source_attention = nn.Parameter(torch.empty(heads, features))
        self.target_attention = nn.Parameter(torch.empty(heads, features))
        self.bias = nn.Parameter(torch.zeros(heads * features if concat else features))
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.xavier_uniform_(self.source_attention)
        nn.init.xavier_uniform_(self.target_attention)

    def forward(self, x: Tensor, source: Tensor, target: Tensor, counts: Tensor) -> Tensor:
        """x (N, in_features), edges source -> target (E,) of which those with ``counts`` (E,) false are absent.

        Returns (N, heads · features), or (N, features), the mean over heads, without ``concat``.
        """
        nodes = x.shape[0]
        h = self.linear(x).view(nodes, self.heads, self.features)
        from_source = (h * self.source_attention.to(h.dtype)).sum(-1)
        from_target = (h * self.target_attention.to(h.dtype)).sum(-1)
        scores = F.leaky_relu(from_source[source] + from_target[target], 0.2).float()  # (E, heads)
        scores = scores.masked_fill(counts.logical_not().unsqueeze(-1), float("-inf"))
        index = target.unsqueeze(-1).expand_as(scores)
        highest = torch.full((nodes, self.heads), float("-inf"), device=x.device)
        highest = highest.scatter_reduce(0, index, scores.detach(), reduce="amax")
        shares = (scores - highest[target]).exp()
        totals = torch.zeros_like(highest).index_add(0, target, shares)
        weights = self.dropout(shares / (totals[target] + 1e-16)).to(h.dtype)
        messages = h[source] * weights.unsqueeze(-1)
        gathered = torch.zeros_like(h).index_add(0, target, messages)
        out = gathered.flatten(1) if self.concat else gathered.mean(dim=1)
        return out + self.bias.to(out.dtype)


class GraphAttentionEncoder(nn.Module):
    """ARL's knowledge encoder (Chen et al. 2022, section 3.2): two graph attention layers over trained embeddings.

    Relation types are not read, edges go from head to tail. The graph and its embeddings are part of the state dict,
    so a checkpoint is self-contained.

    Args:
        graph: a file written by ``medvlp graph``, or a graph.
        entities, triples, width: the sizes of the graph, instead of ``graph``, if a checkpoint will be loaded.
        hidden, heads: channels and heads of the first layer; the second has ``width`` channels and one head.
        dropout: on embeddings, between the layers and on the attention.

    Example::

        knowledge_encoder:
          _target_: medvlp_arl.graph_encoder.GraphAttentionEncoder
          graph: bundles/arl/models/graph.safetensors
    """

    edge_index: Tensor

    def __init__(
        self,
        graph: KnowledgeGraph | str | Path | None = None,
        entities: int | None = None,
        triples: int | None = None,
        width: int = 256,
        hidden: int = 64,
        heads: int = 8,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if graph is not None:
            known = graph if isinstance(graph, KnowledgeGraph) else KnowledgeGraph.read(graph)
            edges = torch.from_numpy(known.edge_index)
            embeddings = torch.from_numpy(known.entity_embeddings).float()
        elif entities is not None and triples is not None:
            edges = torch.full((2, triples), -1, dtype=torch.int64)
            embeddings = torch.zeros(entities, width)
        else:
            raise ValueError(
                "the graph encoder needs a graph (a file of `medvlp graph`), or the numbers of its entities and "
                "triples, to be filled by a checkpoint"
            )
        width = embeddings.shape[1]
        self.num_features = width
        self.num_entities = embeddings.shape[0]
        self.register_buffer("edge_index", edges.clone())
        self.embeddings = nn.Parameter(embeddings.clone())
        self.embedding_ln = nn.LayerNorm(width)
        self.hidden, self.heads = hidden, heads
        self.dropout = nn.Dropout(dropout)
        self.conv1 = GraphAttention(width, hidden, heads, concat=True, dropout=dropout)
        self.conv2 = GraphAttention(heads * hidden, width, 1, concat=False, dropout=dropout)

    def forward(self) -> Tensor:
        """() -> (E, width): every entity embedded with its neighbourhood."""
        loops = torch.arange(self.num_entities, device=self.edge_index.device)
        source = torch.cat([self.edge_index[0].clamp(min=0), loops])
        target = torch.cat([self.edge_index[1].clamp(min=0), loops])
        counts = torch.cat([self.edge_index[0] != self.edge_index[1], torch.ones_like(loops, dtype=torch.bool)])
        x = self.dropout(self.embedding_ln(self.embeddings))
        x = self.dropout(F.elu(self.conv1(x, source, target, counts)))
        out: Tensor = self.conv2(x, source, target, counts)
        return out

    def architecture(self) -> dict[str, Any]:
        """Arguments that build an encoder of the same sizes; the graph comes from a checkpoint."""
        return {
            "entities": self.num_entities,
            "triples": self.edge_index.shape[1],
            "width": self.num_features,
            "hidden": self.hidden,
            "heads": self.heads,
            "dropout": self.dropout.p,
        }

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        misfit = self.explain_misfit(state_dict, prefix)
        if misfit is not None:
            raise ValueError(misfit)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def explain_misfit(self, state_dict: Mapping[str, Any], prefix: str = "") -> str | None:
        """A sentence if a state dict belongs to another graph, else None."""
        edges = state_dict.get(f"{prefix}edge_index")
        embeddings = state_dict.get(f"{prefix}embeddings", self.embeddings)
        if edges is None or (_same_graph(self.edge_index, edges) and len(embeddings) == self.num_entities):
            return None
        return _misfit(len(embeddings), edges.shape[1], self.num_entities, self.edge_index.shape[1])


def checked_graph(model: VisionLanguageModel, graph: KnowledgeGraph | None) -> KnowledgeGraph | None:
    """The given graph, for linking batches.

    Raises:
        ValueError: when the model has another one.
    """
    encoder = model.knowledge_encoder
    if graph is not None and isinstance(encoder, GraphAttentionEncoder):
        edges, given = encoder.edge_index.cpu(), torch.from_numpy(graph.edge_index)
        if len(graph.entity_ids) != encoder.num_entities or not torch.equal(edges, given.to(edges)):
            raise ValueError(_misfit(encoder.num_entities, edges.shape[1], len(graph.entity_ids), given.shape[1]))
    return graph


def _misfit(entities: int, triples: int, given_entities: int, given_triples: int) -> str:
    return (
        f"the checkpoint's knowledge graph ({entities} entities, {triples} triples) is not the one given "
        f"({given_entities} entities, {given_triples} triples); give the graph file that the model was trained with"
    )


def _same_graph(ours: Tensor, theirs: Tensor) -> bool:
    if ours.shape != theirs.shape:
        return False
    return bool((ours < 0).all()) or torch.equal(ours.cpu(), theirs.cpu())
