"""Evaluation of networks fine-tuned on image-text pairs: the prediction step, and the metrics of the test set."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ignite.engine import Engine
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.pairs import PairDataset, PairTable
from medvlp_toolkit.engines.device import Precision
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation.handler import Evaluation
from medvlp_toolkit.evaluation.pairs.answer_metrics import answer_metrics, class_metrics, majority_baselines
from medvlp_toolkit.evaluation.step import EvaluationStep
from medvlp_toolkit.evaluation.zero_shot.classification import score_table


class AnswerStep(EvaluationStep):
    """Answer one batch.

    The network is a :class:`~medvlp_toolkit.downstream.PairClassifier`. The output holds ``logits``
    (B, answers) float32, ``answer`` (B,), and the batch's ``pair`` and ``study_id``; with ``need_attention``
    ``attention`` (B, layers, L, N), None if the fusion module returns none, and ``image_shape``.

    Args:
        transform, precision: see :class:`~medvlp_toolkit.evaluation.EvaluationStep`.
        need_attention: keep the fusion module's attention.
    """

    def __init__(self, transform: Transform, precision: Precision = "fp32", need_attention: bool = False) -> None:
        super().__init__(transform, precision)
        self.need_attention = need_attention

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        output = {key: batch[key] for key in ("answer", "pair", "study_id") if key in batch}
        if "answer" in output:
            output["answer"] = prepared["answer"]
        if self.need_attention:
            logits, fused = unwrap(engine.network).answer(prepared, need_attention=True)  # type: ignore[operator]
            output |= {"attention": fused.attention, "image_shape": tuple(prepared["image"].shape[2:])}
        else:
            logits = engine.inferer(prepared, engine.network)
        return {**output, "logits": logits.float()}


class AnswerEvaluation(Evaluation):
    """Accuracy of answers on the test questions.

    A handler of an evaluator whose step is :class:`AnswerStep`. With an ``output_dir`` it writes ``metrics.json``,
    ``run.json``, ``scores.parquet`` (label ``correct``: is the answer right, and its probability) and
    ``answers.csv``; without, it only keeps ``metrics``, for another evaluation to report.

    Args:
        dataset: the questions.
        output_dir: the results folder; None keeps the metrics only.
        trained: the training questions, for the baselines that ignore the image; None skips them.
        controls: name -> an earlier evaluation of the same questions with other images; the difference shows how much
            the model uses the image.
        metrics_of: ``answers``, or ``classes`` for captions with one class each.
        title, config, checkpoint, seconds: see :class:`~medvlp_toolkit.evaluation.Evaluation`.
    """

    def __init__(
        self,
        dataset: PairDataset,
        output_dir: str | Path | None = None,
        trained: PairTable | None = None,
        controls: Mapping[str, AnswerEvaluation] | None = None,
        metrics_of: Literal["answers", "classes"] = "answers",
        title: str = "",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
        seconds: Mapping[str, float] | Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        if dataset.vocabulary is None:
            raise ValueError("the data set has no answer vocabulary; give it the checkpoint's")
        self.trained = trained
        self.controls = dict(controls or {})
        self.metrics_of = metrics_of
        self.metrics: dict[str, Any] = {}
        super().__init__(dataset, output_dir, title, config, checkpoint, seconds)

    def about(self) -> str:
        control = f" with {self.dataset.images} images, for comparison:" if self.dataset.images != "own" else ""
        return super().about() + control

    def begin(self) -> None:
        super().begin()
        self._pairs: list[NDArray[Any]] = []
        self._given: list[NDArray[Any]] = []
        self._probability: list[NDArray[Any]] = []

    def collect(self, output: Mapping[str, Any]) -> None:
        probability, given = output["logits"].softmax(dim=1).max(dim=1)
        self._pairs.append(output["pair"].cpu().numpy())
        self._given.append(given.cpu().numpy())
        self._probability.append(probability.cpu().numpy())

    def finish(self, engine: Engine) -> None:
        pairs, given, probability = (np.concatenate(part) for part in (self._pairs, self._given, self._probability))
        table, answers = self.dataset.table, self.dataset.answers
        assert answers is not None
        true = answers.numpy()[pairs]
        self.metrics = answer_metrics(
            given,
            true,
            [table.category[pair] for pair in pairs],
            [table.answer_type[pair] for pair in pairs],
            table.row[pairs],
        )
        if self.metrics_of == "classes":
            names = self.dataset.vocabulary.answers if self.dataset.vocabulary else ()
            self.metrics["classes"] = class_metrics(given, true, names)
        engine.state.metrics["accuracy"] = self.metrics["overall"]["accuracy"]
        if not self.writes:
            return
        if self.trained is not None:
            self.metrics["baselines"] = self._baselines(self.trained, pairs)
        if self.controls:
            self.metrics["controls"] = {name: control.metrics for name, control in self.controls.items()}
        correct = (given == true).astype(np.int8)
        ids = [table.id[pair] for pair in pairs]
        images = self.dataset.store.image_ids(table.row[pairs])
        patients = self.dataset.store.values("patient_id", table.row[pairs])
        scores = score_table(ids, correct[:, None], probability[:, None], ["correct"], patient_id=patients)
        listed = self._list(pairs, given, probability, images)
        self.write(engine.state.device, scores, {self.metrics_of: self.metrics}, {"every answer": listed})

    def _baselines(self, trained: PairTable, pairs: NDArray[Any]) -> dict[str, dict[str, float]]:
        clean = self.dataset.vocabulary.clean if self.dataset.vocabulary else str
        tested = self.dataset.table
        return majority_baselines(
            (trained.text, [clean(str(answer)) for answer in trained.answer], trained.category),
            (
                [tested.text[pair] for pair in pairs],
                [clean(str(tested.answer[pair])) for pair in pairs],
                [tested.category[pair] for pair in pairs],
            ),
        )

    def _list(
        self,
        pairs: NDArray[Any],
        given: NDArray[Any],
        probability: NDArray[Any],
        images: list[Any],
    ) -> Path:
        """``answers.csv``, a row per question."""
        assert self.dataset.vocabulary is not None
        names, table = self.dataset.vocabulary.answers, self.dataset.table
        path = self.output_dir / "answers.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["id", "image", "category", "text", "answer", "given", "probability"])
            for pair, answer, share, image in zip(pairs, given, probability, images, strict=True):
                row = [table.id[pair], image, table.category[pair], table.text[pair], table.answer[pair]]
                writer.writerow([*row, names[answer], f"{share:.4f}"])
        return path
