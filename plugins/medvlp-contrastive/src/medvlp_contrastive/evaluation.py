"""Evaluates a dual encoder: findings by prompts and by description, and retrieval of reports by images and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medvlp_contrastive.pairing import unit
from medvlp_contrastive.prompts import Prompts
from medvlp_contrastive.scorer import PromptScorer
from medvlp_toolkit.engines import Precision
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation import Classification, HeatMapper, Measure, ScoringStep, retrieval_metrics
from medvlp_toolkit.evaluation.pairs.retrieval_metrics import Ties
from medvlp_toolkit.evaluation.zero_shot.measure import ScoredBatch, ScoredSet
from medvlp_toolkit.evaluation.zero_shot.studies import EvaluatedStudies
from medvlp_toolkit.model import Encodings, VisionLanguageModel


class PairScoringStep(ScoringStep):
    """A scoring step that keeps the embeddings of images and reports, and scores images by other prompts too.

    The network is a :class:`~medvlp_contrastive.scorer.PromptScorer`. The output has in addition ``image_embedding``
    and, of batches with report tokens, ``text_embedding`` (B, D) of length 1, and ``other_scores``: name -> (B, Q).

    Args:
        transform, precision: see :class:`~medvlp_toolkit.evaluation.ScoringStep`.
        model: the network's, with its text side.
        others: name -> prompts of the same findings in other words.
        text_length: tokens after which these are cut.
    """

    def __init__(
        self,
        transform: Transform,
        model: VisionLanguageModel,
        others: Mapping[str, Prompts] | None = None,
        text_length: int = 128,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(transform, precision)
        self.model, self.others, self.text_length = model, dict(others or {}), text_length
        self._vectors: dict[str, Tensor] = {}

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        output: dict[str, Any] = {key: batch[key] for key in self._KEPT if key in batch}
        network: Any = unwrap(engine.network)
        image = engine.inferer(prepared["image"], network.embed)
        model = self.model.to(image.device).eval()
        if "input_ids" in prepared:
            output["text_embedding"] = unit(Encodings(model, prepared).text_summary())
        scores = {name: network.score(image, vectors) for name, vectors in self._other_vectors(network).items()}
        return {
            **output, "scores": network.score(image, network.prompts), "image_embedding": image, "other_scores": scores
        }  # fmt: skip

    def _other_vectors(self, network: PromptScorer) -> dict[str, Tensor]:
        if not self._vectors:
            for name, prompts in self.others.items():
                if len(prompts) != len(network.prompts):
                    raise ValueError(
                        f"the prompts {name!r} ask for {len(prompts)} findings, and the model scores "
                        f"{len(network.prompts)}; phrase the same definitions"
                    )
                self._vectors[name] = prompts.vectors(self.model, self.text_length)
        return self._vectors


class OtherPrompts(Measure):
    """``zero_shot_by``: name -> what :class:`~medvlp_toolkit.evaluation.Classification` gives of the other prompts.

    Args:
        min_positives: see there.
    """

    def __init__(self, min_positives: int = 1) -> None:
        self._classification = Classification(min_positives)

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._classification.begin(studies, mapper)
        self._scores: dict[str, list[NDArray[np.float32]]] = {}

    def collect(self, batch: ScoredBatch) -> None:
        for name, scores in batch.output.get("other_scores", {}).items():
            self._scores.setdefault(name, []).append(scores.float().cpu().numpy())

    def finish(self, scored: ScoredSet) -> dict[str, Any]:
        measured = {
            name: self._classification.finish(replace(scored, scores=np.concatenate(parts))).get("zero_shot")
            for name, parts in self._scores.items()
        }
        found = {name: metrics for name, metrics in measured.items() if metrics}
        return {"zero_shot_by": found} if found else {}


class ReportRetrieval(Measure):
    """``retrieval``: which report belongs to an image, and which image to a report, by the cosine of the two towers.

    Reports of the same words are one candidate, and right for the images of each. Images without a report are left out.

    Args:
        most: of more images than this, so many are chosen, the same for a seed; None takes all. Recall depends on how
            many there are.
        ties: see :func:`~medvlp_toolkit.evaluation.ranks`.
        seed: of the choice.
    """

    def __init__(self, most: int | None = 2000, ties: Ties = "pessimistic", seed: int = 42) -> None:
        self.most, self.ties, self.seed = most, ties, seed

    def begin(self, studies: EvaluatedStudies, mapper: HeatMapper) -> None:
        super().begin(studies, mapper)
        self._images: list[NDArray[np.float32]] = []
        self._texts: list[NDArray[np.float32]] = []

    def collect(self, batch: ScoredBatch) -> None:
        if "text_embedding" in batch.output:
            self._images.append(batch.output["image_embedding"].cpu().numpy())
            self._texts.append(batch.output["text_embedding"].cpu().numpy())

    def finish(self, scored: ScoredSet) -> dict[str, Any]:
        if not self._texts:
            return {}
        written = [text or "" for text in self.studies.store.values("text", scored.rows) or []]
        chosen = np.array([n for n in np.flatnonzero(scored.tested) if written[n].strip()], dtype=np.int64)
        if self.most is not None and len(chosen) > self.most:
            chosen = np.sort(np.random.default_rng(self.seed).permutation(chosen)[: self.most])
        if not len(chosen):
            return {}
        texts = [written[n] for n in chosen]
        number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        first = [chosen[texts.index(text)] for text in number]
        cosines = np.concatenate(self._images)[chosen] @ np.concatenate(self._texts)[first].T
        measured = retrieval_metrics(cosines, range(len(number)), [number[text] for text in texts], self.ties)
        return {"retrieval": {"image and report by their cosine": measured}}
