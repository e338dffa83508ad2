"""Weights in files: reading untrusted files safely, and writing the weights for inference."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from medvlp_toolkit.files import write_whole
from medvlp_toolkit.interfaces import ExplainsMisfit

logger = logging.getLogger(__name__)

#: Values that mean no file: `null` on a command line arrives as text.
NONE = (None, "", "null", "None")
#: The record that a training run writes next to its checkpoints.
TRAINING_NOTE = "training.json"


def read_weights(path: str | Path, key: str | None = None) -> dict[str, Any]:
    """Read a checkpoint file without executing anything in it (``weights_only``; ``.safetensors`` too).

    Args:
        key: entry of the file with the state dict, e.g. ``model``, if it is not the whole file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is not a checkpoint, is truncated, or contains objects that would have to be executed.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint at {file}; give the path of a .pt, .pth or .safetensors file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"{file} holds more than tensors and plain containers, or is no checkpoint; expected a state dict "
            "saved with torch.save or safetensors. Nothing in it was executed."
        ) from error
    except Exception as error:
        raise ValueError(f"{file} cannot be read as a checkpoint ({type(error).__name__}): is it complete?") from error
    if key is not None and isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
        state = state[key]
    if not isinstance(state, Mapping):
        raise ValueError(f"{file} holds a {type(state).__name__}; expected a state dict")
    return dict(state)


def bundle_weights(bundle_root: str | Path) -> Path:
    """The weights in a bundle's folder: ``models/model.pt``, else ``models/model.safetensors``; the former where there
    are none."""
    choices = [Path(bundle_root) / "models" / name for name in ("model.pt", "model.safetensors")]
    return next((path for path in choices if path.is_file()), choices[0])


def load_weights(module: torch.nn.Module, path: str | Path, key: str | None = None) -> torch.nn.Module:
    """Load a state dict from a file into ``module``, every key used and every parameter found.

    Raises:
        ValueError: lists all mismatches, or the first entries of a file that has none of this model's.
    """
    state = read_weights(path, key)
    expected = module.state_dict()
    if not expected.keys() & state.keys():
        raise ValueError(
            f"{path} holds no weights of this model: its {len(state)} entries begin with {_first(state)}; expected "
            f"are {len(expected)} such as {_first(expected)}. Convert a published checkpoint with `medvlp import`"
        )
    for name, part in module.named_modules():  # a part may explain in one line why the entries cannot be its own
        prefix = f"{name}." if name else ""
        if isinstance(part, ExplainsMisfit) and (reason := part.explain_misfit(state, prefix)):
            raise ValueError(f"{path}: {reason}")
    problems = mismatches(expected, state)
    if problems:
        raise ValueError(f"{len(problems)} entries of {path} do not fit this model:\n" + "\n".join(problems))
    module.load_state_dict(state)
    return module


def mismatches(expected: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[str]:
    """One line for every unexpected or missing entry, or entry of another shape."""
    problems = [f"  {name}: missing" for name in expected if name not in state]
    problems += [f"  {name}: not part of this model" for name in state if name not in expected]
    problems += [
        f"  {name}: shape {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in state and tuple(state[name].shape) != tuple(expected[name].shape)
    ]
    return problems


def _first(state: Mapping[str, Any]) -> str:
    return ", ".join(str(name) for name in list(state)[:3]) or "nothing"


def export_network(
    network_def: torch.nn.Module | Callable[[], torch.nn.Module], network: torch.nn.Module, output_dir: str | Path
) -> list[Path]:
    """Write the weights for inference, from the best checkpoint of a run if there is one.

    Only the first of several processes writes.

    Args:
        network_def: shares its parts with ``network``, into which ``best.pt`` is loaded first; or a function that
            builds it afterwards, if it depends on the loaded weights.
        network: the trained network.
        output_dir: folder of the run.

    Returns:
        ``model.pt`` and ``model.safetensors`` in ``output_dir``: the bare state dict of ``network_def``.
    """
    if dist.is_available() and dist.is_initialized() and dist.get_rank() > 0:
        return []
    folder = Path(output_dir)
    best = folder / "best.pt"
    if best.is_file():
        inner = getattr(network, "module", network)
        load_weights(inner, best, key="model")
    else:
        logger.warning("there is no %s: exporting the current weights", best)
    exported = network_def if isinstance(network_def, torch.nn.Module) else network_def()
    return write_weights(exported.state_dict(), folder)


def write_weights(state: Mapping[str, Tensor], folder: str | Path) -> list[Path]:
    """Write a bare state dict as ``model.pt`` and ``model.safetensors``; each atomically."""
    from safetensors.torch import save

    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    paths = [Path(folder) / "model.pt", Path(folder) / "model.safetensors"]
    write_whole(paths[0], lambda file: torch.save(plain, file))
    write_whole(paths[1], lambda file: file.write(save(plain)))
    return paths


def training_seconds(output_dir: str | Path) -> dict[str, float]:
    """``{"training": seconds}`` as recorded by the run in ``output_dir``; empty if there is no record."""
    note = Path(output_dir) / TRAINING_NOTE
    return {"training": json.loads(note.read_text())["seconds"]} if note.is_file() else {}
