"""KAD's queries: names of findings, embedded by the text encoder that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.networks import eval_mode
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_toolkit.data import ConceptSource, encode_texts
from medvlp_toolkit.data.records import Concept
from medvlp_toolkit.model import EntityScorer, VisionLanguageModel

#: Our entity -> the name by which the published training asks for it (Zhang et al. 2023), in its order.
PUBLISHED = {
    "normal": "normal",
    "effusion": "pleural effusion",
    "opacity": "opacity",
    "pneumothorax": "pneumothorax",
    "edema": "edema",
    "atelectasis": "atelectasis",
    "tube": "tube",
    "consolidation": "consolidation",
    "widen": "enlarged cardiomediastinum",
    "tip": "tip",
    "pneumonia": "pneumonia",
    "line": "line",
    "cardiomegaly": "cardiomegaly",
    "fracture": "fracture",
    "calcification": "calcification",
    "device": "device",
    "engorgement": "engorgement",
    "nodule": "nodule",
    "wire": "wire",
    "pacemaker": "pacemaker",
    "thicken": "pleural thicken",
    "marking": "marking",
    "scar": "scar",
    "hyperinflate": "hyperinflate",
    "blunt": "blunt",
    "collapse": "collapse",
    "emphysema": "emphysema",
    "aerate": "aerate",
    "mass": "mass",
    "infiltrate": "infiltration",
    "obscure": "obscure",
    "deformity": "deformity",
    "hernia": "hernia",
    "drainage": "drainage",
    "distention": "distention",
    "shift": "shift",
    "stent": "stent",
    "lesion": "lesion",
    "hardware": "hardware",
    "dilation": "dilation",
    "aspiration": "aspiration",
}


class PublishedQueries(ConceptSource):
    """The 41 findings that the published training asks for, under its names, as a knowledge source.

    Ids, definitions and other names are those of ``chest_entities``, so that report filters know them.

    Example::

        entities: {_target_: medvlp_kad.queries.PublishedQueries}
    """

    def __init__(self) -> None:
        known = mv.knowledge_sources.definitions("chest_entities", subset=list(PUBLISHED)).concepts
        self._concepts = tuple(
            replace(concept, name=PUBLISHED[concept.id], synonyms=(concept.name, *concept.synonyms))
            for concept in known
        )

    @property
    def concepts(self) -> Sequence[Concept]:
        return self._concepts


def query_tokens(names: Sequence[str], tokenizer: Any, text_length: int = 64) -> tuple[Tensor, Tensor]:
    """Token ids and mask (Q, L) of the names: ``entity_tokens`` of a :class:`VisionLanguageModel`."""
    tokens = encode_texts(names, tokenizer, text_length)
    return tokens["input_ids"], tokens["attention_mask"]


class QueryEncoder:
    """Embeds names of findings with the text side of a trained model: ``encoder(names) -> (Q, D)``.

    For findings that were never trained: the result is for :meth:`EntityScorer.add_entities`.

    Args:
        model: with a text encoder and its tokenizer.
        text_length: tokens after which a name is cut.
    """

    def __init__(self, model: VisionLanguageModel, text_length: int = 64) -> None:
        self.model, self.text_length = model, text_length

    @torch.no_grad()
    def __call__(self, names: Sequence[str]) -> Tensor:
        model: Any = self.model
        device = next(model.parameters()).device
        tokens = query_tokens(list(names), model.text_encoder.tokenizer, self.text_length)
        ids, mask = (part.to(device) for part in tokens)
        with eval_mode(model.text_encoder, model.text_projection):
            queries: Tensor = model.text_summary(model.text_features(ids, mask), mask)
        return queries


class LiveQueries:
    """Gives a scorer the queries as the model's text encoder embeds them now.

    A handler of the evaluator that validates during training, in which the text encoder changes; called, it gives the
    scorer that is exported. Elsewhere the embedded names are a bank like any other's: no text encoder is run.

    Args:
        scorer: of the model.
        model: with ``entity_tokens``.
    """

    def __init__(self, scorer: EntityScorer, model: VisionLanguageModel) -> None:
        self.scorer, self.model = scorer, model

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, lambda _: self())

    @torch.no_grad()
    def __call__(self) -> EntityScorer:
        with eval_mode(self.model.text_encoder, self.model.text_projection):
            self.scorer.entity_bank = self.model.entity_queries()
        return self.scorer
