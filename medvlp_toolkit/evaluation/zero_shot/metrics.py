"""The validation metric of training: AUC of the entity scores on the whole validation set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from sklearn.metrics import roc_auc_score
from torch import Tensor

from medvlp_toolkit.data.batches.draws import study_keys
from medvlp_toolkit.engines.ranks import of_all_ranks
from medvlp_toolkit.evaluation.statistics.counting import is_counted
from medvlp_toolkit.evaluation.statistics.pooling import Pool, StudyPooling, checked_pool
from medvlp_toolkit.interfaces import ABSENT, NOT_MENTIONED, PRESENT


class EntityAUC(Metric):
    """Macro AUC over entities, from the scores of all ranks, by study as in :class:`Classification`.

    ``update`` takes ``(scores (B, Q), presence (B, Q), study ids)``, which ``output_transform`` extracts from the
    evaluator's output (by default its entries ``scores``, ``entity_presence`` and ``study_id``), as tensors or as lists
    of B tensors (Q,), as MONAI's ``from_engine`` returns after decollation. Without ids every image is a study.
    Presence values other than 1 and 0 are ignored. An entity is included if at least ``min_positives`` studies have it
    present and as many absent; the mean is NaN if none has.

    Args:
        pool: the scores of a study's images are made one, as their ``mean`` or ``max``; None takes each image.

    After ``compute`` :attr:`per_entity` holds (Q,) AUCs, NaN for the entities left out.

    Example::

        key_metric:
          entity_auc:
            _target_: medvlp_toolkit.evaluation.zero_shot.metrics.EntityAUC
            min_positives: 3
    """

    _state_dict_all_req_keys = ("_scores", "_presence", "_studies")

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = lambda output: (
            output["scores"],
            output["entity_presence"],
            output.get("study_id"),
        ),
        min_positives: int = 1,
        pool: Pool | None = "mean",
        device: str | torch.device = "cpu",
    ) -> None:
        if min_positives < 1:
            raise ValueError(f"EntityAUC needs min_positives of at least 1, got {min_positives}")
        self.min_positives, self.pool = min_positives, checked_pool(pool)
        self.per_entity: np.ndarray = np.zeros(0)
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        self._scores: list[Tensor] = []
        self._presence: list[Tensor] = []
        self._studies: list[Tensor] = []

    @reinit__is_reduced
    def update(self, output: Sequence[Any]) -> None:
        scores, presence = (_batch(part) for part in output[:2])
        studies = output[2] if len(output) > 2 else None
        if scores.ndim != 2 or scores.shape != presence.shape:
            raise ValueError(
                f"EntityAUC takes scores and presence (B, Q) alike, got {tuple(scores.shape)} and "
                f"{tuple(presence.shape)}"
            )
        stated = (presence == PRESENT) | (presence == ABSENT)
        self._scores.append(scores.detach().to(self._device, torch.float32))
        # As numbers, so that ranks exchange tensors and no ids.
        self._studies.append(torch.from_numpy(study_keys(list(studies or ())).view(np.int64)))
        self._presence.append(torch.where(stated, presence, NOT_MENTIONED).detach().to(self._device, torch.int8))

    def compute(self) -> float:
        own = zip(self._scores, self._presence, self._studies, strict=True)
        # Gathered as objects, because shares differ in length and may be empty.
        parts = [part for rank in of_all_ranks([tuple(piece.cpu() for piece in part) for part in own]) for part in rank]
        if not parts:
            raise NotComputableError("EntityAUC has seen no image; is the validation set empty?")
        scores, presence, studies = (torch.cat(pieces).numpy() for pieces in zip(*parts, strict=True))
        if len(studies) == len(scores):
            pooling = StudyPooling(studies.tolist(), self.pool)
            scores, presence = pooling.scores(scores), pooling.targets(presence)
        self.per_entity = np.array([self._auc(scores[:, q], presence[:, q]) for q in range(scores.shape[1])])
        counted = self.per_entity[np.isfinite(self.per_entity)]
        return float(counted.mean()) if len(counted) else float("nan")

    def _auc(self, scores: np.ndarray, presence: np.ndarray) -> float:
        present, absent = presence == PRESENT, presence == ABSENT
        if not is_counted(present.sum(), absent.sum(), self.min_positives) or not np.isfinite(scores).all():
            return float("nan")
        stated = present | absent
        return float(roc_auc_score(present[stated], scores[stated]))


def _batch(part: Any) -> Tensor:
    return part if isinstance(part, Tensor) else torch.stack([torch.as_tensor(row) for row in part])
