"""Parts as a third party may write them: each keeps its contract and has nothing that the contract does not name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

import medvlp_toolkit as mv
from medvlp_toolkit.data.records import Finding, Report
from medvlp_toolkit.interfaces import FusionOutput, Knowledge


class FusionWithoutAttention(nn.Module):
    """Every text token reads the mean image token: there is no attention to give, asked for or not."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.mixed = nn.Linear(2 * width, width)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        text_mask: Tensor | None = None,
        knowledge: Knowledge | None = None,
        stop_after: int = -1,
        need_attention: bool = False,
    ) -> FusionOutput:
        looked = image.mean(dim=1, keepdim=True).expand(-1, text.shape[1], -1)
        return FusionOutput(image, text + self.mixed(torch.cat([text, looked], dim=-1)), None, None)


class PlainTextEncoder(nn.Module):
    """Word vectors with the places of the words, over the demo's own vocabulary."""

    def __init__(self, corpus: list[str], width: int = 48) -> None:
        from medvlp_encoders.vocabulary import wordpiece_tokenizer

        super().__init__()
        self.tokenizer = wordpiece_tokenizer(corpus, 300)
        self.num_features = width
        self.num_prefix_tokens = 0
        self.words = nn.Embedding(len(self.tokenizer), width)
        self.places = nn.Embedding(512, width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = self.places.weight[: input_ids.shape[1]]
        tokens: Tensor = (self.words(input_ids.long()) + places) * attention_mask.unsqueeze(-1)
        return tokens

    def summary(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1)


class FilterOfOtherPlaces:
    """The toolkit's rules, with places in words of their own."""

    def __init__(self) -> None:
        self._rules = mv.report_filters.rules()
        self.entities: Sequence[str] = tuple(self._rules.entities)
        self.positions: Sequence[str] = tuple(f"somewhere_{name}" for name in self._rules.positions)

    def __call__(self, reports: Sequence[Report]) -> list[list[Finding]]:
        return [[self._renamed(finding) for finding in found] for found in self._rules(reports)]

    @staticmethod
    def _renamed(finding: Finding) -> Finding:
        return replace(finding, position=finding.position and f"somewhere_{finding.position}")
