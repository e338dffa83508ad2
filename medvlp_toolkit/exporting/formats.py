"""The formats: how each is written with its metadata, and how what was written is run again."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medvlp_toolkit.exporting.outputs import INPUT
from medvlp_toolkit.exporting.source import Outputs

Run = Callable[[NDArray[np.float32]], Outputs]
#: Entry of a TorchScript archive.
METADATA_FILE = "metadata.json"
#: Loggers that report every step of an export.
_NOISY = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch._dynamo")


@dataclass(frozen=True)
class Format:
    """A format: the name of its file, and ``write(network, images, metadata, path)``, which gives what runs it."""

    file: str
    write: Callable[[nn.Module, NDArray[np.float32], Mapping[str, str], Path], Run]


def write_onnx(network: nn.Module, images: NDArray[np.float32], metadata: Mapping[str, str], path: Path) -> Run:
    """One file, its batch of any size, ``metadata`` in ``metadata_props``."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter needs it, and says so in many lines
    except ImportError as error:
        raise ValueError(f"--format onnx needs {error.name}: pip install 'medvlp-toolkit[onnx]'") from None
    image = torch.from_numpy(images)
    with torch.no_grad():
        names = list(network(image))
    with _quiet():
        program = torch.onnx.export(
            network,
            (image,),
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
        )
        assert program is not None
        program.model.metadata_props.update(metadata)
        program.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda given: dict(zip(names, session.run(names, {INPUT: given}), strict=True))


def write_torchscript(network: nn.Module, images: NDArray[np.float32], metadata: Mapping[str, str], path: Path) -> Run:
    """An archive for ``torch.jit.load``, ``metadata`` in its file ``metadata.json``; gives a dict of tensors.

    Scripted; traced where a part does not script.
    """
    with _quiet(), torch.no_grad():
        try:
            scripted = torch.jit.script(network)
        except Exception:
            scripted = torch.jit.trace(network, torch.from_numpy(images), strict=False, check_trace=False)
        torch.jit.save(scripted, str(path), _extra_files={METADATA_FILE: json.dumps(dict(metadata))})
        loaded = torch.jit.load(str(path), map_location="cpu").eval()

    def run(given: NDArray[np.float32]) -> Outputs:
        with torch.no_grad():
            return {name: value.numpy() for name, value in loaded(torch.from_numpy(given)).items()}

    return run


def write_safetensors(network: nn.Module, images: NDArray[np.float32], metadata: Mapping[str, str], path: Path) -> Run:
    """The state dict of the bundle's network, as ``load_bundle`` reads it, with ``metadata`` in its header."""
    from safetensors.torch import load_file, save_file

    inner: nn.Module = network.network  # type: ignore[assignment]
    state = {name: value.detach().cpu().clone().contiguous() for name, value in inner.state_dict().items()}
    save_file(state, path, metadata=dict(metadata))
    again = copy.deepcopy(network)
    with torch.no_grad():
        for value in again.network.state_dict().values():  # type: ignore[union-attr]
            value.zero_()
    again.network.load_state_dict(load_file(path))  # type: ignore[union-attr]

    def run(given: NDArray[np.float32]) -> Outputs:
        with torch.no_grad():
            return {name: value.numpy() for name, value in again(torch.from_numpy(given)).items()}

    return run


FORMATS: dict[str, Format] = {
    "onnx": Format("model.onnx", write_onnx),
    "torchscript": Format("model.ts", write_torchscript),
    "safetensors": Format("model.safetensors", write_safetensors),
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters log, print and warn of; of a part that they cannot convert they print whole graphs."""
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        unread = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(unread), redirect_stderr(unread):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
