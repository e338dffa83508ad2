"""Runs the probes during evaluation: reworded, negated and sided descriptions, and changed images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medvlp_toolkit.engines.device import Precision
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.volume_slices import in_ras
from medvlp_toolkit.evaluation.statistics.intervals import PatientBootstrap
from medvlp_toolkit.evaluation.zero_shot.laterality import (
    Side,
    laterality_metrics,
    side_from_attention,
    side_from_positions,
    side_of_truth,
)
from medvlp_toolkit.evaluation.zero_shot.measure import Measure, ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.probes import cautions, changed_images, negation, prompt_sensitivity
from medvlp_toolkit.evaluation.zero_shot.steps import ScoringStep
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies

_EXPECTED = {
    "as it is": "for comparison",
    "mirrored": "the same: a finding is there on either side",
    "shuffled": "lower: anatomy is gone, texture stays",
    "blank": "0.5: there is nothing to see",
}
_SWAPPED: dict[Side, Side] = {"left": "right", "right": "left", "none": "none"}


class Described(Protocol):
    """Definitions that can be phrased in templates (as by the knowledge source ``definitions``)."""

    @property
    def ids(self) -> Sequence[str]: ...

    def descriptions(self, template: str = ...) -> list[str]: ...


class Probes:
    """The queries of the probes as banks of embeddings.

    Args:
        encoder: from descriptions to vectors, as used for the model's bank.
        definitions: of the bank's entities, in its order.
        phrasings: name -> template of ``{name}``, ``{id}``, ``{definition}``; the first is that of the training.
        negated: template of a negated description.
        sided: side -> template that names it; None skips the probe.
        tiles: number along each axis, for shuffled images.
        flip_axis: axis of the image that runs across the patient.
    """

    def __init__(
        self,
        encoder: Callable[[Sequence[str]], Tensor],
        definitions: Sequence[Described],
        phrasings: Mapping[str, str],
        negated: str,
        sided: Mapping[Literal["left", "right"], str] | None = None,
        tiles: int = 4,
        flip_axis: int = -1,
    ) -> None:
        if not phrasings:
            raise ValueError("probes need at least one phrasing, the first being that of the training")
        if sided is not None and set(sided) != {"left", "right"}:
            raise ValueError(f"sided needs the templates left and right, got {', '.join(map(str, sided))}")
        self.encoder = encoder
        self.definitions = list(definitions)
        self.phrasings = dict(phrasings)
        self.negated = negated
        self.sided = dict(sided or {})
        self.tiles = tiles
        self.flip_axis = flip_axis
        self._banks: dict[str, Tensor] = {}

    def texts(self, template: str) -> list[str]:
        """The bank's entities phrased by a template."""
        return [text for part in self.definitions for text in part.descriptions(template)]

    def banks(self, bank: Tensor) -> dict[str, Tensor]:
        """Question -> (Q, Dt) on the bank's device.

        Raises:
            ValueError: when the first phrasing does not reproduce the model's own bank (Q, Dt).
        """
        if not self._banks:
            own, template = next(iter(self.phrasings.items()))
            again = self.encoder(self.texts(template)).to(bank)
            if again.shape != bank.shape or not torch.allclose(again, bank, rtol=1e-2, atol=1e-3):
                raise ValueError(
                    f"phrasing {own!r} does not reproduce the model's own entity bank; name the text model, its "
                    "options and the descriptions that the model was trained with"
                )
            templates = {f"phrasing:{name}": text for name, text in self.phrasings.items()}
            templates |= {"negated": self.negated, **{f"sided:{side}": text for side, text in self.sided.items()}}
            self._banks = {name: self.encoder(self.texts(text)).to(bank) for name, text in templates.items()}
        return self._banks


