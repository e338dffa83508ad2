"""Reports are patients' data: where the `llm` filter sends them, and where it refuses to."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from medvlp_reports.llm.addresses import RemoteAddressError, is_private
from medvlp_reports.llm.client import EndpointError
from medvlp_reports.llm.filter import LlmFilter
from medvlp_toolkit.data.records import Report
from tests.chat_server import chat_server

EFFUSION = Report("1", "Small left effusion.")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "::1", "10.0.0.7", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1",
     "::ffff:10.0.0.1"],
)  # fmt: skip
def test_loopback_and_private_addresses_are_ones_own(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "172.32.0.1", "172.15.0.1", "192.169.0.1", "11.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "2001:4860:4860::8888", "fe80::1%eth0", "::ffff:8.8.8.8", "224.0.0.1"],
)  # fmt: skip
def test_any_other_address_is_not(address: str) -> None:
    assert not is_private(address)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names and the addresses they have; real look-ups elsewhere."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in known:
            return real(host, *arguments, **options)
        if not known[name]:
            raise socket.gaierror(-2, "Name or service not known")
        return [entry for address in known[name] for entry in real(address, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1", "http://8.8.8.8/v1", "http://[2001:4860:4860::8888]:8000/v1", "http://134744072/v1",
     "http://0x08080808/v1", "http://mixed.example/v1"],
)  # fmt: skip
def test_a_remote_address_is_refused_before_anything_is_sent(url: str, names: dict[str, list[str]]) -> None:
    names.update({"api.openai.com": ["104.18.7.192"], "mixed.example": ["10.0.0.1", "8.8.8.8"]})
    with pytest.raises(ValueError, match="neither this machine nor in a private network") as caught:
        LlmFilter("m", url)
    assert "allow_remote: true" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_remote_address_may_be_allowed(names: dict[str, list[str]]) -> None:
    names["api.openai.com"] = ["104.18.7.192"]
    allowed = LlmFilter("m", "https://api.openai.com/v1", allow_remote=True)
    assert str(allowed.url) == "https://api.openai.com/v1/chat/completions"


def test_a_name_without_an_address_is_named(names: dict[str, list[str]]) -> None:
    names["nowhere.example"] = []
    with pytest.raises(ValueError, match=r"base_url: nowhere\.example has no address"):
        LlmFilter("m", "http://nowhere.example/v1")


def test_a_name_in_the_hospital_is_connected_by_its_address_and_asked_by_its_name(
    names: dict[str, list[str]], tmp_path: Path
) -> None:
    names["llm.hospital.example"] = ["::1", "127.0.0.1"]  # nothing listens on the first
    with chat_server() as server:
        port = server.url.rpartition(":")[2].removesuffix("/v1")
        mine = LlmFilter("m", f"http://llm.hospital.example:{port}/v1", cache_dir=tmp_path)
        assert len(mine([EFFUSION])[0]) == 1
        assert server.headers[0]["Host"] == f"llm.hospital.example:{port}"


def test_a_name_that_leads_elsewhere_later_gets_nothing(names: dict[str, list[str]], tmp_path: Path) -> None:
    names["llm.hospital.example"] = ["127.0.0.1"]
    mine = LlmFilter("m", "http://llm.hospital.example:9/v1", cache_dir=tmp_path)
    names["llm.hospital.example"] = ["8.8.8.8"]
    with pytest.raises(EndpointError, match="neither this machine nor in a private network"):
        mine([EFFUSION])


def test_no_proxy_of_the_environment_carries_reports_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with chat_server() as server, chat_server() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        assert len(LlmFilter("m", server.url, cache_dir=tmp_path)([EFFUSION])[0]) == 1
        assert (len(server.requests), len(proxy.requests)) == (1, 0)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    from tests.chat_server import status

    with chat_server() as server, chat_server() as other:
        server.always = status(307, location=f"{other.url}/chat/completions")
        with pytest.raises(EndpointError, match="leads to another address"):
            LlmFilter("m", server.url, cache_dir=tmp_path)([EFFUSION])
        assert other.requests == []


def test_refusing_an_address_is_a_mistake_of_the_configuration() -> None:
    assert issubclass(RemoteAddressError, ValueError)
