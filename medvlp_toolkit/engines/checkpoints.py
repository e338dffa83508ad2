"""What a checkpoint holds beyond weights, where the last one is, and how to read a foreign one safely."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: What a training run notes of itself beside its checkpoints.
TRAINING_NOTE = "training.json"


class RandomStates:
    """The random states of Python, NumPy and torch as tensors, so that a checkpoint needs no pickled objects."""

    def state_dict(self) -> dict[str, Tensor]:
        version, internal, _ = random.getstate()
        numpy_state = np.random.get_state(legacy=False)
        assert isinstance(numpy_state, dict)
        states = {
            "python": torch.tensor([version, *internal], dtype=torch.int64),
            "numpy": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "numpy_position": torch.tensor(numpy_state["state"]["pos"]),
            "torch": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state()
        return states

    def load_state_dict(self, states: Mapping[str, Tensor]) -> None:
        version, *internal = states["python"].tolist()
        random.setstate((version, tuple(internal), None))
        numpy_state = np.random.get_state(legacy=False)
        assert isinstance(numpy_state, dict)
        numpy_state["state"]["key"] = states["numpy"].cpu().numpy().astype(np.uint32)
        numpy_state["state"]["pos"] = int(states["numpy_position"])
        np.random.set_state(numpy_state)
        torch.set_rng_state(states["torch"].cpu())
        if "cuda" in states and torch.cuda.is_available():
            torch.cuda.set_rng_state(states["cuda"].cpu())


def latest_checkpoint(folder: str | Path) -> str:
    """The newest checkpoint that training wrote into ``folder``.

    Raises:
        FileNotFoundError: when there is none.
    """
    found = [
        (int(match.group(1)), path)
        for path in Path(folder).glob("checkpoint_epoch=*.pt")
        if (match := re.search(r"epoch=(\d+)", path.name))
    ]
    if not found:
        raise FileNotFoundError(
            f"no checkpoint_epoch=*.pt in {folder}: nothing to resume; leave out resume.yaml to start, "
            "or set output_dir to the run to go on with"
        )
    return str(max(found)[1])


def read_weights(path: str | Path, key: str | None = None) -> dict[str, Any]:
    """Read a checkpoint file without running anything in it (``weights_only``; ``.safetensors`` too).

    Args:
        key: entry of the file that holds the state dict, e.g. ``model``, where it is not the whole file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no checkpoint, is truncated, or holds objects that would have to be executed.
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


def load_weights(module: torch.nn.Module, path: str | Path, key: str | None = None) -> torch.nn.Module:
    """Load a state dict from a file into ``module``, every key used and every parameter found.

    Raises:
        ValueError: with the whole list of what does not fit.
    """
    state = read_weights(path, key)
    expected = module.state_dict()
    problems = [f"  {name}: missing" for name in expected if name not in state]
    problems += [f"  {name}: not part of this model" for name in state if name not in expected]
    problems += [
        f"  {name}: shape {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in state and tuple(state[name].shape) != tuple(expected[name].shape)
    ]
    if problems:
        raise ValueError(f"{len(problems)} entries of {path} do not fit this model:\n" + "\n".join(problems))
    module.load_state_dict(state)
    return module


def export_network(network_def: torch.nn.Module, network: torch.nn.Module, output_dir: str | Path) -> list[Path]:
    """Write the weights that inference reads, from the best checkpoint of a run where there is one.

    ``network_def`` shares its parts with ``network``, whose checkpoint ``best.pt`` is read back first.

    Returns:
        ``model.pt`` and ``model.safetensors`` in ``output_dir``: the bare state dict of ``network_def``.
    """
    folder = Path(output_dir)
    best = folder / "best.pt"
    if best.is_file():
        inner = getattr(network, "module", network)
        load_weights(inner, best, key="model")
    return write_weights(network_def.state_dict(), folder)


def write_weights(state: Mapping[str, Tensor], folder: str | Path) -> list[Path]:
    """Write a bare state dict as ``model.pt`` and ``model.safetensors``; each appears whole or not at all."""
    from safetensors.torch import save_file

    plain = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    paths = [Path(folder) / "model.pt", Path(folder) / "model.safetensors"]
    for path in paths:
        temporary = path.with_suffix(path.suffix + ".tmp")
        if path.suffix == ".pt":
            torch.save(plain, temporary)
        else:
            save_file(plain, temporary)
        temporary.replace(path)
    return paths


def training_seconds(output_dir: str | Path) -> dict[str, float]:
    """``{"training": seconds}`` as the run in ``output_dir`` noted them, or nothing."""
    note = Path(output_dir) / TRAINING_NOTE
    return {"training": json.loads(note.read_text())["seconds"]} if note.is_file() else {}
