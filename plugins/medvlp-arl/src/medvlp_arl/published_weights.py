"""Loads published tensors into our model and accounts for every one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from medvlp_arl.composition import Sizes
from medvlp_arl.published_names import TYPE_EMBEDDINGS, our_names, reason_unused
from medvlp_encoders.clip_weights import resized_positions
from medvlp_toolkit.interfaces import KeyReport
from medvlp_toolkit.model.pretraining import PretrainingModel

_POSITIONS = "vision_encoder.visual.positional_embedding"
#: Entries that every checkpoint of the three systems has.
_TELLING = (TYPE_EMBEDDINGS, _POSITIONS, "multi_modal_language_layers.0.attention.self.query.weight")
#: Lightning's entries other than the weights.
_TRAINING_STATE = "state of its training"


def unwrapped(
    state_dict: Mapping[str, Any],
    system: str,
    rename: Callable[[str], str] = str,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a checkpoint, bare or in Lightning's container, and its skipped entries with reasons.

    Raises:
        ValueError: when it is not a checkpoint of these systems.
    """
    inner = state_dict.get("state_dict", state_dict)
    if not isinstance(inner, Mapping):
        raise ValueError(f"the checkpoint's 'state_dict' is a {type(inner).__name__}; expected a state dict")
    around = {str(key): _TRAINING_STATE for key in state_dict if key != "state_dict"} if inner is not state_dict else {}
    tensors = {rename(str(key).removeprefix("module.")): value for key, value in inner.items()}
    foreign = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
    missing = [key for key in _TELLING if key not in tensors]
    if missing or foreign:
        wrong = f"it lacks {', '.join(missing)}" if missing else f"{', '.join(foreign[:3])} is not a tensor"
        shown = ", ".join(sorted(tensors)[:5]) or "nothing"
        raise ValueError(
            f"this is not a checkpoint of {system}: {wrong}; it holds {len(tensors)} entries, beginning with {shown}"
        )
    return tensors, around


def filled(
    model: PretrainingModel,
    tensors: Mapping[str, Tensor],
    around: Mapping[str, str],
    sizes: Sizes,
    published: Callable[[str], str] = str,
) -> PretrainingModel:
    """Load the published values into ``model`` and set its ``key_report``.

    ``published`` maps the name of an entry back to its name in the file.

    Raises:
        ValueError: when entries do not fit; lists all of them.
    """
    expected = model.state_dict()
    loaded: dict[str, Tensor] = {}
    used: dict[str, str] = {}
    unused = dict(around)
    problems: list[str] = []
    for key, value in tensors.items():
        reason = reason_unused(key, sizes.fusion_layers)
        names = our_names(key)
        if reason is not None:
            problems += _contradiction(key, value, tensors)
            unused[published(key)] = reason
        elif not names or any(name not in expected for name in names):
            problems.append(f"  {published(key)}: no place for it in this model")
        else:
            rows = list(value) if key == TYPE_EMBEDDINGS else [_fitting(key, value, sizes)]
            if len(rows) != len(names) or any(r.shape != expected[n].shape for r, n in zip(rows, names, strict=True)):
                wanted = tuple(expected[names[0]].shape)
                problems.append(f"  {published(key)}: shape {tuple(value.shape)}, expected {wanted}")
            else:
                loaded.update(zip(names, (row.clone() for row in rows), strict=True))
                used[published(key)] = ", ".join(names)
    fresh = {} if sizes.heads_present else {n: "drawn at random" for n in expected if n.startswith("losses.matching.")}
    if not any("shape" in problem for problem in problems):  # a mismatch is reported once, under its published key
        problems += [f"  {name}: missing from the checkpoint" for name in expected if name not in loaded | fresh]
    if problems:
        raise ValueError(f"{len(problems)} entries of the checkpoint do not fit:\n" + "\n".join(problems))
    model.load_state_dict({name: loaded.get(name, value) for name, value in expected.items()})
    notes = _notes(sizes)
    model.key_report = KeyReport(used, unused, fresh, notes)  # type: ignore[assignment]
    return model


def _fitting(key: str, value: Tensor, sizes: Sizes) -> Tensor:
    """A published tensor, reshaped to the shape used here."""
    if key == _POSITIONS:
        return resized_positions(value, (sizes.grid, sizes.grid))
    if key == "mim_head.mask_token" or ".att_" in key:
        return value.squeeze(0).squeeze(0) if key == "mim_head.mask_token" else value.squeeze(0)
    return value


def _contradiction(key: str, value: Tensor, tensors: Mapping[str, Tensor]) -> list[str]:
    """Duplicate tensors must be equal."""
    for second, first in (("lin_dst", "lin_src"), ("lin_r", "lin_l")):
        if f".{second}." in key:
            twin = tensors.get(key.replace(f".{second}.", f".{first}."))
            if twin is None or not torch.equal(twin, value):
                return [f"  {key}: differs from {first}, and the graph encoder has one matrix for both"]
    return []


def _notes(sizes: Sizes) -> tuple[str, ...]:
    left_out = [name for name in ("masked_language", "masked_image", "matching") if name not in sizes.heads_present]
    if not sizes.heads_present:
        return ("no head of a pre-training loss in the checkpoint: a matching head was drawn at random",)
    return (f"no head in the checkpoint for {', '.join(left_out)}: left out",) if left_out else ()
