"""Imports the published MedKLIP checkpoint as a :class:`~medvlp_toolkit.model.PretrainingModel`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import medvlp_toolkit as mv
from medvlp_medklip.fusion import EntityQueryDecoder
from medvlp_medklip.losses import EntityExistence, EntityPosition
from medvlp_medklip.projection import entity_projection, image_projection
from medvlp_toolkit.interfaces import KeyReport
from medvlp_toolkit.model.pretraining import PretrainingModel
from medvlp_toolkit.model.vision_language import VisionLanguageModel

#: Heads of the published decoder; a state dict does not carry the number.
HEADS = 4

# Published key prefix -> ours. The published encoder is a list: stem convolution 0, its norm 1, stages 4 to 6.
_PREFIXES: tuple[tuple[str, str], ...] = (
    ("res_features.0.", "model.image_encoder.conv1."),
    ("res_features.1.", "model.image_encoder.bn1."),
    ("res_features.4.", "model.image_encoder.layer1."),
    ("res_features.5.", "model.image_encoder.layer2."),
    ("res_features.6.", "model.image_encoder.layer3."),
    ("res_l1.", "model.image_projection.0."),
    ("res_l2.", "model.image_projection.2."),
    ("disease_embedding_layer.", "model.text_projection."),
    ("decoder.norm.", "model.fusion.norm."),
    ("decoder.layers.", "model.fusion.layers."),
    ("classifier.", "losses.existence.head."),
    ("cl_fc.", "losses.position.head."),
)
#: Entries of the published file other than the weights.
_AROUND_THE_WEIGHTS = {
    "optimizer": "state of its training",
    "lr_scheduler": "state of its training",
    "config": "its configuration",
    "epoch": "state of its training",
}
_RENAMED = {".self_attn.": ".self_attention.", ".multihead_attn.": ".cross_attention."}


def our_name(published: str) -> str | None:
    """Our parameter name for a published one (without ``module.``), or None when there is none."""
    for prefix, ours in _PREFIXES:
        if published.startswith(prefix):
            name = ours + published[len(prefix) :]
            for old, new in _RENAMED.items():
                name = name.replace(old, new)
            return name
    return None


def medklip(
    state_dict: Mapping[str, Any],
    entity_embeddings: Tensor,
    position_embeddings: Tensor | None = None,
    dropout: float = 0.1,
    position_loss: bool = True,
    position_weight: float = 1.0,
) -> PretrainingModel:
    """Build the model of a published MedKLIP checkpoint.

    ResNet depth (18 or 50), width and the number of decoder layers are inferred from the weights.

    Args:
        state_dict: the published dict, bare or under ``model``, with or without the ``module.`` prefix.
        entity_embeddings: (Q, 768) text embeddings of the entity descriptions, which the checkpoint lacks.
        position_embeddings: (P, 768) text embeddings of the positions; needed with ``position_loss``.
        dropout: of the decoder and on its output; the published value is 0.1.
        position_loss: False leaves out the position loss; its head is then known to be unused.
        position_weight: weight of the position loss, published 1.

    Raises:
        ValueError: when a key is missing, foreign or of another shape; the message holds the whole list.

    Example::

        pretraining_model:
          _target_: medvlp_toolkit.checkpoint_importers.medklip
          state_dict: "$torch.load('checkpoint_final.pth', map_location='cpu', weights_only=True)"
          entity_embeddings: "@entity_bank"
          position_embeddings: "@position_bank"
    """
    tensors = _unwrap(state_dict)
    depth, layers = _depth(tensors), _layers(tensors)
    width, text_width = tensors["disease_embedding_layer.weight"].shape
    feed_forward = tensors["decoder.layers.0.linear1.weight"].shape[0]
    for label, bank in (("entity_embeddings", entity_embeddings), ("position_embeddings", position_embeddings)):
        if bank is not None and (bank.ndim != 2 or bank.shape[1] != text_width):
            raise ValueError(
                f"{label} have shape {tuple(bank.shape)}; this checkpoint reads text embeddings (…, {text_width})"
            )
    if position_loss and position_embeddings is None:
        raise ValueError("medklip needs position_embeddings (P, 768) for the position loss, or position_loss=False")

    encoder = mv.encoders.resnet(depth=depth)
    losses: dict[str, torch.nn.Module] = {"existence": EntityExistence(width)}
    if position_loss and position_embeddings is not None:
        losses["position"] = EntityPosition(position_embeddings, width)
    pretraining_model = PretrainingModel(
        VisionLanguageModel(
            image_encoder=encoder,
            image_projection=image_projection(encoder.num_features, width),
            text_projection=entity_projection(text_width, width),
            fusion=EntityQueryDecoder(width, layers, HEADS, feed_forward, dropout, output_dropout=dropout),
            entity_bank=entity_embeddings.clone(),
        ),
        losses,
        weights={"position": position_weight} if "position" in losses else None,
    )
    known_unused = () if position_loss else ("cl_fc.",)
    used = _load(pretraining_model, tensors, known_unused)
    unused = {key: "the head of the position loss, which was left out" for key in tensors if key not in used}
    if "model" in state_dict:
        unused |= {key: _AROUND_THE_WEIGHTS.get(key, "not weights") for key in state_dict if key != "model"}
    made = {"model.entity_bank": f"{len(entity_embeddings)} descriptions through the text model"}
    if position_loss and position_embeddings is not None:
        made["losses.position.position_bank"] = f"{len(position_embeddings)} positions through the text model"
    pretraining_model.key_report = KeyReport(used, unused, made, _notes(depth, layers))  # type: ignore[assignment]
    return pretraining_model


def text_width(state_dict: Mapping[str, Any]) -> int:
    """Width of the text embeddings that a published checkpoint reads.

    Raises:
        ValueError: when it is not a checkpoint of MedKLIP.
    """
    return int(_unwrap(state_dict)["disease_embedding_layer.weight"].shape[1])


def settings(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with which the bundle's ``train.yaml`` composes the model of a published checkpoint.

    Raises:
        ValueError: when it is not a MedKLIP checkpoint.
    """
    tensors = _unwrap(state_dict)
    return {
        "width": int(tensors["disease_embedding_layer.weight"].shape[0]),
        "image_encoder::depth": _depth(tensors),
        "fusion::layers": _layers(tensors),
        "fusion::heads": HEADS,
        "fusion::feed_forward": int(tensors["decoder.layers.0.linear1.weight"].shape[0]),
    }


