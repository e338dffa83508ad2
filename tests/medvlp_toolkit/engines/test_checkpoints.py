"""Reading weights from files that are whole, damaged, foreign or of another shape."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medvlp_toolkit.errors import user_message
from medvlp_toolkit.weights.weights import load_weights, read_weights


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def refused(network: nn.Module, path: Path) -> str:
    """The message of the refusal, which the console prints without a traceback; nothing of the file is taken."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_weights(network, path, key="model")
    message = user_message(caught.value)
    assert message is not None
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    return message


@pytest.mark.parametrize("name", ["bare.pt", "nested.pt", "weights.safetensors"])
def test_weights_are_read_from_every_format(name: str, network: nn.Module, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    path = tmp_path / name
    if name.endswith("safetensors"):
        save_file(state, path)
    else:
        torch.save({"model": state, "epoch": 3} if name == "nested.pt" else state, path)
    load_weights(network, path, key="model")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_one_message(suffix: str, share: float, network: nn.Module, tmp_path: Path) -> None:
    whole, short = tmp_path / f"whole{suffix}", tmp_path / f"short{suffix}"
    if suffix == ".pt":
        torch.save(network.state_dict(), whole)
    else:
        save_file(network.state_dict(), whole)
    short.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    assert "is it complete?" in refused(network, short)


@pytest.mark.parametrize("content", [b"notes of mine\n", b"\x80\x02}q\x00.", bytes(1000)])
def test_a_file_of_another_kind_is_one_message(content: bytes, network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    message = refused(network, path)
    assert str(path) in message
    assert "\n" not in message


def test_a_missing_file_is_named(network: nn.Module, tmp_path: Path) -> None:
    assert "no checkpoint at" in refused(network, tmp_path / "absent.pt")


@pytest.mark.parametrize("held", [torch.zeros(3), [1, 2]])
def test_what_is_no_state_dict_is_said(held: object, network: nn.Module, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "held.pt")
    assert f"holds a {type(held).__name__}; expected a state dict" in refused(network, tmp_path / "held.pt")


def test_a_foreign_checkpoint_is_detected_by_its_first_entries_alone(network: nn.Module, tmp_path: Path) -> None:
    foreign = {f"module.res_features.{n}.weight": torch.zeros(2) for n in range(400)}
    torch.save({"model": foreign}, tmp_path / "checkpoint_final.pth")
    message = refused(network, tmp_path / "checkpoint_final.pth")
    assert "its 400 entries begin with module.res_features.0.weight" in message
    assert "medvlp import" in message
    assert "\n" not in message


def test_what_does_not_fit_is_listed_whole(network: nn.Module, tmp_path: Path) -> None:
    state = network.state_dict()
    state["0.weight"] = torch.zeros(5, 3)
    state["queue"] = torch.zeros(2)
    del state["1.bias"]
    torch.save({"model": state}, tmp_path / "other.pt")
    message = refused(network, tmp_path / "other.pt")
    assert message.startswith("3 entries")
    assert "0.weight: shape (5, 3), expected (2, 3)" in message
    assert "queue: not part of this model" in message
    assert "1.bias: missing" in message


@pytest.mark.parametrize("written", ["torch", "pickle"])
def test_nothing_in_a_file_is_executed(written: str, tmp_path: Path) -> None:
    touched, path = tmp_path / "executed", tmp_path / "harmful.pt"

    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (touched,))

    if written == "torch":
        torch.save({"model": Harmful()}, path)
    else:
        path.write_bytes(pickle.dumps({"model": Harmful()}))
    with pytest.raises(ValueError, match="Nothing in it was executed"):
        read_weights(path)
    assert not touched.exists()
