"""ARL's optimiser: which parameter belongs where, and the step that it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from seeded_weights import state_dict
from torch import Tensor, nn

import medvlp_toolkit as mv
from medvlp_arl.optimisation import PublishedAdamW, is_decayed, parameter_groups, part_of
from medvlp_arl.published_names import our_names, reason_unused
from medvlp_toolkit.engines.schedules import WarmupLinear

KEYS = Path(__file__).parents[2] / "golden" / "arl" / "keys.json"


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return state_dict(KEYS)


def published_part(name: str) -> str:
    if any(head in name for head in ("mlm_head", "mim_head", "itm_head", "align_head")):
        return "heads"
    return "multi_modal" if "multi_modal" in name else "base"


def published_decay(name: str) -> bool:
    return not re.search(r"bias|LayerNorm\.|norm\.|norm1\.|norm2\.", name)


def test_every_parameter_is_in_the_published_group(published: dict[str, Tensor]) -> None:
    compared = 0
    for name in published:
        if reason_unused(name, fusion_layers=4) is None and not name.endswith("edge_index"):
            for ours in our_names(name):
                assert part_of(ours) == published_part(name), name
                assert is_decayed(ours) == published_decay(name), name
                compared += 1
    assert compared > 400


def test_six_groups_hold_every_trained_parameter_once(published: dict[str, Tensor]) -> None:
    model = mv.checkpoint_importers.arl(published)
    groups = parameter_groups(model)
    told = {group["name"]: (group["lr"], group["weight_decay"]) for group in groups}
    assert told == {
        f"{part}_{kind}": (pytest.approx(1e-5 * factor), 0.01 if kind == "decayed" else 0.0)
        for part, factor in (("base", 1), ("heads", 5), ("multi_modal", 5))
        for kind in ("decayed", "plain")
    }
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    model = nn.Linear(2, 2).requires_grad_(False)
    model.bias.requires_grad_(True)
    groups = parameter_groups(model)
    assert [group["name"] for group in groups] == ["base_plain"]


def test_step_is_the_published_one() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 3, generator=generator)
    parameter = nn.Parameter(start.clone())
    optimizer = PublishedAdamW([parameter], lr=0.1, eps=1e-2, weight_decay=0.3)
    value, mean, square = start.double(), torch.zeros(5, 3).double(), torch.zeros(5, 3).double()
    for age in range(1, 6):
        gradient = torch.randn(5, 3, generator=generator)
        parameter.grad = gradient.clone()
        optimizer.step()
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.98 * square + 0.02 * gradient**2
        value = value - 0.1 * (1 - 0.98**age) ** 0.5 / (1 - 0.9**age) * mean / (square.sqrt() + 1e-2)
        value = value - 0.1 * 0.3 * value
        assert torch.allclose(parameter.double(), value, atol=1e-6)


def test_step_is_not_that_of_torch() -> None:
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    for parameter, make in ((ours, PublishedAdamW), (theirs, torch.optim.AdamW)):
        parameter.grad = torch.tensor([1e-6, 1e-3, 1.0])
        make([parameter], lr=0.1, betas=(0.9, 0.98), eps=1e-4, weight_decay=0.0).step()
    assert not torch.allclose(ours, theirs, atol=1e-3)


def test_state_dict_continues_where_it_was() -> None:
    def train(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, steps: range) -> None:
        for step in steps:
            parameter.grad = torch.full((2,), float(step + 1))
            optimizer.step()

    whole = nn.Parameter(torch.ones(2))
    train(PublishedAdamW([whole], lr=0.01), whole, range(4))
    halved = nn.Parameter(torch.ones(2))
    first = PublishedAdamW([halved], lr=0.01)
    train(first, halved, range(2))
    second = PublishedAdamW([halved], lr=0.01)
    second.load_state_dict(first.state_dict())
    train(second, halved, range(2, 4))
    assert torch.equal(whole, halved)


def test_parameter_without_gradient_stays() -> None:
    with_gradient, without = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    with_gradient.grad = torch.ones(1)
    PublishedAdamW([with_gradient, without], lr=0.1).step()
    assert without.item() == 1.0
    assert with_gradient.item() < 1.0


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"betas": (0.9, 1.0)}, {"eps": -1e-8}, {"weight_decay": -0.1}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="PublishedAdamW takes"):
        PublishedAdamW([nn.Parameter(torch.ones(1))], **wrong)  # type: ignore[arg-type]


def test_schedule_rises_for_a_tenth_and_falls_to_zero() -> None:
    schedule = WarmupLinear(total_steps=100, warmup_steps=10)
    assert [schedule(step) for step in (0, 5, 10, 55, 100, 200)] == [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
