"""A scripted stand-in for an Ollama server, on loopback. What it says and how was recorded: tests/fixtures/ollama.

    with OllamaStandin(lambda request: "an answer") as ollama:
        … ollama.base_url … ollama.chats

A scenario takes the body of a chat request and returns the answer's text or a `Fault`. The model has no
weights: a script answers in its place. What a client gets wrong is real: an unknown model, a prompt that is
cut without a word unless `truncate` is false, an answer cut by `num_predict`, errors in mid-stream.
"""

from __future__ import annotations

import datetime
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Json = dict[str, Any]

_RUNNER_DIED = "an error was encountered while running the model: unexpected EOF"
_CHARS_A_TOKEN = 4
_TEMPLATE_TOKENS = 5  # a chat template adds to every message


@dataclass(frozen=True)
class Fault:
    """
    http        an error status with `message`
    hang        the request is read and never answered
    reset       the connection is reset (TCP) without an answer
    error_line  the runner dies: after `after` parts the last line is an error, HTTP stays 200
    cut         the connection ends after `after` parts, without `done`
    stall       nothing more comes after `after` parts
    """

    kind: Literal["http", "hang", "reset", "error_line", "cut", "stall"]
    status: int = 500
    message: str = _RUNNER_DIED
    after: int = 1
    text: str = "cut off in the middle"  # what the last three begin to say


Scenario = Callable[[Json], "str | Fault"]


@dataclass(frozen=True)
class Model:
    context_length: int = 40_960
    capabilities: Sequence[str] = ("completion",)
    template: str = "{{ .Prompt }}"


@dataclass(frozen=True)
class Seen:
    """One request, with the body that came in."""

    method: str
    path: str
    body: Json | None


class OllamaStandin:
    """`models`: by name, tag included. `default_context`: what a request without num_ctx gets."""

    def __init__(
        self,
        scenario: Scenario = lambda request: "ok",
        models: Mapping[str, Model] | None = None,
        *,
        default_context: int = 4096,
        metadata_hangs: bool = False,
        port: int = 0,
    ) -> None:
        self.scenario = scenario
        self.models = dict(models if models is not None else {"qwen3:8b": Model()})
        self.default_context = default_context
        self.metadata_hangs = metadata_hangs
        self.requests: list[Seen] = []
        self.loaded: dict[str, int] = {}  # model → its context size in memory
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self._http = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"ollama": self}))
        self.base_url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def chats(self) -> list[Json]:
        """The bodies of the chat requests, in order."""
        return [seen.body for seen in self.requests if seen.path == "/api/chat" and seen.body is not None]

    def start(self) -> OllamaStandin:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stopped.set()
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> OllamaStandin:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def full_name(self, name: str) -> str:
        return name if ":" in name else f"{name}:latest"

    def find(self, name: str) -> Model | None:
        return self.models.get(self.full_name(name)) or self.models.get(name)