class ProbingStep(ScoringStep):
    """A scoring step that also runs the probes' queries; the network is an ``EntityScorer``.

    The output also has ``probes``: question or image -> (B, Q) scores, with those of mirrored images under
    ``mirrored:<question>``, and ``mirrored_attention`` and ``mirrored_position_scores`` if the unmirrored ones exist.

    Args:
        probes: the queries.
        transform, precision, need_attention, position_loss: see :class:`~medvlp_toolkit.evaluation.ScoringStep`.
    """

    def __init__(
        self,
        probes: Probes,
        transform: Transform,
        precision: Precision = "fp32",
        need_attention: bool = False,
        position_loss: nn.Module | None = None,
    ) -> None:
        super().__init__(transform, precision, need_attention, position_loss)
        self.probes = probes

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        output = super().predict(engine, batch, prepared)
        network: Any = unwrap(engine.network)
        image = prepared["image"]
        scores: dict[str, Tensor] = {"as it is": output["scores"]}
        banks = self.probes.banks(network.entity_bank)
        tokens = network.image_tokens(image)
        for name, bank in banks.items():
            scores[name] = network.score(network.ask(tokens, bank).text)
        mirrored = network.image_tokens(image.flip(self.probes.flip_axis))
        for name in (name for name in banks if name.startswith("sided:")):
            scores[f"mirrored:{name}"] = network.score(network.ask(mirrored, banks[name]).text)
        fused = network.ask(mirrored, network.entity_bank, self.need_attention)
        scores["mirrored"] = network.score(fused.text)
        if self.need_attention and fused.attention is not None:
            output["mirrored_attention"] = fused.attention
        if self.position_loss is not None:
            output["mirrored_position_scores"] = self.position_loss.scores(fused.text)  # type: ignore[operator]
        shuffled = shuffle_tiles(image, self.probes.tiles, batch["row"].tolist())
        scores["shuffled"] = network.score(network.fuse(shuffled).text)
        scores["blank"] = network.score(network.fuse(torch.zeros_like(image)).text)
        return {**output, "probes": scores}


class ProbeCollection:
    """Collects the output of a :class:`ProbingStep` and measures it after the last batch.

    Args:
        probes: the queries.
        entities: ids of the bank's entities, in its order.
        labels: label -> its entity.
        mapper: heat maps of the network; None skips attention.
        position_sides: side of every position; None skips position scores.
    """

    def __init__(
        self,
        probes: Probes,
        entities: Sequence[str],
        labels: Mapping[str, str],
        mapper: HeatMapper | None = None,
        position_sides: Sequence[Side] | None = None,
    ) -> None:
        self.probes, self.mapper, self.position_sides = probes, mapper, position_sides
        self.labels = tuple(labels)
        self._columns = [list(entities).index(entity) for entity in labels.values()]
        self._scores: dict[str, list[NDArray[np.float32]]] = {}
        self._sides: dict[str, list[tuple[str, str, str]]] = {}

    def collect(
        self,
        output: Mapping[str, Any],
        side_of: Callable[[int, str], Side],
        affine_of: Callable[[int], NDArray[np.float64] | None] = lambda row: None,
    ) -> None:
        """Collect one batch; ``side_of(row, label)`` is the true side of a finding, ``none`` if it has none;
        ``affine_of(row)`` that of a volume."""
        scores = {name: values.float().cpu().numpy() for name, values in output["probes"].items()}
        for name, values in scores.items():
            self._scores.setdefault(name, []).append(values[:, self._columns])
        maps = positions = None
        if self.mapper is not None and "mirrored_attention" in output:
            maps = self.mapper.on_grid(output["mirrored_attention"], output["image_shape"])
        if self.position_sides is not None and "mirrored_position_scores" in output:
            positions = output["mirrored_position_scores"].float().cpu().numpy()
        for i, row in enumerate(output["row"].tolist()):
            for label, q in zip(self.labels, self._columns, strict=True):
                side = side_of(row, label)
                if side == "none":
                    continue
                turned = _SWAPPED[side]
                if maps is not None:
                    said = side_from_attention(in_ras(maps[i, q], affine_of(row))[None])[0]
                    self._note("mirrored image, attention", label, turned, said)
                if positions is not None and self.position_sides is not None:
                    said = side_from_positions(positions[i : i + 1, q], self.position_sides)[0]
                    self._note("mirrored image, position scores", label, turned, said)
                if self.probes.sided:
                    self._note("left or right in words", label, side, _louder(scores, "", i, q))
                    self._note(
                        "mirrored image, left or right in words", label, turned, _louder(scores, "mirrored:", i, q)
                    )

    def _note(self, probe: str, label: str, truth: str, said: str) -> None:
        self._sides.setdefault(probe, []).append((label, truth, str(said)))

    def measure(self, targets: NDArray[Any], chosen: NDArray[np.bool_], patient_of: NDArray[np.intp]) -> dict[str, Any]:
        """Metrics of the probes.

        Args:
            targets: (S, L) of the labels, for the chosen images.
            chosen: (all,) True for the images to count.
            patient_of: (S,) index of each chosen image's patient.

        Returns:
            ``images``, ``prompts``, ``negation``, ``image_probes``, ``laterality`` and ``cautions``
            (:mod:`medvlp_toolkit.evaluation.zero_shot.probes`).
        """
        scores = {name: np.concatenate(parts)[chosen] for name, parts in self._scores.items()}
        about = (self.labels, patient_of)
        phrased = {name: scores[f"phrasing:{name}"] for name in self.probes.phrasings}
        result: dict[str, Any] = {"images": int(chosen.sum())}
        result["prompts"] = prompt_sensitivity(targets, phrased, *about)
        for name, template in self.probes.phrasings.items():
            result["prompts"]["variants"][name]["example"] = self._example(template)
        result["negation"] = negation(targets, scores["negated"], *about)
        result["negation"]["example"] = self._example(self.probes.negated)
        result["image_probes"] = changed_images(targets, {name: scores[name] for name in _EXPECTED}, *about)
        for name, row in result["image_probes"].items():
            row["expected"] = _EXPECTED[name]
        result["laterality"] = {
            probe: laterality_metrics([t for _, t, _ in answered], [s for _, _, s in answered])["all"]
            for probe, answered in self._sides.items()
        }
        result["cautions"] = cautions(result)
        return result

    def _example(self, template: str) -> str:
        text = self.probes.texts(template)[self._columns[0]]
        return text if len(text) <= 120 else f"{text[:117]}…"


