"""Zero-shot classification of a dual encoder: findings are asked for in words."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from medvlp_contrastive.pairing import unit
from medvlp_contrastive.scorer import PromptScorer
from medvlp_toolkit.data import encode_texts
from medvlp_toolkit.engines import exact_float32
from medvlp_toolkit.model import Encodings, VisionLanguageModel


class Described(Protocol):
    """Definitions that can be phrased in templates (as by the knowledge source ``definitions``)."""

    def descriptions(self, template: str = ...) -> list[str]: ...


class Prompts:
    """What asks for each of some findings: a text that states it, and one that denies it.

    As CheXzero asks (Tiu et al. 2022): "effusion" against "no effusion".

    Args:
        definitions: of the findings.
        positive, negative: templates of ``{name}``, ``{id}`` and ``{definition}``. Without a negative the finding is
            scored by the positive alone, as by its description.

    Example::

        prompts:
          _target_: medvlp_contrastive.prompts.Prompts
          definitions: "@entities"
          positive: "{name}"
          negative: "no {name}"
    """

    def __init__(self, definitions: Described, positive: str = "{name}", negative: str | None = "no {name}") -> None:
        self.positive, self.negative = positive, negative
        self.positives = definitions.descriptions(positive)
        self.negatives = None if negative is None else definitions.descriptions(negative)

    def __len__(self) -> int:
        return len(self.positives)

    def vectors(self, model: VisionLanguageModel, text_length: int) -> Tensor:
        """(Q, D): each finding's positive text minus its negative one, both of length 1, by a model's text side."""
        positive = embedded(model, self.positives, text_length)
        return positive if self.negatives is None else positive - embedded(model, self.negatives, text_length)


class Asking:
    """Gives a scorer the prompts as the model's text side embeds them now.

    A handler of the evaluator that validates during training, whose text side changes from epoch to epoch; called, it
    gives the scorer that is exported.

    Args:
        scorer: of the model.
        model: with a text encoder.
        prompts: of the scorer's findings.
        text_length: tokens after which they are cut.
    """

    def __init__(self, scorer: PromptScorer, model: VisionLanguageModel, prompts: Prompts, text_length: int) -> None:
        self.scorer, self.model, self.prompts, self.text_length = scorer, model, prompts, text_length

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, lambda _: self())

    def __call__(self) -> PromptScorer:
        return self.scorer.ask(self.prompts.vectors(self.model, self.text_length))


@torch.no_grad()
@exact_float32()
def embedded(model: VisionLanguageModel, texts: list[str], text_length: int, batch_size: int = 64) -> Tensor:
    """(T,) texts -> (T, D) float32 of length 1, in evaluation mode."""
    encoder: Any = model.text_encoder
    if encoder is None:
        raise ValueError("prompts are embedded by the model's text_encoder, and this model has none; add one")
    batch = encode_texts(texts, encoder.tokenizer, text_length)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    parts = []
    for start in range(0, len(texts), batch_size):
        rows = {name: value[start : start + batch_size].to(device) for name, value in batch.items()}
        parts.append(unit(Encodings(model, rows).text_summary()))
    model.train(training)
    return torch.cat(parts)
