"""What answering questions about image files writes: the likeliest answers, and where the model looked."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from medvlp_toolkit.data.batches.answers import AnswerVocabulary
from medvlp_toolkit.evaluation.maps.heat_maps import attention_maps
from medvlp_toolkit.evaluation.maps.overlays import Overlay, write_overlays


class AnswerWriter:
    """Prints and writes the likeliest answers, and draws the question's attention over the image.

    A handler of an evaluator whose step is :class:`~medvlp_toolkit.evaluation.AnswerStep` with ``need_attention``.
    ``answers.csv`` has a row per image, question and answer. Pictures are numbered, not named by their images; each
    shows the attention of the question's tokens over the image, averaged over tokens, layers and heads.

    Args:
        vocabulary: the checkpoint's answers.
        output_dir: made where it does not exist.
        grid: the image tokens' grid.
        prefix_tokens: image tokens before that grid.
        token_shift: where tokens look within their cell.
        top: answers to list.
        most_pictures: questions after this many get no picture.
    """

    def __init__(
        self,
        vocabulary: AnswerVocabulary,
        output_dir: str | Path,
        grid: Sequence[int],
        prefix_tokens: int = 0,
        token_shift: Sequence[float] = (),
        top: int = 5,
        most_pictures: int = 64,
    ) -> None:
        self.vocabulary = vocabulary
        self.output_dir = Path(output_dir)
        self.grid, self.prefix_tokens, self.token_shift = tuple(grid), prefix_tokens, tuple(token_shift)
        self.top = min(top, len(vocabulary))
        self.most_pictures = most_pictures
        self._begin()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _begin(self, engine: Engine | None = None) -> None:
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
        if output.get("attention") is not None:
            self._draw(output["attention"].float(), batch, probabilities)
        self._names += asked
        self._probabilities.append(probabilities)

    def _draw(self, attention: Any, batch: Any, probabilities: NDArray[Any]) -> None:
        words = batch["attention_mask"].to(attention)
        words[:, 0] = 0  # the class token
        mean = (attention * words[:, None, :, None]).sum(dim=2) / words.sum(dim=1)[:, None, None].clamp(min=1)
        maps = attention_maps(mean[:, :, None], self.grid, prefix_tokens=self.prefix_tokens)[:, 0]
        images = batch["image"].cpu().numpy()
        for i, heat in enumerate(maps):
            if len(self._overlays) == self.most_pictures:
                return
            best = int(probabilities[i].argmax())
            image = images[int(batch["image_index"][i])]
            answer = self.vocabulary.answers[best]
            self._overlays.append(Overlay(image, heat, answer, float(probabilities[i, best]), shift=self.token_shift))

    def _finish(self, engine: Engine) -> None:
        if not self._names:
            raise ValueError("no image could be read, so there is nothing to answer")
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
        console = Console()
        for line in range(min(len(self._names), 8)):
            table = Table("answer", "probability", title=self._names[line][1], title_justify="left")
            for number in best[line].tolist():
                table.add_row(self.vocabulary.answers[number], f"{probabilities[line, number]:.3f}")
            console.print(table)
        console.print(f"answers: {path}", soft_wrap=True, highlight=False)
        pictures = write_overlays(self.output_dir / "attention", self._overlays)
        if pictures:
            console.print(f"where the questions looked: {pictures[0]}", soft_wrap=True, highlight=False)
