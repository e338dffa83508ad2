"""MONAI's networks by name, without heads and decoders, and the order of their layers."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import monai.networks.nets as nets
from monai.networks.nets.swin_unetr import SwinTransformer
from torch import nn

#: What else MONAI calls an argument of ours.
_CHANNELS = ("in_channels", "n_input_channels", "in_chans")
_SIZES = ("img_size", "image_size")
#: Required arguments of heads, which are not kept, and MONAI's defaults that would read a hub.
_HEADS = {"out_channels": 2, "num_classes": 2, "pretrained": False, "progress": False}
#: Required by MONAI, with the values of the published networks.
_USUAL: dict[str, dict[str, Any]] = {
    "EfficientNetBN": {"model_name": "efficientnet-b0"},
    "SwinTransformer": {
        "embed_dim": 24, "window_size": 7, "patch_size": 2, "depths": (2, 2, 2, 2), "num_heads": (3, 6, 12, 24),
    },
    "ViT": {"patch_size": 16},
}  # fmt: skip
#: Arguments with a value for each axis.
_PER_AXIS = {"SwinTransformer": ("window_size", "patch_size")}
_FAMILIES = (nets.DenseNet, nets.EfficientNet, nets.ResNet, nets.SENet, nets.ViT, SwinTransformer, nets.SwinUNETR)


def built(
    name: str, spatial_dims: int, in_channels: int, sides: tuple[int, ...], keywords: dict[str, Any]
) -> nn.Module:
    """The network of a name.

    Args:
        keywords: of the network; defaults that are needed here are added to it.

    Raises:
        ValueError: for a name or keyword that MONAI does not have, or a network that is not supported.
    """
    make = SwinTransformer if name == "SwinTransformer" else getattr(nets, name, None)
    if not callable(make) or not name[:1].isalpha():
        known = [one for one in dir(nets) if one.lower().startswith(_prefixes())]
        near = difflib.get_close_matches(name, known, 3)
        raise ValueError(f"MONAI has no network {name!r}; {'near: ' + ', '.join(near) if near else _supported()}")
    for key, value in _USUAL.get(name, {}).items():
        keywords.setdefault(key, value)
    taken = _parameters(make)
    ours = {"spatial_dims": spatial_dims, **dict.fromkeys(_CHANNELS, in_channels), **dict.fromkeys(_SIZES, sides)}
    given = {key: value for key, value in {**_HEADS, **ours}.items() if key in taken}
    if "image_size" in given:  # of an EfficientNet, which pads for one side
        given["image_size"] = max(sides)
    for key, value in keywords.items():
        if key not in taken or key in _HEADS:
            near = difflib.get_close_matches(key, [one for one in taken if one not in given], 3)
            hint = "; weights: FILE reads a state dict" if key == "pretrained" else ""
            raise ValueError(
                f"monai_net: {name} has no keyword {key!r}{'; near: ' + ', '.join(near) if near else ''}{hint}"
            )
        per_axis = key in _PER_AXIS.get(name, ()) and isinstance(value, int)
        given[key] = (value,) * spatial_dims if per_axis else _without_lists(value)
    try:
        network: Any = make(**given)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise ValueError(f"monai_net: {name} cannot be built: {(str(error).splitlines() or [''])[0]}") from error
    if not isinstance(network, _FAMILIES):
        raise ValueError(f"monai_net cannot give tokens of {name}; {_supported()}")
    return network


def body_of(network: Any) -> nn.Module:
    """The network without its head or decoder, whose parameters nothing here reads."""
    if isinstance(network, nets.SwinUNETR):
        return network.swinViT
    heads = {
        nets.DenseNet: ("class_layers.out",),
        nets.EfficientNet: ("_fc", "_dropout", "_avg_pooling"),
        nets.ResNet: ("fc", "avgpool"),
        nets.SENet: ("last_linear", "adaptive_avg_pool"),
        nets.ViT: ("classification_head",),
    }
    for family, names in heads.items():
        if isinstance(network, family):
            for name in names:
                owner, _, child = name.rpartition(".")
                if getattr(network.get_submodule(owner), child, None) is not None:
                    network.set_submodule(name, nn.Identity())
    return network  # type: ignore[no-any-return]


def path_of(network: Any) -> list[str]:
    """Names of the layers in the order in which they are applied; empty for a ViT, which embeds patches."""
    if isinstance(network, nets.DenseNet):
        return [*_items(network, "features", within="transition"), "class_layers.relu"]
    if isinstance(network, nets.ResNet):
        pooling = [] if network.no_max_pool else ["maxpool"]
        stages = [name for number in range(1, 5) for name in _items(network, f"layer{number}")]
        return ["conv1", "bn1", "act", *pooling, *stages]
    if isinstance(network, nets.SENet):
        return [name for number in range(5) for name in _items(network, f"layer{number}")]
    if isinstance(network, nets.EfficientNet):
        blocks = [name for group in _items(network, "_blocks") for name in _items(network, group)]
        stem = ["_conv_stem_padding", "_conv_stem", "_bn0", "_swish"]
        return [*stem, *blocks, "_conv_head_padding", "_conv_head", "_bn1", "_swish"]
    if isinstance(network, SwinTransformer):
        residual = network.use_v2
        stages = [
            name for number in range(1, network.num_layers + 1)
            for name in ([f"layers{number}c.0"] if residual else []) + [f"layers{number}.0"]
        ]  # fmt: skip
        return ["patch_embed", "pos_drop", *stages]
    return []


def blocks_of(network: Any, path: list[str]) -> list[tuple[str, ...]]:
    """Names, within the encoder, of the parameters of each block of a network that is a path of layers."""
    if isinstance(network, nets.DenseNet):
        numbers = [name.removeprefix("features.denseblock") for name in path if "denseblock" in name]
        return [(f"net.features.denseblock{one}", f"net.features.transition{one}") for one in numbers]
    return [(f"net.{name}",) for name in path if name.rpartition(".")[2].isdigit()]


def _items(network: nn.Module, name: str, within: str | None = None) -> list[str]:
    """Paths of a sequence's items, of those named ``within`` in turn their items."""
    found = []
    for child, module in network.get_submodule(name).named_children():
        inner = within is not None and child.startswith(within) and isinstance(module, nn.Sequential)
        found += _items(network, f"{name}.{child}") if inner else [f"{name}.{child}"]
    return found


def _parameters(make: Callable[..., Any]) -> Mapping[str, Any]:
    """Arguments of a network, with those of its family where it passes them on."""
    taken = dict(inspect.signature(make).parameters)
    passes_on = any(one.kind == one.VAR_KEYWORD for one in taken.values())
    if passes_on:
        family: type = nets.ResNet
        for one in (nets.DenseNet, nets.SENet):
            if isinstance(make, type) and issubclass(make, one):
                family = one
        fixed = ("block", "layers", "block_inplanes") if family is nets.ResNet else ()
        taken |= {key: value for key, value in inspect.signature(family).parameters.items() if key not in fixed}
    return {key: value for key, value in taken.items() if value.kind != value.VAR_KEYWORD}


def _without_lists(value: Any) -> Any:
    """MONAI distinguishes tuples and lists (``act: ["relu", {...}]``); a configuration has lists only."""
    return tuple(value) if isinstance(value, list) and value and isinstance(value[0], str | int) else value


def _prefixes() -> tuple[str, ...]:
    return ("densenet", "efficientnet", "resnet", "seresnet", "senet", "vit", "swin")


def _supported() -> str:
    return "supported are DenseNet, EfficientNet, ResNet, SENet, ViT, SwinTransformer, SwinUNETR and their variants"
