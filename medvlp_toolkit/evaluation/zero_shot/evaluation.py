"""Collects what an evaluator scores and, when it has seen everything, measures, draws and writes it down."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.dataset import StudyDataset
from medvlp_toolkit.data.boxes import AnyBox, Mask, bounding_boxes
from medvlp_toolkit.data.records import Box
from medvlp_toolkit.evaluation.maps.heat_maps import Upsampling, attention_maps
from medvlp_toolkit.evaluation.maps.map_files import write_volume_map
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_overlays
from medvlp_toolkit.evaluation.maps.volume_slices import slice_overlay
from medvlp_toolkit.evaluation.results.results import Results, write_probabilities
from medvlp_toolkit.evaluation.results.run_record import run_record
from medvlp_toolkit.evaluation.results.tables import print_summary
from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap
from medvlp_toolkit.evaluation.statistics.subgroups import subgroup_columns, subgroup_metrics
from medvlp_toolkit.evaluation.zero_shot.cases import CaseCollection
from medvlp_toolkit.evaluation.zero_shot.classification import best_f1_thresholds, classification_metrics, score_table
from medvlp_toolkit.evaluation.zero_shot.grounding import GroundingCase, grounding_metrics
from medvlp_toolkit.evaluation.zero_shot.label_maps import map_labels
from medvlp_toolkit.evaluation.zero_shot.laterality import (
    Side,
    laterality_metrics,
    side_from_attention,
    side_from_positions,
    side_of_boxes,
    side_of_mask,
)
from medvlp_toolkit.evaluation.zero_shot.probing import ProbeCollection, Probes
from medvlp_toolkit.evaluation.zero_shot.volume_boxes import VolumeBoxes


class ZeroShotEvaluation:
    """Zero-shot classification of a store's labels, grounding of its boxes, and left against right.

    A handler of an evaluator whose step is :class:`~medvlp_toolkit.evaluation.ScoringStep`. When the evaluator has
    seen every batch it writes ``scores.parquet``, ``metrics.json``, ``cases.parquet``, ``run.json``,
    ``probabilities.csv`` and heat-map overlays into ``output_dir``, and prints the tables.

    Args:
        dataset: what is scored, with ``labels`` where it has targets.
        entities: ids of the bank's entities, in its order.
        output_dir: the results folder.
        labels: label of the store -> entity that answers for it; the data set's labels that are entities when None.
        threshold_split: a split of the data set that is not evaluated: F1 and accuracy are also given at the thresholds
            that are best on it, next to those tuned on the evaluated images themselves.
        held_out: labels whose entities were kept out of training: they get tables of their own.
        grid: token grid of the attention; None evaluates no grounding.
        position_sides: side of every position, in the order of the position scores; None compares no sides.
        focal: labels over which pointing is also averaged, named before the model was tuned.
        not_sided: labels that have no side, whatever their boxes (an enlarged heart).
        upsampling: ``nearest`` as published (the whole cell of highest attention counts), or ``linear`` (its peak).
        token_shift: where tokens look within their cell, for ``linear`` (``image_encoder.token_shift()``).
        attention_layers: one layer of the fusion module, several to average, or None for all (as published).
        overlays: pictures to draw, spread over the labels with boxes; of volumes, also maps as NIfTI in the space of
            the store's volumes.
        cases: of every finding the surest right and wrong ones are kept with image, map and report for
            ``medvlp report``, so many of each kind; 0 keeps no patient's image or text.
        subgroups: further columns of the store to divide the images by, beside sex, age and view; those that the store
            lacks are passed over.
        min_positives: labels that fewer images show are left out of the means, and named.
        probes: what the step asks beside; it is then a :class:`~medvlp_toolkit.evaluation.ProbingStep`.
        mask_label: label that the store's masks outline: they are its truth instead of boxes.
        volume_boxes: table of the findings' boxes in volumes, which a store has no place for
            (:mod:`medvlp_toolkit.evaluation.zero_shot.volume_boxes`).
        title: says what was evaluated.
        bundle: name of the recipe, for ``run.json``.
        config: the configuration, for ``run.json``.
        checkpoint: the weights' file, for ``run.json``.
        seconds: name -> seconds of what came before, such as the training.
    """

    def __init__(
        self,
        dataset: StudyDataset,
        entities: Sequence[str],
        output_dir: str | Path,
        labels: Mapping[str, str] | None = None,
        threshold_split: str | None = None,
        held_out: Sequence[str] = (),
        grid: Sequence[int] | None = None,
        position_sides: Sequence[Side] | None = None,
        focal: Sequence[str] = (),
        not_sided: Sequence[str] = (),
        upsampling: Upsampling = "nearest",
        token_shift: Sequence[float] = (),
        attention_layers: int | Sequence[int] | None = None,
        overlays: int = 24,
        cases: int = 3,
        subgroups: Sequence[str] = ("scanner",),
        min_positives: int = 1,
        probes: Probes | None = None,
        mask_label: str | None = None,
        volume_boxes: str | Path | None = None,
        title: str = "",
        bundle: str = "",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.dataset = dataset
        self.entities = tuple(entities)
        self.output_dir = Path(output_dir)
        known = [name for name in dataset.label_names if name in self.entities]
        self.labels = {name: name for name in known} if labels is None else dict(labels)
        self.threshold_split = threshold_split
        self.held_out = tuple(held_out)
        self.grid = None if grid is None else tuple(grid)
        self.position_sides = position_sides
        self.focal = tuple(focal)
        self.not_sided = frozenset(not_sided)
        self.upsampling: Upsampling = upsampling
        self.token_shift = tuple(token_shift)
        self.attention_layers = attention_layers
        self.overlays = overlays
        self.cases = cases
        self.subgroups = tuple(subgroups)
        self.min_positives = min_positives
        self.probes = probes
        self.mask_label = mask_label
        self.volume_boxes = VolumeBoxes.read(volume_boxes) if volume_boxes else None
        self.title = title
        self.bundle = bundle
        self.config = dict(config or {})
        self.checkpoint = checkpoint
        self.seconds = dict(seconds or {})
        self.boxes = self._read_boxes()
        self._begin()

    def _read_boxes(self) -> dict[tuple[int, str], list[Box]]:
        boxes: dict[tuple[int, str], list[Box]] = {}
        for row in self.dataset.store.boxes.to_pylist():
            box = Box(row["label"], row["x"], row["y"], row["width"], row["height"])
            boxes.setdefault((row["study"], row["label"]), []).append(box)
        return boxes

    def _truth(self, row: int, label: str) -> Sequence[AnyBox] | Mask | None:
        """Where a finding is in the image of a row; None where nothing is annotated."""
        store = self.dataset.store
        if label == self.mask_label:
            mask = np.asarray(store.masks[row, 0]) > 0
            return mask if mask.any() else None
        if self.volume_boxes is None:
            return self.boxes.get((row, label))
        study = self.dataset.study_ids[self._index_of[row]]
        return self.volume_boxes.mask(study, label, store.images.shape[2:], self._affines[row])

    @cached_property
    def _affines(self) -> NDArray[np.float64]:
        return np.asarray(self.dataset.store.array("affines"))

    @cached_property
    def _index_of(self) -> dict[int, int]:
        """Row of the store -> place in the data set."""
        return {int(row): i for i, row in enumerate(self.dataset.rows)}

    @cached_property
    def _set_aside(self) -> frozenset[int]:
        """Rows of the store that thresholds are chosen on."""
        if self.threshold_split is None:
            return frozenset()
        return frozenset(self.dataset.store.rows(self.threshold_split).tolist()) & self._index_of.keys()

    def _begin(self, engine: Engine | None = None) -> None:
        self._scores: list[NDArray[np.float32]] = []
        self._rows: list[NDArray[np.int64]] = []
        self._cases: list[tuple[GroundingCase, int, float]] = []
        self._position_scores: list[NDArray[np.float32]] = []
        self._probing: ProbeCollection | None = None
        if self.probes is not None:
            trained = {label: self.labels[label] for label in self._groups()["zero_shot"]}
            self._probing = ProbeCollection(self.probes, self.entities, trained, self.grid, self.position_sides)
        self._collection = CaseCollection(
            self.dataset.store, self.labels, self.cases, self.upsampling, self.token_shift
        )
        self._started = time.perf_counter()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        scores = output["scores"].float().cpu().numpy()
        rows = output["row"].cpu().numpy()
        self._scores.append(scores)
        self._rows.append(rows)
        maps = None
        if self.grid is not None and "attention" in output:
            maps = attention_maps(output["attention"].float(), self.grid)
            positions = output["position_scores"].float().cpu().numpy() if "position_scores" in output else None
            for i, row in enumerate(rows.tolist()):
                if row in self._set_aside:
                    continue
                for label, entity in self.labels.items():
                    truth = self._truth(row, label)
                    if truth is not None:
                        q = self.entities.index(entity)
                        case = GroundingCase(label, maps[i, q], truth, output["patient_id"][i])
                        self._cases.append((case, row, float(scores[i, q])))
                        if positions is not None:
                            self._position_scores.append(positions[i, q])
        self._offer_cases(rows, scores, maps)
        if self._probing is not None:
            self._probing.collect(output, self._side)

    def _side(self, row: int, label: str) -> Side:
        """The one side on which a finding is, by its boxes or mask; ``none`` where it has none or nothing says."""
        if row in self._set_aside or label in self.not_sided:
            return "none"
        truth = self._truth(row, label)
        if truth is None:
            return "none"
        return side_of_mask(truth) if isinstance(truth, np.ndarray) else side_of_boxes(truth)

    def _offer_cases(
        self, rows: NDArray[np.int64], scores: NDArray[np.float32], maps: NDArray[np.float32] | None
    ) -> None:
        targets = self._targets(rows)
        if targets is None or not self.cases:
            return
        for label, entity in self.labels.items():
            q, column = self.entities.index(entity), self.dataset.label_names.index(label)
            for i, row in enumerate(rows.tolist()):
                if row not in self._set_aside:
                    heat = None if maps is None else maps[i, q]
                    score = float(scores[i, q])
                    self._collection.offer(row, label, int(targets[i, column]), score, heat, self._truth)

    def _finish(self, engine: Engine) -> None:
        scores = np.concatenate(self._scores)
        rows = np.concatenate(self._rows)
        tested = np.array([row not in self._set_aside for row in rows.tolist()], bool)
        if not tested.any():
            raise ValueError(f"every study is of the threshold split {self.threshold_split}; name another test_split")
        metrics = self._measure(scores, rows, tested)
        scores, rows = scores[tested], rows[tested]
        metrics["seconds"] = {**self.seconds, "evaluation": round(time.perf_counter() - self._started, 1)}
        table = self._table(scores, rows)
        about = {"title": self.title, "bundle": self.bundle}
        device = getattr(engine.state, "device", None)
        run = run_record(self.config, self.checkpoint, device, metrics["seconds"], **about)
        Results.write(self.output_dir, table, metrics, run, self._collection.table())
        write_probabilities(
            self.output_dir / "probabilities.csv", table["study_id"].to_pylist(), scores, list(self.entities)
        )
        pictures = self._draw()
        paths: dict[str, Path | str] = {"metrics": self.output_dir / "metrics.json"}
        paths["probability of every entity per image"] = self.output_dir / "probabilities.csv"
        if pictures:
            paths["where it looked"] = pictures[0]
        print_summary(metrics, paths, self.title)
        engine.state.metrics.update({"macro_auc": metrics.get("zero_shot", {}).get("macro", {}).get("auc")})

    def _measure(
        self, scores: NDArray[np.float32], rows: NDArray[np.int64], tested: NDArray[np.bool_]
    ) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        targets = self._targets(rows)
        patients = self._column("patient_id", rows[tested])
        for key, labels in self._groups().items():
            if labels and targets is not None:
                mapped, names = map_labels(scores, self.entities, {name: self.labels[name] for name in labels})
                columns = [self.dataset.label_names.index(name) for name in names]
                truth = targets[:, columns]
                options: dict[str, Any] = {"patient_id": patients, "min_positives": self.min_positives}
                if not tested.all():
                    options["thresholds"] = best_f1_thresholds(truth[~tested], mapped[~tested], names)
                    options["thresholds_from"] = self.threshold_split
                metrics[key] = classification_metrics(truth[tested], mapped[tested], names, **options)
                divisions = subgroup_columns(self._divisions(rows[tested]))
                if divisions and key == "zero_shot":
                    metrics["subgroups"] = subgroup_metrics(
                        truth[tested], mapped[tested], names, divisions, patient_id=patients
                    )
        if self._probing is not None and targets is not None:
            columns = [self.dataset.label_names.index(name) for name in self._probing.labels]
            numbered = PatientBootstrap(patients, len(rows[tested])).patient_of
            metrics["probes"] = self._probing.measure(targets[tested][:, columns], tested, numbered)
        if self._cases:
            cases = [case for case, _, _ in self._cases]
            groups = {"focal": self.focal} if self.focal else None
            metrics["grounding"] = grounding_metrics(
                cases, groups=groups, upsampling=self.upsampling, shift=self.token_shift
            )
            metrics["laterality"] = self._laterality(cases)
        return metrics

    def _groups(self) -> dict[str, list[str]]:
        return {
            "zero_shot": [name for name in self.labels if name not in self.held_out],
            "zero_shot_held_out": [name for name in self.labels if name in self.held_out],
        }

    def _laterality(self, cases: Sequence[GroundingCase]) -> dict[str, Any]:
        sided = [i for i, case in enumerate(cases) if case.label not in self.not_sided]
        trained = [i for i in sided if cases[i].label not in self.held_out]
        truth = [
            side_of_mask(case.truth) if isinstance(case.truth, np.ndarray) else side_of_boxes(case.truth)
            for case in cases
        ]
        result = {}
        if self._position_scores and self.position_sides is not None and trained:
            predicted = side_from_positions(np.stack([self._position_scores[i] for i in trained]), self.position_sides)
            result["position scores"] = laterality_metrics(
                [truth[i] for i in trained], predicted.tolist(), [cases[i].label for i in trained]
            )
        if trained:
            predicted = side_from_attention(np.stack([cases[i].heat for i in trained]))
            result["attention"] = laterality_metrics(
                [truth[i] for i in trained], predicted.tolist(), [cases[i].label for i in trained]
            )
        return result

    def _targets(self, rows: NDArray[np.int64]) -> NDArray[np.int8] | None:
        if not self.dataset.label_names:
            return None
        targets: NDArray[np.int8] | None = self.dataset.targets
        return None if targets is None else targets[[self._index_of[int(row)] for row in rows]]

    def _divisions(self, rows: NDArray[np.int64]) -> dict[str, list[Any] | None]:
        """Columns that divide the images, those of the contract first."""
        return {name: self._column(name, rows) for name in ("sex", "age", "view", *self.subgroups)}

    def _column(self, name: str, rows: NDArray[np.int64]) -> list[Any] | None:
        return self.dataset.store.values(name, rows)

    def _table(self, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> Any:
        """Scores of the labels where there are any, else of every entity with unknown targets."""
        targets = self._targets(rows)
        if targets is not None and self.labels:
            mapped, names = map_labels(scores, self.entities, self.labels)
            truth = targets[:, [self.dataset.label_names.index(name) for name in names]]
        else:
            mapped, names, truth = scores, self.entities, np.full(scores.shape, -1, dtype=np.int8)
        described: dict[str, Any] = {
            name: self._column(name, rows) for name in ("patient_id", "split", "sex", "age", "view")
        }
        described["groups"] = {name: self._column(name, rows) for name in self.subgroups}
        return score_table(self._column("study_id", rows) or [], truth, mapped, names, **described)

    def _draw(self) -> list[Path]:
        """Overlays of the first cases of each label in turn."""
        by_label: dict[str, list[tuple[GroundingCase, int, float]]] = {}
        for entry in self._cases:
            by_label.setdefault(entry[0].label, []).append(entry)
        chosen = [
            entries[n]
            for n in range(max((len(entries) for entries in by_label.values()), default=0))
            for entries in by_label.values()
            if n < len(entries)
        ][: self.overlays]
        if chosen and chosen[0][0].heat.ndim == 3:
            return self._draw_volumes(chosen)
        pictures = [
            Overlay(
                np.asarray(self.dataset.store.images[row]),
                case.heat,
                case.label,
                score,
                bounding_boxes(case.truth) if isinstance(case.truth, np.ndarray) else case.truth,
                shift=self.token_shift,
            )
            for case, row, score in chosen
        ]
        return write_overlays(self.output_dir / "overlays", pictures, self.title, upsampling=self.upsampling)

    def _draw_volumes(self, chosen: Sequence[tuple[GroundingCase, int, float]]) -> list[Path]:
        """The slice of highest attention as a picture, and the whole map as NIfTI."""
        folder = self.output_dir / "overlays"
        pictures = []
        for number, (case, row, score) in enumerate(chosen, start=1):
            volume = np.asarray(self.dataset.store.images[row])
            pictures.append(slice_overlay(volume, case.heat, case.label, score, case.truth, self.token_shift))
            write_volume_map(
                folder / f"map_{number:03d}_{case.label}.nii.gz",
                case.heat,
                volume.shape[1:],
                self._affines[row],
                shift=self.token_shift,
            )
        return write_overlays(folder, pictures, self.title, upsampling=self.upsampling)
