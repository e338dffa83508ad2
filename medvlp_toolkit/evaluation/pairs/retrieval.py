"""Scores every image with every text: encodes each item once and fuses each pair once, in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medvlp_toolkit.data.batches.pairs import PairDataset
from medvlp_toolkit.downstream.pair_scorer import PairScorer
from medvlp_toolkit.engines.device import Precision, autocast, best_device, exact_float32, to_device
from medvlp_toolkit.engines.step import Transform
from medvlp_toolkit.evaluation.handler import Evaluation
from medvlp_toolkit.evaluation.pairs.retrieval_metrics import Ties, retrieval_metrics
from medvlp_toolkit.interfaces import Knowledge
from medvlp_toolkit.model.vision_language import text_summary


@dataclass(frozen=True)
class EncodedPairs:
    """Every image and text of a data set, encoded once.

    ``image`` (I, N, D), ``text`` (T, L, D), ``text_mask`` (T, L), ``knowledge`` of the texts, ``image_row`` (I,) rows
    of the store, ``owner`` (T,) the image of each text.
    """

    image: Tensor
    text: Tensor
    text_mask: Tensor
    knowledge: Knowledge | None
    image_row: NDArray[np.int64]
    owner: NDArray[np.int64]

    @property
    def pairs(self) -> int:
        return len(self.image) * len(self.text)


@torch.no_grad()
@exact_float32()
def encode_pairs(
    scorer: PairScorer,
    dataset: PairDataset,
    transform: Transform,
    batch_size: int = 64,
    device: torch.device | None = None,
    precision: Precision = "fp32",
) -> EncodedPairs:
    """Encode a data set whose items are images (``by_image: true``).

    Tokens are kept on ``device``: 2,000 images of 577 tokens of width 768 take 3.5 GB in float32.
    """
    device = device or best_device()
    scorer.to(device).eval()
    images, texts, rows, owners, batches = [], [], [], [], []
    seen = 0
    for start in range(0, len(dataset), batch_size):
        stored = dataset.__getitems__(range(start, min(start + batch_size, len(dataset))))
        batch = transform(to_device(stored, device))
        with autocast(device, precision):
            images.append(scorer.pairs.images(batch["image"]).float())
            texts.append(scorer.pairs.texts(batch).float())
        batches.append({name: batch[name] for name in batch if name in _KNOWLEDGE})
        rows.append(batch["image_row"].cpu().numpy())
        owners.append(batch["image_index"].cpu().numpy() + seen)
        seen += len(batch["image"])
    joined = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    with autocast(device, precision):
        knowledge = scorer.pairs.knowledge(joined)
    return EncodedPairs(
        torch.cat(images),
        torch.cat(texts),
        joined["attention_mask"],
        knowledge,
        np.concatenate(rows),
        np.concatenate(owners),
    )


_KNOWLEDGE = ("attention_mask", "linked_entities", "linked_entity_alignment")


@torch.no_grad()
@exact_float32()
def score_pairs(
    scorer: PairScorer,
    encoded: EncodedPairs,
    chosen: NDArray[np.bool_] | None = None,
    pairs_per_batch: int = 256,
    precision: Precision = "fp32",
) -> NDArray[np.float32]:
    """(images, texts) scores by the fusion module, -inf for pairs that are not ``chosen`` (all when None)."""
    scorer.eval()
    device = encoded.image.device
    scores = np.full((len(encoded.image), len(encoded.text)), -np.inf, np.float32)
    pairs = np.argwhere(np.ones_like(scores, bool) if chosen is None else chosen)
    for start in range(0, len(pairs), pairs_per_batch):
        part = pairs[start : start + pairs_per_batch]
        rows, lines = (torch.from_numpy(part[:, axis]).to(device) for axis in (0, 1))
        knowledge = encoded.knowledge
        linked = None if knowledge is None else Knowledge(*(entry[lines] for entry in knowledge))
        with autocast(device, precision):
            found = scorer.score(encoded.image[rows], encoded.text[lines], encoded.text_mask[lines], linked)
        scores[part[:, 0], part[:, 1]] = found.float().cpu().numpy()
    return scores


@torch.no_grad()
@exact_float32()
def first_stage(encoded: EncodedPairs, scorer: PairScorer) -> NDArray[np.float32]:
    """(images, texts) cosine similarity of the towers' summaries, as in a dual encoder without fusion."""
    model = scorer.pairs.model
    image = model.image_encoder.summary(encoded.image)  # type: ignore[operator]
    text = text_summary(model.text_encoder, encoded.text, encoded.text_mask)
    image, text = (torch.nn.functional.normalize(part.float(), dim=-1) for part in (image, text))
    cosines: NDArray[np.float32] = (image @ text.T).cpu().numpy()
    return cosines


