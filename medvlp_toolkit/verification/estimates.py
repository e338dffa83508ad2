"""Estimates of the disk space and the memory that a training takes, from its model without any weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medvlp_toolkit.data.batches.device_images import free_memory
from medvlp_toolkit.engines.device import best_device
from medvlp_toolkit.errors import unwrapped, user_message
from medvlp_toolkit.verification.values import Values
from medvlp_toolkit.weights import TrainedModel

#: Bytes a parameter: its value; with the gradient; with AdamW's two moments.
_VALUE, _WITH_MOMENTS, _IN_TRAINING = 4, 12, 16
#: Files with the network alone: best.pt, model.pt, model.safetensors.
_NETWORKS = 3
_GIB = 2**30
_INFERENCE, _UNDESCRIBED, _MODEL = "inference.yaml", "undescribed", "pretraining_model"

Line = tuple[str, bool | None, str, str]


@dataclass(frozen=True)
class Size:
    """Parameters of a model, and the values that its image encoder keeps for the backward pass, of one image."""

    parameters: int
    activations: int


def estimates(bundle: Path, files: Sequence[Path], settings: Mapping[str, Any], values: Values) -> Iterator[Line]:
    """(what, fits, found, fix) of disk space and memory; ``fits`` is None where the model cannot be sized."""
    if not isinstance(values.parser.get(_MODEL), Mapping):
        yield "disk and memory", None, "not estimated for a training that starts from another bundle's model", ""
        return
    try:
        size = model_size(bundle, files, settings, values)
    except Exception as error:  # whatever stops a model from being built, a run reports
        why = (user_message(error) or f"{type(error).__name__}: {error}").splitlines()[0]
        yield "disk and memory", None, f"not estimated, the model cannot be built without its weights ({why})", ""
        return
    yield _disk(size, values)
    yield _memory(size, values)


def model_size(bundle: Path, files: Sequence[Path], settings: Mapping[str, Any], values: Values) -> Size:
    """Build the model of a training without weights.

    Parts that come from a hub are built as ``inference.yaml`` does for weights without a description, and then on the
    meta device, where tensors have shapes and no memory; a text model from scratch has to embed descriptions first.
    """
    instead = _undescribed(bundle, values)
    trained = TrainedModel(
        bundle_root=bundle,
        config=[str(file.resolve()) for file in files],
        otherwise=instead,
        overrides={id_: value for id_, value in settings.items() if id_ != "bundle_root"},
        running={},
    )
    with torch.device("meta" if instead else "cpu"), unwrapped():
        model = trained[_MODEL]
    encoder = model.model.image_encoder
    return Size(sum(value.numel() for value in model.parameters()), _activations(encoder, values))


def _undescribed(bundle: Path, values: Values) -> Mapping[str, Any]:
    """What stands for parts of the hub; nothing where the training needs none."""
    from monai.bundle import ConfigParser

    file = bundle / "configs" / _INFERENCE
    needs_hub = any(isinstance(values(f"{part}::pretrained"), str) for part in ("text_model", "text_encoder"))
    if not needs_hub or not file.is_file():
        return {}
    parser = ConfigParser()
    parser.read_config(str(file))
    return dict(parser.get_parsed_content(_UNDESCRIBED)) if _UNDESCRIBED in parser else {}


def _activations(encoder: nn.Module, values: Values) -> int:
    """Outputs of the modules that hold no others, for one image."""
    size = values("image_size")
    sides = [size, size] if isinstance(size, int) else list(size)
    transform = values("evaluation_transform")
    channels = transform.mean.numel() if isinstance(getattr(transform, "mean", None), Tensor) else 1
    total = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        total += output.numel() if isinstance(output, Tensor) else 0

    hooks = [m.register_forward_hook(count) for m in encoder.modules() if not any(True for _ in m.children())]
    with torch.no_grad(), torch.device("meta"):
        encoder.to("meta")(torch.empty(1, channels, *sides))
    for hook in hooks:
        hook.remove()
    return total


def _disk(size: Size, values: Values) -> Line:
    output = Path(str(values("output_dir", "."))).resolve()
    existing = next(folder for folder in (output, *output.parents) if folder.exists())
    kept = values("keep_checkpoints", 2)
    needed = size.parameters * ((kept + 1) * _WITH_MOMENTS + _NETWORKS * _VALUE)  # one more while it is written
    free = shutil.disk_usage(existing).free
    found = (
        f"checkpoints of {size.parameters / 1e6:,.1f} million parameters take about {_gib(needed)}; {_gib(free)} are "
        f"free at {existing}"
    )
    fix = "" if needed <= free else "free some space, give another output_dir, or lower keep_checkpoints"
    return "disk", needed <= free, found, fix


def _memory(size: Size, values: Values) -> Line:
    device = best_device()
    free = free_memory(device) if device.type == "cuda" else _available()
    half = values("precision", "fp32") in ("bf16", "fp16")
    batch = int(values("batch_size", 1))
    weights = size.parameters * _IN_TRAINING
    activations = batch * size.activations * (2 if half else 4)
    needed = weights + activations
    found = (
        f"at least {_gib(needed)} (weights, gradients, optimiser {_gib(weights)}, the image encoder's activations of "
        f"a batch of {batch} {_gib(activations)}); {_gib(free)} are free on {device}"
    )
    fix = "" if needed <= free else "lower batch_size (and raise accumulation_steps), or set activation_checkpointing"
    return "memory", needed <= free, found, fix


def _available() -> int:
    """Bytes that processes can still have: page cache can be taken back, and a container has a limit of its own."""
    free = free_memory(torch.device("cpu"))
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit.isdigit():
            free = min(free, int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError, KeyError):
        pass  # another system, or no limit
    return free


def _gib(size: float) -> str:
    return f"{size / _GIB:,.1f} GiB" if size >= 0.1 * _GIB else f"{size / 2**20:,.0f} MiB"
