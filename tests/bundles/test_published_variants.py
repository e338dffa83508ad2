"""The variants of the published recipe, each reached from the command line by one override."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from medvlp_toolkit.interfaces import ABSENT, PRESENT
from tests.bundles.running import CONFIGS, demo_overrides, make_workflow


def published(name: str) -> Any:
    """A configuration of the bundle as it is written."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / f"{name}.yaml"))
    return parser


def training(demo_run: Path, **overrides: Any) -> Any:
    """The parsed configuration of a training on the demo's store."""
    return make_workflow("train", "demo", **demo_overrides(demo_run, output_dir="run", **overrides)).parser


def first_batch(parser: Any) -> dict[str, Any]:
    batch: dict[str, Any] = next(iter(parser.get_parsed_content("train::loader")))
    return batch


def test_without_the_position_loss_existence_alone_is_trained(demo_run: Path, elsewhere: Path) -> None:
    parser = training(demo_run, **{"losses::position::_disabled_": True, "loss_weights": {"existence": 1.0}})
    network = parser.get_parsed_content("network")
    losses = network(parser.get_parsed_content("train::step").transform(first_batch(parser)))
    assert set(losses) == {"loss", "existence"}
    torch.testing.assert_close(losses["loss"], losses["existence"])
    assert not any("position" in name for name, _ in network.named_parameters())


def test_findings_of_excluded_entities_carry_no_loss(demo_run: Path, elsewhere: Path) -> None:
    presence = [
        torch.cat([batch["entity_presence"] for batch in parser.get_parsed_content("train::loader")])
        for parser in (training(demo_run), training(demo_run, excluded_entities=["nodule"]))
    ]
    nodule = list(training(demo_run).get_parsed_content("entities").ids).index("nodule")
    told = [((labels == PRESENT) | (labels == ABSENT)).sum(dim=0) for labels in presence]
    assert told[0][nodule] > 0
    assert told[1][nodule] == 0
    others = torch.arange(len(told[0])) != nodule
    assert torch.equal(told[0][others], told[1][others])


@pytest.mark.parametrize(
    ("sampler", "meets_the_positive"), [("other_positions", False), ("whole_matrix", True)]
)  # now, and until April 2023
def test_negatives_of_positions_are_drawn_by_either_published_sampler(
    sampler: str, meets_the_positive: bool, demo_run: Path, elsewhere: Path
) -> None:
    parser = training(demo_run, **{"train::dataset::position_negatives": sampler})
    found = []
    for batch in parser.get_parsed_content("train::loader"):
        candidates = batch["entity_position_candidates"][batch["entity_presence"] == PRESENT]
        found.append((candidates[:, 1:] == candidates[:, :1]).any(dim=1))
    assert bool(torch.cat(found).any()) == meets_the_positive


def test_descriptions_are_cut_to_the_length_of_training_or_of_evaluation(demo_run: Path, elsewhere: Path) -> None:
    """Published: 128 tokens in training, 64 in evaluation, which only long descriptions notice."""
    assert published("train")["entity_encoder::max_length"] == 128
    words = "lung " * 90
    texts = [f"{words} left", f"{words} right", "short"]
    long, short = (
        training(demo_run, **{"entity_encoder::max_length": length}).get_parsed_content("entity_encoder")(texts)
        for length in (128, 64)
    )
    assert not torch.allclose(long[0], long[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(short[0], short[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(long[2], short[2])
