"""MedKLIP's optimiser: which parameters decay, and the learning rate at the published epochs and steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import medvlp_toolkit as mv
from medvlp_medklip.losses import EntityExistence, EntityPosition
from medvlp_medklip.optimisation import PublishedSchedule, parameter_groups
from medvlp_medklip.projection import entity_projection, image_projection
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

BASE = 1e-4
STEPS = 600  # per epoch


@pytest.fixture(scope="module")
def model() -> PretrainingModel:
    encoder = mv.encoders.resnet(depth=18)
    return PretrainingModel(
        VisionLanguageModel(
            image_encoder=encoder,
            image_projection=image_projection(encoder.num_features, 32),
            text_projection=entity_projection(16, 32),
            fusion=mv.fusion_modules.entity_query_decoder(width=32, layers=2, feed_forward=64),
            entity_bank=torch.zeros(5, 16),
        ),
        {"existence": EntityExistence(32), "position": EntityPosition(torch.zeros(6, 16), 32)},
    )


def test_weight_decay_is_on_matrices_and_filters_alone(model: PretrainingModel) -> None:
    decayed, plain = parameter_groups(model)
    assert decayed["weight_decay"] == 0.02
    assert plain["weight_decay"] == 0.0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in plain["params"])
    assert {"bias", "in_proj_bias"} <= {names[id(parameter)].rsplit(".", 1)[-1] for parameter in plain["params"]}
    assert any("in_proj_weight" in names[id(parameter)] for parameter in decayed["params"])
    assert any("bn1.weight" in names[id(parameter)] for parameter in plain["params"])


def test_every_parameter_is_in_one_group(model: PretrainingModel) -> None:
    grouped = [id(parameter) for group in parameter_groups(model) for parameter in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(model.parameters()))


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    network[0].requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(network)] == [1, 1]


def rates(steps: int, epochs: int = 100, upto: int = 3) -> list[float]:
    """Learning rate of every iteration, as the optimiser has it when it steps."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))], lr=BASE)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, PublishedSchedule(steps, epochs))
    seen = []
    for _ in range(upto * steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [
        (0, 1.0e-5),
        (99, 1.0e-5),
        (100, 2.8e-5),
        (200, 4.6e-5),
        (300, 6.4e-5),
        (400, 8.2e-5),
        (500, 1.0e-4),
        (599, 1.0e-4),
    ],
)
def test_the_first_epoch_rises_in_five_steps(iteration: int, rate: float) -> None:
    assert rates(STEPS, upto=1)[iteration] == pytest.approx(rate)


@pytest.mark.parametrize("epoch", [1, 2])
def test_later_epochs_follow_the_cosine_and_are_constant_within(epoch: int) -> None:
    within = rates(STEPS)[epoch * STEPS : (epoch + 1) * STEPS]
    expected = 1e-5 + 0.5 * 9e-5 * (1 + math.cos(math.pi * epoch / 100))
    assert within == pytest.approx([expected] * STEPS)


@pytest.mark.parametrize(
    ("epoch", "rate"), [(1, 9.9978e-5), (25, 8.6820e-5), (50, 5.5e-5), (75, 2.3180e-5), (99, 1.0022e-5)]
)
def test_the_cosine_over_a_hundred_epochs(epoch: int, rate: float) -> None:
    assert BASE * PublishedSchedule(STEPS)(epoch * STEPS) == pytest.approx(rate, rel=1e-4)


def test_an_epoch_shorter_than_the_rise_goes_over_to_the_cosine() -> None:
    schedule = PublishedSchedule(steps_per_epoch=150)
    assert BASE * schedule(149) == pytest.approx(2.8e-5)
    assert BASE * schedule(150) == pytest.approx(9.9978e-5, rel=1e-4)
