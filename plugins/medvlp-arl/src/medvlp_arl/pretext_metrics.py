"""Metrics of the pretext tasks, with the baseline of guessing the most frequent answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from torch import Tensor

from medvlp_arl.alignment import KnowledgeAlignment
from medvlp_arl.masked_image import MaskedImageModelling
from medvlp_arl.masked_language import MaskedLanguageModelling
from medvlp_arl.matching import ImageTextMatching
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.evaluation.step import EvaluationStep
from medvlp_toolkit.model.encodings import Encodings
from medvlp_toolkit.model.pretraining import PretrainingModel

#: Number of bins in which probabilities are counted, so that AUCs are exact to half a bin.
BINS = 256


class PretextStep(EvaluationStep):
    """Counts the correct predictions of a :class:`~medvlp_toolkit.model.PretrainingModel` in one batch.

    An :class:`~medvlp_toolkit.evaluation.EvaluationStep` whose output is a dict of tensors that
    :class:`PretextMetrics` adds up: for each loss ``<name>:sum`` and ``<name>:count``, and further counts of its kind.
    """

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Tensor]:
        model: Any = unwrap(engine.network)
        return pretext_counts(model, prepared)


def pretext_counts(model: PretrainingModel, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """See :class:`PretextStep`; the sums of every loss, and details of ARL's losses."""
    encodings = Encodings(model.model, batch, True, model.mask_ratio)
    counts: dict[str, Tensor] = {}
    for name, loss in model.losses.items():
        total, number = loss(encodings)
        counts[f"{name}:sum"], counts[f"{name}:count"] = total.double(), number.double()
        if isinstance(loss, MaskedLanguageModelling):
            counts |= {f"{name}:{key}": value for key, value in _tokens(loss, encodings).items()}
        elif isinstance(loss, ImageTextMatching):
            labels = batch["is_pair"].to(torch.long)
            right = loss.logits(encodings).argmax(dim=1) == labels
            counts |= {f"{name}:right": right.sum(), f"{name}:answers": torch.bincount(labels, minlength=2)}
        elif isinstance(loss, MaskedImageModelling):
            _, masked = loss.predictions(encodings)
            spread = loss.targets(batch["image"]).square().mean(dim=-1)
            counts[f"{name}:unpredicted"] = torch.where(masked, spread, 0.0).sum().double()
        elif isinstance(loss, KnowledgeAlignment):
            for side, logits in loss.logits(encodings).items():
                counts[f"{name}:{side}"] = _histogram(logits.sigmoid(), batch[f"{side}_entities"])
    return counts


def _tokens(loss: MaskedLanguageModelling, encodings: Encodings) -> dict[str, Tensor]:
    """Correct predictions and totals, of all masked tokens and of those of linked entities."""
    batch = encodings.batch
    labels = batch["masked_labels"].to(torch.long)
    logits = loss.logits(encodings)
    masked = labels >= 0
    right = (logits.argmax(dim=-1) == labels) & masked
    vocabulary = logits.shape[-1]
    found = {"token_right": right.sum(), "token_answers": torch.bincount(labels[masked], minlength=vocabulary)}
    if "linked_entity_alignment" in batch:
        of_entity = (batch["linked_entity_alignment"] > 0).any(dim=1).gather(
            1, batch["masked_positions"].long()
        ) & masked
        found["entity_right"] = (right & of_entity).sum()
        found["entity_answers"] = torch.bincount(labels[of_entity], minlength=vocabulary)
    return found


def _histogram(scores: Tensor, targets: Tensor) -> Tensor:
    """(B, E) probabilities and 0 or 1 -> (E, 2, BINS) counts of each in the probability bins."""
    entities = scores.shape[1]
    step = (scores.float() * BINS).long().clamp(0, BINS - 1)
    place = (torch.arange(entities, device=scores.device) * 2 + targets.long()) * BINS + step
    return torch.bincount(place.flatten(), minlength=entities * 2 * BINS).view(entities, 2, BINS)


