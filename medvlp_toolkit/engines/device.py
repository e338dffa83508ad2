"""Where and how precisely to compute."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16"]


def best_device() -> torch.device:
    """The CUDA device of this process (its local rank under torchrun) where there is one, else the CPU."""
    import os

    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context a forward pass runs in.

    bfloat16 has float32's range and needs no gradient scaler; MONAI's own ``amp`` knows CUDA only.
    """
    if precision == "fp32":
        return nullcontext()
    if precision != "bf16":
        raise ValueError(f"precision '{precision}' is not one of fp32, bf16")
    return torch.autocast(device.type, dtype=torch.bfloat16)


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on ``device``; everything else as it is."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in batch.items()
    }
