"""Fine-tuning on pairs of an image and a text: prediction, and what is measured when the test set is done."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.pairs import PairDataset, PairTable
from medvlp_toolkit.engines.device import Precision, autocast, to_device
from medvlp_toolkit.engines.finetuning_step import Transform
from medvlp_toolkit.evaluation.handler import FinetuningEvaluation
from medvlp_toolkit.evaluation.pairs.answer_metrics import answer_metrics, class_metrics, majority_baselines
from medvlp_toolkit.evaluation.zero_shot.classification import score_table


class AnswerStep:
    """Answer one batch: ``iteration_update`` of MONAI's ``SupervisedEvaluator``.

    The network is a :class:`~medvlp_toolkit.downstream.PairClassifier`. The output holds ``logits``
    (B, answers) float32, ``answer`` (B,), and the batch's ``pair`` and ``study_id``.

    Args:
        transform: from the stored batch to the network's.
        precision: ``fp32`` or ``bf16``.
        need_attention: keep the fusion module's attention (B, layers, L, N).
    """

    def __init__(self, transform: Transform, precision: Precision = "fp32", need_attention: bool = False) -> None:
        self.transform = transform
        self.precision: Precision = precision
        self.need_attention = need_attention

    @torch.no_grad()
    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        device = engine.state.device
        prepared = self.transform(to_device(batch, device))
        engine.network.eval()
        output = {key: batch[key] for key in ("answer", "pair", "study_id") if key in batch}
        if "answer" in output:
            output["answer"] = prepared["answer"]
        with autocast(device, self.precision):
            if self.need_attention:
                logits, fused = engine.network.answer(prepared, need_attention=True)
                output["attention"] = fused.attention
            else:
                logits = engine.inferer(prepared, engine.network)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {**output, "logits": logits.float()}


class AnswerEvaluation(FinetuningEvaluation):
    """Accuracy of answers on the test questions.

    A handler of an evaluator whose step is :class:`AnswerStep`. With an ``output_dir`` it writes ``metrics.json``,
    ``run.json``, ``scores.parquet`` (label ``correct``: is the answer right, and its probability) and
    ``answers.csv``; without, it only keeps ``metrics``, for another evaluation to show.

    Args:
        dataset: what is answered.
        output_dir: the results folder; None keeps the metrics only.
        trained: the training questions, to say what not looking would score; None leaves that out.
        controls: name -> an evaluation that ran before this one, of the same questions with other images: by how
            much it is worse says how much the image matters.
        metrics_of: ``answers``, or ``classes`` for captions with a class each.
        title, config, checkpoint, seconds: see :class:`~medvlp_toolkit.evaluation.FinetuningEvaluation`.
    """

    dataset: PairDataset  # type: ignore[assignment]

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
            raise ValueError("answers are evaluated against a vocabulary; give the data set the checkpoint's")
        self.writes = output_dir is not None
        self.trained = trained
        self.controls = dict(controls or {})
        self.metrics_of = metrics_of
        self.metrics: dict[str, Any] = {}
        super().__init__(
            dataset,  # type: ignore[arg-type]
            output_dir or ".",
            title,
            config,
            checkpoint,
            seconds,
        )

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
        images = self.dataset.store.values("study_id", table.row[pairs]) or ids
        scores = score_table(ids, correct[:, None], probability[:, None], ["correct"], patient_id=images)
        listed = self._list(pairs, given, probability, images)
        self.write(engine, scores, {self.metrics_of: self.metrics}, {"every answer": listed})

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
