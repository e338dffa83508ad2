"""Requests to a chat endpoint with OpenAI's protocol: vLLM, Ollama, llama.cpp, a hospital's own.

No message here quotes a request or an answer, because both contain report text.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from medvlp_reports.llm.addresses import PrivateTransport, RemoteAddressError, private_addresses

Message = Mapping[str, str]
_LARGEST_ANSWER = 4 * 2**20  # bytes
_LONGEST_WAIT = 60.0  # seconds between two attempts
_LONGEST_ASKED_WAIT = 300.0  # seconds that a server may ask for
_AGAIN = frozenset([408, 409, 425, 429, 500, 502, 503, 504, 529])
_FORMAT = "response_format"
# Error codes of the protocol that may be repeated in messages; the server's message may quote a report.
_KNOWN_CODES = frozenset([
    "context_length_exceeded", "insufficient_quota", "invalid_api_key", "model_not_found", "rate_limit_exceeded",
    "unsupported_parameter", "unsupported_value",
])  # fmt: skip


class EndpointError(ConnectionError):
    """The endpoint is unusable: there is no answer, or the key or model is refused."""


class AnswerError(Exception):
    """A report has no usable answer; the reason is a phrase for the counts."""


class TryAgainError(AnswerError):
    """A temporary failure; ``wait`` is the server's requested delay in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class EmptyAnswerError(TryAgainError):
    """An empty completion."""


class NoConnectionError(TryAgainError):
    """Nothing answers at the address."""


@dataclass(frozen=True)
class Reply:
    """The model's text; ``cut``: it was truncated by the token limit."""

    content: str
    cut: bool


def chat_url(base_url: str, allow_remote: bool) -> httpx.URL:
    """The address of chat completions below ``base_url``.

    Raises ValueError if it is not an http(s) address, RemoteAddressError if reports may not be sent to it.
    """
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError):
        raise ValueError(f"base_url: {base_url!r} where an address like http://127.0.0.1:8000/v1 is expected") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url: {base_url!r} where an address like http://127.0.0.1:8000/v1 is expected")
    if url.userinfo or url.query:
        raise ValueError("base_url: expected an address without a password or query; name a key by api_key_variable")
    path = url.path.rstrip("/") or "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    if not allow_remote:
        try:
            private_addresses(url.host)
        except OSError as error:
            raise ValueError(f"base_url: {url.host} has no address ({error.strerror})") from None
        except RemoteAddressError as error:
            raise RemoteAddressError(f"base_url: {error}") from None
    return url.copy_with(path=path)