def refused_url() -> str:
    """The URL of a port of this machine on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def tokens(text: str) -> int:
    return (len(text) + _CHARS_A_TOKEN - 1) // _CHARS_A_TOKEN


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up is not our error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ollama: OllamaStandin

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._seen(None)
        if self.path == "/":
            self._send(200, b"Ollama is running", "text/plain; charset=utf-8")
        elif self.ollama.metadata_hangs:
            self._hang()
        elif self.path == "/api/version":
            self._json(200, {"version": "0.33.0-standin"})
        elif self.path == "/api/tags":
            self._json(200, {"models": [self._entry(name) for name in self.ollama.models]})
        elif self.path == "/api/ps":
            loaded = self.ollama.loaded.items()
            self._json(200, {"models": [self._entry(name) | {"context_length": size} for name, size in loaded]})
        else:
            self._send(404, b"404 page not found", "text/plain")

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(content) if content else None
        except ValueError as error:
            return self._error(400, str(error))
        self._seen(body)
        if self.path not in ("/api/show", "/api/chat"):
            return self._send(404, b"404 page not found", "text/plain")
        if body is None:
            return self._error(400, "missing request body")
        if not body.get("model"):
            return self._error(400, "model is required")
        return self._show(body) if self.path == "/api/show" else self._chat(body)

    def _show(self, body: Json) -> None:
        if self.ollama.metadata_hangs:
            return self._hang()
        model = self.ollama.find(body["model"])
        if model is None:
            return self._error(404, f"model '{self.ollama.full_name(body['model'])}' not found")
        return self._json(
            200,
            {
                "modelfile": "",
                "parameters": "",
                "template": model.template,
                "details": _DETAILS,
                "model_info": {
                    "general.architecture": "llama",
                    "llama.context_length": model.context_length,
                },
                "capabilities": list(model.capabilities),
                "modified_at": _now(),
            },
        )

    def _chat(self, body: Json) -> None:
        name, model = body["model"], self.ollama.find(body["model"])
        if model is None:
            return self._error(404, f"model '{name}' not found")
        if body.get("think") and "thinking" not in model.capabilities:
            return self._error(400, f'"{name}" does not support thinking')
        options = body.get("options") or {}
        context = min(options.get("num_ctx", self.ollama.default_context), model.context_length)
        read = sum(tokens(turn["content"]) + _TEMPLATE_TOKENS for turn in body.get("messages") or [])
        if read > context:
            if body.get("truncate") is False:
                return self._error(400, json.dumps({"error": _overlong(read, context)}))
            read = context - (context - 5) // 2
        self.ollama.loaded[self.ollama.full_name(name)] = context
        answer = self.ollama.scenario(body)
        if isinstance(answer, Fault):
            return self._fault(body, answer)
        limit = min(options.get("num_predict", context), context - read)
        whole = tokens(answer) <= limit
        text = answer if whole else answer[: limit * _CHARS_A_TOKEN]
        last = _part(
            name, "", done=True, done_reason="stop" if whole else "length", load_duration=1, total_duration=2
        ) | {"prompt_eval_count": read, "eval_count": tokens(text)}
        if body.get("stream", True):
            self._stream([*_parts(name, text), last])
        else:
            self._json(200, last | {"message": {"role": "assistant", "content": text}})
        return None

    def _fault(self, body: Json, fault: Fault) -> None:
        if fault.kind == "http":
            return self._error(fault.status, fault.message)
        if fault.kind == "hang":
            return self._hang()
        if fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return None
        begun = _parts(body["model"], fault.text)[: fault.after]
        self._stream([*begun, {"error": fault.message}] if fault.kind == "error_line" else begun, end=False)
        if fault.kind == "stall":
            self.ollama.stopped.wait()
        return None

    def _hang(self) -> None:
        self.ollama.stopped.wait()
        self.close_connection = True

    def _stream(self, parts: Sequence[Json], end: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            line = _dumps(part) + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        if end:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def _seen(self, body: Json | None) -> None:
        with self.ollama.lock:
            self.ollama.requests.append(Seen(self.command, self.path, body))

    def _error(self, status: int, message: str) -> None:
        self._json(status, {"error": message})

    def _json(self, status: int, value: Json) -> None:
        self._send(status, _dumps(value), "application/json; charset=utf-8")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _entry(self, name: str) -> Json:
        full = self.ollama.full_name(name)
        return {"name": full, "model": full, "size": 1, "digest": "0" * 64, "details": _DETAILS}


_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "0",
    "quantization_level": "none",
}


def _parts(model: str, text: str) -> list[Json]:
    pieces = [text[start : start + _CHARS_A_TOKEN] for start in range(0, len(text), _CHARS_A_TOKEN)]
    return [_part(model, piece, done=False) for piece in pieces]


def _part(model: str, content: str, **rest: Any) -> Json:
    return {"model": model, "created_at": _now(), "message": {"role": "assistant", "content": content}, **rest}


def _overlong(read: int, context: int) -> Json:
    return {
        "code": 400,
        "message": f"request ({read} tokens) exceeds the available context size ({context} tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": read,
        "n_ctx": context,
    }


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def _dumps(value: Json) -> bytes:
    """As Go writes it: compact, with <, > and & escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for sign, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(sign, escape)
    return text.encode()