class PretextMetrics(Metric):
    """Sums the counts of :class:`PretextStep`; its value is the sum by which ARL selects its checkpoint.

    That is masked-token accuracy + matching accuracy - masked-image loss - alignment loss, as far as these exist.
    The parts are also in ``engine.state.metrics`` and in :attr:`parts`: ``<loss>`` for each loss;
    ``masked_token_accuracy``, ``masked_entity_accuracy`` (tokens of linked entities), ``matching_accuracy``;
    ``alignment_<image or text>_auc`` (mean over the entities that some reports name and some do not) and ``…_f1`` (at
    a probability of 1/2, over all entities together). ``…_floor`` is the value for the most frequent answer.

    Example::

        key_metric:
          pretext_score:
            _target_: medvlp_arl.pretext_metrics.PretextMetrics
    """

    _state_dict_all_req_keys = ("_sums",)

    def __init__(
        self, output_transform: Callable[[Any], Any] = lambda output: (output,), device: str | torch.device = "cpu"
    ) -> None:
        self.parts: dict[str, float] = {}
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self._sums: dict[str, Tensor] = {}

    @reinit__is_reduced
    def update(self, output: tuple[Mapping[str, Tensor]]) -> None:
        for key, value in output[0].items():  # in a tuple: Ignite reads a bare mapping as predictions and targets
            value = value.detach().to(self._device, torch.float64)
            self._sums[key] = self._sums[key] + value if key in self._sums else value

    def compute(self) -> float:
        sums = dict(self._sums)
        if dist.is_available() and dist.is_initialized():
            # Gathered as objects, because a rank may have no batch.
            gathered: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(gathered, sums)
            keys = {key: None for rank in gathered for key in rank}
            sums = {key: sum(rank[key] for rank in gathered if key in rank) for key in keys}
        if not sums:
            raise NotComputableError("no batch was seen; is the validation set empty?")
        self.parts = _parts(sums)
        signs = {
            "masked_token_accuracy": 1,
            "matching_accuracy": 1,
            **{key.removesuffix(":unpredicted"): -1 for key in sums if key.endswith(":unpredicted")},
            **{key.removesuffix(":image"): -1 for key in sums if key.endswith(":image")},
        }
        known = [sign * self.parts[name] for name, sign in signs.items() if name in self.parts]
        if not known:  # only losses of other plugins: lower is better
            known = [-value for key, value in self.parts.items() if f"{key}:sum" in sums]
        return float(sum(known))

    def completed(self, engine: Engine, name: str) -> None:
        super().completed(engine, name)
        engine.state.metrics.update(self.parts)


def _parts(sums: Mapping[str, Tensor]) -> dict[str, float]:
    parts: dict[str, float] = {}
    for key, value in sums.items():
        name, _, kind = key.rpartition(":")
        if kind == "sum":
            parts[name] = _share(value, sums[f"{name}:count"])
        elif kind in ("token_right", "entity_right"):
            what = f"masked_{kind.removesuffix('_right')}"
            parts |= _accuracy(what, value, sums[key.replace("right", "answers")])
        elif kind == "right":
            parts |= _accuracy("matching", value, sums[f"{name}:answers"])
        elif kind == "unpredicted":
            parts[f"{name}_floor"] = _share(value, sums[f"{name}:count"])
        elif kind in ("image", "text"):
            parts |= {f"alignment_{kind}_{what}": score for what, score in alignment_scores(value).items()}
    return parts


def _accuracy(what: str, right: Tensor, answers: Tensor) -> dict[str, float]:
    total = answers.sum()
    return {f"{what}_accuracy": _share(right, total), f"{what}_floor": _share(answers.max(), total)}


def _share(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if float(whole) > 0 else float("nan")


def alignment_scores(histogram: Tensor) -> dict[str, float]:
    """(E, 2, bins) of absent and present -> ``auc``, ``f1``, and ``f1_floor`` for the more frequent answers."""
    absent, present = histogram[:, 0], histogram[:, 1]
    negatives, positives = absent.sum(dim=1), present.sum(dim=1)
    # Pairs with the present one ranked above the absent one; those in the same bin count half.
    below = absent.cumsum(dim=1) - absent / 2
    counted = (negatives > 0) & (positives > 0)
    areas = (present * below).sum(dim=1)[counted] / (positives * negatives)[counted]
    half = histogram.shape[2] // 2
    likely = positives > negatives
    return {
        "auc": float(areas.mean()) if bool(counted.any()) else float("nan"),
        "f1": _f1(present[:, half:].sum(), absent[:, half:].sum(), present[:, :half].sum()),
        "f1_floor": _f1(positives[likely].sum(), negatives[likely].sum(), positives[~likely].sum()),
    }


def _f1(right: Tensor, false: Tensor, missed: Tensor) -> float:
    return _share(2 * right, 2 * right + false + missed)
