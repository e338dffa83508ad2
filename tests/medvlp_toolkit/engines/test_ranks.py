"""What several processes compute together: gathered rows, sharded networks, shares of the studies."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule

from medvlp_toolkit.data.batches.dataset import StudyDataset, study_loader
from medvlp_toolkit.engines.parallel import (
    gradients_synchronised,
    load_network_state,
    load_optimizer_state,
    network_state,
    optimizer_state,
    shard,
)
from medvlp_toolkit.engines.ranks import (
    any_rank,
    of_all_ranks,
    rank,
    seed_rank,
    world_size,
)
from tests.medvlp_toolkit.engines.training import make_store

RANKS = 2


def _process(number: int, ranks: int, folder: str, work: Callable[[Path], Any], argument: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=number, world_size=ranks)
    try:
        torch.save(work(argument), f"{folder}/result{number}.pt")
    finally:
        dist.destroy_process_group()


def on_ranks(work: Callable[[Any], Any], folder: Path, argument: Any = None, ranks: int = RANKS) -> list[Any]:
    """What ``work`` gives on each of several gloo ranks."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["monai.engines", "medvlp_toolkit.engines.checkpointing"])
    processes = [
        context.Process(target=_process, args=(number, ranks, str(folder), work, argument)) for number in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(folder / f"result{number}.pt", weights_only=False) for number in range(ranks)]


# -- agreement --------------------------------------------------------------------------------------


def agree(argument: Any) -> list[Any]:
    seed_rank(3)
    return [any_rank(rank() == 1), any_rank(False), of_all_ranks(rank()), float(torch.rand(()))]


def test_ranks_agree_and_draw_differently(tmp_path: Path) -> None:
    first, second = on_ranks(agree, tmp_path)
    assert first[:3] == second[:3] == [True, False, [0, 1]]
    assert first[3] != second[3]


# -- shares of the studies --------------------------------------------------------------------------


def rows_of_epoch(store: Path) -> dict[str, list[list[int]]]:
    dataset = StudyDataset(store)
    evaluated = study_loader(dataset, 4)
    trained = study_loader(dataset, 2 * RANKS // world_size(), shuffle=True, drop_last=True)
    trained.sampler.set_epoch(2)  # type: ignore[attr-defined]
    told = {name: [batch["row"].tolist() for batch in loader] for name, loader in (("e", evaluated), ("t", trained))}
    assert len(told["t"]) == len(trained)
    assert len(told["e"]) == len(evaluated)
    return told


def test_evaluation_sees_each_study_once_and_training_the_batches_of_one_rank(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", studies=23)
    first, second = on_ranks(rows_of_epoch, tmp_path, store)
    alone = rows_of_epoch(store)
    seen = [row for share in (first, second) for batch in share["e"] for row in batch]
    assert sorted(seen) == sorted(row for batch in alone["e"] for row in batch) == list(range(23))
    joined = [sorted(one + other) for one, other in zip(first["t"], second["t"], strict=True)]
    assert joined == [sorted(batch) for batch in alone["t"]]


# -- sharding ---------------------------------------------------------------------------------------


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            values = torch.tanh(block(values))
        scores: torch.Tensor = self.head(values)
        return scores


def train_tower(sharded: bool) -> dict[str, Any]:
    """Four accumulated steps, the optimiser's state and weights taken out and put into a fresh tower half-way."""
    torch.manual_seed(0)
    data = torch.randn(8, 4, 8)

    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(1)
        tower: nn.Module = Tower()
        if sharded:
            tower = shard(tower, ["blocks.*"])
        return tower, torch.optim.AdamW(tower.parameters(), lr=0.05)

    tower, optimizer = fresh()
    for step in range(4):
        if step == 2:
            state, moments = network_state(tower), optimizer_state(tower, optimizer)
            state, moments = (of_all_ranks(part)[0] for part in (state, moments)) if sharded else (state, moments)
            tower, optimizer = fresh()
            load_network_state(tower, state)
            load_optimizer_state(tower, optimizer, moments)
        optimizer.zero_grad()
        for part in range(2):
            rows = data[2 * step + part]
            rows = rows[rank() * 2 : rank() * 2 + 2] if sharded else rows
            with gradients_synchronised(tower, part == 1):
                (tower(rows).square().mean() / 2).backward()
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 0.5)
        optimizer.step()
    if sharded:
        assert isinstance(tower, FSDPModule)
        own = sum(p.to_local().numel() for p in tower.parameters())  # type: ignore[attr-defined]
        assert own < 0.6 * sum(p.numel() for p in Tower().parameters())
    return network_state(tower)


def test_a_sharded_tower_trains_as_a_whole_one_and_its_state_is_whole(tmp_path: Path) -> None:
    first, _ = on_ranks(train_tower, tmp_path, True)
    alone = train_tower(False)
    assert first.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-5, msg=name)