medklip.text_width = text_width  # type: ignore[attr-defined]
medklip.settings = settings  # type: ignore[attr-defined]


def _notes(depth: int, layers: int) -> tuple[str, ...]:
    """Settings that the bundle's configurations need for an unusual checkpoint."""
    if (depth, layers) == (50, 4):
        return ()
    return (
        f"ResNet-{depth} and {layers} decoder layers: later steps read this from model.json; to "
        f"continue pre-training, give train.yaml --image_encoder::depth {depth} --fusion::layers {layers}",
    )


def _unwrap(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    inner = state_dict.get("model", state_dict)
    if not isinstance(inner, Mapping):
        raise ValueError(f"the checkpoint's 'model' is a {type(inner).__name__}; expected a state dict")
    tensors = {str(key).removeprefix("module."): value for key, value in inner.items()}
    needed = ("disease_embedding_layer.weight", "decoder.layers.0.linear1.weight", "res_features.4.0.conv1.weight")
    missing = [key for key in needed if not isinstance(tensors.get(key), Tensor)]
    if missing:
        shown = ", ".join(sorted(tensors)[:5]) or "nothing"
        raise ValueError(
            f"this is not a checkpoint of MedKLIP: it lacks {', '.join(missing)}; it holds {len(tensors)} entries, "
            f"beginning with {shown}"
        )
    return tensors


def _layers(tensors: Mapping[str, Tensor]) -> int:
    return len({int(m.group(1)) for k in tensors if (m := re.match(r"decoder\.layers\.(\d+)\.", k))})


def _depth(tensors: Mapping[str, Tensor]) -> int:
    blocks = {int(m.group(1)) for k in tensors if (m := re.match(r"res_features\.6\.(\d+)\.", k))}
    bottleneck = "res_features.4.0.conv3.weight" in tensors
    for depth, (kind, per_stage) in {18: (False, 2), 50: (True, 6)}.items():
        if bottleneck == kind and len(blocks) == per_stage:
            return depth
    raise ValueError(
        f"the checkpoint's encoder has {len(blocks)} {'bottleneck' if bottleneck else 'basic'} blocks in stage 3; "
        "expected ResNet-18 (2 basic) or ResNet-50 (6 bottleneck)"
    )


def _load(model: PretrainingModel, tensors: Mapping[str, Tensor], known_unused: tuple[str, ...]) -> dict[str, str]:
    """Load the published values into the model; returns published key -> our name."""
    expected = model.state_dict()
    loaded: dict[str, Tensor] = {}
    used: dict[str, str] = {}
    problems = []
    for key, value in tensors.items():
        name = our_name(key)
        if key.startswith(known_unused) and known_unused:
            continue
        if name is None or name not in expected:
            problems.append(f"  {key}: no place for it in this model")
        elif tuple(expected[name].shape) != tuple(value.shape):
            problems.append(f"  {key}: shape {tuple(value.shape)}, expected {tuple(expected[name].shape)}")
        else:
            loaded[name] = value
            used[key] = name
    banks = {"model.entity_bank", "losses.position.position_bank"}
    missing = [name for name in expected if name not in loaded and name not in banks]
    if not any("shape" in problem for problem in problems):  # a mismatch is reported once, under its published key
        problems += [f"  {name}: missing from the checkpoint" for name in missing]
    if problems:
        raise ValueError(f"{len(problems)} entries of the checkpoint do not fit MedKLIP:\n" + "\n".join(problems))
    model.load_state_dict(loaded | {name: expected[name] for name in banks if name in expected})
    return used
