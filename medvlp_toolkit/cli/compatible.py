"""Which installed parts fit the model that a training configuration composes, from their contracts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import medvlp_toolkit as mv
from medvlp_toolkit.registry import PluginLoadError
from medvlp_toolkit.weights.nested import walk

#: Kinds of parts that a model is composed of, and what such a part is called in a configuration.
KINDS = ("encoders", "fusion_modules", "pretext_losses")
_PARTS = ("text_encoder", "knowledge_encoder", "fusion")


@dataclass(frozen=True)
class Fit:
    """Whether a plugin fits.

    Attributes:
        used: the configuration already uses it.
        reason: why it does not fit; empty if it does.
        condition: what it fits under; empty if nothing.
    """

    kind: str
    name: str
    used: bool
    reason: str = ""
    condition: str = ""


def compose(files: Sequence[Path]) -> dict[str, Any]:
    """A training configuration with its overlays, unresolved.

    Raises:
        FileNotFoundError: when a file does not exist.
        ValueError: when no model is composed.
    """
    from monai.bundle import ConfigParser

    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"no configuration {file}; give the train.yaml of a bundle, and overlays after it")
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    config: dict[str, Any] = parser.get()
    if not isinstance(config.get("model"), Mapping) or not isinstance(config.get("losses"), Mapping):
        raise ValueError(f"{files[0]} composes no model (ids model and losses); give a train.yaml of pre-training")
    return config


def fits(config: Mapping[str, Any]) -> list[Fit]:
    """All installed parts, by kind and name."""
    named = set(_targets(config))
    model = {name for name, value in config["model"].items() if value is not None}
    found = []
    for kind in KINDS:
        for name in sorted(mv.registries[kind]):
            used = f"medvlp_toolkit.{kind}.{name}" in named
            try:
                target = mv.registries[kind][name]
            except PluginLoadError as error:
                found.append(Fit(kind, name, used, f"cannot be imported: {str(error).splitlines()[0]}"))
                continue
            reason, condition = _CHECKS[kind](target, config, model)
            found.append(Fit(kind, name, used, "" if used else reason, "" if used else condition))
    return found


def _encoder(target: Any, config: Mapping[str, Any], model: set[str]) -> tuple[str, str]:
    if not hasattr(target, "grid_size"):  # of texts
        return ("" if "text_encoder" in model or "text_model" in config else "the model reads no texts"), ""
    masked = [name for name, loss in _losses(config) if "masked_image" in str(loss.get("_target_", ""))]
    supports = getattr(target, "supports_masking", None)
    if not masked or supports is True:
        return "", ""
    without = f"without the loss {masked[0]} (losses::{masked[0]}::_disabled_: true), which leaves out patches"
    return "", without if supports is False else f"{without}, unless its network supports masking"


def _fusion(target: Any, config: Mapping[str, Any], model: set[str]) -> tuple[str, str]:
    if "fusion" not in model:
        return "the model has no fusion module: image and text are embedded without each other", ""
    matching = [name for name, loss in _losses(config) if str(loss.get("_target_", "")).endswith("matching")]
    if matching and not _pools(target):
        off = f"losses::{matching[0]}::_disabled_: true"
        return "", f"without the loss {matching[0]} ({off}), which reads a pair feature"
    return "", ""


def _loss(target: Any, config: Mapping[str, Any], model: set[str]) -> tuple[str, str]:
    reads = _reads(target)
    if reads is None:
        return "", "reads what its arguments say"
    lacking = [part for part in _PARTS if part in reads and part not in model]
    if "entity_projection" in reads and "entity_bank" not in model and "entity_ids" not in model:
        lacking.append("entity_bank")
    return (f"the model has no {', no '.join(lacking)}" if lacking else ""), ""


_CHECKS = {"encoders": _encoder, "fusion_modules": _fusion, "pretext_losses": _loss}


def _losses(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, loss in config["losses"].items():
        if isinstance(loss, Mapping) and loss.get("_disabled_") is not True:
            yield str(name), loss


def _targets(config: Mapping[str, Any]) -> Iterator[str]:
    for _, part in walk(config):
        if isinstance(part, Mapping) and isinstance(part.get("_target_"), str) and part.get("_disabled_") is not True:
            yield part["_target_"]


def _reads(target: Any) -> frozenset[str] | None:
    """The parts that a loss's gradient reaches: of the class, or of a small instance."""
    stated = getattr(target, "reads", None)
    made = stated if isinstance(stated, frozenset) else getattr(_small(target), "reads", None)
    return made if isinstance(made, frozenset) else None


def _pools(target: Any) -> bool:
    made = _small(target)
    return made is not None and isinstance(getattr(made, "pooled_width", None), int)


def _small(target: Any) -> Any:
    """An instance with small numbers and embeddings for what has no default; None if it takes anything else."""
    import torch

    given: dict[str, Any] = {}
    for name, one in inspect.signature(target).parameters.items():
        if one.default is not one.empty or one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL):
            continue
        kind = str(one.annotation)
        if "Tensor" in kind:
            given[name] = torch.zeros(4, 8)
        elif "int" in kind:
            given[name] = 8
        else:
            return None
    try:
        return target(**given)
    except (TypeError, ValueError, RuntimeError):
        return None
