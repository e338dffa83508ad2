"""Two processes compute what one computes with the joined batch: each sees the images and reports of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import medvlp_toolkit as mv
from medvlp_toolkit.engines.parallel import replicate
from medvlp_toolkit.model import PretrainingModel
from medvlp_toolkit.testing.suites.stand_in import Sizes, stand_in_batch, stand_in_model
from tests.medvlp_toolkit.engines.test_ranks import on_ranks

SIZES = Sizes(batch=8)
#: Last tokens of the reports of the second half.
PADDED = 2
LOSSES = {
    "clip": {},
    "siglip": {},
    "convirt": {},
    "gloria_local": {},
    "clip findings": {"equal": "findings"},
    "siglip text": {"equal": "text"},
}


def results(_: Any = None) -> dict[str, Any]:
    """Losses, and their gradients, of this rank's share of the batch."""
    found = {}
    for name, arguments in LOSSES.items():
        torch.manual_seed(0)
        loss = mv.pretext_losses[name.split()[0]](**arguments)
        network: Any = PretrainingModel(stand_in_model(SIZES), {"contrast": loss})
        batch = stand_in_batch(loss.needs, SIZES)
        if "entity_presence" in batch:
            batch["entity_presence"][5] = batch["entity_presence"][1]  # twins on two ranks
        batch["input_ids"][2, -PADDED:] = 0
        batch["input_ids"][6] = batch["input_ids"][2]
        batch["attention_mask"][[2, *range(4, 8)], -PADDED:] = 0
        named = dict(network.named_parameters())
        if dist.is_initialized():
            half = SIZES.batch // dist.get_world_size()
            rows = slice(dist.get_rank() * half, (dist.get_rank() + 1) * half)
            batch = {key: value[rows] for key, value in batch.items()}
            if dist.get_rank() == 1:  # its reports are shorter, and it trims their padding
                batch |= {key: batch[key][:, :-PADDED] for key in ("input_ids", "attention_mask")}
            network = replicate(network, torch.device("cpu"))
        value = network(batch)["loss"]
        value.backward()
        gradients = {key: p.grad for key, p in named.items() if p.grad is not None}
        found[name] = {"loss": value.detach(), "gradients": gradients}
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(results, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", LOSSES)
def test_two_ranks_have_the_loss_and_gradient_of_one(name: str, ranks: list[dict[str, Any]]) -> None:
    alone = results()[name]
    mean = torch.stack([rank[name]["loss"] for rank in ranks]).mean()
    torch.testing.assert_close(mean, alone["loss"], rtol=1e-5, atol=1e-6)
    assert alone["gradients"].keys() == ranks[0][name]["gradients"].keys()
    for key, expected in alone["gradients"].items():
        for rank in ranks:
            torch.testing.assert_close(rank[name]["gradients"][key], expected, rtol=1e-4, atol=1e-6)


def halves(_: Any = None) -> float:
    """In evaluation shares may differ in length: nothing is gathered."""
    loss = mv.pretext_losses.clip().eval()
    model = stand_in_model(SIZES).eval()
    batch = stand_in_batch(loss.needs, SIZES)
    share = 3 if dist.get_rank() == 0 else 5
    from medvlp_toolkit.model import Encodings

    total, count = loss(Encodings(model, {key: value[:share] for key, value in batch.items()}))
    return float(total / count)


def test_in_evaluation_every_rank_compares_its_own_batch(tmp_path: Path) -> None:
    first, second = on_ranks(halves, tmp_path)
    assert first != second
