"""Compare this toolkit's MedKLIP with reference outputs of the published system, number by number.

    python tests/parity/medklip.py --golden DIR

DIR holds ``keys.json``, ``golden.safetensors`` (its metadata names the seed) and, where present,
``gradient_norms.json``. The last line printed is one JSON object of maximal absolute differences
(gradients: relative to the tensor's largest value) with ``"ok"``; exit status 0 only when all hold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from comparison import THREADS, distance, run
from seeded_weights import state_dict, tensor

import medvlp_toolkit as mv
from medvlp_medklip.importer import our_name

POSITIONS = 51


def compare(folder: Path) -> dict[str, float]:
    """Name -> difference for every recorded output, loss, gradient and gradient norm."""
    torch.set_num_threads(max(THREADS, torch.get_num_threads()))
    with safe_open(folder / "golden.safetensors", "pt") as golden:
        seed = int(golden.metadata()["seed"])
        recorded = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 - no mapping
    batch_size, queries = recorded["input.labels"].shape
    grid = round(recorded["eval.image_tokens"].shape[1] ** 0.5)
    published = state_dict(folder / "keys.json", seed)
    text_width = published["disease_embedding_layer.weight"].shape[1]
    model = mv.checkpoint_importers.medklip(
        {f"module.{name}": value for name, value in published.items()},
        entity_embeddings=0.5 * tensor("disease_book", (queries, text_width), seed),
        position_embeddings=0.5 * tensor("ana_book", (POSITIONS, text_width), seed),
        dropout=0.0,
    )
    batch = {
        "image": tensor("image", (batch_size, 3, 16 * grid, 16 * grid), seed),
        "entity_presence": recorded["input.labels"].to(torch.int8),
        "entity_position_candidates": recorded["input.positions"],
    }
    return {
        **evaluation(model, batch["image"], recorded),
        **training(model, batch, recorded, folder / "gradient_norms.json"),
    }


def evaluation(model: torch.nn.Module, image: Tensor, recorded: dict[str, Tensor]) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        tokens = model.model.image_tokens(image)
        fused = model.model.fuse_entities(tokens, need_attention=True)
        plain = model.model.fuse_entities(tokens)
        logits = model.losses["existence"].head(fused.text)
    differences = {
        "eval.image_tokens": distance(tokens, recorded["eval.image_tokens"]),
        "eval.logits": distance(logits, recorded["eval.logits"]),
        "eval.logits_without_attention_maps": distance(
            model.losses["existence"].head(plain.text), recorded["eval.logits"]
        ),
    }
    for layer in range(fused.attention.shape[1]):
        name = f"eval.attention.{layer}"
        differences[name] = distance(fused.attention[:, layer], recorded[name])
    return differences


def training(
    model: torch.nn.Module, batch: dict[str, Tensor], recorded: dict[str, Tensor], norms: Path
) -> dict[str, float]:
    model.train()
    losses = model(batch)
    losses["loss"].backward()
    differences = {
        "train.loss": distance(losses["loss"], recorded["train.loss"].squeeze()),
        "train.loss_existence": distance(losses["existence"], recorded["train.loss_existence"].squeeze()),
        "train.loss_position": distance(losses["position"], recorded["train.loss_position"].squeeze()),
    }
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, reference in recorded.items():
        if name.startswith("train.grad."):
            gradient = gradients[our_name(name.removeprefix("train.grad."))]
            differences[name] = distance(gradient, reference) / float(reference.abs().max())
    if norms.exists():
        worst = 0.0
        for published, reference in json.loads(norms.read_text()).items():
            norm = float(gradients[our_name(published)].norm())
            worst = max(worst, abs(norm - reference) / max(abs(reference), 1e-12))
        differences["train.grad_norms"] = worst
    return differences


def main() -> int:
    return run(compare, __doc__)


if __name__ == "__main__":
    sys.exit(main())
