"""A local server that speaks the protocol of chat completions: well, slowly, badly, half, or with lies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

Request = Mapping[str, Any]
Behaviour = Callable[[BaseHTTPRequestHandler, Request], None]
Statements = list[dict[str, Any]]


def text_of(request: Request) -> str:
    """The report in a request."""
    return str(request["messages"][-1]["content"])


def statement(quote: str, entity: str, presence: str = "present", position: str = "unspecified") -> dict[str, Any]:
    return {"quote": quote, "entity": entity, "presence": presence, "position": position}


def read(text: str) -> Statements:
    """A model that knows three words, their denial and two places."""
    found = []
    for entity in ("effusion", "edema", "pneumothorax"):
        start = text.lower().find(entity)
        if start < 0:
            continue
        quote = text[start : start + len(entity)]
        denied = text.lower()[max(0, start - 3) : start] == "no "
        place = next(
            (f"{side}_pleural" for side in ("left", "right") if f"{side} {entity}" in text.lower()), "unspecified"
        )
        found.append(statement(quote, entity, "absent" if denied else "present", place))
    return found


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def says(content: Any, finish: str = "stop") -> Behaviour:
    """Answers with these words."""

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
        body = {"id": "1", "object": "chat.completion", "model": request.get("model"), "choices": [choice]}
        send(handler, 200, json.dumps(body).encode())

    return answer


def states(*statements: dict[str, Any]) -> Behaviour:
    """Answers with these statements, whatever the report says."""
    return says(json.dumps({"findings": list(statements)}))


def honest(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Answers with what the report says."""
    states(*read(text_of(request)))(handler, request)


def status(code: int, body: bytes | None = None, **headers: str) -> Behaviour:
    """Refuses, quoting the report, as some servers do."""

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        message = {"error": {"message": f"cannot process: {text_of(request)}", "code": text_of(request)[:60]}}
        send(handler, code, json.dumps(message).encode() if body is None else body, **headers)

    return answer


def slow(seconds: float, then: Behaviour = honest) -> Behaviour:
    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        time.sleep(seconds)
        then(handler, request)

    return answer


def dripping(pause: float) -> Behaviour:
    """Sends a byte now and then, so that no single read is late."""

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(pause)

    return answer


def endless(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Never stops sending."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(2**40))
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 2**16)


def half(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Promises a body and breaks off in the middle of it."""
    body = json.dumps({"choices": [{"message": {"content": json.dumps({"findings": read(text_of(request))})}}]})
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2].encode())
    handler.close_connection = True


def hangs_up(handler: BaseHTTPRequestHandler, request: Request) -> None:
    """Closes the connection without a word."""
    handler.close_connection = True
    handler.connection.close()


class ChatServer:
    """``behaviours`` are those of the next requests, in turn; afterwards it is ``always``."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.behaviours: list[Behaviour] = []
        self.always: Behaviour = honest
        self.at_once = self.most_at_once = 0
        self.url = ""
        self.lock = threading.Lock()

    @property
    def texts(self) -> list[str]:
        """The reports that were sent."""
        return [text_of(request) for request in self.requests]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.requests.append(request)
            self.headers.append(dict(handler.headers))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            behaviour = self.behaviours.pop(0) if self.behaviours else self.always
        try:
            if handler.path.endswith("/v1/chat/completions"):
                behaviour(handler, request)
            else:
                send(handler, 404, b"{}")
        except OSError:  # the client gave up
            handler.close_connection = True
        finally:
            with self.lock:
                self.at_once -= 1


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A server on a free port of this machine."""
    server = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet; else every answer waits for an acknowledgement

        def do_POST(self) -> None:
            server.answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def server_bind(self) -> None:
            TCPServer.server_bind(self)  # HTTPServer's looks up a name first, which takes its time

        def handle_error(self, *_: Any) -> None:
            pass

    listening = Quiet(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listening.server_address[1]}/v1"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