def shortlist(coarse: NDArray[np.floating], keep: int) -> NDArray[np.bool_]:
    """(images, texts) True for the ``keep`` best texts of every image and the ``keep`` best images of every text."""
    chosen = np.zeros(coarse.shape, bool)
    texts = np.argsort(-coarse, axis=1, kind="stable")[:, :keep]
    np.put_along_axis(chosen, texts, True, axis=1)
    images = np.argsort(-coarse, axis=0, kind="stable")[:keep]
    np.put_along_axis(chosen, images, True, axis=0)
    return chosen


class RetrievalEvaluation(Evaluation):
    """Retrieval over a whole split: ``run()`` scores, measures and writes ``metrics.json``, ``scores.npy`` and more.

    It needs no evaluator: pairs are scored when all images and all texts are encoded.

    Args:
        scorer: the model.
        dataset: texts of the split, ``by_image``.
        transform: maps the stored batch to the model's input.
        output_dir: the results folder.
        rerank: None scores every pair with the fusion module; else the number of candidates, per image and per text,
            that the towers' summaries select for it; others are ranked last, unordered. For galleries too large to
            score all pairs; it requires towers pre-trained with a contrastive loss.
        batch_size: number of images encoded at a time.
        pairs_per_batch: number of pairs fused at a time.
        ties: see :func:`~medvlp_toolkit.evaluation.ranks`.
        device, precision: of the computation.
        title, config, checkpoint: see :class:`~medvlp_toolkit.evaluation.Evaluation`.
    """

    def __init__(
        self,
        scorer: PairScorer,
        dataset: PairDataset,
        transform: Transform,
        output_dir: str | Path,
        rerank: int | None = None,
        batch_size: int = 64,
        pairs_per_batch: int = 256,
        ties: Ties = "pessimistic",
        device: torch.device | None = None,
        precision: Precision = "fp32",
        title: str = "",
        config: Mapping[str, Any] | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        if rerank is not None and rerank < 1:
            raise ValueError(f"rerank is {rerank}; expected null (all pairs) or the number of candidates to keep")
        super().__init__(dataset, output_dir, title, config, checkpoint)
        self.scorer, self.transform = scorer, transform
        self.rerank, self.batch_size, self.pairs_per_batch, self.ties = rerank, batch_size, pairs_per_batch, ties
        self.device = device or best_device()
        self.precision: Precision = precision

    def run(self) -> dict[str, Any]:
        """Score, measure, write and print; returns the metrics."""
        self.begin()
        encoded = encode_pairs(self.scorer, self.dataset, self.transform, self.batch_size, self.device, self.precision)
        encoding = time.perf_counter() - self._started
        how, chosen = "every pair through the fusion module", None
        if self.rerank is not None:
            coarse = first_stage(encoded, self.scorer)
            chosen = shortlist(coarse, self.rerank)
            how = f"the best {self.rerank} of the towers through the fusion module"
        scored = encoded.pairs if chosen is None else int(chosen.sum())
        begun = time.perf_counter()
        scores = score_pairs(self.scorer, encoded, chosen, self.pairs_per_batch, self.precision)
        fusing = time.perf_counter() - begun
        images = self.dataset.store.values("study_id", encoded.image_row) or []
        owner = [images[number] for number in encoded.owner]
        measured = retrieval_metrics(scores, owner, images, self.ties)
        measured |= {"pairs": scored, "pairs_per_second": scored / max(fusing, 1e-9)}
        metrics: dict[str, Any] = {"retrieval": {how: measured}}
        metrics["seconds"] = {"encoding": round(encoding, 2), "scoring": round(fusing, 2)}
        self.replace_results()
        self.output_dir.mkdir(parents=True, exist_ok=True)
        np.save(self.output_dir / "scores.npy", scores)
        self.write(self.device, dict(self._table(scores, encoded, images)), metrics)
        return metrics

    def _table(self, scores: NDArray[np.float32], encoded: EncodedPairs, images: list[Any]) -> Iterator[Any]:
        """A row per text: whether its first retrieved image is correct, and the score of that match."""
        best = scores.argmax(axis=0)
        yield "study_id", [self.dataset.table.id[pair] for pair in self._order()]
        yield "patient_id", [images[number] for number in encoded.owner]
        yield "target:found", (best == encoded.owner).astype(np.int8)
        yield "score:found", scores.max(axis=0)

    def _order(self) -> NDArray[np.int64]:
        """Pairs in the order in which texts were encoded."""
        order: NDArray[np.int64] = np.concatenate(self.dataset.items)
        return order
