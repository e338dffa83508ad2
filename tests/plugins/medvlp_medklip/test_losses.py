"""Existence and position, against the published computation written out."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_toolkit.interfaces import BATCH_KEYS, FusionOutput, PretextLoss

WIDTH, TEXT_WIDTH, POSITIONS = 8, 12, 7


class Features:
    """Stands for :class:`Encodings`: fused entity features are given, not computed."""

    def __init__(self, features: Tensor, **batch: Tensor) -> None:
        self.features = features
        self.batch = batch
        self.model = SimpleNamespace()

    def fused(self, text: str, image: str = "full") -> FusionOutput:
        assert text == "entities"
        return FusionOutput(torch.empty(0), self.features, None, None)


@pytest.fixture
def features() -> Tensor:
    return torch.randn(2, 4, WIDTH, generator=torch.Generator().manual_seed(0), requires_grad=True)


@pytest.fixture
def position_bank() -> Tensor:
    return torch.randn(POSITIONS, TEXT_WIDTH, generator=torch.Generator().manual_seed(1))


PRESENCE = torch.tensor([[1, 0, -1, 2], [0, 1, 1, -1]], dtype=torch.int8)
CANDIDATES = torch.tensor([[[0, 1, 2], [3, 4, 5], [1, 2, 3], [0, 5, 6]], [[6, 5, 4], [2, 0, 1], [4, 0, 6], [1, 3, 5]]])


def existence(**options: Any) -> Any:
    torch.manual_seed(0)
    return mv.pretext_losses.entity_existence(width=WIDTH, **options)


def position(bank: Tensor, **options: Any) -> Any:
    torch.manual_seed(0)
    return mv.pretext_losses.entity_position(position_bank=bank, width=WIDTH, **options)


def test_both_are_pretext_losses_that_read_known_batch_keys(position_bank: Tensor) -> None:
    for loss in (existence(), position(position_bank)):
        assert isinstance(loss, PretextLoss)
        assert loss.needs <= BATCH_KEYS


def test_existence_counts_only_present_and_absent(features: Tensor) -> None:
    total, count = existence()(Features(features, entity_presence=PRESENCE))
    assert int(count) == 5
    only_silent = torch.where(PRESENCE > 1, PRESENCE, -1).to(torch.int8)
    silent_total, silent_count = existence()(Features(features, entity_presence=only_silent))
    assert (silent_total.item(), int(silent_count)) == (0.0, 0)
    assert total.item() > 0


def test_existence_is_the_mean_cross_entropy_of_the_statements(features: Tensor) -> None:
    loss = existence()
    total, count = loss(Features(features, entity_presence=PRESENCE))
    told = (PRESENCE == 0) | (PRESENCE == 1)
    expected = F.cross_entropy(loss.head(features)[told], PRESENCE[told].long())
    assert torch.allclose(total / count, expected)


def test_silent_entities_do_not_move_the_existence_gradient(features: Tensor) -> None:
    existence()(Features(features, entity_presence=PRESENCE))[0].backward()
    assert features.grad is not None
    assert torch.equal(features.grad[0, 2:], torch.zeros(2, WIDTH))
    assert features.grad[0, 0].abs().max() > 0


def test_untrained_existence_starts_at_chance() -> None:
    loss = mv.pretext_losses.entity_existence(width=256)
    total, count = loss(Features(torch.randn(4, 50, 256), entity_presence=torch.ones(4, 50, dtype=torch.int8)))
    assert (total / count).item() == pytest.approx(math.log(2), abs=0.3)


def test_position_is_the_published_contrast_of_text_vectors(features: Tensor, position_bank: Tensor) -> None:
    loss = position(position_bank)
    total, count = loss(Features(features, entity_presence=PRESENCE, entity_position_candidates=CANDIDATES))
    projected = loss.head(features)  # (B, Q, Dt), each against its own candidates' vectors
    scores = torch.einsum("bqd,bqkd->bqk", projected, position_bank[CANDIDATES])
    present = PRESENCE == 1
    expected = F.cross_entropy(scores[present], torch.zeros(int(present.sum()), dtype=torch.long))
    assert int(count) == 3
    assert torch.allclose(total / count, expected, rtol=1e-5)


def test_position_gradient_is_that_of_the_published_contrast(features: Tensor, position_bank: Tensor) -> None:
    loss = position(position_bank)
    total, _ = loss(Features(features, entity_presence=PRESENCE, entity_position_candidates=CANDIDATES))
    ours = torch.autograd.grad(total, [features, *loss.head.parameters()])
    scores = torch.einsum("bqd,bqkd->bqk", loss.head(features), position_bank[CANDIDATES])[PRESENCE == 1]
    published = F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long), reduction="sum")
    for one, other in zip(ours, torch.autograd.grad(published, [features, *loss.head.parameters()]), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_normalised_positions_have_norm_one_and_the_given_bank_is_kept(position_bank: Tensor) -> None:
    before = position_bank.clone()
    assert torch.allclose(position(position_bank, normalize=True).position_bank.norm(dim=-1), torch.ones(POSITIONS))
    assert torch.equal(position(position_bank).position_bank, before)
    assert torch.equal(position_bank, before)


def test_position_bank_is_saved_and_not_trained(position_bank: Tensor) -> None:
    loss = position(position_bank)
    assert "position_bank" in loss.state_dict()
    assert "position_bank" not in dict(loss.named_parameters())


def test_no_positive_gives_a_zero_that_reaches_the_head(features: Tensor, position_bank: Tensor) -> None:
    loss = position(position_bank)
    silent = torch.zeros_like(PRESENCE)
    total, count = loss(Features(features, entity_presence=silent, entity_position_candidates=CANDIDATES))
    assert (total.item(), int(count)) == (0.0, 0)
    total.backward()
    assert torch.equal(loss.head.weight.grad, torch.zeros_like(loss.head.weight))


def test_position_scores_rank_every_position(features: Tensor, position_bank: Tensor) -> None:
    loss = position(position_bank)
    assert torch.allclose(loss.scores(features), loss.head(features) @ position_bank.t(), atol=1e-5)


def test_losses_are_float32_for_half_precision_features(features: Tensor, position_bank: Tensor) -> None:
    batch = {"entity_presence": PRESENCE, "entity_position_candidates": CANDIDATES}
    for loss in (existence(), position(position_bank)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            total, _ = loss(Features(features, **batch))
        assert total.dtype == torch.float32


def test_bank_that_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"position_bank \(P, Dt\), got \(3, 4, 5\)"):
        mv.pretext_losses.entity_position(position_bank=torch.zeros(3, 4, 5))