class ChatClient:
    """Asks for chat completions, with retries; used by several threads at once.

    Args:
        url: of ``chat_url``.
        api_key_variable: environment variable of the key, if the server requires one.
        timeout: total seconds per request.
        attempts: number of attempts per request.
        allow_remote: whether ``url`` may be a public address.
        ca_file: certificates of the server's authority, if the system does not have them.
        on_request: called for every request.
    """

    def __init__(
        self,
        url: httpx.URL,
        api_key_variable: str | None,
        timeout: float,
        attempts: int,
        allow_remote: bool,
        ca_file: str | None,
        on_request: Callable[[], None],
    ) -> None:
        headers = {}
        if api_key_variable is not None:
            key = os.environ.get(api_key_variable)
            if not key:
                raise EndpointError(f"api_key_variable: the environment has no {api_key_variable}; export it")
            headers["Authorization"] = f"Bearer {key}"
        verify: Any = url.scheme == "https"  # reading the certificates takes a tenth of a second
        if ca_file is not None:
            try:
                verify = ssl.create_default_context(cafile=ca_file)
            except (OSError, ssl.SSLError) as error:
                raise EndpointError(f"ca_file: {ca_file} holds no certificates ({type(error).__name__})") from None
        # Without allow_remote no proxy of the environment is used either, because it could send the reports elsewhere.
        transport = None if allow_remote else PrivateTransport(verify=verify)
        self._client = httpx.Client(
            transport=transport, verify=verify, trust_env=allow_remote, headers=headers, timeout=timeout
        )
        self.url, self.timeout, self.attempts = url, timeout, attempts
        self._on_request = on_request
        self._stopped = threading.Event()
        self._sockets: WeakSet[socket.socket] = WeakSet()

    def ask(self, messages: Sequence[Message], **options: Any) -> Reply:
        """One answer.

        Raises AnswerError if this report has none after all attempts, EndpointError if no report can have one.
        """
        body = json.dumps({"messages": list(messages), **options}, ensure_ascii=False)
        content = body.encode("utf-8", "replace")
        retrying = Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=_wait,
            retry=retry_if_exception_type(TryAgainError),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._ask_once, content)
        except NoConnectionError:
            raise EndpointError(f"{self.url}: nothing answers there, after {self.attempts} attempts") from None

    def close(self) -> None:
        """Cancel waiting and open requests."""
        self._stopped.set()
        for connected in list(self._sockets):
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it; closing does not
        self._client.close()

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Record the sockets of new connections."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            connected = info["return_value"].get_extra_info("socket")
            if isinstance(connected, socket.socket):
                self._sockets.add(connected)

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise EndpointError(f"{self.url}: the run was ended")

    def _ask_once(self, content: bytes) -> Reply:
        if self._stopped.is_set():
            raise EndpointError(f"{self.url}: the run was ended")
        self._on_request()
        try:
            status, headers, answer = self._post(content)
        except RemoteAddressError as error:
            raise EndpointError(f"{self.url}: {error}") from None
        except httpx.ConnectError:
            raise NoConnectionError("no connection") from None
        except httpx.TimeoutException:
            raise TryAgainError(f"no answer within {self.timeout:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, RuntimeError):  # RuntimeError: the client was closed meanwhile
            raise TryAgainError("the connection broke off") from None
        if status == 200:
            return _reply(answer)
        raise self._refusal(status, headers, answer)

    def _post(self, content: bytes) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body within the total timeout, even if the server sends slowly."""
        ends = time.monotonic() + self.timeout
        headers = {"Content-Type": "application/json"}
        traced = {"trace": self._trace}
        with self._client.stream("POST", self.url, content=content, headers=headers, extensions=traced) as response:
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _LARGEST_ANSWER:
                    raise AnswerError("an answer of endless length")
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout("too slow", request=response.request)
            return response.status_code, response.headers, bytes(body)

    def _refusal(self, status: int, headers: httpx.Headers, answer: bytes) -> Exception:
        if status in _AGAIN:
            return TryAgainError(f"status {status}", _asked_wait(headers))
        code = _known_code(answer)
        refusal = f"status {status}" + (f", {code}" if code else "")
        advice = None
        if status in (401, 403):
            advice = "the key is refused", "name the variable that holds it as api_key_variable"
        elif status == 404:
            advice = "no such model or path", "`base_url` ends in /v1 on most servers"
        elif 300 <= status < 400:
            advice = "leads to another address", "name that one as base_url"
        elif code == _FORMAT:
            advice = "the server does not support this way of requesting JSON", "try structured: json_object, or none"
        if advice is not None:
            return EndpointError(f"{self.url}: {advice[0]} ({refusal}); {advice[1]}")
        return AnswerError(refusal)


def _wait(state: RetryCallState) -> float:
    """Seconds before the next attempt: the server's request, else exponential backoff with jitter."""
    error = state.outcome.exception() if state.outcome else None
    backed_off = wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT)(state)
    asked = error.wait if isinstance(error, TryAgainError) else None
    return backed_off if asked is None else max(min(asked, _LONGEST_ASKED_WAIT), 0.0)


def _asked_wait(headers: httpx.Headers) -> float | None:
    try:
        return float(headers["retry-after"])
    except (KeyError, ValueError):  # none, or a date
        return None


def _known_code(answer: bytes) -> str | None:
    """The protocol's error code in the answer, if it is a known one."""
    try:
        error = json.loads(answer)["error"]
        code, param = error.get("code"), error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if param == _FORMAT:
        return _FORMAT
    return code if isinstance(code, str) and code in _KNOWN_CODES else None


def _reply(answer: bytes) -> Reply:
    """The model's text in the body of a completion."""
    try:
        choice = json.loads(answer)["choices"][0]
        content = choice["message"]["content"]
        finish = choice.get("finish_reason")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise TryAgainError("an answer that is no chat completion") from None
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict))
    if not isinstance(content, str) or not content.strip():
        raise EmptyAnswerError("an empty answer")
    return Reply(content, finish == "length")