class Probing(Measure):
    """``probes`` of the trained labels.

    Args:
        probes: the queries of the step, a :class:`~medvlp_toolkit.evaluation.ProbingStep`.
        position_sides, not_sided: see :class:`~medvlp_toolkit.evaluation.Laterality`.
    """

    def __init__(
        self, probes: Probes, position_sides: Sequence[Side] | None = None, not_sided: Sequence[str] = ()
    ) -> None:
        self.probes, self.position_sides = probes, position_sides
        self.not_sided = frozenset(not_sided)

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._collection = ProbeCollection(self.probes, studies.entities, studies.trained, mapper, self.position_sides)

    def collect(self, batch: ScoredBatch) -> None:
        self._collection.collect(batch.output, self._side, self.studies.affine_of)

    def _side(self, row: int, label: str) -> Side:
        """The side of a finding; ``none`` if it has none or it is unknown."""
        counts = self.studies.is_evaluated(row) and not self.not_sided & {label, self.studies.labels[label]}
        truth = self.studies.truth(row, label) if counts else None
        return "none" if truth is None else side_of_truth(truth, self.studies.affine_of(row))

    def finish(self, scored: ScoredSet) -> dict[str, Any]:
        targets, _ = scored.of_labels(self._collection.labels)
        if targets is None:
            return {}
        patient_of = PatientBootstrap(scored.patients, int(scored.tested.sum())).patient_of
        return {"probes": self._collection.measure(targets[scored.tested], scored.tested, patient_of)}


def shuffle_tiles(image: Tensor, tiles: int, seeds: Sequence[int]) -> Tensor:
    """Cut every image (B, C, *spatial) into tiles and shuffle them, seeded per image."""
    spatial = image.shape[2:]
    if any(size % tiles for size in spatial):
        raise ValueError(f"images of {'×'.join(map(str, spatial))} cannot be cut into {tiles} equal tiles per side")
    n = len(spatial)
    split = image.reshape(*image.shape[:2], *(part for size in spatial for part in (tiles, size // tiles)))
    # (B, C, tiles…, inner…)
    order = [0, 1, *range(2, 2 + 2 * n, 2), *range(3, 3 + 2 * n, 2)]
    cut = split.permute(order).reshape(*image.shape[:2], tiles**n, *(size // tiles for size in spatial))
    drawn = [torch.randperm(tiles**n, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    mixed = torch.stack([picture[:, places.to(image.device)] for picture, places in zip(cut, drawn, strict=True)])
    back = mixed.reshape(*image.shape[:2], *[tiles] * n, *(size // tiles for size in spatial))
    inverse = [order.index(axis) for axis in range(2 + 2 * n)]
    return back.permute(inverse).reshape(image.shape)


def _louder(scores: Mapping[str, NDArray[np.float32]], prefix: str, i: int, q: int) -> Side:
    left, right = (float(scores[f"{prefix}sided:{side}"][i, q]) for side in ("left", "right"))
    return "none" if left == right else "left" if left > right else "right"
