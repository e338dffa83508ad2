"""Compare this toolkit's ARL with reference outputs of the published system, number by number.

    python tests/parity/arl.py --golden DIR

DIR holds ``config.json``, ``keys.json``, ``golden.safetensors`` (its metadata names the seed) and, where present,
``gradient_norms.json``. The last line printed is one JSON object of maximal absolute differences
(gradients: relative to the tensor's largest value) with ``"ok"``; exit status 0 only when all hold.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from comparison import distance, run
from seeded_weights import state_dict, tensor

import medvlp_toolkit as mv
from medvlp_arl.published_names import our_names, reason_unused
from medvlp_toolkit.interfaces import FusionOutput
from medvlp_toolkit.model.encodings import Encodings
from medvlp_toolkit.model.pretraining import PretrainingModel

#: Norms below this are compared as if they were this large: rounding leaves 1e-9 or so of a zero.
SMALLEST_NORM = 1e-4
LOSSES = {"align": "alignment", "itm": "matching", "mim": "masked_image", "mlm": "masked_language", "total": "loss"}


def compare(folder: Path) -> dict[str, float]:
    """Name -> difference for every recorded output, loss, gradient and gradient norm."""
    config = json.loads((folder / "config.json").read_text())
    with safe_open(folder / "golden.safetensors", "pt") as golden:
        seed = int(golden.metadata()["seed"])
        recorded = {name: golden.get_tensor(name) for name in golden.keys()}  # noqa: SIM118 - no mapping
    published = state_dict(folder / "keys.json", seed)
    batch = the_batch(config, recorded, seed)
    differences = evaluation(imported(published, config, share=True), batch, recorded)
    for share, prefix in ((True, "train"), (False, "train_without_sharing")):
        model = imported(published, config, share)
        differences.update(training(model, batch, recorded, folder / "gradient_norms.json", config, prefix))
    return differences


def imported(published: dict[str, Tensor], config: dict[str, Any], share: bool) -> PretrainingModel:
    model: PretrainingModel = mv.checkpoint_importers.arl(
        published,
        dropout=0.0,
        graph_dropout=0.0,
        vision_heads=config["vision_heads"],
        text_heads=config["text_heads"],
        fusion_heads=config["fusion_heads"],
        decoder_heads=config["mim_decoder_heads"],
        mim_layer=config["mim_layer"],
        share_encodings=share,
    )
    model.mask_ratio = config["mim_ratio"]
    return model


def the_batch(config: dict[str, Any], recorded: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The recorded inputs under this toolkit's names, what is drawn included."""
    size = recorded["input.text_ids"].shape[0]
    shape = (size, 3, config["image_size"], config["image_size"])
    labels = recorded["input.mlm_labels"]
    masked = labels != -100
    most = int(masked.sum(dim=1).max())
    positions = masked.long().argsort(dim=1, descending=True, stable=True)[:, :most]
    generator = torch.Generator().manual_seed(config["mask_seed"])
    return {
        "image": tensor("image", shape, seed),
        "negative_image": tensor("false_image", shape, seed),
        "is_pair": recorded["input.itm_labels"] > 0.5,
        "input_ids": recorded["input.text_ids"],
        "attention_mask": recorded["input.text_mask"],
        "linked_entities": recorded["input.entity_ids"],
        "linked_entity_alignment": recorded["input.entity_positions"],
        "masked_input_ids": recorded["input.mlm_ids"],
        "masked_positions": positions,
        "masked_labels": labels.gather(1, positions),
        "masked_linked_entities": recorded["input.mlm_entity_ids"],
        "masked_linked_entity_alignment": recorded["input.mlm_entity_positions"],
        "image_entities": recorded["input.image_entities"],
        "text_entities": recorded["input.text_entities"],
        "patch_noise": torch.rand(size, (config["image_size"] // config["patch_size"]) ** 2, generator=generator),
    }


@torch.no_grad()
def evaluation(model: PretrainingModel, batch: dict[str, Tensor], recorded: dict[str, Tensor]) -> dict[str, float]:
    model.eval()
    encodings = Encodings(model.model, batch, mask_ratio=model.mask_ratio)
    bare = {key: value for key, value in batch.items() if not key.startswith("linked")}
    losses: Any = model.losses
    order = batch["patch_noise"].argsort(dim=1)
    _, masked = losses["masked_image"].predictions(encodings)
    ours = {
        "text": encodings.fused().text,
        "image": encodings.fused().image,
        "cls": encodings.fused().pooled,
        "cls_of_the_pooled_part_alone": encodings.fused("report", "full", compute="pooled").pooled,
        "cls_without_entities": Encodings(model.model, bare).fused().pooled,
        "cls_with_attention_maps": _with_attention(encodings).pooled,
        "unimodal_image": encodings.image_summary(),
        "unimodal_text": encodings.text_summary(),
        "mlm_logits": _at_masks(losses["masked_language"].logits(encodings), batch, recorded["eval.mlm_logits"]),
        "entity_embeddings": encodings.linked_entity_embeddings(),
        "itm_logits": losses["matching"].head(encodings.fused().pooled),
        "mim_masks": masked.float(),
        "mim_ids_restore": order.argsort(dim=1),
        "mim_image_layer3": encodings.fused(
            "report", "masked", stop_after=losses["masked_image"].stop_after, compute="image"
        ).image,
    }
    references = {name: recorded.get(f"eval.{name}", recorded["eval.cls"]) for name in ours}
    unknown = {name for name in recorded if name.startswith("eval.")} - {f"eval.{name}" for name in ours}
    if unknown:
        raise ValueError(f"no counterpart here for {', '.join(sorted(unknown))}")
    return {f"eval.{name}": distance(value, references[name]) for name, value in ours.items()}


def _at_masks(logits: Tensor, batch: dict[str, Tensor], reference: Tensor) -> Tensor:
    """Those of the masked tokens; texts with fewer masks than others have padding among them here."""
    if logits.shape == reference.shape:
        return logits
    return logits[batch["masked_labels"] != -100].reshape(reference.shape)


def _with_attention(encodings: Encodings) -> FusionOutput:
    """The fused pair with attention maps formed, which takes another path through the attention."""
    from medvlp_toolkit.interfaces import Knowledge

    batch = encodings.batch
    linked = batch["linked_entities"]
    fused: FusionOutput = encodings.model.fusion(
        encodings.image_tokens(),
        encodings.text_tokens(),
        batch["attention_mask"],
        Knowledge(encodings.linked_entity_embeddings(), linked >= 0, batch["linked_entity_alignment"]),
        need_attention=True,
    )
    return fused


def training(
    model: PretrainingModel,
    batch: dict[str, Tensor],
    recorded: dict[str, Tensor],
    norms: Path,
    config: dict[str, Any],
    prefix: str,
) -> dict[str, float]:
    model.train()
    losses = model(batch)
    losses["loss"].backward()
    differences = {
        f"{prefix}.loss_{theirs}": distance(losses[ours], recorded[f"train.loss_{theirs}"].squeeze())
        for theirs, ours in LOSSES.items()
    }
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, reference in recorded.items():
        if name.startswith("train.grad."):
            published = name.removeprefix("train.grad.")
            gradient = published_gradient(published, gradients)[: len(reference)].reshape(reference.shape)
            differences[f"{prefix}.grad.{published}"] = distance(gradient, reference) / float(reference.abs().max())
    if norms.exists():
        worst = {"grad_norms": 0.0, "key_bias_norms": 0.0}
        for published, reference in json.loads(norms.read_text()).items():
            if reason_unused(published, config["fusion_layers"]) is None:
                difference = abs(float(published_gradient(published, gradients).norm()) - reference)
                if published.endswith(
                    ".key.bias"
                ):  # adds the same to all scores: its gradient is zero but for rounding
                    worst["key_bias_norms"] = max(worst["key_bias_norms"], difference)
                else:
                    worst["grad_norms"] = max(worst["grad_norms"], difference / max(abs(reference), SMALLEST_NORM))
        differences.update({f"{prefix}.{name}": value for name, value in worst.items()})
    return differences


def published_gradient(published: str, gradients: dict[str, Tensor | None]) -> Tensor:
    """The gradient of a published parameter, put together again where it is split here, as type embeddings are."""
    found = [gradients[name] for name in our_names(published)]
    present = [gradient for gradient in found if gradient is not None]
    if not present or len(present) < len(found):
        raise ValueError(f"{published} receives no gradient")
    return present[0] if len(present) == 1 else torch.stack(present)


def main() -> int:
    return run(compare, __doc__, ("config.json", "keys.json", "golden.safetensors"))


if __name__ == "__main__":
    sys.exit(main())
