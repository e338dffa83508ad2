"""Writers of inference and feature extraction results."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from rich.table import Table

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.engines.device import Precision
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.map_files import (
    clear_maps,
    item_of,
    map_formats,
    map_on_file,
    map_path,
    write_nifti,
)
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_overlays
from medvlp_toolkit.evaluation.maps.volume_slices import overlay_of
from medvlp_toolkit.evaluation.results.names import NAMES_FILE, Names, name_or_words, names_by_id, readable, write_names
from medvlp_toolkit.evaluation.results.results import PROBABILITIES_FILE, write_probabilities
from medvlp_toolkit.evaluation.scoring_progress import ScoringProgress
from medvlp_toolkit.evaluation.step import EvaluationStep
from medvlp_toolkit.terminal import console

LIST_FILE = "maps.csv"


class ProbabilityWriter:
    """Writes ``probabilities.csv``, a row per image and a column per entity, ``entities.csv`` (the entities' readable
    names) and heat maps.

    Heat maps are named by running numbers and entities, never by their images; ``heat_maps/maps.csv`` lists which is
    whose. As ``png`` they lie over the image (of a volume: over the slice across the body with the highest value); as
    ``nifti`` they are in the input's space, spread over its pixels or voxels; as ``npy`` they are the attention on the
    token grid, float32, summing to 1. For a network that gives no attention they are left out, with one log line.

    Args:
        entities: ids in the order of the scores.
        output_dir: made where it does not exist.
        heat_maps_of: entities to draw for every image; empty draws the highest-scoring ones.
        heat_maps: how many of those; 0 draws none.
        not_drawn: entities that are drawn only when ``heat_maps_of`` names them, such as normal findings.
        names: readable names of the entities, in their order or by id; those that are missing are shown by their id.
        save_maps: ``png``, ``npy``, ``nifti``, or several of them.
        most_pictures: images after this many get no heat map; the CSV has them all.
        attention_layers: one layer of the fusion module, several to average, or None for all (as published).
        grid: token grid of the attention; None asks the image encoder.
    """

    def __init__(
        self,
        entities: Sequence[str],
        output_dir: str | Path,
        heat_maps_of: Sequence[str] = (),
        heat_maps: int = 3,
        save_maps: str | Sequence[str] = "png",
        most_pictures: int = 64,
        attention_layers: int | Sequence[int] | None = None,
        grid: Sequence[int] | None = None,
        not_drawn: Sequence[str] = (),
        names: Sequence[str] | Names | None = None,
    ) -> None:
        unknown = sorted(set(heat_maps_of) - set(entities))
        if unknown:
            raise ValueError(f"heat_maps_of names {', '.join(unknown)}; the model has {', '.join(entities)}")
        twice = sorted({name for name in entities if list(entities).count(name) > 1})
        if twice:
            raise ValueError(f"new entities repeat the model's own: {', '.join(twice)}; give them other ids")
        self.entities = tuple(entities)
        self.not_drawn = frozenset(not_drawn)
        self.names = names_by_id(self.entities, names)
        self.output_dir = Path(output_dir)
        self.grid = grid
        self.heat_maps_of = tuple(heat_maps_of)
        self.heat_maps = heat_maps
        self.formats = map_formats(save_maps)
        self.most_pictures = most_pictures
        self.attention_layers = attention_layers
        self._begin()

    @property
    def maps_dir(self) -> Path:
        return self.output_dir / "heat_maps"

    def _start(self, engine: Any) -> None:
        self._mapper = HeatMapper(unwrap(engine.network), self.attention_layers, self.grid)
        self._begin()
        self._clear()

    def _begin(self) -> None:
        self._names: list[str] = []
        self._scores: list[NDArray[np.float32]] = []
        self._overlays: list[Overlay] = []
        self._maps: list[tuple[str, str, float]] = []

    def _clear(self) -> None:
        """Remove the maps of an earlier run and their list: this one may write fewer, or none."""
        (self.maps_dir / LIST_FILE).unlink(missing_ok=True)
        clear_maps(self.maps_dir)

    def attach(self, engine: Engine) -> None:
        ScoringProgress("scoring", "image").attach(engine)
        engine.add_event_handler(Events.STARTED, self._start)
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
        maps = self._mapper.maps(output) if self.heat_maps_of or self.heat_maps else None
        if maps is None:
            return
        for i, name in enumerate(output["study_id"]):
            if len(self._names) - len(scores) + i >= self.most_pictures:
                break
            item = item_of(batch, i)
            for q in self._drawn(scores[i]):
                self._keep(name, self.entities[q], float(scores[i, q]), maps[i, q], item)

    def _keep(
        self, name: str, entity: str, score: float, heat: NDArray[np.float32], item: Mapping[str, NDArray[Any]]
    ) -> None:
        """Write one map in the requested formats; pictures are drawn together at the end."""
        self._maps.append((name, entity, score))
        shift = self._mapper.shift
        number = len(self._maps)
        if "png" in self.formats:
            shown = readable(entity, self.names)
            self._overlays.append(
                overlay_of(item["image"], heat, entity, score, None, shift, item.get("affine"), name=shown)
            )
        if "npy" in self.formats:
            self.maps_dir.mkdir(parents=True, exist_ok=True)
            np.save(map_path(self.maps_dir, number, entity, "npy"), heat)
        if "nifti" in self.formats:
            write_nifti(map_path(self.maps_dir, number, entity, "nifti"), *map_on_file(heat, item, shift))

    def _drawn(self, scores: NDArray[np.float32]) -> list[int]:
        if self.heat_maps_of:
            return [self.entities.index(name) for name in self.heat_maps_of]
        ranked = [int(q) for q in np.argsort(-scores) if self.entities[int(q)] not in self.not_drawn]
        return ranked[: self.heat_maps]

    def _finish(self, engine: Engine) -> None:
        if not self._names:
            raise ValueError("no image could be read, so there is nothing to score")
        scores = np.concatenate(self._scores)
        table = write_probabilities(self.output_dir / PROBABILITIES_FILE, self._names, scores, self.entities)
        write_overlays(self.maps_dir, self._overlays)
        out = console()
        if len(self._names) == 1:
            out.print(self._one(scores[0]))
        write_names(self.output_dir / NAMES_FILE, self.entities, self.names)
        scored, images = len(self._names), getattr(engine.state.dataloader, "dataset", self._names)
        left_out = f"; {len(images) - scored:,} left out" if len(images) > scored else ""
        images_scored = f"{scored:,} image{'s' if scored != 1 else ''}{left_out}"
        what = f"probabilities of {len(self.entities)} entities for {images_scored}"
        out.print(f"{what}: {table}", soft_wrap=True, highlight=False)
        if self._maps:
            self._list_maps()
            out.print(f"heat maps: {self.maps_dir}", soft_wrap=True, highlight=False)

    def _list_maps(self) -> None:
        with (self.maps_dir / LIST_FILE).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["map", "image", "entity", "probability", "name"])
            for number, (name, entity, score) in enumerate(self._maps, start=1):
                writer.writerow([number, name, entity, f"{score:.4f}", name_or_words(entity, self.names)])

    def _one(self, scores: NDArray[np.float32]) -> Table:
        table = Table("entity", "probability", title="Highest of all entities")
        for q in np.argsort(-scores)[:10]:
            table.add_row(readable(self.entities[int(q)], self.names), f"{scores[int(q)]:.3f}")
        return table


class FeatureStep(EvaluationStep):
    """Image features of a batch; the network is a ``VisionLanguageModel``.

    Args:
        transform, precision: see :class:`~medvlp_toolkit.evaluation.EvaluationStep`.
        pooling: ``mean`` over image tokens, (B, D); ``tokens`` keeps them, (B, N, D).
    """

    def __init__(
        self,
        transform: Transform,
        precision: Precision = "fp32",
        pooling: Literal["mean", "tokens"] = "mean",
    ) -> None:
        if pooling not in ("mean", "tokens"):
            raise ValueError(f"pooling '{pooling}' is not one of mean, tokens")
        super().__init__(transform, precision)
        self.pooling = pooling

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        tokens = engine.network.image_tokens(prepared["image"])
        features = tokens.mean(dim=1) if self.pooling == "mean" else tokens
        return {"features": features.float(), "row": batch["row"]}


class FeatureWriter:
    """Writes ``features.npy`` (N, …) float32 and ``features.csv``, which study each row belongs to."""

    def __init__(self, dataset: StudyDataset, output_dir: str | Path) -> None:
        self.dataset = dataset
        self.output_dir = Path(output_dir)
        self._map: np.memmap[Any, Any] | None = None
        self._filled = 0

    def attach(self, engine: Engine) -> None:
        ScoringProgress("computing features of").attach(engine)
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
        columns["image_id"] = self.dataset.store.image_ids(np.arange(len(self.dataset.store)))
        with (self.output_dir / "features.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["row", *columns])
            for number, row in enumerate(self.dataset.rows.tolist()):
                writer.writerow([number, *(values[row] for values in columns.values())])
        console().print(f"{self._filled} features: {self.output_dir / 'features.npy'}", soft_wrap=True, highlight=False)
