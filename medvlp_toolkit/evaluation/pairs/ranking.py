"""Ranks texts for images and images for texts, from files, and writes the result."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from medvlp_toolkit.engines.device import Precision, to_device
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation.pairs.retrieval import EncodedPairs, score_pairs
from medvlp_toolkit.evaluation.scoring_progress import ScoringProgress
from medvlp_toolkit.evaluation.step import EvaluationStep
from medvlp_toolkit.terminal import console


class RankingStep(EvaluationStep):
    """Score a batch of images with every text.

    The network is a :class:`~medvlp_toolkit.downstream.PairScorer`. Texts are encoded once, with the first
    batch. The output holds ``scores`` (images, texts) float32 and the batch's ``study_id``.

    Args:
        texts: the model's inputs for the texts; see :func:`~medvlp_toolkit.data.inputs.text_lines.encode_texts`.
        transform, precision: see :class:`~medvlp_toolkit.evaluation.EvaluationStep`.
        batch_size: number of texts encoded at a time.
        pairs_per_batch: number of pairs fused at a time.
    """

    def __init__(
        self,
        texts: Mapping[str, Tensor],
        transform: Transform,
        precision: Precision = "fp32",
        batch_size: int = 64,
        pairs_per_batch: int = 256,
    ) -> None:
        super().__init__(transform, precision)
        self.texts = dict(texts)
        self.batch_size, self.pairs_per_batch = batch_size, pairs_per_batch
        self._encoded: tuple[Tensor, Tensor, Any] | None = None

    def predict(self, engine: Any, batch: Mapping[str, Any], prepared: dict[str, Any]) -> dict[str, Any]:
        scorer: Any = unwrap(engine.network)
        if self._encoded is None:
            self._encoded = self._encode(scorer, engine.state.device)
        text, mask, knowledge = self._encoded
        names = list(batch["study_id"])
        scores = np.zeros((0, len(text)), np.float32)
        if names:
            tokens = engine.inferer(prepared["image"], scorer.pairs.images).float()
            unknown = np.full(len(text), -1)  # which texts match the image is unknown
            encoded = EncodedPairs(tokens, text, mask, knowledge, np.arange(len(tokens)), unknown)
            scores = score_pairs(scorer, encoded, None, self.pairs_per_batch, self.precision)
        return {"scores": scores, "study_id": names}

    def _encode(self, scorer: Any, device: torch.device) -> tuple[Tensor, Tensor, Any]:
        texts: dict[str, Tensor] = to_device(self.texts, device)
        mask = texts["attention_mask"]
        parts = [
            scorer.pairs.texts({name: value[start : start + self.batch_size] for name, value in texts.items()})
            for start in range(0, len(mask), self.batch_size)
        ]
        return torch.cat(parts).float(), mask, scorer.pairs.knowledge(texts)


class RankingWriter:
    """Writes ``retrieval.csv`` and prints the best matches of each image and each text.

    A handler of an evaluator whose step is :class:`RankingStep`. The file has a row per image and text: ``image`` (the
    file's name), ``text`` (its number), ``score``, ``text_rank`` among the image's texts and ``image_rank`` among the
    text's images; equal scores rank in the order given. Neither file nor console contains a text, and the console
    numbers the images in the file's order, since a file name may identify the patient.

    Args:
        numbers: of the texts, in the order of the scores.
        output_dir: created if it does not exist.
        top: number of matches to print for each.
        most_printed: maximum number of images, and of texts, to print; the file has all.
    """

    def __init__(self, numbers: Sequence[int], output_dir: str | Path, top: int = 5, most_printed: int = 20) -> None:
        self.numbers = list(numbers)
        self.output_dir = Path(output_dir)
        self.top, self.most_printed = top, most_printed
        self._begin()

    def attach(self, engine: Engine) -> None:
        ScoringProgress(f"ranking {len(self.numbers)} texts for", "image").attach(engine)
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _begin(self, engine: Engine | None = None) -> None:
        self._names: list[str] = []
        self._scores: list[NDArray[np.float32]] = []

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self._names += output["study_id"]
        self._scores.append(output["scores"])

    def _finish(self, engine: Engine) -> None:
        if not self._names:
            raise ValueError("no image could be read, so no texts can be ranked")
        scores = np.concatenate(self._scores)
        texts, images = ordinals(scores), ordinals(scores.T).T
        self.output_dir.mkdir(parents=True, exist_ok=True)
        path = self.output_dir / "retrieval.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["image", "text", "score", "text_rank", "image_rank"])
            for line, name in enumerate(self._names):
                for place in np.argsort(texts[line]).tolist():
                    found = (f"{scores[line, place]:.7g}", texts[line, place], images[line, place])
                    writer.writerow([name, self.numbers[place], *found])
        out = console()
        positions = list(range(1, len(self._names) + 1))
        if len(self.numbers) > 1 or len(positions) == 1:
            self._print(out, ("image", positions), ("text", self.numbers), scores)
        if len(positions) > 1:
            self._print(out, ("text", self.numbers), ("image", positions), scores.T)
        out.print(f"every score: {path}", soft_wrap=True, highlight=False)

    def _print(
        self,
        out: Console,
        query: tuple[str, list[int]],
        candidate: tuple[str, list[int]],
        scores: NDArray[np.float32],
    ) -> None:
        table = Table(query[0], f"{candidate[0]}s by number, best first (score)")
        for number, line in zip(query[1][: self.most_printed], scores, strict=False):
            best = np.argsort(-line, kind="stable")[: self.top].tolist()
            table.add_row(str(number), "  ".join(f"{candidate[1][place]} ({line[place]:.2f})" for place in best))
        out.print(table)


def ordinals(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """(queries, candidates) scores -> ranks from 1 within each query; ties in candidate order."""
    order = np.argsort(-scores, axis=1, kind="stable")
    rank = np.empty(scores.shape, np.int64)
    np.put_along_axis(rank, order, np.arange(1, scores.shape[1] + 1)[None], axis=1)
    return rank
