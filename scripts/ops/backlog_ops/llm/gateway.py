"""An OpenAI-compatible gateway (LiteLLM's proxy): it is asked for a tier by its alias.

Not streamed: only a whole response says what it cost. The body's `model` repeats the alias, so who really
served stands in the headers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from backlog_ops.domain.pricing import Usage
from backlog_ops.domain.settings import NANO_PER_USD
from backlog_ops.domain.shapes import as_count, as_object, as_objects, as_text, parse_object
from backlog_ops.llm.capabilities import capabilities_of
from backlog_ops.llm.http_failures import failure
from backlog_ops.llm.redact import shown
from backlog_ops.llm.sizing import ANSWER_TOKENS
from backlog_ops.llm.structured import with_schema_in_words
from backlog_ops.llm.transport import Limits, Request, Response, is_loopback, origin, send
from backlog_ops.llm.types import Allowance, AttemptError, Call, Outcome, Reply, Spent


class Gateway:
    def __init__(self, base_url: str, key: str, model_behind: str) -> None:
        """`model_behind`: the model this tier is configured for, for what parameters it takes."""
        root = base_url.rstrip("/").removesuffix("/v1")
        self._url = root + "/v1/chat/completions"
        self._where = origin(base_url)
        self._key = key
        self._can = capabilities_of(model_behind)

    def call(self, call: Call, allowance: Allowance, on_text: Callable[[str], None]) -> Reply:
        timeouts = allowance.timeouts
        connect = timeouts.connect_local if is_loopback(self._url) else timeouts.connect_remote
        patience = allowance.seconds_to(allowance.share)  # the first byte comes with the last
        limits = Limits(connect, patience, timeouts.idle, allowance.deadline)
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        request = Request("POST", self._url, headers, json.dumps(self._body(call)).encode())
        with send(request, limits, allowance.clock) as response:
            content = response.read()
        if response.status != 200:
            raise self._failure(response, content, call, allowance)
        return self._reply(response.headers, content)

    def _body(self, call: Call) -> dict[str, Any]:
        enforced = call.schema is not None and self._can.json_schema
        if call.schema is not None and not enforced:
            call = with_schema_in_words(call)
        system = [{"role": "system", "content": call.system}] if call.system else []
        body: dict[str, Any] = {
            "model": call.model,
            "messages": [*system, *({"role": turn.role, "content": turn.text} for turn in call.turns)],
            "max_tokens": call.max_tokens or ANSWER_TOKENS,
        }
        if call.temperature is not None and self._can.sampling:
            body["temperature"] = call.temperature
        if enforced:
            json_schema = {"name": "answer", "schema": call.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        return body

    def _reply(self, headers: Mapping[str, str], content: bytes) -> Reply:
        answer = parse_object(content) or {}
        choice = (as_objects(answer.get("choices")) or [{}])[0]
        message = as_object(choice.get("message"))
        served = headers.get("x-litellm-model-name", "").rpartition("/")[2]
        usage = as_object(answer.get("usage"))
        spent = Spent(served or None, _usage(usage) if usage else None, _cost(headers))
        reason = choice.get("finish_reason")
        if reason == "content_filter" or message.get("refusal"):
            raise AttemptError(Outcome.REFUSED, "the model declined", spent=spent)
        if reason == "length":
            raise AttemptError(Outcome.CUT, "stopped at max_tokens; raise --max-tokens or ask for less", spent=spent)
        if reason != "stop":
            detail = f"{self._where}: no answer that this understands (finish_reason {reason!r})"
            raise AttemptError(Outcome.BROKEN, detail, spent=spent)
        return Reply(as_text(message.get("content")), spent)

    def _failure(self, response: Response, content: bytes, call: Call, allowance: Allowance) -> AttemptError:
        error = as_object((parse_object(content) or {}).get("error"))
        message = as_text(error.get("message"))
        said = shown(message, call.texts(), [self._key])
        if error.get("code") == "context_length_exceeded" or "prompt is too long" in message:
            return AttemptError(Outcome.TOO_LARGE, f"{self._where}: {said}")
        now = allowance.clock.wall()
        return failure(self._where, response.status, response.headers, said, now=now)


def _usage(counts: Mapping[str, Any]) -> Usage:
    """OpenAI's counts: `prompt_tokens` includes what came from or went into a cache."""
    details = as_object(counts.get("prompt_tokens_details"))
    read = as_count(details.get("cached_tokens"))
    written = as_count(counts.get("cache_creation_input_tokens"))
    return Usage(
        input=max(as_count(counts.get("prompt_tokens")) - read - written, 0),
        cache_write_5m=written,
        cache_read=read,
        output=as_count(counts.get("completion_tokens")),
    )


def _cost(headers: Mapping[str, str]) -> int | None:
    """Nano-dollars the gateway booked. No header means unknown: local and unpriced models look the same."""
    try:
        return int(Decimal(headers["x-litellm-response-cost"]) * NANO_PER_USD)
    except (KeyError, InvalidOperation, ValueError, OverflowError):
        return None
