"""Device and precision of a computation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16", "fp16"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def best_device() -> torch.device:
    """The CUDA device of this process (its local rank under torchrun) if available, else the CPU."""
    import os

    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context a forward pass runs in.

    bfloat16 has float32's range and needs no gradient scaler; float16 does (:func:`gradient_scaler`). MONAI's own
    ``amp`` supports CUDA only.
    """
    check_precision(precision)
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, dtype=_DTYPES[precision])


def gradient_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Gradient scaler for float16, which keeps small gradients from underflowing; a no-op in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def check_precision(precision: str) -> None:
    """Raise ``ValueError`` for an unknown precision."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision '{precision}' is not one of {', '.join(get_args(Precision))}")


def set_tf32(enabled: bool) -> None:
    """Allow or forbid TensorFloat-32 for float32 matrix products and convolutions (NVIDIA GPUs since Ampere)."""
    torch.set_float32_matmul_precision("high" if enabled else "highest")
    torch.backends.cudnn.allow_tf32 = enabled


@contextmanager
def exact_float32() -> Iterator[None]:
    """Scores are the same wherever a model is evaluated: no TensorFloat-32 within, whatever the process allows.

    A process that uses torch's newer ``fp32_precision`` settings, which exclude these, keeps its own.
    """
    before = None
    with suppress(RuntimeError):  # raised where the newer settings are in use
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if before is not None:
        set_tf32(False)
    try:
        yield
    finally:
        if before is not None:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch with its tensors on ``device``; other values are unchanged."""
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in batch.items()
    }
