"""Reading other projects' checkpoint files, in which weights are mixed with objects of unavailable code."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from medvlp_toolkit.weights.weights import read_weights

#: The entry in which training frameworks store the weights.
WEIGHTS = "state_dict"


def read_published(path: str | Path) -> dict[str, Any]:
    """Read a published checkpoint without executing anything in it.

    Besides the ``state_dict``, Lightning's checkpoints contain objects of their authors' code (callbacks by class,
    hyper-parameters), which ``weights_only`` refuses. From such a file the weights and the names of the other entries
    are read; unknown pickled classes are replaced by inert stubs.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it cannot be read, or has other objects than tensors without having a ``state_dict``.
    """
    try:
        return read_weights(path)
    except ValueError as error:
        if not isinstance(error.__cause__, pickle.UnpicklingError):
            raise
        try:
            content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_INERT_PICKLE)
        except Exception:
            raise error from None
        weights = content.get(WEIGHTS) if isinstance(content, Mapping) else None
        if not isinstance(weights, Mapping) or not weights or not all(isinstance(v, Tensor) for v in weights.values()):
            raise
        return {str(name): dict(weights) if name == WEIGHTS else None for name in content}


class _Inert:
    """Stub for an object whose class must not be loaded: accepts any arguments, does nothing."""

    def __new__(cls, *arguments: Any, **options: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **options: Any) -> _Inert:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def append(self, value: Any) -> None:
        """Drop a list item."""

    def extend(self, values: Any) -> None:
        """Drop list items."""

    def add(self, value: Any) -> None:
        """Drop a set item."""


class _InertUnpickler(pickle.Unpickler):
    """Resolves only the names that tensors need; every other name becomes an :class:`_Inert` class."""

    _OF_TENSORS = frozenset(
        {
            ("collections", "OrderedDict"),
            ("torch._utils", "_rebuild_tensor_v2"),
            ("torch._utils", "_rebuild_parameter"),
            ("torch", "Size"),
            ("torch.storage", "UntypedStorage"),
            ("torch.storage", "TypedStorage"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in self._OF_TENSORS or (
            module == "torch" and name.endswith("Storage") and name.isidentifier()
        ):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return type("Inert", (_Inert,), {})


def _load(file: Any, **options: Any) -> Any:
    return _InertUnpickler(file, **options).load()


#: Passed to ``torch.load`` as its ``pickle_module``.
_INERT_PICKLE: Any = SimpleNamespace(__name__="inert_pickle", Unpickler=_InertUnpickler, load=_load)
