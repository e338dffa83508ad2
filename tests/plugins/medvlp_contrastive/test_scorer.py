"""Prompts are compared with the image embedding that was trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medvlp_contrastive.scorer import PromptScorer
from medvlp_toolkit.model.encodings import Encodings
from medvlp_toolkit.model.vision_language import VisionLanguageModel


class Patches(nn.Module):
    """Tokens of 8×8 patches, summed up by their highest values."""

    def __init__(self) -> None:
        super().__init__()
        self.num_prefix_tokens = 0
        self.convolution = nn.Conv2d(1, 6, 8, 8)

    def forward(self, image: Tensor) -> Tensor:
        tokens: Tensor = self.convolution(image).flatten(2).transpose(1, 2)
        return tokens

    def summary(self, tokens: Tensor) -> Tensor:
        return tokens.amax(dim=1)


def test_the_embedding_is_the_encoders_summary() -> None:
    torch.manual_seed(0)
    model = VisionLanguageModel(Patches(), image_projection=nn.Linear(6, 4)).eval()
    scorer = PromptScorer(model, findings=2, width=4).eval()
    scorer.ask(torch.randn(2, 4))
    image = torch.randn(3, 1, 16, 16)
    with torch.no_grad():
        trained = Encodings(model, {"image": image}).image_summary()
        torch.testing.assert_close(scorer.embed(image), nn.functional.normalize(trained, dim=-1))
        assert not torch.allclose(trained, model.image_tokens(image).mean(1), atol=1e-3)
        torch.testing.assert_close(torch.jit.script(scorer)(image), scorer(image))
