"""What the scripted API sends: content blocks, replies, faults, and the events of a stream."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Answer = Any  # Reply | Fault | str | block | list of blocks and strings | None

_tool_numbers = itertools.count(1)
_CHUNK = 400  # characters of text or JSON an event carries


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def tool(name: str, /, **arguments: Any) -> Json:
    """A tool_use block: tool("Bash", command="ls")."""
    return {
        "type": "tool_use",
        "id": f"toolu_stub{next(_tool_numbers):06d}",
        "name": name,
        "input": arguments,
    }


def thinking(words: str, signature: str = "c3R1Yg==") -> Json:
    return {"type": "thinking", "thinking": words, "signature": signature}


@dataclass(frozen=True)
class Reply:
    blocks: Sequence[Json]
    usage: Json | None = None  # overrides single fields of the computed usage
    stop_reason: str | None = None  # default: tool_use when a block is one, else end_turn
    delay: float = 0.0  # seconds before the first byte
    model: str | None = None  # default: the one that was asked for
    pace: float = 0.0  # seconds between events of a stream

    def plain(self) -> Json:
        return {"blocks": list(self.blocks), "usage": self.usage, "stop_reason": self.stop_reason}


FaultKind = Literal["http", "hang", "reset", "truncate", "stall", "sse_error", "garbage"]


@dataclass(frozen=True)
class Fault:
    """
    http       an error status (429, 500, 529 …) with an Anthropic error body
    hang       accept, answer nothing for `seconds`, then drop the connection
    reset      drop the connection at once (TCP reset)
    truncate   a 200 stream cut after `after` events, without message_stop
    stall      a 200 stream that stops sending after `after` events for `seconds`
    sse_error  a 200 stream that carries an `error` event after `after` events
    garbage    a 200 whose body is neither JSON nor a stream
    """

    kind: FaultKind
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    error_type: str | None = None
    message: str | None = None
    seconds: float = 3600.0
    after: int = 3
    reply: Reply | None = None  # what truncate, stall and sse_error begin to send

    def plain(self) -> Json:
        return {"fault": self.kind, "status": self.status, "message": self.message}


ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def http_fault(status: int, message: str = "scripted fault", **headers: object) -> Fault:
    """http_fault(429, retry_after=0): underscores in header names become hyphens."""
    return Fault(
        "http",
        status=status,
        message=message,
        headers={name.replace("_", "-"): str(value) for name, value in headers.items()},
    )


def as_reply(answer: Answer) -> Reply | Fault | None:
    """A scenario's answer in full form; None means that the scenario does not cover the request."""
    if answer is None or isinstance(answer, (Reply, Fault)):
        return answer
    if isinstance(answer, str):
        return Reply([text(answer)])
    if isinstance(answer, dict):
        return Reply([answer])
    if isinstance(answer, (list, tuple)):
        return Reply([text(block) if isinstance(block, str) else block for block in answer])
    raise TypeError(f"scenario returned {answer!r}")


def _chunks(whole: str) -> Iterator[str]:
    for start in range(0, max(len(whole), 1), _CHUNK):
        yield whole[start : start + _CHUNK]


def _block_events(index: int, block: Json) -> Iterator[tuple[str, Json]]:
    def start(content_block: Json) -> tuple[str, Json]:
        return "content_block_start", {"index": index, "content_block": content_block}

    def delta(kind: str, **values: str) -> tuple[str, Json]:
        return "content_block_delta", {"index": index, "delta": {"type": kind, **values}}

    if block["type"] == "text":
        yield start({"type": "text", "text": ""})
        for part in _chunks(block["text"]):
            yield delta("text_delta", text=part)
    elif block["type"] == "thinking":
        yield start({"type": "thinking", "thinking": "", "signature": ""})
        yield delta("thinking_delta", thinking=block["thinking"])
        yield delta("signature_delta", signature=block["signature"])
    elif block["type"] == "tool_use":
        yield start({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}})
        for part in _chunks(json.dumps(block["input"])):
            yield delta("input_json_delta", partial_json=part)
    else:
        yield start(block)
    yield "content_block_stop", {"index": index}


def stream_events(message: Json) -> Iterator[tuple[str, Json]]:
    """(event, data) of one message as a stream, in the order the API sends them."""
    usage = message["usage"]
    head = dict(message, content=[], stop_reason=None, usage=dict(usage, output_tokens=1))
    yield "message_start", {"message": head}
    for index, block in enumerate(message["content"]):
        yield from _block_events(index, block)
    totals = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    yield (
        "message_delta",
        {
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": {name: usage[name] for name in totals if name in usage},
        },
    )
    yield "message_stop", {}
