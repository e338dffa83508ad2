"""A knowledge graph and the embeddings of its entities in one ``.safetensors`` file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = "1"
#: Name of the metadata entry, a JSON document.
METADATA = "knowledge_graph"
TENSORS = ("edge_index", "relations", "entity_embeddings")


class GraphError(ValueError):
    """A file is not a knowledge graph, or not the required one; the message gives the fix."""


@dataclass(frozen=True)
class KnowledgeGraph:
    """N entities, E triples among them, and an embedding per entity. Entity n is row n of the embeddings.

    Attributes:
        edge_index: (2, E) int64, row 0 the heads, row 1 the tails, in the order of the triples.
        relations: (E,) int64, index in ``relation_names`` of each triple.
        entity_embeddings: (N, D) float32.
        entity_ids: (N,) ids in the knowledge source, as returned by the entity linker.
        entity_names: (N,) readable names.
        relation_names: in the order of their ids.
        source: provenance: knowledge source and store with their hashes, threshold, settings.
    """

    edge_index: NDArray[np.int64]
    relations: NDArray[np.int64]
    entity_embeddings: NDArray[np.float32]
    entity_ids: tuple[str, ...]
    entity_names: tuple[str, ...]
    relation_names: tuple[str, ...]
    source: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.entity_ids)

    def __repr__(self) -> str:
        relations = f"{self.edge_index.shape[1]:,} triples of {len(self.relation_names)} relations"
        return f"KnowledgeGraph({len(self):,} entities {self.entity_embeddings.shape[1]} wide, {relations})"

    def __post_init__(self) -> None:
        entities = len(self.entity_ids)
        if self.entity_embeddings.ndim != 2 or len(self.entity_embeddings) != entities:
            raise GraphError(
                f"entity_embeddings of shape {self.entity_embeddings.shape} for {entities} entities; "
                "expected one row each"
            )
        if self.edge_index.ndim != 2 or len(self.edge_index) != 2 or self.relations.shape != self.edge_index.shape[1:]:
            raise GraphError(
                f"edge_index of shape {self.edge_index.shape} and relations {self.relations.shape}; "
                "expected (2, E), (E,)"
            )
        if self.edge_index.size and not 0 <= self.edge_index.min() <= self.edge_index.max() < entities:
            raise GraphError(
                f"edge_index names entity {int(self.edge_index.max())}; the graph has {entities}, counted from 0"
            )

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Open a file written by ``medvlp graph``.

        Raises:
            FileNotFoundError: when there is none.
            GraphError: when the file is something else, or damaged.
        """
        from safetensors import SafetensorError, safe_open

        file = Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"no knowledge graph at {file}; `medvlp graph STORE --out {file}` builds one")
        try:
            with safe_open(file, framework="numpy") as content:
                texts = json.loads((content.metadata() or {}).get(METADATA, "{}"))
                tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - not a dict
        except SafetensorError as error:
            raise GraphError(f"{file} cannot be read as safetensors ({error}); is it complete?") from None
        missing = [name for name in TENSORS if name not in tensors]
        if missing or texts.get("format") != FORMAT_VERSION:
            raise GraphError(
                f"{file} is not a knowledge graph of this version; `medvlp graph STORE --out {file}` builds one"
            )
        return cls(
            tensors["edge_index"].astype(np.int64),
            tensors["relations"].astype(np.int64),
            tensors["entity_embeddings"].astype(np.float32),
            tuple(texts["entity_ids"]),
            tuple(texts["entity_names"]),
            tuple(texts["relation_names"]),
            texts["source"],
        )

    def write(self, path: Path | str) -> Path:
        """Write the file atomically, with the same bytes for the same graph."""
        from safetensors.numpy import save_file

        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(file.name + ".tmp")
        # A single entry, because safetensors writes several in arbitrary order, and the bytes must be reproducible.
        texts = {
            "format": FORMAT_VERSION,
            "sha256": self.fingerprint,
            "entity_ids": list(self.entity_ids),
            "entity_names": list(self.entity_names),
            "relation_names": list(self.relation_names),
            "source": dict(self.source),
        }
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in TENSORS}
        save_file(tensors, temporary, {METADATA: json.dumps(texts, ensure_ascii=False, sort_keys=True)})
        temporary.replace(file)
        return file

    def summary(self) -> str:
        """A one-line summary."""
        relations = len(self.relation_names)
        return f"{len(self)} entities, {len(self.relations)} triples of {relations} relations, width {self.width}"

    @property
    def width(self) -> int:
        """D, the width of the embeddings."""
        return int(self.entity_embeddings.shape[1])

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Entity id of the knowledge source -> index in the graph."""
        return {name: number for number, name in enumerate(self.entity_ids)}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of entities and triples: identifies the graph regardless of its embeddings."""
        digest = hashlib.sha256(json.dumps([self.entity_ids, self.relation_names]).encode())
        digest.update(np.ascontiguousarray(self.edge_index).tobytes())
        digest.update(np.ascontiguousarray(self.relations).tobytes())
        return digest.hexdigest()
