"""The scores that are served are those that were trained, whatever the image encoder's summary is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medvlp_arl.scorer import ImageFeatures, alignment_scorer
from medvlp_toolkit.model.encodings import Encodings


class Highest(nn.Module):
    """An image encoder that sums up tokens by their highest values, not by its class token or the mean."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.num_prefix_tokens = 1

    def forward(self, image: Tensor) -> Tensor:
        tokens: Tensor = self.encoder(image)
        return tokens

    def summary(self, tokens: Tensor) -> Tensor:
        return tokens.amax(dim=1)


def test_alignment_scores_are_those_of_the_loss_with_a_summary_of_its_own(small_arl: Any, small_batch: Any) -> None:
    network, batch = small_arl().eval(), small_batch()
    with torch.no_grad():
        for parameter in network.losses["alignment"].parameters():
            parameter.mul_(20)  # the initial weights give nearly the same score to all
        by_class_token = alignment_scorer(network).eval()(batch["image"])
        network.model.image_encoder = Highest(network.model.image_encoder)
        trained = network.losses["alignment"].logits(Encodings(network.model, batch))["image"].sigmoid()
        scorer = alignment_scorer(network).eval()
        torch.testing.assert_close(scorer(batch["image"]), trained)
        torch.testing.assert_close(torch.jit.script(scorer)(batch["image"]), trained)
        assert not torch.allclose(trained, by_class_token, atol=1e-4)


def test_image_features_are_the_encoders_summary(small_arl: Any, small_batch: Any) -> None:
    network, batch = small_arl().eval(), small_batch()
    network.model.image_encoder = Highest(network.model.image_encoder)
    with torch.no_grad():
        expected = Encodings(network.model, batch).image_summary()
        tower = ImageFeatures(network.model).eval()
        torch.testing.assert_close(tower(batch["image"]), expected)
        torch.testing.assert_close(torch.jit.script(tower)(batch["image"]), expected)
