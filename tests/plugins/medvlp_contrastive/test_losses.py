"""The contrastive losses: what they compute, and which studies they take for matches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import medvlp_toolkit as mv

LOSSES = ("clip", "siglip", "convirt", "gloria_local")


class Given:
    """Encodings whose features are given: one class token each, and regions or words behind it."""

    class Model:
        class image_encoder:  # noqa: N801 - an attribute
            num_prefix_tokens = 1

    model = Model

    def __init__(self, image: Tensor, text: Tensor, **batch: Tensor) -> None:
        self.image, self.text = image, text
        mask = torch.ones(text.shape[:2], dtype=torch.long)
        self.batch = {"input_ids": torch.arange(mask.numel()).view_as(mask), "attention_mask": mask, **batch}

    def image_tokens(self) -> Tensor:
        return self.image

    def text_tokens(self) -> Tensor:
        return self.text

    def image_summary(self) -> Tensor:
        return self.image[:, 0]

    def text_summary(self) -> Tensor:
        return self.text[:, 0]


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def given() -> Given:
    return Given(features(5, 4, 8), features(5, 3, 8, seed=1))


def cosines(given: Given) -> Tensor:
    return F.normalize(given.image_summary(), dim=1) @ F.normalize(given.text_summary(), dim=1).t()


def mean(name: str, given: Any, **arguments: Any) -> Tensor:
    total, count = mv.pretext_losses[name](**arguments)(given)
    return total / count


def test_clip_is_the_mean_of_both_directions_at_its_temperature(given: Given) -> None:
    logits, own = cosines(given) / 0.2, torch.arange(5)
    expected = (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2
    torch.testing.assert_close(mean("clip", given, temperature=0.2), expected)


def test_convirt_weights_the_direction_from_image_to_report(given: Given) -> None:
    logits, own = cosines(given) / 0.1, torch.arange(5)
    expected = 0.75 * F.cross_entropy(logits, own) + 0.25 * F.cross_entropy(logits.t(), own)
    torch.testing.assert_close(mean("convirt", given), expected)


def test_siglip_judges_every_pair_by_itself(given: Given) -> None:
    logits = 10 * cosines(given) - 10
    expected = sum(
        -F.logsigmoid(logits[i, j] if i == j else -logits[i, j]) for i in range(5) for j in range(5)
    )  # fmt: skip
    torch.testing.assert_close(mean("siglip", given), torch.as_tensor(expected) / 5)


def test_gloria_adds_global_and_local_terms_by_their_weights(given: Given) -> None:
    both = mean("gloria_local", given)
    alone = [mean("gloria_local", given, **{f"{part}_weight": 0.0}) for part in ("local", "global")]
    torch.testing.assert_close(both, alone[0] + alone[1])
    own = torch.arange(5)
    expected = sum(F.cross_entropy(logits, own) for logits in (10 * cosines(given), 10 * cosines(given).t()))
    torch.testing.assert_close(alone[0], torch.as_tensor(expected))


@pytest.mark.parametrize("name", LOSSES)
def test_matching_pairs_lower_the_loss(name: str) -> None:
    image = features(4, 3, 8)
    assert mean(name, Given(image, image)) < mean(name, Given(image, image.roll(1, dims=0)))


def test_the_learned_scale_of_clip_is_held_at_one_hundred() -> None:
    loss = mv.pretext_losses.clip(temperature=0.005)
    loss(Given(features(2, 2, 4), features(2, 2, 4, seed=1)))
    assert loss.head.log_scale.item() == pytest.approx(math.log(100))


@pytest.mark.parametrize("name", ["convirt", "gloria_local"])
def test_fixed_temperatures_are_not_trained(name: str) -> None:
    assert not [p for p in mv.pretext_losses[name]().parameters() if p.requires_grad]


# -- who matches ------------------------------------------------------------------------------------


PRESENCE = torch.tensor([[1, 0, -1], [1, 0, 2], [-1, -1, -1], [2, -1, -1], [0, 1, 1]], dtype=torch.int8)


def test_studies_that_state_the_same_findings_share_the_match(given: Given) -> None:
    """Uncertain and unmentioned findings state nothing, and nothing stated is nothing in common."""
    given.batch["entity_presence"] = PRESENCE
    matches = mv.pretext_losses.clip(equal="findings").pairs(given)
    expected = torch.eye(5)
    expected[:2, :2] = 0.5
    torch.testing.assert_close(matches.targets, expected)


def test_reports_of_the_same_tokens_share_the_match_whatever_their_padding_holds(given: Given) -> None:
    ids = torch.tensor([[7, 8, 0], [7, 8, 5], [7, 8, 5], [9, 9, 9], [7, 9, 0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 0]])
    given.batch |= {"input_ids": ids, "attention_mask": mask}
    expected = torch.eye(5)
    expected[:2, :2] = 0.5
    torch.testing.assert_close(mv.pretext_losses.clip(equal="text").pairs(given).targets, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_without_soft_targets_only_the_own_report_matches(name: str, given: Given) -> None:
    given.batch["entity_presence"] = PRESENCE
    torch.testing.assert_close(mv.pretext_losses[name]().pairs(given).targets, torch.eye(5))


@pytest.mark.parametrize("name", LOSSES)
def test_studies_that_say_the_same_may_swap_their_reports(name: str) -> None:
    presence = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 0]])
    image, text = features(4, 3, 8), features(4, 3, 8, seed=1)
    own, swapped = (Given(image, text[rows], entity_presence=presence) for rows in ([0, 1, 2, 3], [1, 0, 2, 3]))
    torch.testing.assert_close(mean(name, own, equal="findings"), mean(name, swapped, equal="findings"))
    assert (mean(name, own) - mean(name, swapped)).abs() > 1e-2


@pytest.mark.parametrize("name", LOSSES)
def test_an_unknown_kind_of_equality_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="equal is findings, text or null, not 'labels'"):
        mv.pretext_losses[name](equal="labels")
