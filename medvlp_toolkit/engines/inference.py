"""What inference and feature extraction write."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from medvlp_toolkit.data.dataset import StudyDataset
from medvlp_toolkit.engines.device import Precision, autocast, to_device
from medvlp_toolkit.evaluation.heat_maps import attention_maps
from medvlp_toolkit.evaluation.overlays import Overlay, write_overlays
from medvlp_toolkit.evaluation.results import write_probabilities

#: Entities that say that nothing is wrong, or that stand for a mixture: not drawn unless asked for.
NOT_DRAWN = frozenset(
    [
        "normal",
        "clear",
        "sharp",
        "sharply",
        "unremarkable",
        "intact",
        "stable",
        "free",
        "tail_abnorm_obs",
        "excluded_obs",
    ]
)


class ProbabilityWriter:
    """Writes ``probabilities.csv``, a row per image and a column per entity, and heat maps as PNG.

    Args:
        entities: ids in the order of the scores.
        output_dir: made where it does not exist.
        grid: token grid of the attention.
        heat_maps_of: entities to draw for every image; empty draws the highest-scoring ones.
        heat_maps: how many of those.
        most_pictures: images after this many get no heat map; the CSV has them all.
    """

    def __init__(
        self,
        entities: Sequence[str],
        output_dir: str | Path,
        grid: Sequence[int],
        heat_maps_of: Sequence[str] = (),
        heat_maps: int = 3,
        most_pictures: int = 64,
    ) -> None:
        unknown = sorted(set(heat_maps_of) - set(entities))
        if unknown:
            raise ValueError(f"heat_maps_of names {', '.join(unknown)}; the model has {', '.join(entities)}")
        self.entities = tuple(entities)
        self.output_dir = Path(output_dir)
        self.grid = tuple(grid)
        self.heat_maps_of = tuple(heat_maps_of)
        self.heat_maps = heat_maps
        self.most_pictures = most_pictures
        self._begin()

    def _begin(self, engine: Engine | None = None) -> None:
        self._names: list[str] = []
        self._scores: list[NDArray[np.float32]] = []
        self._overlays: list[Overlay] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        batch: Any = engine.state.batch
        scores = output["scores"].float().cpu().numpy()
        if not len(scores):
            return
        self._names += output["study_id"]
        self._scores.append(scores)
        maps = attention_maps(output["attention"].float(), self.grid)
        for i, image in enumerate(batch["image"].cpu().numpy()):
            if len(self._names) - len(scores) + i >= self.most_pictures:
                break
            for q in self._drawn(scores[i]):
                self._overlays.append(Overlay(image, maps[i, q], self.entities[q], float(scores[i, q])))

    def _drawn(self, scores: NDArray[np.float32]) -> list[int]:
        if self.heat_maps_of:
            return [self.entities.index(name) for name in self.heat_maps_of]
        ranked = [int(q) for q in np.argsort(-scores) if self.entities[int(q)] not in NOT_DRAWN]
        return ranked[: self.heat_maps]

    def _finish(self, engine: Engine) -> None:
        if not self._names:
            raise ValueError("no image could be read, so there is nothing to score")
        scores = np.concatenate(self._scores)
        table = write_probabilities(self.output_dir / "probabilities.csv", self._names, scores, self.entities)
        pictures = write_overlays(self.output_dir / "heat_maps", self._overlays)
        console = Console()
        if len(self._names) == 1:
            console.print(self._one(scores[0]))
        console.print(f"probabilities of {len(self.entities)} entities: {table}", soft_wrap=True, highlight=False)
        if pictures:
            console.print(f"heat maps: {pictures[0].parent}", soft_wrap=True, highlight=False)

    def _one(self, scores: NDArray[np.float32]) -> Table:
        table = Table("entity", "probability", title="Highest of all entities")
        for q in np.argsort(-scores)[:10]:
            table.add_row(self.entities[int(q)], f"{scores[int(q)]:.3f}")
        return table


class FeatureStep:
    """Image features of a batch: ``iteration_update`` of an evaluator whose network is a ``VisionLanguageModel``.

    Args:
        transform: from the stored batch to the model's.
        precision: ``fp32`` or ``bf16``.
        pooling: ``mean`` over image tokens, (B, D); ``tokens`` keeps them, (B, N, D).
    """

    def __init__(
        self,
        transform: Callable[[Mapping[str, Any]], dict[str, Any]],
        precision: Precision = "fp32",
        pooling: Literal["mean", "tokens"] = "mean",
    ) -> None:
        if pooling not in ("mean", "tokens"):
            raise ValueError(f"pooling '{pooling}' is not one of mean, tokens")
        self.transform, self.precision, self.pooling = transform, precision, pooling

    @torch.no_grad()
    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        prepared = self.transform(to_device(batch, engine.state.device))
        engine.network.eval()
        with autocast(engine.state.device, self.precision):
            tokens = engine.network.image_tokens(prepared["image"])
        features = tokens.mean(dim=1) if self.pooling == "mean" else tokens
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {"features": features.float(), "row": batch["row"]}


class FeatureWriter:
    """Writes ``features.npy`` (N, …) float32 and ``features.csv``, which study each row belongs to."""

    def __init__(self, dataset: StudyDataset, output_dir: str | Path) -> None:
        self.dataset = dataset
        self.output_dir = Path(output_dir)
        self._map: np.memmap[Any, Any] | None = None
        self._filled = 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        features = output["features"].cpu().numpy()
        if self._map is None:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            shape = (len(self.dataset), *features.shape[1:])
            self._map = np.lib.format.open_memmap(self.output_dir / "features.npy", "w+", np.float32, shape)
        self._map[self._filled : self._filled + len(features)] = features
        self._filled += len(features)

    def _finish(self, engine: Engine) -> None:
        if self._map is not None:
            self._map.flush()
        studies = self.dataset.store.studies
        columns = {name: studies.column(name).to_pylist() for name in ("study_id", "patient_id", "split")}
        with (self.output_dir / "features.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["row", *columns])
            for number, row in enumerate(self.dataset.rows.tolist()):
                writer.writerow([number, *(values[row] for values in columns.values())])
        Console().print(f"{self._filled} features: {self.output_dir / 'features.npy'}", soft_wrap=True, highlight=False)
