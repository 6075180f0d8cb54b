"""A scripted loopback stand-in for the Anthropic Messages API.

    POST /v1/messages               a stream or one JSON body, as the request asks
    POST /v1/messages/count_tokens  {"input_tokens": N}
    /git/NAME.git/…                 with `git_root`: bare repositories, read-only

Everything else is 404 with an error of the API's shape. Every request is kept in `server.requests`, and in
a JSONL file when `record` is given. A call that the scenario does not cover gets HTTP 400 and an entry in
`server.errors`: assert that it is empty.
"""

from __future__ import annotations

import json
import secrets
import socket
import struct
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from tests.e2e.harness import git_http
from tests.e2e.harness.reply import (
    ERROR_TYPES,
    Fault,
    Reply,
    as_reply,
    http_fault,
    stream_events,
    text,
    thinking,
    tool,
)
from tests.e2e.harness.request import Json, Req
from tests.e2e.harness.rules import Rule, Rules, Scenario, script
from tests.e2e.harness.usage import UsageModel

__all__ = [
    "Fault",
    "Reply",
    "Req",
    "Rule",
    "Rules",
    "Scenario",
    "StubServer",
    "http_fault",
    "script",
    "text",
    "thinking",
    "tool",
]

HUNG, RESET = -1, -2  # Req.status of a request that got no answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are not our errors


class StubServer:
    """with StubServer(scenario) as server: … server.base_url … server.requests

    `sock` is an already listening socket (the Lab makes it inside a private network namespace); without it
    the server listens on a free port of 127.0.0.1.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        record: Path | None = None,
        sock: socket.socket | None = None,
        git_root: Path | None = None,
    ) -> None:
        self.scenario = scenario
        self.git_root = git_root
        self.requests: list[Req] = []
        self.errors: list[str] = []
        self.usage_model = UsageModel()
        self.name = f"stub{secrets.token_hex(3)}"  # no two servers give the same message id
        self.stopping = threading.Event()
        self._record = record
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"stub": self})
        if sock is None:
            self._http = _Server(("127.0.0.1", 0), handler)
        else:
            self._http = _Server(("127.0.0.1", 0), handler, bind_and_activate=False)
            self._http.socket.close()
            self._http.socket = sock
            self._http.server_address = sock.getsockname()
        self.base_url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> StubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()

    @property
    def calls(self) -> list[Req]:
        """The POST /v1/messages requests, in the order they came."""
        return [request for request in self.requests if request.is_message]

    def admit(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> Req:
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = raw.decode("utf-8", "replace")
        with self._lock:
            request = Req(len(self.requests), time.time(), method, path, headers, raw, body)
            self.requests.append(request)
        return request

    def keep(self, request: Req) -> None:
        if self._record:
            with self._lock, self._record.open("a", encoding="utf-8") as file:
                file.write(request.to_json() + "\n")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: ClassVar[StubServer]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = self.stub.admit(self.command, self.path, dict(self.headers), raw)
        try:
            self._route(request)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.stub.keep(request)

    def _route(self, request: Req) -> None:
        path, _, query = self.path.partition("?")
        if self.stub.git_root and path.startswith("/git/"):
            status, headers, body = git_http.answer(
                self.stub.git_root, self.command, path[len("/git") :], query, request.headers, request.raw
            )
            request.status = status
            self._send(status, headers, body)
        elif self.command == "POST" and path == "/v1/messages/count_tokens":
            request.status = 200
            self._json(200, {"input_tokens": self.stub.usage_model.count(request.fields)})
        elif request.is_message and isinstance(request.body, dict):
            self._answer(request)
        else:
            self._error(request, 404, f"stub: no {self.command} {self.path}")

    def _answer(self, request: Req) -> None:
        try:
            answer = as_reply(self.stub.scenario(request))
        except Exception:
            self.stub.errors.append(f"request {request.seq}: {traceback.format_exc()}")
            self._error(request, 400, "stub: the scenario raised: " + traceback.format_exc(limit=1))
            return
        if answer is None:
            results = [(result.name, result.text[:120]) for result in request.tool_results]
            uncovered = (
                f"request {request.seq} not covered: model={request.model} turn={request.turn} "
                f"last={request.last_text[:200]!r} results={results}"
            )
            self.stub.errors.append(uncovered)
            self._error(request, 400, "stub: " + uncovered)
            return
        request.answered = answer.plain()
        if isinstance(answer, Fault):
            self._fault(request, answer)
        else:
            self._reply(request, answer)

    # -- plain answers

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, status: int, value: Json, headers: dict[str, str] | None = None) -> None:
        named = {"content-type": "application/json", "request-id": "req_stub", **(headers or {})}
        self._send(status, list(named.items()), json.dumps(value).encode())

    def _error(
        self,
        request: Req,
        status: int,
        message: str,
        kind: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        request.status = status
        error = {"type": kind or ERROR_TYPES.get(status, "api_error"), "message": message}
        self._json(status, {"type": "error", "error": error, "request_id": "req_stub"}, headers)

    # -- messages

    def _message(self, request: Req, reply: Reply) -> Json:
        usage = self.stub.usage_model.usage(request.fields, reply.blocks) | (reply.usage or {})
        request.answered = dict(reply.plain(), usage=usage, model=reply.model or request.model)
        uses_tools = any(block["type"] == "tool_use" for block in reply.blocks)
        return {
            "id": f"msg_{self.stub.name}{request.seq:06d}",
            "type": "message",
            "role": "assistant",
            "model": reply.model or request.model,
            "content": list(reply.blocks),
            "stop_reason": reply.stop_reason or ("tool_use" if uses_tools else "end_turn"),
            "stop_sequence": None,
            "usage": usage,
        }

    def _reply(self, request: Req, reply: Reply) -> None:
        if reply.delay:
            self.stub.stopping.wait(reply.delay)
        message = self._message(request, reply)
        request.status = 200
        if not request.stream:
            self._json(200, message)
            return
        self._begin_stream()
        for kind, data in stream_events(message):
            self._event(kind, data)
            if reply.pace:
                self.stub.stopping.wait(reply.pace)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("cache-control", "no-cache")
        self.send_header("request-id", "req_stub")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def _event(self, kind: str, data: Json) -> None:
        payload = json.dumps({"type": kind, **data})
        self.wfile.write(f"event: {kind}\ndata: {payload}\n\n".encode())
        self.wfile.flush()

    # -- faults

    def _fault(self, request: Req, fault: Fault) -> None:
        if fault.kind == "http":
            message = fault.message or "scripted fault"
            self._error(request, fault.status, message, fault.error_type, fault.headers)
        elif fault.kind == "hang":
            request.status = HUNG
            self.stub.stopping.wait(fault.seconds)
            self.close_connection = True
        elif fault.kind == "reset":
            request.status = RESET
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault.kind == "garbage":
            request.status = 200
            self._send(200, [("content-type", "text/html")], b"<html>not what you asked for</html>")
        else:
            self._broken_stream(request, fault)

    def _broken_stream(self, request: Req, fault: Fault) -> None:
        request.status = 200
        message = self._message(request, fault.reply or Reply([text("cut off " * 40)]))
        self._begin_stream()
        for number, (kind, data) in enumerate(stream_events(message)):
            if number >= fault.after:
                break
            self._event(kind, data)
        if fault.kind == "stall":
            self.stub.stopping.wait(fault.seconds)
        elif fault.kind == "sse_error":
            error = {
                "type": fault.error_type or "overloaded_error",
                "message": fault.message or "Overloaded",
            }
            self._event("error", {"error": error})
