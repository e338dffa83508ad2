"""Names of pre-trained models: paths never reach the hub, and without a hub there is one line, at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

import medvlp_toolkit as mv
from medvlp_toolkit import hub
from medvlp_toolkit.data.store.tokens import load_backend

HUB_NAME = "emilyalsentzer/Bio_ClinicalBERT"


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every name that is looked up, none of which is found; an empty cache; a working directory of one's own."""
    asked: list[Any] = []

    def look_up(host: Any, *given: Any, **more: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    def connect(*given: Any, **more: Any) -> Any:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", connect)
    for variable in (*hub.OFFLINE, "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    hub._answers.cache_clear()
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.mark.parametrize(
    "name", ["./x", "../x", "/x", "~/x", "models/x", "a/b/c", "C:\\models\\x", "D:/x", "x/", "m.pt"]
)
def test_what_looks_like_a_path_is_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    assert hub.is_path(name)


@pytest.mark.parametrize("name", ["roberta-base", HUB_NAME, "models/x", "google/bert-v1.5"])
def test_what_does_not_is_a_hub_name(name: str) -> None:
    assert not hub.is_path(name)


LOADERS = {
    "text": lambda name: mv.encoders.transformers_text(pretrained=name),
    "clip": lambda name: mv.encoders.clip_vit(image_size=32, patch_size=16, width=32, layers=1, pretrained=name),
    "tokenizer": lambda name: mv.encoders.transformers_text(config={"hidden_size": 8}, tokenizer=name),
    "store": load_backend,
}


@pytest.mark.parametrize("load", LOADERS.values(), ids=list(LOADERS))
@pytest.mark.parametrize("name", ["./nowhere", "~/nowhere", "models/nowhere", "C:\\models\\nowhere"])
def test_a_missing_folder_is_named_and_the_hub_is_not_asked(
    load: Any, name: str, no_network: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    with pytest.raises(FileNotFoundError, match="does not exist") as raised:
        load(name)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not no_network


@pytest.mark.parametrize("load", LOADERS.values(), ids=list(LOADERS))
def test_offline_a_hub_name_is_one_line_with_the_folder_alternative(
    load: Any, no_network: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # read when it is imported
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set") as raised:
        load("owner/never-downloaded")
    assert "give that folder here" in str(raised.value)
    assert not no_network


def test_without_an_answer_the_hub_is_asked_once_in_all(no_network: list[Any]) -> None:
    for load in LOADERS.values():
        with pytest.raises(FileNotFoundError, match="did not answer within 5 s") as raised:
            load("owner/never-downloaded")
        assert "\n" not in str(raised.value)
    assert len(no_network) == 1


def test_a_hub_that_keeps_silent_is_waited_for_no_longer_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **more: released.wait(60))
    monkeypatch.setattr(hub, "ANSWER_WITHIN", 0.2)
    try:
        assert "did not answer" in hub.why_offline()
    finally:
        released.set()


def test_no_remote_code_is_trusted_and_a_folder_is_read_locally(tmp_path: Path) -> None:
    given: dict[str, Any] = {}

    def load(name: str, **options: Any) -> str:
        given.update(options, name=name)
        return name

    (tmp_path / "bert").mkdir()
    hub.load_pretrained(load, "bert", "text model")
    assert given == {"name": "bert", "local_files_only": True, "trust_remote_code": False}


def test_what_was_downloaded_before_is_used_without_a_hub() -> None:
    given: dict[str, Any] = {}
    assert hub.load_pretrained(lambda name, **options: given.update(options) or name, HUB_NAME, "model") == HUB_NAME
    assert given == {"local_files_only": True, "trust_remote_code": False}


def test_a_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "bert").mkdir()
    assert hub.model_folder("~/bert") == Path(os.path.expanduser("~/bert"))
