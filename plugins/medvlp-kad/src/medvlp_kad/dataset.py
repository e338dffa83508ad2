"""Batches for KAD: studies with the entity text of their reports."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medvlp_kad.entity_text import EntityTexts
from medvlp_toolkit.data import PackedStore, StudyDataset
from medvlp_toolkit.data.concept_source import names_of
from medvlp_toolkit.data.store.tokens import Tokenizer
from medvlp_toolkit.interfaces import KnowledgeSource

logger = logging.getLogger(__name__)


class EntityTextDataset(StudyDataset):
    """Studies whose text is made from the findings and links of their reports (:mod:`medvlp_kad.entity_text`).

    In addition to the keys of :class:`~medvlp_toolkit.data.StudyDataset` a batch has ``input_ids`` and
    ``attention_mask`` (B, L).

    Args:
        store: folder of a packed store with reports, or the store.
        tokenizer: hub name, folder, or object.
        knowledge: names the findings, positions and linked entities: a knowledge source, or several.
        text_length: L, tokens after which a text is cut; a log line counts the cut ones. Published 256.
        excluded_from_text: entities that the texts are silent about, such as those kept out of training.
        studies: arguments of :class:`~medvlp_toolkit.data.StudyDataset`.
    """

    def __init__(
        self,
        store: PackedStore | Path | str,
        tokenizer: Any,
        knowledge: KnowledgeSource | Sequence[KnowledgeSource] = (),
        text_length: int = 256,
        excluded_from_text: Sequence[str] = (),
        **studies: Any,
    ) -> None:
        super().__init__(store, **studies)
        self.text_length = text_length
        own = Tokenizer(tokenizer, text_length)
        sources = knowledge if isinstance(knowledge, Sequence) else [knowledge]
        self.texts = EntityTexts(self.store, self.rows, names_of(*sources), own, excluded_from_text)
        self._pad = own.pad_id
        self._room = text_length - len(self.texts.before) - len(self.texts.after)
        cut = int((self.texts.lengths() > self._room).sum())
        if cut:
            logger.info(
                "%d of %d entity texts are longer than %d tokens and are cut there", cut, len(self), text_length
            )

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        batch = super().__getitems__(indices)
        ids = torch.full((len(indices), self.text_length), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, study in enumerate(indices):
            own = [*self.texts.before, *self.texts.ids(int(study))[: self._room], *self.texts.after]
            ids[row, : len(own)] = torch.tensor(own)
            mask[row, : len(own)] = 1
        return {**batch, "input_ids": ids, "attention_mask": mask}
