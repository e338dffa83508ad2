"""The registered image encoders, each small enough to train in seconds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import medvlp_toolkit as mv

#: Arguments that make an encoder tiny. One that is not listed is built by :func:`arguments_of` from its signature.
TINY: dict[str, dict[str, Any]] = {
    "clip_vit": {
        "image_size": "@image_size", "patch_size": 16, "width": 32, "layers": 2, "heads": 2, "in_channels": 1,
    },
    "efficientnet_lite": {"width": 0.25, "token_stride": 16, "in_channels": 1},
    "monai_net": {
        "name": "DenseNet", "in_channels": 1, "init_features": 8, "growth_rate": 4, "block_config": [2, 2],
        "image_size": "@image_size",
    },
    "resnet": {
        "depth": 10, "in_channels": 1, "widths": [8, 16, 16], "strides": [1, 2, 1], "position_encoding": True,
    },
    "timm_model": {"name": "vit_tiny_patch16_224", "in_channels": 1, "image_size": "@image_size", "depth": 2},
    "transformers_image": {
        "config": {
            "model_type": "dinov2_with_registers", "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_register_tokens": 2, "patch_size": 16, "image_size": 64,
        },
        "in_channels": 1,
    },
}  # fmt: skip
#: Encoders that need an optional library.
LIBRARIES = {"timm_model": "timm"}
#: What an encoder that is not listed is given, where it takes it; the rest keeps its default.
USUAL: dict[str, Any] = {"image_size": "@image_size", "in_channels": 1, "pretrained": None}


def image_encoders() -> list[str]:
    """Names of the registered encoders that read images: they lay their tokens on a grid.

    Those of a library that is not installed are left out.
    """
    found = (name for name in mv.encoders if hasattr(mv.encoders[name], "grid_size"))
    return sorted(name for name in found if name not in LIBRARIES or find_spec(LIBRARIES[name]) is not None)


def arguments_of(name: str) -> dict[str, Any]:
    """Tiny arguments of a registered encoder, as a configuration writes them."""
    taken = inspect.signature(mv.encoders[name]).parameters
    arguments = TINY.get(name, {key: value for key, value in USUAL.items() if key in taken})
    needed = [key for key, one in taken.items() if one.default is one.empty and one.kind == one.POSITIONAL_OR_KEYWORD]
    missing = sorted(set(needed) - arguments.keys())
    assert not missing, f"{name} cannot be built without {', '.join(missing)}; add it to TINY in {__name__}"
    return dict(arguments)


def built(name: str, size: int | list[int], **more: Any) -> Any:
    """The encoder for an image size, outside of a configuration."""
    arguments = {**arguments_of(name), **more}
    make: Callable[..., Any] = mv.encoders[name]
    return make(**{key: size if value == "@image_size" else value for key, value in arguments.items()})


def masks(name: str) -> bool:
    """Whether an encoder can read a part of an image's patches."""
    return bool(built(name, 64).supports_masking)


def reads_volumes(name: str) -> bool:
    return "spatial_dims" in inspect.signature(mv.encoders[name]).parameters
