"""Tiny models of the recipes with random weights and their descriptions, for export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medvlp_toolkit.data.knowledge_graph import KnowledgeGraph
from medvlp_toolkit.images import StoredFormat
from medvlp_toolkit.weights import TrainedModel
from medvlp_toolkit.weights.weights import write_weights
from tests.bundles.running import BUNDLES
from tests.bundles.tiny_encoders import arguments_of

GRAPH = ("C0032227", "C0032326", "C0034063")
NAMES = ("Pleural effusion", "Pneumothorax", "Pulmonary edema")
#: Bundle, overlays of train.yaml, and what makes it small.
KINDS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "medklip": ("medklip", ["demo"], {"image_size": 64}),
    "volume": ("medklip", ["demo", "volume", "volume_demo"], {"stored_size": [24, 24, 24]}),
    "arl": ("arl", ["demo"], {"image_size": 64, "text_corpus": ["effusion on the left", "a nodule on the right"]}),
}
#: How the store of a training was made, where that is not the size of the model's input.
STORED = {"medklip": StoredFormat((96, 80))}


def with_encoder(encoder: str) -> Mapping[str, Any]:
    """An override that swaps the image encoder for a tiny registered one."""
    return {"image_encoder": {"_target_": f"medvlp_toolkit.encoders.{encoder}", **arguments_of(encoder)}}


def write_source(kind: str, folder: Path, **more: Any) -> Path:
    """Weights with ``model.json`` beside them; gives the weights' path."""
    bundle, overlays, small = KINDS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    if bundle == "arl":
        vectors = np.random.default_rng(0).normal(size=(len(GRAPH), 16)).astype(np.float32)
        graph = KnowledgeGraph(np.array([[0, 1], [2, 2]]), np.zeros(2, np.int64), vectors, GRAPH, NAMES, ("causes",))
        small = {**small, "graph_file": str(graph.write(folder / "graph.safetensors"))}
    torch.manual_seed(0)
    configs = ["train.yaml", *(f"{name}.yaml" for name in overlays)]
    made = TrainedModel(bundle_root=BUNDLES / bundle, config=configs, running={}, overrides={**small, **more})
    network = made["network_def"]
    for value in network.state_dict().values():
        if value.is_floating_point() and value.ndim > 1:
            value.mul_(1.6)  # scores and attention that depend on the image
    stored = STORED.get(kind)
    replace(made.describe(), images=None if stored is None else stored.as_mapping()).write(folder)
    return write_weights(network.state_dict(), folder)[0]
