"""A scripted OpenAI-compatible gateway on loopback, with the headers LiteLLM's proxy adds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.support.raw_http import RawServer, response


def completion(content: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "model": "cheap",  # the alias that was asked for, whoever served: as LiteLLM does
        "choices": [{"finish_reason": finish_reason, "message": {"role": "assistant", "content": content, **message}}],
        "usage": {
            "prompt_tokens": 500,
            "completion_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 400},
        },
    }


def gateway(body: Mapping[str, Any], status: str = "200 OK", **headers: str) -> RawServer:
    """Answers every request with `body`; x_litellm_model_name="…" becomes a header."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return RawServer(lambda _: [response(status, json.dumps(body).encode(), *lines)])


def sent(server: RawServer, number: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(server.requests[number].partition(b"\r\n\r\n")[2])
    return body
