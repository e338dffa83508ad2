"""Checkpoints with objects of their authors' code: the weights are read, nothing is executed."""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from medvlp_toolkit.weights.published_files import read_published

WEIGHTS = OrderedDict(
    {
        "linear.weight": torch.arange(6.0).reshape(2, 3),
        "half": torch.ones(3, dtype=torch.float16),
        "edges": torch.tensor([[0, 1], [1, 0]]),
    }
)


@pytest.fixture
def authors_code() -> Iterator[ModuleType]:
    """A module with classes that exists while a checkpoint is written, and not when it is read."""
    module = ModuleType("authors_code")
    exec(
        "class Callback:\n    pass\n\nclass Config(dict):\n    pass\n\n"
        "class Bag:\n    def __init__(self, value):\n        self.value = value\n"
        "    def __reduce__(self):\n        return (Bag, (self.value,), {'more': [1]})\n",
        module.__dict__,
    )
    sys.modules["authors_code"] = module
    yield module
    sys.modules.pop("authors_code", None)


def lightning_checkpoint(code: Any) -> dict[str, Any]:
    return {
        "epoch": 3,
        "state_dict": WEIGHTS,
        "callbacks": {code.Callback: {"best": 0.5}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
        "hyper_parameters": {"config": code.Config(lr=1e-5), "bag": code.Bag({1, 2})},
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_among_objects_of_absent_code_are_read(authors_code: ModuleType, tmp_path: Path, zipped: bool) -> None:
    file = tmp_path / "last.ckpt"
    torch.save(lightning_checkpoint(authors_code), file, _use_new_zipfile_serialization=zipped)
    del sys.modules["authors_code"]
    content = read_published(file)
    assert set(content) == {"epoch", "state_dict", "callbacks", "optimizer_states", "hyper_parameters"}
    assert list(content["state_dict"]) == list(WEIGHTS)
    for name, value in WEIGHTS.items():
        assert content["state_dict"][name].dtype == value.dtype
        assert torch.equal(content["state_dict"][name], value)
    assert "authors_code" not in sys.modules


def test_harmful_object_among_weights_is_not_executed(tmp_path: Path) -> None:
    touched = tmp_path / "executed"

    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (touched,))

    class Evaluated:
        def __reduce__(self) -> tuple[object, ...]:
            return (eval, (f"open({str(touched)!r}, 'w')",))

    file = tmp_path / "harmful.ckpt"
    torch.save({"state_dict": WEIGHTS, "callbacks": [Harmful(), Evaluated()]}, file)
    assert torch.equal(read_published(file)["state_dict"]["edges"], WEIGHTS["edges"])
    assert not touched.exists()
    torch.load(file, weights_only=False)
    assert touched.exists()  # the file would have done harm


@pytest.mark.parametrize("place", ["state_dict", "model"])
def test_objects_in_place_of_weights_are_refused(authors_code: ModuleType, tmp_path: Path, place: str) -> None:
    file = tmp_path / "odd.ckpt"
    torch.save({place: {"weight": authors_code.Callback()}}, file)
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_published(file)


def test_plain_pickle_of_an_object_is_refused(authors_code: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "plain.ckpt"
    file.write_bytes(pickle.dumps({"state_dict": authors_code.Config(a=1)}))
    with pytest.raises(ValueError, match="holds more than tensors"):
        read_published(file)


def test_plain_state_dict_is_read_as_before(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "bare.pt")
    assert list(read_published(tmp_path / "bare.pt")) == list(WEIGHTS)


def test_missing_and_damaged_files_are_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        read_published(tmp_path / "absent.ckpt")
    torch.save({"state_dict": WEIGHTS}, tmp_path / "whole.ckpt")
    (tmp_path / "torn.ckpt").write_bytes((tmp_path / "whole.ckpt").read_bytes()[:300])
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        read_published(tmp_path / "torn.ckpt")
