"""A bundle's losses and gradients on two gloo ranks and on one rank with the joined batch; prints how far apart.

    python two_ranks.py FOLDER BATCH '["train.yaml", …]' '{"id": value, …}'

Dropout is off and batch normalisation frozen: there is no synchronised one on the CPU. The data set, its sampler and
the augmentation are the bundle's: two ranks with BATCH studies each see what one rank sees with twice as many.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

RANKS = 2


def build(configs: list[str], overrides: dict[str, Any]) -> tuple[nn.Module, Any, Any]:
    """Network, first batch and the transform of the bundle's step."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(configs)
    parser.update(overrides)
    torch.manual_seed(0)
    network = parser.get_parsed_content("pretraining_model")
    loader = parser.get_parsed_content("train::loader")
    loader.sampler.set_epoch(1)
    return frozen(network), next(iter(loader)), parser.get_parsed_content("train::step").transform


def frozen(network: nn.Module) -> nn.Module:
    """In training mode, but without dropout, and batch normalisation with its running statistics."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.modules.batchnorm._BatchNorm):
            module.eval()
        for name in ("dropout", "dropout_p", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    return network


def losses_and_gradients(network: nn.Module, named: nn.Module, batch: dict[str, Any], transform: Any) -> dict[str, Any]:
    prepared = {key: value for key, value in transform(batch).items() if isinstance(value, Tensor)}
    losses = network(prepared)
    losses["loss"].backward()
    return {
        "losses": {name: value.detach() for name, value in losses.items()},
        "gradients": {name: p.grad.clone() for name, p in named.named_parameters() if p.grad is not None},
        "rows": batch["row"],
    }


def run_rank(rank: int, folder: str, configs: list[str], overrides: dict[str, Any]) -> None:
    from medvlp_toolkit.engines.parallel import replicate

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=RANKS)
    try:
        network, batch, transform = build(configs, overrides)
        result = losses_and_gradients(replicate(network, torch.device("cpu")), network, batch, transform)
        torch.save(result, f"{folder}/rank{rank}.pt")
    finally:
        dist.destroy_process_group()


def main() -> None:
    folder, batch_size = Path(sys.argv[1]), int(sys.argv[2])
    configs, overrides = json.loads(sys.argv[3]), json.loads(sys.argv[4])
    context = mp.get_context("fork")  # after the imports, which take longer than the work
    import monai.bundle  # noqa: F401

    torch.set_num_threads(1)
    processes = [
        context.Process(target=run_rank, args=(rank, str(folder), configs, {**overrides, "batch_size": batch_size}))
        for rank in range(RANKS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a rank ended with status {process.exitcode}")
    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(RANKS)]
    network, batch, transform = build(configs, {**overrides, "batch_size": RANKS * batch_size})
    alone = losses_and_gradients(network, network, batch, transform)
    mean = {name: sum(rank["losses"][name] for rank in ranks) / RANKS for name in alone["losses"]}
    studies = torch.cat([rank["rows"] for rank in ranks]).tolist()
    print(
        json.dumps(
            {
                "same_studies": sorted(studies) == sorted(alone["rows"].tolist()),
                "losses": {name: float(value) for name, value in alone["losses"].items()},
                "loss": furthest(mean, alone["losses"]),
                "gradient": max(furthest(rank["gradients"], alone["gradients"]) for rank in ranks),
                "gradient_scale": max(float(value.abs().max()) for value in alone["gradients"].values()),
                "parameters": len(alone["gradients"]),
            }
        )
    )


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    if one.keys() != other.keys():
        raise ValueError(f"only one of them has {', '.join(sorted(one.keys() ^ other.keys()))}")
    return max(float((one[name] - other[name]).abs().max()) for name in one)


if __name__ == "__main__":
    main()
