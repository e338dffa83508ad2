"""A training run and what follows it: the model is described at training, and nowhere again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from medvlp_toolkit.data.store import PackedStore
from tests.bundles.running import BUNDLES

RECIPES = ("medklip", "arl", "contrastive", "kad")
#: One epoch on the tiny store; every number that is not of the model.
SHORT: dict[str, dict[str, Any]] = {
    "medklip": {"epochs": 1, "batch_size": 16, "log_every": 3, "min_positives": 1, "attention_images": 2},
    "arl": {"epochs": 1, "batch_size": 16, "log_every": 3},
    "contrastive": {"epochs": 1, "batch_size": 16, "log_every": 3, "min_positives": 1},
    "kad": {"epochs": 1, "batch_size": 16, "log_every": 3, "min_positives": 1, "attention_images": 2},
}


@dataclass(frozen=True)
class Data:
    """A prepared store with linked entities, the knowledge graph of it, and KAD's text model."""

    store: Path
    graph: Path
    text_model: Path = Path("none")

    def radiograph(self, path: Path) -> str:
        """Write the first test image to ``path``; gives its study id."""
        store = PackedStore.open(self.store)
        row = int(store.rows("test")[0])
        Image.fromarray(np.asarray(store.images[row, 0])).save(path)
        return str(store.studies.column("study_id")[row].as_py())


@dataclass(frozen=True)
class Run:
    """One recipe with its demo's sizes, trained with ``overlay`` laid over it, in ``folder``."""

    recipe: str
    folder: Path
    data: Data
    overlay: dict[str, Any] = field(default_factory=dict)
    #: configurations between the demo and the overlay: names within the bundle, or paths
    between: Sequence[str | Path] = ()

    def train(self, **more: Any) -> Any:
        """``train.yaml``, the demo, and one overlay that says what is swapped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "overlay.yaml"
        file.write_text(yaml.safe_dump(self.overlay, sort_keys=False))
        where = {"dataset_dir": str(self.data.store), "output_dir": str(self.folder / "run"), "precision": "fp32"}
        if self.recipe == "arl":
            where["graph_file"] = str(self.data.graph)
        if self.recipe == "kad":
            where["knowledge_dir"] = str(self.data.text_model)
        names = ["train", "demo", *self.between, *([file] if self.overlay else [])]
        return run(self.recipe, names, "train", **{**where, **SHORT[self.recipe], **more})

    @property
    def output(self) -> Path:
        return self.folder / "run"

    def after(self, *names: str | Path, **more: Any) -> Any:
        """A configuration that follows training, which is given the location of the run and nothing of its model."""
        return run(self.recipe, names, "infer", output_dir=str(self.output), **more)

    def infer(self, image: Path, output_dir: Path, **more: Any) -> Any:
        """``inference.yaml`` on an image, which is given the location of the weights and nothing of their model."""
        where = {"images": str(image), "weights": str(self.output / "model.pt"), "output_dir": str(output_dir)}
        return run(self.recipe, ["inference"], "infer", **{**where, **more})


def run(recipe: str, names: Sequence[str | Path], workflow_type: str, **overrides: Any) -> Any:
    """Run configurations of a bundle in this process, from a folder that is not the checkout."""
    from monai.bundle import ConfigWorkflow

    configs = BUNDLES / recipe / "configs"
    files = [str(name if isinstance(name, Path) else configs / f"{name}.yaml") for name in names]
    with elsewhere(Path(overrides.get("output_dir", ".")).parent):
        workflow = ConfigWorkflow(config_file=files, workflow_type=workflow_type, **overrides)
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    return workflow


@contextlib.contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """One thread, and a working directory that has nothing to do with the checkout."""
    folder.mkdir(parents=True, exist_ok=True)
    threads, before = torch.get_num_threads(), Path.cwd()
    torch.set_num_threads(1)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)


def prepare(folder: Path, *overlays: Path, recipe: str = "arl", **more: Any) -> Path:
    """A store of 80 phantoms of 64 pixels: 48 to learn from, 16 to select on, 16 never seen."""
    store = folder / "store"
    short = {
        "dataset_dir": str(store), "image_size": 64, "prepare::workers": 0,
        "source::count": 80, "source::fractions": {"train": 0.6, "validate": 0.2, "test": 0.2},
    }  # fmt: skip
    run(recipe, ["prepare", "demo", *overlays], "train", **{**short, **more})
    return store


def graph_of(store: Path) -> Path:
    """The knowledge graph of a store."""
    file = store.parent / "graph.safetensors"
    small = {"threshold": 2, "entity_width": 16, "embedding_epochs": 1}
    run("arl", ["graph", "demo"], "train", dataset_dir=str(store), graph_file=str(file), **small)
    return file


def text_model(folder: Path, **more: Any) -> Path:
    """KAD's text model: two epochs of its first stage's demo."""
    short = {"output_dir": str(folder / "knowledge"), "epochs": 2, "val_interval": 1, "log_every": 3}
    run("kad", ["knowledge", "knowledge_demo"], "train", **{**short, **more})
    return folder / "knowledge" / "text_model"
