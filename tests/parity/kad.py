"""Compare this toolkit's KAD with reference outputs of the published system, number by number.

    python tests/parity/kad.py --golden DIR

DIR holds ``keys.json``, ``golden.safetensors`` (its metadata names the seed) and ``gradient_norms.json``. The last line
printed is one JSON object of maximal absolute differences (gradients: relative to the tensor's largest value) with
``"ok"``; exit status 0 only when all hold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from comparison import SMALL_NORM, THREADS, distance, relative, run
from seeded_weights import state_dict, tensor

import medvlp_toolkit as mv
from medvlp_kad.importer import our_name
from medvlp_kad.knowledge import NO_CONCEPT, KnowledgeModel, concept_targets
from medvlp_toolkit.model import Encodings

#: Strides of the published layouts, by the size of the image they were made for.
STRIDES = {"224": 16, "512": 32}
LOSSES = {"existence": "existence_image", "existence_in_text": "existence_text", "contrast": "contrastive"}


def compare(folder: Path) -> dict[str, float]:
    """Name -> difference for every recorded output, loss, gradient and gradient norm."""
    torch.set_num_threads(max(THREADS, torch.get_num_threads()))
    with safe_open(folder / "golden.safetensors", "pt") as golden:
        metadata = golden.metadata()
        recorded = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 - no mapping
    seed = int(metadata["seed"])
    published = state_dict(folder / "keys.json", seed)
    grid = round(recorded["eval.image_tokens"].shape[1] ** 0.5)
    side = grid * STRIDES[metadata["layout"]]
    batch = {
        "image": tensor("image", (len(recorded["input.labels"]), 3, side, side), seed),
        "input_ids": recorded["input.entity_ids"],
        "attention_mask": recorded["input.entity_mask"],
        "entity_presence": recorded["input.labels"].to(torch.int8),
    }
    names = (recorded["input.query_ids"], recorded["input.query_mask"])

    def model(unmentioned: str) -> torch.nn.Module:
        made = mv.checkpoint_importers.kad(published, names, dropout=0.0, unmentioned=unmentioned)
        made.model.text_encoder.model.config.hidden_dropout_prob = 0.0
        for part in made.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        return made

    return {
        **evaluation(model("absent").eval(), batch, recorded),
        **training("train", model("absent").train(), batch, recorded, folder / "gradient_norms.json"),
        **knowledge(model("absent"), recorded, metadata["cui"], published["text_encoder.logit_scale"]),
        **training("train_ignore", model("ignore").train(), batch, recorded),
    }


def evaluation(model: torch.nn.Module, batch: dict[str, Tensor], recorded: dict[str, Tensor]) -> dict[str, float]:
    encodings = Encodings(model.model, batch)
    head = model.losses["existence"].head
    with torch.no_grad():
        fused = model.model.fuse_entities(encodings.image_tokens(), need_attention=True)
        found = {
            "image_tokens": encodings.image_tokens(),
            "image_pooled": encodings.image_summary(),
            "query_features": model.model.entity_queries(),
            "normalized_query_features": torch.nn.functional.normalize(model.model.entity_queries(), dim=-1),
            "entity_features": encodings.text_summary(),
            "logits": head(fused.text),
            "text_logits": head(encodings.fused(text="entities", image="report").text),
            "attention_last": fused.attention[:, -1],
        }
    return {f"eval.{name}": distance(value, recorded[f"eval.{name}"]) for name, value in found.items()}


def training(
    prefix: str,
    model: torch.nn.Module,
    batch: dict[str, Tensor],
    recorded: dict[str, Tensor],
    norms: Path | None = None,
) -> dict[str, float]:
    losses = model(batch)
    losses["loss"].backward()
    differences = {f"{prefix}.loss": distance(losses["loss"], recorded[f"{prefix}.loss"])}
    for ours, theirs in LOSSES.items():
        differences[f"{prefix}.loss_{theirs}"] = distance(losses[ours], recorded[f"{prefix}.loss_{theirs}"])
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, reference in recorded.items():
        if name.startswith(f"{prefix}.grad."):
            differences[name] = relative(gradients[our_name(name.removeprefix(f"{prefix}.grad."))], reference)
    if norms is not None:
        differences |= {f"{prefix}.{name}": value for name, value in norm_differences(gradients, norms).items()}
    return differences


def knowledge(
    model: torch.nn.Module, recorded: dict[str, Tensor], concepts: str, logit_scale: Tensor
) -> dict[str, float]:
    """Stage 1's loss of the queries' names against themselves, rolled by one row; a concept of "0" is none."""
    stage = KnowledgeModel(model.model.text_encoder, model.model.text_projection)
    stage.logit_scale.data.copy_(logit_scale)
    known = sorted(set(concepts.split(",")) - {"0"})
    concept = torch.tensor([known.index(name) if name in known else NO_CONCEPT for name in concepts.split(",")])
    ids, mask = recorded["input.query_ids"], recorded["input.query_mask"]
    batch = {"input_ids": ids, "attention_mask": mask, "other_ids": ids.roll(1, 0), "other_mask": mask.roll(1, 0)}
    loss = stage({**batch, "concept": concept})["loss"]
    loss.backward()
    scale_name, bias_name = (f"knowledge.grad.text_encoder.{name}" for name in ("logit_scale", "mlp_embed.2.bias"))
    return {
        "knowledge.loss": distance(loss, recorded["knowledge.loss"]),
        "knowledge.targets": distance(concept_targets(concept), recorded["knowledge.targets"]),
        scale_name: relative(stage.logit_scale.grad, recorded[scale_name]),
        bias_name: relative(stage.text_projection[4].bias.grad, recorded[bias_name]),
    }


def norm_differences(gradients: dict[str, Tensor], norms: Path) -> dict[str, float]:
    """The largest difference of a gradient's norm: relative, absolute where it is small, and of what is zero.

    Softmax is the same whatever is added to all its logits, so that a key's bias has no gradient; rounding leaves one.
    """
    worst = {"grad_norms": 0.0, "small_grad_norms": 0.0, "zero_grad_norms": 0.0}
    for published, reference in json.loads(norms.read_text()).items():
        ours = float(gradients[our_name(published)].norm())
        if published.endswith("key.bias"):
            name, difference = "zero_grad_norms", max(ours, reference)
        elif reference < SMALL_NORM:
            name, difference = "small_grad_norms", abs(ours - reference)
        else:
            name, difference = "grad_norms", abs(ours - reference) / reference
        worst[name] = max(worst[name], difference)
    return worst


def main() -> int:
    return run(compare, __doc__)


if __name__ == "__main__":
    sys.exit(main())
