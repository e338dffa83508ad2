"""Compare this toolkit's GLoRIA loss with reference outputs of the published one, number by number.

    python tests/parity/gloria.py --golden DIR

DIR holds ``golden.safetensors`` (its metadata names the seed). The last line printed is one JSON object of maximal
absolute differences (gradients: relative to the tensor's largest value) with ``"ok"``; exit status 0 only when all
hold.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent))

from comparison import distance, relative, run
from seeded_weights import tensor

import medvlp_toolkit as mv
from medvlp_contrastive.pairing import Pairs, unit

TEXTS, WIDTH, GRID, WORDS = 4, 32, (5, 5), 9


def compare(folder: Path) -> dict[str, float]:
    """Name -> difference for every recorded loss, attention and gradient."""
    with safe_open(folder / "golden.safetensors", "pt") as golden:
        seed = int(golden.metadata()["seed"])
        recorded = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 - no mapping
    inputs = {
        "image_tokens": 0.3 * tensor("image_tokens", (TEXTS, WIDTH, *GRID), seed),
        "words": 0.3 * tensor("words", (TEXTS, WIDTH, WORDS), seed),
        "image_global": tensor("image_global", (TEXTS, WIDTH), seed),
        "text_global": tensor("text_global", (TEXTS, WIDTH), seed),
    }
    for value in inputs.values():
        value.requires_grad_()
    regions, words = inputs["image_tokens"].flatten(2).transpose(1, 2), inputs["words"].transpose(1, 2)
    there = torch.arange(WORDS) < recorded["word_counts"][:, None]
    image, text = unit(inputs["image_global"]), unit(inputs["text_global"])
    loss = mv.pretext_losses.gloria_local()
    sums = loss.terms(Pairs(image, text, image, text, torch.eye(TEXTS, dtype=torch.bool)), regions, words, there)
    losses = {name: value / TEXTS for name, value in sums.items()}
    losses["total"] = torch.stack(list(losses.values())).sum()
    losses["total"].backward()
    differences = {name: distance(value, recorded[name]) for name, value in losses.items()}
    attention = loss.attention(regions, words, there)
    for text_number, count in enumerate(recorded["word_counts"].tolist()):
        own = attention[text_number, text_number, :count].unflatten(-1, GRID)
        differences[f"attention.{text_number}"] = distance(own, recorded[f"attention.{text_number}"])
    for name, value in inputs.items():
        differences[f"grad.{name}"] = relative(value.grad, recorded[f"grad.{name}"])
    return differences


def main() -> int:
    return run(compare, __doc__, ("golden.safetensors",))


if __name__ == "__main__":
    sys.exit(main())
