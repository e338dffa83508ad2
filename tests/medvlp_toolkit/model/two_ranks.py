"""Two gloo ranks and one rank on the same batch; prints how far apart their losses and gradients are.

    python two_ranks.py FOLDER

FOLDER receives the rendezvous file and each rank's result. The second rank's share of the batch has no
entity that is present: its position loss has no term.
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
from torch.nn.parallel import DistributedDataParallel

import medvlp_toolkit as mv
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

WIDTH, TEXT_WIDTH, ENTITIES, POSITIONS = 16, 12, 5, 6
SHARES = (slice(0, 3), slice(3, 5))
STEPS = 2


class PatchEncoder(nn.Module):
    """(B, 1, 8, 8) -> (B, 4, 10): no normalisation over the batch, so that samples do not mix."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 10, kernel_size=4, stride=4)

    def forward(self, image: Tensor) -> Tensor:
        tokens: Tensor = self.embed(image).flatten(2).transpose(1, 2)
        return tokens


def build_model() -> PretrainingModel:
    torch.manual_seed(0)
    model = VisionLanguageModel(
        image_encoder=PatchEncoder(),
        image_projection=nn.Linear(10, WIDTH),
        text_projection=nn.Linear(TEXT_WIDTH, WIDTH),
        fusion=mv.fusion_modules.entity_query_decoder(
            width=WIDTH, layers=2, heads=2, feed_forward=24, dropout=0.0, output_dropout=0.0
        ),
        entity_bank=torch.randn(ENTITIES, TEXT_WIDTH),
    )
    losses = {
        "existence": mv.pretext_losses.entity_existence(width=WIDTH),
        "position": mv.pretext_losses.entity_position(position_bank=torch.randn(POSITIONS, TEXT_WIDTH), width=WIDTH),
    }
    return PretrainingModel(model, losses, weights={"position": 0.5})


def whole_batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = SHARES[-1].stop
    presence = torch.randint(-1, 2, (size, ENTITIES), generator=generator, dtype=torch.int8)
    presence[0, 0] = 1
    presence[SHARES[1]] = torch.tensor([0, -1, 0, 2, -1], dtype=torch.int8)
    return {
        "image": torch.randn(size, 1, 8, 8, generator=generator),
        "entity_presence": presence,
        "entity_position_candidates": torch.randint(0, POSITIONS, (size, ENTITIES, 4), generator=generator),
    }


def steps(model: nn.Module, parameters: list[tuple[str, nn.Parameter]], batch: dict[str, Tensor]) -> dict[str, Any]:
    """Two optimisation steps; losses of the last, and the last gradient and value of every parameter."""
    optimizer = torch.optim.SGD([p for _, p in parameters if p.requires_grad], lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses = model(batch)
        losses["loss"].backward()
        gradients = {name: p.grad.clone() for name, p in parameters if p.grad is not None}
        optimizer.step()
    return {
        "losses": {name: value.detach() for name, value in losses.items()},
        "gradients": gradients,
        "values": {name: p.detach().clone() for name, p in parameters},
    }


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(SHARES))
    try:
        model = build_model()
        share = {key: value[SHARES[rank]] for key, value in whole_batch().items()}
        result = steps(DistributedDataParallel(model), list(model.named_parameters()), share)
        torch.save(result, f"{folder}/rank{rank}.pt")
    finally:
        dist.destroy_process_group()


def furthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    if one.keys() != other.keys():
        raise ValueError(f"only one of them has {', '.join(sorted(one.keys() ^ other.keys()))}")
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def main() -> None:
    folder = Path(sys.argv[1])
    mp.spawn(run_rank, args=(str(folder),), nprocs=len(SHARES))
    ranks = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(len(SHARES))]
    alone_model = build_model()
    alone = steps(alone_model, list(alone_model.named_parameters()), whole_batch())
    mean = {name: sum(rank["losses"][name] for rank in ranks) / len(ranks) for name in alone["losses"]}
    report = {
        "loss": furthest(mean, alone["losses"]),
        "gradient": max(furthest(rank["gradients"], alone["gradients"]) for rank in ranks),
        "value": max(furthest(rank["values"], alone["values"]) for rank in ranks),
        "gradient_scale": max(float(value.abs().max()) for value in alone["gradients"].values()),
        "position_loss_of_rank_without_positives": float(ranks[1]["losses"]["position"]),
        "position_loss": float(alone["losses"]["position"]),
        "position_head_gradient": float(alone["gradients"]["losses.position.head.weight"].abs().max()),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
