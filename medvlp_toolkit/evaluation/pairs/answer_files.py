"""Files written when answering questions about image files: the most likely answers, and heat maps."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from rich.table import Table

from medvlp_toolkit.data.batches.answers import AnswerVocabulary
from medvlp_toolkit.engines.parallel import unwrap
from medvlp_toolkit.evaluation.maps.heat_mapper import HeatMapper
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_overlays
from medvlp_toolkit.evaluation.maps.volume_slices import overlay_of
from medvlp_toolkit.evaluation.scoring_progress import ScoringProgress
from medvlp_toolkit.terminal import console


class AnswerWriter:
    """Prints and writes the most likely answers, and draws the question's attention over the image.

    A handler of an evaluator whose step is :class:`~medvlp_toolkit.evaluation.AnswerStep` with ``need_attention``.
    ``answers.csv`` has a row per image, question and answer. Pictures are numbered, not named by their images; each
    shows the attention of the question's tokens over the image, averaged over tokens, layers and heads.

    Args:
        vocabulary: the checkpoint's answers.
        output_dir: created if it does not exist.
        top: number of answers to list.
        most_pictures: maximum number of questions with a picture.
    """

    def __init__(
        self,
        vocabulary: AnswerVocabulary,
        output_dir: str | Path,
        top: int = 5,
        most_pictures: int = 64,
    ) -> None:
        self.vocabulary = vocabulary
        self.output_dir = Path(output_dir)
        self.top = min(top, len(vocabulary))
        self.most_pictures = most_pictures
        self._begin()

    def attach(self, engine: Engine) -> None:
        ScoringProgress("answering questions about", "image").attach(engine)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Any) -> None:
        network: Any = unwrap(engine.network)
        self._mapper = HeatMapper(network, what="attention pictures")
        self._class_tokens = int(network.pairs.model.text_encoder.num_prefix_tokens)
        self._begin()

    def _begin(self) -> None:
        self._names: list[tuple[str, str]] = []
        self._probabilities: list[NDArray[Any]] = []
        self._overlays: list[Overlay] = []

    def _collect(self, engine: Engine) -> None:
        output: Any = engine.state.output
        batch: Any = engine.state.batch
        if not len(output["logits"]):
            return
        probabilities = output["logits"].softmax(dim=1).cpu().numpy()
        asked = list(zip(output["study_id"], batch["question"], strict=True))
        self._draw(output, batch, probabilities)
        self._names += asked
        self._probabilities.append(probabilities)

    def _draw(self, output: Any, batch: Any, probabilities: NDArray[Any]) -> None:
        attention = output.get("attention")
        if attention is not None:
            words = batch["attention_mask"].to(attention.device, torch.float32)
            words[:, : self._class_tokens] = 0
            weights = words / words.sum(dim=1, keepdim=True).clamp(min=1)
            # The attention of one query, the whole question.
            output = {**output, "attention": torch.einsum("bkln,bl->bkn", attention.float(), weights)[:, :, None]}
        maps = self._mapper.maps(output)
        if maps is None:
            return
        images = batch["image"].cpu().numpy()
        for i, heat in enumerate(maps[:, 0]):
            if len(self._overlays) == self.most_pictures:
                return
            best = int(probabilities[i].argmax())
            image = images[int(batch["image_index"][i])]
            answer = self.vocabulary.answers[best]
            self._overlays.append(
                overlay_of(image, heat, answer, float(probabilities[i, best]), shift=self._mapper.shift)
            )

    def _finish(self, engine: Engine) -> None:
        if not self._names:
            raise ValueError("no image could be read, so no question can be answered")
        probabilities = np.concatenate(self._probabilities)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top]
        self.output_dir.mkdir(parents=True, exist_ok=True)
        path = self.output_dir / "answers.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["image", "question", "rank", "answer", "probability"])
            for line, (image, question) in enumerate(self._names):
                for rank, number in enumerate(best[line].tolist(), start=1):
                    share = f"{probabilities[line, number]:.4f}"
                    writer.writerow([image, question, rank, self.vocabulary.answers[number], share])
        out = console()
        for line in range(min(len(self._names), 8)):
            table = Table("answer", "probability", title=self._names[line][1], title_justify="left")
            for number in best[line].tolist():
                table.add_row(self.vocabulary.answers[number], f"{probabilities[line, number]:.3f}")
            out.print(table)
        out.print(f"answers: {path}", soft_wrap=True, highlight=False)
        pictures = write_overlays(self.output_dir / "attention", self._overlays)
        if pictures:
            out.print(f"where the questions looked: {pictures[0]}", soft_wrap=True, highlight=False)
