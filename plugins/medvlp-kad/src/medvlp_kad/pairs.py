"""Pairs of texts for stage 1 of KAD, from the definitions and relations of a knowledge source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from medvlp_kad.entity_text import STATED, entity_segment
from medvlp_toolkit.data.batches.draws import uniform
from medvlp_toolkit.data.batches.replaceable import Replaceable
from medvlp_toolkit.data.store.tokens import Tokenizer
from medvlp_toolkit.interfaces import KnowledgeSource

_DIRECTION_STREAM = 11
_SEPARATOR = " [SEP] "


class KnowledgePairs(Replaceable, Dataset):
    """Pairs of texts of one concept, in batches for :class:`~medvlp_kad.knowledge.KnowledgeModel`.

    Zhang et al. 2023, Methods. A definition gives the name and the definition. A relation gives "head [SEP] relation"
    and the tail, or "relation [SEP] tail" and the head, each half the time, which depends on (seed, epoch, pair).
    ``concept`` is the concept of the second text: rows of one concept are each other's positives. Indexed with a list,
    it returns a whole batch.

    Args:
        knowledge: with definitions, relations or both.
        tokenizer: of the text encoder: hub name, folder, or object.
        text_length: tokens after which a text is cut; published 128.
        most: of more pairs than this so many, evenly spread; None takes all.
        seed: of the directions.

    Raises:
        ValueError: when the source has neither definitions nor relations.
    """

    def __init__(
        self,
        knowledge: KnowledgeSource,
        tokenizer: Any,
        text_length: int = 128,
        most: int | None = None,
        seed: int = 0,
    ) -> None:
        concepts = {concept.id: (number, concept) for number, concept in enumerate(knowledge.concepts)}
        #: number of the concept, name, definition; or head, relation in words, tail
        self._definitions = [(n, one.name, one.definition) for n, one in concepts.values() if one.definition.strip()]
        self._relations = [
            (concepts[one.head][0], one.relation.replace("_", " "), concepts[one.tail][0])
            for one in knowledge.triples
            if one.head in concepts and one.tail in concepts
        ]
        self._names = [concept.name for _, concept in concepts.values()]
        found = len(self._definitions) + len(self._relations)
        if not found:
            raise ValueError("the knowledge source has neither definitions nor relations among its concepts")
        few = found if most is None else min(most, found)
        self._chosen = np.linspace(0, found - 1, few).round().astype(np.int64)
        self._tokenizer = Tokenizer(tokenizer, text_length)
        self.seed = seed
        # Shared with worker processes, which start before later epochs begin.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self._chosen)

    def __repr__(self) -> str:
        of = f"{len(self._definitions):,} definitions, {len(self._relations):,} relations"
        return f"{type(self).__name__}({len(self):,} pairs; {of})"

    def set_epoch(self, epoch: int) -> None:
        """Use the directions of ``epoch``, also in running workers."""
        self._epoch[0] = epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: value[0] for key, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        """``input_ids``, ``attention_mask``, ``other_ids``, ``other_mask`` (B, L) and ``concept`` (B,), all int64."""
        keys = self._chosen[np.asarray(indices, dtype=np.int64)]
        forward = uniform(self.seed, int(self._epoch[0]), _DIRECTION_STREAM, keys.astype(np.uint64), 1)[:, 0] < 0.5
        pairs = [self.pair(int(key), bool(is_forward)) for key, is_forward in zip(keys, forward, strict=True)]
        ids, mask = self._tokens([one for one, _, _ in pairs])
        other_ids, other_mask = self._tokens([other for _, other, _ in pairs])
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "other_ids": other_ids,
            "other_mask": other_mask,
            "concept": torch.tensor([concept for _, _, concept in pairs]),
            "study_id": [str(key) for key in keys],  # by which the trainer's handlers count and name rows
        }

    def pair(self, number: int, forward: bool = True) -> tuple[str, str, int]:
        """Both texts of one pair, and the number of the concept of the second."""
        if number < len(self._definitions):
            concept, name, definition = self._definitions[number]
            return name, definition, concept
        head, relation, tail = self._relations[number - len(self._definitions)]
        if forward:
            return f"{self._names[head]}{_SEPARATOR}{relation}", self._names[tail], tail
        return f"{relation}{_SEPARATOR}{self._names[tail]}", self._names[head], head

    def _tokens(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        ids, lengths, _, _ = self._tokenizer.encode(texts)
        width = int(lengths.max())
        mask = torch.arange(width) < torch.from_numpy(lengths)[:, None]
        return torch.from_numpy(ids[:, :width]).long(), mask.long()


def knowledge_texts(knowledge: KnowledgeSource) -> list[str]:
    """All that a knowledge source says, and the words of entity texts, for learning a vocabulary."""
    said = [entity_segment(concept.name, presence) for concept in knowledge.concepts for presence in STATED]
    said += [entity_segment("finding", None, concept.name) for concept in knowledge.concepts]
    said += [concept.definition for concept in knowledge.concepts if concept.definition.strip()]
    return said + sorted({triple.relation.replace("_", " ") for triple in knowledge.triples})
