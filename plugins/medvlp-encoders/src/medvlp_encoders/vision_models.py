"""Vision models of the transformers library, read or built for use as image encoders."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from medvlp_encoders.loading import OF_A_FILE, from_config, without_pooler
from medvlp_toolkit.hub import load_pretrained

#: Entries that decide what a model also computes, for other uses than tokens.
_WITHOUT = {"vision_use_head": False, "output_hidden_states": False}
#: The norm that the library applies to a pooled vector only, and which is applied to every token here.
_NORMS = {"clip_vision_model": "post_layernorm", "convnext": "layernorm", "convnextv2": "layernorm"}


def configuration(given: Mapping[str, Any]) -> Any:
    """The configuration of a model type with some of its entries set.

    Raises:
        ValueError: for a type that the library does not know, or an entry that the type does not have.
    """
    from transformers import AutoConfig

    entries = dict(given)
    model_type = entries.pop("model_type", None)
    if not isinstance(model_type, str):
        raise ValueError(
            "transformers_image config needs a model_type, such as vit, dinov2, swin, convnext, resnet, "
            "siglip_vision_model or clip_vision_model"
        )
    try:
        plain = AutoConfig.for_model(model_type)
    except ValueError:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

        near = difflib.get_close_matches(model_type, CONFIG_MAPPING_NAMES, 3)
        raise ValueError(
            f"transformers has no model_type {model_type!r}{'; near: ' + ', '.join(near) if near else ''}"
        ) from None
    _check(entries, plain)
    made = AutoConfig.for_model(model_type, **entries)
    return getattr(made, "vision_config", made)


def built(config: Any) -> nn.Module:
    """A model of a configuration, with initial weights."""
    for entry, value in _WITHOUT.items():
        if hasattr(config, entry):
            setattr(config, entry, value)
    try:
        return from_config(config)
    except ValueError as error:
        raise ValueError(
            f"transformers has no model for the type {config.model_type} ({str(error).splitlines()[0]})"
        ) from None


def loaded(pretrained: str | Path, changes: Mapping[str, Any], in_channels: int | None, local_only: bool) -> nn.Module:
    """A pretrained model by hub name or folder; of a model of images and texts, its vision tower.

    Args:
        changes: entries of its configuration to set.
        in_channels: 1 sums the first convolution over its input channels, so that an image of one channel gives what
            it gave repeated; None keeps the channels.
    """
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    what = "vision model"
    config = load_pretrained(AutoConfig.from_pretrained, pretrained, what, local_only)
    config = getattr(config, "vision_config", config)
    _check({key: value for key, value in changes.items() if key != "model_type"}, config)
    for entry, value in {**{key: value for key, value in _WITHOUT.items() if hasattr(config, key)}, **changes}.items():
        if entry == "model_type" and value != config.model_type:
            raise ValueError(f"vision model '{pretrained}' is a {config.model_type}; the config says {value}")
        setattr(config, entry, value)
    load = partial(without_pooler(AutoModel), config=config)
    model = load_pretrained(load, pretrained, what, local_only)
    channels = getattr(config, "num_channels", 3)
    if in_channels is None or in_channels == channels:
        return model
    if in_channels != 1:
        raise ValueError(
            f"vision model '{pretrained}' reads {channels} channels; in_channels can be {channels}, or 1 to sum the "
            f"first convolution over them, and is {in_channels}"
        )
    config.num_channels = 1
    return _of_one_channel(built(config), model)


def _of_one_channel(single: nn.Module, model: nn.Module) -> nn.Module:
    """The model of one channel with the weights of one of several, its first convolution summed over them."""
    expected = single.state_dict()
    state = {
        name: value.sum(1, keepdim=True) if value.shape != expected[name].shape else value
        for name, value in model.state_dict().items()
        if name in expected
    }
    single.load_state_dict(state)
    return single


def entries_of(model: nn.Module) -> dict[str, Any]:
    """The entries of a model's configuration that differ from the library's, as plain values."""
    config: Any = model.config
    changed = {key: value for key, value in config.to_diff_dict().items() if key not in OF_A_FILE}
    return {"model_type": config.model_type, **{k: v for k, v in changed.items() if not k.startswith("_")}}


def cut(model: nn.Module, last_stage: int) -> None:
    """Leave out the stages after ``last_stage`` of a model that has stages.

    Raises:
        ValueError: when it is built in a way that is not known here.
    """
    encoder = getattr(model, "encoder", None)
    stages = getattr(encoder, "stages", getattr(encoder, "layers", None))
    if not isinstance(stages, nn.ModuleList) or not 1 <= last_stage <= len(stages):
        kind = model.config.model_type  # type: ignore[union-attr]
        raise ValueError(f"token_stride: the stages of {kind} cannot be left out; leave it out")
    if last_stage == len(stages):
        return
    del stages[last_stage:]
    if hasattr(stages[-1], "downsample"):  # merges patches for the next stage, which is left out
        stages[-1].downsample = None  # type: ignore[assignment]
    norm = getattr(model, "layernorm", None)
    if isinstance(norm, nn.LayerNorm):
        model.layernorm = nn.LayerNorm(_width(model, last_stage), eps=norm.eps)


def _width(model: nn.Module, stage: int) -> int:
    config: Any = model.config
    sizes = getattr(config, "hidden_sizes", None)
    return int(sizes[stage - 1]) if sizes else int(config.embed_dim) * 2 ** (stage - 1)


def encoded(model: nn.Module, image: Tensor, with_maps: bool = False) -> tuple[Tensor, list[Tensor]]:
    """One pass: the last hidden state, (B, T, D) or (B, D, *grid), and the maps of all stages where there are any."""
    options: dict[str, Any] = {"output_hidden_states": True} if with_maps else {}
    if _interpolates(type(model)):  # type: ignore[arg-type]
        options["interpolate_pos_encoding"] = True
    out = model(pixel_values=image, **options)
    last: Tensor = out.last_hidden_state
    norm = _NORMS.get(model.config.model_type)  # type: ignore[union-attr, arg-type]
    if norm is not None:
        apply = getattr(model, norm)
        last = apply(last) if last.ndim == 3 else apply(last.movedim(1, -1)).movedim(-1, 1)
    if not with_maps:
        return last, []
    maps = getattr(out, "reshaped_hidden_states", None) or out.hidden_states or ()
    return last, [one for one in maps if one.ndim == 4]


@lru_cache(maxsize=32)
def _interpolates(kind: type) -> bool:
    return "interpolate_pos_encoding" in inspect.signature(kind.forward).parameters  # type: ignore[attr-defined]


def _check(entries: Mapping[str, Any], config: Any) -> None:
    known = [key for key in config.to_dict() if key not in OF_A_FILE]
    for entry in entries:
        if entry not in known:
            near = difflib.get_close_matches(entry, known, 3)
            raise ValueError(
                f"the configuration of {config.model_type} has no entry {entry!r}; "
                + (f"near: {', '.join(near)}" if near else f"it has {', '.join(sorted(known))}")
            )
