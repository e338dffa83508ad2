"""Imports the image towers of published contrastive models as encoders, by tables of their parameter names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_encoders.clip import ClipVisionTransformer
from medvlp_encoders.clip_weights import our_name, renamed
from medvlp_encoders.resnet import ResNetTokens
from medvlp_encoders.transformers_image import TransformersImage
from medvlp_toolkit.interfaces import KeyReport

#: What is in these files beside the image tower: beginning of the name -> why it is not needed.
_OF_CLIP = {
    "visual.proj": "the projection into the published joint space; recipes train their own",
    "visual.head.": "the projection into the published joint space; recipes train their own",
    "transformer.": "the text tower",
    "text.": "the text tower",
    "token_embedding.": "the text tower",
    "positional_embedding": "the text tower",
    "ln_final.": "the text tower",
    "text_projection": "the text tower",
    "attn_mask": "the text tower",
    "logit_scale": "the temperature of the published loss",
    "logit_bias": "the bias of the published loss",
    "input_resolution": "a number of the published code",
    "context_length": "a number of the published code",
    "vocab_size": "a number of the published code",
}
#: timm's names of a vision transformer within `visual.trunk.` -> those of transformers' ViT.
_TIMM: tuple[tuple[str, str], ...] = (
    (r"cls_token", "embeddings.cls_token"),
    (r"pos_embed", "embeddings.position_embeddings"),
    (r"patch_embed\.proj\.(weight|bias)", r"embeddings.patch_embeddings.projection.\1"),
    (r"blocks\.(\d+)\.norm1\.(weight|bias)", r"layers.\1.layernorm_before.\2"),
    (r"blocks\.(\d+)\.norm2\.(weight|bias)", r"layers.\1.layernorm_after.\2"),
    (r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)", r"layers.\1.attention.{qkv}.\2"),
    (r"blocks\.(\d+)\.attn\.proj\.(weight|bias)", r"layers.\1.attention.o_proj.\2"),
    (r"blocks\.(\d+)\.mlp\.fc1\.(weight|bias)", r"layers.\1.mlp.fc1.\2"),
    (r"blocks\.(\d+)\.mlp\.fc2\.(weight|bias)", r"layers.\1.mlp.fc2.\2"),
    (r"norm\.(weight|bias)", r"layernorm.\1"),
)
#: BioViL's names: an image model whose encoder holds a residual network as torchvision names it.
_OF_BIOVIL = {
    "projector.": "the projection into the published joint space; recipes train their own",
    "classifier.": "the head of the published classifier",
    "encoder.encoder.fc.": "the head of ImageNet's classes",
}


def chexzero(state_dict: Mapping[str, Any], heads: int | None = None) -> ClipVisionTransformer:
    """The image tower of CheXzero (Tiu et al. 2022), a CLIP ViT-B/32 in OpenAI's layout.

    Args:
        state_dict: as published, bare or under ``state_dict``.
        heads: attention heads, which a state dict does not carry; None is one per 64 channels.

    Raises:
        ValueError: when a key of the image tower is missing, foreign or of another shape; holds the whole list.

    Example::

        medvlp import chexzero best_64_5e-05_original_22000_0.864.pt --out towers/chexzero
    """
    return _clip_tower(state_dict, heads, "CheXzero")


def open_clip(state_dict: Mapping[str, Any], heads: int | None = None) -> ClipVisionTransformer:
    """The image tower of a CLIP model with a vision transformer, trained by OpenAI or open_clip with QuickGELU.

    Models of open_clip trained with the plain GELU have the same names and give other features here.

    Args:
        state_dict: bare or under ``state_dict``, with or without ``module.``.
        heads: as for :func:`chexzero`.

    Raises:
        ValueError: as for :func:`chexzero`.

    Example::

        medvlp import open_clip ViT-B-16.pt --out towers/clip
    """
    return _clip_tower(state_dict, heads, "CLIP")


def biomedclip(state_dict: Mapping[str, Any], heads: int | None = None) -> TransformersImage:
    """The image tower of BiomedCLIP (Zhang et al. 2023), timm's ViT-B/16 within open_clip.

    Args:
        state_dict: ``open_clip_pytorch_model.bin``, bare or under ``state_dict``.
        heads: attention heads; None is one per 64 channels.

    Raises:
        ValueError: as for :func:`chexzero`.

    Example::

        medvlp import biomedclip open_clip_pytorch_model.bin --out towers/biomedclip
    """
    tensors = _unwrapped(state_dict, ("visual.trunk.patch_embed.proj.weight", "visual.trunk.pos_embed"), "BiomedCLIP")
    first, positions = tensors["visual.trunk.patch_embed.proj.weight"], tensors["visual.trunk.pos_embed"]
    width, channels, patch = int(first.shape[0]), int(first.shape[1]), int(first.shape[2])
    layers = _count(tensors, r"visual\.trunk\.blocks\.(\d+)\.")
    encoder = TransformersImage(
        config={
            "model_type": "vit",
            "hidden_size": width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads or max(1, width // 64),
            "intermediate_size": int(tensors["visual.trunk.blocks.0.mlp.fc1.weight"].shape[0]),
            "patch_size": patch,
            "image_size": patch * round((positions.shape[1] - 1) ** 0.5),
            "num_channels": channels,
            "layer_norm_eps": 1e-6,
        }
    )
    places: dict[str, Sequence[str]] = {}
    for key in tensors:
        ours = renamed(key.removeprefix("visual.trunk."), _TIMM)
        if key.startswith("visual.trunk.") and ours is not None:
            name = f"model.{ours}"
            places[key] = [name.replace("{qkv}", f"{one}_proj") for one in "qkv"] if "{qkv}" in name else [name]
    return _loaded(encoder, tensors, places, _OF_CLIP, "BiomedCLIP")  # type: ignore[return-value]


def biovil(state_dict: Mapping[str, Any]) -> ResNetTokens:
    """The image model of BioViL (Boecking et al. 2022), a ResNet-50; all four stages are kept.

    Args:
        state_dict: as published, bare or under ``state_dict``.

    Raises:
        ValueError: as for :func:`chexzero`.

    Example::

        medvlp import biovil biovil_image_resnet50_proj_size_128.pt --out towers/biovil
    """
    needed = ("encoder.encoder.conv1.weight", "encoder.encoder.layer1.0.conv1.weight")
    tensors = _unwrapped(state_dict, needed, "BioViL")
    depth = {2: 18, 6: 50, 23: 101}.get(_count(tensors, r"encoder\.encoder\.layer3\.(\d+)\."), 0)
    if depth == 0:
        raise ValueError("the checkpoint's residual network is neither a ResNet-18, -50 nor -101")
    widths = [int(tensors[f"encoder.encoder.layer{n}.0.conv1.weight"].shape[0]) for n in range(1, 5)]
    channels = int(tensors["encoder.encoder.conv1.weight"].shape[1])
    encoder = ResNetTokens(depth=depth, last_stage=4, widths=widths, in_channels=channels)
    expected = encoder.state_dict()
    places = {key: [key.removeprefix("encoder.encoder.")] for key in tensors if key.startswith("encoder.encoder.")}
    kept = {key: names for key, names in places.items() if names[0] in expected}
    return _loaded(encoder, tensors, kept, _OF_BIOVIL, "BioViL")  # type: ignore[return-value]


def _clip_tower(state_dict: Mapping[str, Any], heads: int | None, label: str) -> ClipVisionTransformer:
    needed = ("visual.conv1.weight", "visual.positional_embedding", "visual.class_embedding")
    tensors = _unwrapped(state_dict, needed, label)
    first, positions = tensors["visual.conv1.weight"], tensors["visual.positional_embedding"]
    patch = int(first.shape[2])
    encoder = ClipVisionTransformer(
        image_size=patch * round((positions.shape[0] - 1) ** 0.5),
        patch_size=patch,
        width=int(first.shape[0]),
        layers=_count(tensors, r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=heads,
        in_channels=int(first.shape[1]),
    )
    names = {key: our_name(key.removeprefix("visual.")) for key in tensors if key.startswith("visual.")}
    places = {key: [name] for key, name in names.items() if name is not None}
    return _loaded(encoder, tensors, places, _OF_CLIP, label)  # type: ignore[return-value]


def _unwrapped(state_dict: Mapping[str, Any], needed: Sequence[str], label: str) -> dict[str, Tensor]:
    inner = state_dict.get("state_dict", state_dict)
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    if all(key.startswith("module.") for key in tensors):  # of a model wrapped for several devices
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    missing = [key for key in needed if key not in tensors]
    if missing:
        shown = ", ".join(sorted(tensors)[:4]) or "nothing"
        raise ValueError(
            f"this is not a checkpoint of {label}: it lacks {', '.join(missing)}; it holds {len(tensors)} tensors, "
            f"beginning with {shown}"
        )
    return tensors


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({match[1] for key in tensors if (match := re.match(pattern, key))})


def _loaded(
    encoder: nn.Module,
    tensors: Mapping[str, Tensor],
    places: Mapping[str, Sequence[str]],
    unneeded: Mapping[str, str],
    label: str,
) -> nn.Module:
    """Fill the encoder, and note what became of every key.

    Args:
        places: published key -> our parameters; several share the rows of one.
    """
    expected = encoder.state_dict()
    values: dict[str, Tensor] = {}
    used: dict[str, str] = {}
    unused: dict[str, str] = {}
    problems = []
    for key, value in tensors.items():
        names = places.get(key)
        reason = next((why for start, why in unneeded.items() if key.startswith(start)), None)
        if names is None or any(name not in expected for name in names):
            if reason is None or names is not None:
                problems.append(f"  {key}: no place for it in this encoder")
            else:
                unused[key] = reason
            continue
        parts = value.float().chunk(len(names)) if len(names) > 1 else [value.float()]
        for name, part in zip(names, parts, strict=True):
            if part.shape != expected[name].shape:
                wanted = [*expected[name].shape]
                wanted[:1] = [len(names) * side for side in wanted[:1]]
                problems.append(f"  {key}: shape {tuple(value.shape)}, expected {tuple(wanted)}")
                break
            values[name] = part.to(expected[name].dtype)
        used[key] = ", ".join(names)
    counted = {name for name in expected if name.endswith("num_batches_tracked")}
    misfit = any("shape" in problem for problem in problems)
    problems += [f"  {name}: missing" for name in expected if name not in values and name not in counted and not misfit]
    if problems:
        raise ValueError(f"{len(problems)} entries of the checkpoint do not fit {label}:\n" + "\n".join(problems))
    with torch.no_grad():
        encoder.load_state_dict({**{name: expected[name] for name in counted}, **values})
    encoder.key_report = KeyReport(used, unused)  # type: ignore[assignment]
    return encoder
