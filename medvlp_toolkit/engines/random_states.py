"""The random states of Python, NumPy and torch in every process of a training run."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from medvlp_toolkit.engines.ranks import of_all_ranks, rank

logger = logging.getLogger(__name__)


class RandomStates:
    """For checkpoints: every value is a tensor (processes, …), which needs no pickled objects.

    :meth:`state_dict` is collective. A process that has no entry in the loaded state keeps its own.
    """

    def state_dict(self) -> dict[str, Tensor]:
        own = _own_states()
        everyone: list[dict[str, Tensor]] = of_all_ranks(own)
        return {name: torch.stack([states[name] for states in everyone]) for name in own}

    def load_state_dict(self, states: Mapping[str, Tensor]) -> None:
        saved = len(states["torch"])
        if rank() >= saved:
            logger.warning("the checkpoint has random states of only %d processes: this process keeps its own", saved)
            return
        # A copy: torch 2.13 crashes on a view that does not begin where its storage does.
        _restore({name: value[rank()].clone() for name, value in states.items()})


def _own_states() -> dict[str, Tensor]:
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


def _restore(states: Mapping[str, Tensor]) -> None:
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
