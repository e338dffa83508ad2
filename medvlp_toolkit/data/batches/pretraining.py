"""Batches for pre-training on reports: tokens, linked entities, masks and mismatched images."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from medvlp_toolkit.data.batches.dataset import StudyDataset, rows_of
from medvlp_toolkit.data.batches.draws import uniform
from medvlp_toolkit.data.batches.masking import WholeEntityMasking, without_masked
from medvlp_toolkit.data.batches.mismatches import Mismatches
from medvlp_toolkit.data.batches.report_links import ReportLinks
from medvlp_toolkit.data.knowledge_graph import KnowledgeGraph
from medvlp_toolkit.data.store.store import PackedStore
from medvlp_toolkit.data.store.tokens import Tokenizer, TokenTable, write_tokens

logger = logging.getLogger(__name__)

_PATCH_STREAM = 7


class PretrainingDataset(StudyDataset):
    """Studies with report tokens, and the random draws for masked modelling, matching and alignment.

    In addition to the keys of :class:`StudyDataset` a batch has ``input_ids`` and ``attention_mask``; with ``graph``
    the linked entities, their alignment with the tokens, ``image_entities`` and ``text_entities``; with ``masking`` the
    masked tokens (and the entities that overlap none); with ``patches`` ``patch_noise``; with ``matching`` ``is_pair``
    and ``negative_image`` for the mismatched rows. Every random choice depends only on (seed, epoch, study id).

    Args:
        store: folder of a packed store with reports, or the store.
        tokenizer: hub name, folder, or object. The store's token ids are computed at first use and cached.
        text_length: L, maximum number of tokens per report; a log line counts the truncated reports.
        long_reports: ``cut``, or ``refuse`` to raise an error if a report is longer.
        graph: the knowledge graph, or its file; None for a model without knowledge.
        max_entities: M, maximum number of mentions per report.
        negated: see :class:`ReportLinks`.
        masking: how tokens are masked; None masks none.
        patches: N, patches of an image, or their number along each axis; 0 draws no noise.
        matching: ``labels`` draws images of other studies with different labels (of other patients if the store has no
            labels), ``patients`` of other patients; None draws none.
        studies: arguments of :class:`StudyDataset`: ``splits``, ``entities``, ``labels``, ``seed`` …

    Raises:
        StoreError: when the store has no reports, or no linked entities although a graph is given.
        GraphError: when the graph contains none of the linked entities.
        ValueError: for a tokenizer without a mask token, or, with ``refuse``, a report longer than the limit.
    """

    def __init__(
        self,
        store: PackedStore | Path | str,
        tokenizer: Any,
        text_length: int = 64,
        long_reports: Literal["cut", "refuse"] = "cut",
        graph: KnowledgeGraph | Path | str | None = None,
        max_entities: int = 24,
        negated: Literal["keep", "drop"] = "keep",
        masking: WholeEntityMasking | None = None,
        patches: int | Sequence[int] = 0,
        matching: Literal["labels", "patients"] | None = None,
        **studies: Any,
    ) -> None:
        super().__init__(store, **studies)
        self.text_length = text_length
        own = Tokenizer(tokenizer, text_length)
        self.tokens = tokens_of(self.store, own)
        self.vocabulary_size = int(self.tokens.meta["vocabulary_size"])
        _say_cut(self.store.path, int(self.tokens.meta["truncated"]), len(self.store), text_length, long_reports)
        self.masking = masking
        self.mask_id = _mask_id(own, tokenizer) if masking is not None else -1
        self.patches = patches if isinstance(patches, int) else math.prod(patches)
        if isinstance(graph, (str, Path)):
            graph = KnowledgeGraph.read(graph)
        self.links = None if graph is None else ReportLinks(self.store, self.rows, graph, max_entities, negated)
        if matching not in (None, "labels", "patients"):
            raise ValueError(f"matching is labels, patients or nothing, not {matching!r}")
        if matching is not None and not self.store.has_images:
            raise ValueError(f"{self.store.path}: matching needs images, and this store has none")
        self.mismatches = None if matching is None else Mismatches(self._groups(matching))

    def _groups(self, matching: str) -> list[Any]:
        if matching == "labels" and self.store.labels:
            table = self.store.table("studies", [f"label:{name}" for name in self.store.labels])
            columns = [table.column(i).fill_null(-1).to_pylist() for i in range(table.num_columns)]
            vectors = list(zip(*columns, strict=True))
            # All images of a study are in one group, so that its report is never mismatched with another of them.
            of_study: dict[str, Any] = {}
            return [
                of_study.setdefault(study, vectors[row]) for study, row in zip(self.study_ids, self.rows, strict=True)
            ]
        return list(self.patient_ids)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        batch = super().__getitems__(indices)
        studies = np.asarray(indices, dtype=np.int64)
        rows, keys, epoch = self.rows[studies], self._keys[studies], int(self._epoch[0])
        ids = np.asarray(self.tokens.input_ids)[rows].astype(np.int64)
        mask = np.arange(self.text_length) < np.asarray(self.tokens.lengths)[rows][:, None]
        batch["input_ids"] = torch.from_numpy(ids)
        batch["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
        offsets = np.asarray(self.tokens.offsets)[rows]
        entities = np.zeros((len(rows), 0), dtype=np.int64)
        alignment = np.zeros((len(rows), 0, self.text_length), dtype=np.float32)
        if self.links is not None:
            linked = self.links(studies, offsets)
            entities, alignment = linked.entities, linked.alignment
            batch["linked_entities"] = torch.from_numpy(entities)
            batch["linked_entity_alignment"] = torch.from_numpy(alignment)
            batch["image_entities"] = torch.from_numpy(linked.image_entities)
            batch["text_entities"] = torch.from_numpy(linked.text_entities)
        if self.masking is not None:
            real = offsets[..., 1] > offsets[..., 0]
            masked = self.masking(ids, real, alignment, self.mask_id, self.vocabulary_size, (self.seed, epoch, keys))
            batch["masked_input_ids"] = torch.from_numpy(masked.input_ids)
            batch["masked_positions"] = torch.from_numpy(masked.positions)
            batch["masked_labels"] = torch.from_numpy(masked.labels)
            if self.links is not None:
                left, left_alignment = without_masked(entities, alignment, masked.masked)
                batch["masked_linked_entities"] = torch.from_numpy(left)
                batch["masked_linked_entity_alignment"] = torch.from_numpy(left_alignment)
        if self.patches:
            batch["patch_noise"] = torch.from_numpy(uniform(self.seed, epoch, _PATCH_STREAM, keys, self.patches))
        if self.mismatches is not None:
            batch |= self._mismatched(studies, keys, epoch)
        return batch

    def _mismatched(self, studies: NDArray[np.int64], keys: NDArray[np.uint64], epoch: int) -> dict[str, Any]:
        assert self.mismatches is not None
        is_pair, other = self.mismatches.draw(studies, self.seed, epoch, keys)
        # At least one row, because an image encoder cannot process an empty batch.
        needed = np.flatnonzero(~is_pair) if not is_pair.all() else np.array([0])
        rows = self.rows[other[needed]]
        if not self.reads_images:
            return {"is_pair": torch.from_numpy(is_pair), "negative_row": torch.from_numpy(rows)}
        return {
            "is_pair": torch.from_numpy(is_pair),
            "negative_image": torch.from_numpy(rows_of(self.store.images, rows)),
        }


def tokens_of(store: PackedStore, tokenizer: Tokenizer) -> TokenTable:
    """The store's tokenised texts: read from the cache, else computed and cached in the store.

    Processes that start together wait for the first one.
    """
    from filelock import FileLock

    folder = store.path / "tokens"
    target = folder / tokenizer.key
    if not (target / "tokens.json").is_file():
        column = store.table("studies", ["text"]).column("text")
        folder.mkdir(exist_ok=True)
        with FileLock(store.path / ".tokens.lock"):
            write_tokens(
                folder, tokenizer, ([text or "" for text in part.to_pylist()] for part in column.chunks), len(store)
            )
    return TokenTable.open(target)


@cache  # once per store, although the validation's data set is made like the training's
def _say_cut(store: Path, cut: int, reports: int, length: int, long_reports: str) -> None:
    message = f"{cut} of {reports} reports are longer than {length} tokens"
    if cut and long_reports == "refuse":
        raise ValueError(f"{store}: {message}; raise text_length, or set long_reports to cut")
    if cut:
        logger.info("%s and are cut there; entities named later are not linked to tokens", message)


def _mask_id(tokenizer: Tokenizer, source: Any) -> int:
    for token in (getattr(source, "mask_token", None), "<mask>", "[MASK]"):
        number = tokenizer.backend.token_to_id(token) if token else None
        if number is not None:
            return int(number)
    raise ValueError(f"tokenizer {tokenizer.name} has no mask token; masked language modelling needs one")


def report_texts(store: PackedStore | Path | str, split: str) -> list[str]:
    """The reports of a split, for learning a vocabulary.

    Raises:
        ValueError: when it has none.
    """
    opened = store if isinstance(store, PackedStore) else PackedStore.open(store)
    texts = [text for text in opened.values("text", opened.first_images(opened.rows(split))) or [] if text]
    if not texts:
        raise ValueError(f"{opened.path}: no reports in split {split}")
    return texts
