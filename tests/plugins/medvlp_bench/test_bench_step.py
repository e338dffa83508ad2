"""``medvlp bench step``: what it says of what it measured. How fast anything is, no test asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from medvlp_bench.step_process import PartClock, watch_parts
from medvlp_toolkit.cli.main import app

SMALL = ["--overlay", "demo", "--batch", "4", "--set", "image_size=32", "--repeats", "2", "--steps", "1"]


def run(*arguments: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, ["bench", "step", *arguments])
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--bundle", "medclip"], "no shipped bundle named 'medclip'"),
        (["--set", "batch_size"], "--set"),
        (["--overlay", "dmeo"], "dmeo.yaml: no such file"),
    ],
)
def test_a_mistake_is_reported_in_one_line(arguments: list[str], expected: str) -> None:
    status, _, said = run(*arguments)
    assert status == 2
    assert expected in said
    assert "Traceback" not in said


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image_encoder, self.fusion = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, image: Tensor) -> Tensor:
        fused: Tensor = self.fusion(self.image_encoder(image))
        return fused


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def forward(self, image: Tensor) -> Tensor:
        fused: Tensor = self.model(image)
        return fused.square().sum()


def test_time_is_counted_to_the_part_it_was_spent_in() -> None:
    network, names = Network(), []
    watch_parts(network, names.append)
    network(torch.ones(2, 3)).backward()
    assert names == ["losses", "image encoder", "losses", "fusion", "losses", "fusion", "image encoder"]


def test_shares_add_up_to_one_and_only_while_the_clock_runs() -> None:
    clock = PartClock(cuda=False)
    clock.mark("before")
    clock.running = True
    for name in ("data", "fusion", "data", "end"):
        clock.mark(name)
    shares = clock.shares()
    assert set(shares) == {"data", "fusion"}
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.slow
def test_two_settings_are_timed_in_alternation(tmp_path: Path) -> None:
    status, shown, said = run(*SMALL, "--compare", "precision=fp32", "precision=bf16", "--json")
    assert status == 0, said
    document: dict[str, Any] = json.loads(shown)
    first, second = document["measured"]
    assert "precision=fp32" in first["name"]
    assert "precision=bf16" in second["name"]
    for result in (first, second):
        assert len(result["rates"]) == 2
        assert result["details"]["batch"] == 4
        assert {"data", "image encoder", "fusion", "losses", "optimiser"} <= set(result["details"]["shares"])
        assert sum(result["details"]["shares"].values()) == pytest.approx(1)
        assert result["peak_memory"] > 10
    assert document["ratio"] == pytest.approx(second["median"] / first["median"])


@pytest.mark.slow
def test_an_unknown_setting_is_named() -> None:
    status, _, said = run(*SMALL, "--set", "learning_rat=1")
    assert status == 2
    assert "no id learning_rat" in said
