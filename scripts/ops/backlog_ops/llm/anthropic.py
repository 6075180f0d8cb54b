"""The Anthropic Messages API, streamed, so that limits on the first byte and on silence apply."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from backlog_ops.domain.shapes import as_object, as_text, parse_object
from backlog_ops.llm.capabilities import Capabilities, Thinking, capabilities_of
from backlog_ops.llm.http_failures import failure
from backlog_ops.llm.redact import shown
from backlog_ops.llm.sizing import ANSWER_TOKENS, tokens_at_least
from backlog_ops.llm.structured import claude_schema, with_schema_in_words
from backlog_ops.llm.transport import Limits, Request, Response, is_loopback, origin, send
from backlog_ops.llm.types import Allowance, AttemptError, Call, Outcome, Reply, Spent
from backlog_ops.money.claude_usage import usage_of_message

# Every model answers this version, and no parameter that newer ones removed is ever sent.
API_VERSION = "2023-06-01"
THOUGHT_TOKENS = 8_192  # added for a model that always thinks: thoughts count against max_tokens


class Anthropic:
    def __init__(self, base_url: str, key: str) -> None:
        self._url = base_url.rstrip("/") + "/v1/messages"
        self._where = origin(base_url)
        self._key = key

    def call(self, call: Call, allowance: Allowance, on_text: Callable[[str], None]) -> Reply:
        can = capabilities_of(call.model)
        if tokens_at_least(call) > can.context_tokens:
            detail = f"the prompt does not fit the {can.context_tokens} tokens of {call.model}"
            raise AttemptError(Outcome.TOO_LARGE, detail)
        timeouts = allowance.timeouts
        connect = timeouts.connect_local if is_loopback(self._url) else timeouts.connect_remote
        first_byte = min(timeouts.first_byte_cold, allowance.seconds_to(allowance.share))
        limits = Limits(connect, first_byte, timeouts.idle, allowance.deadline)
        headers = {
            "x-api-key": self._key,
            "anthropic-version": API_VERSION,
            "content-type": "application/json",
            "accept": "text/event-stream",
        }
        request = Request("POST", self._url, headers, json.dumps(_body(call, can)).encode())
        with send(request, limits, allowance.clock) as response:
            if response.status != 200:
                raise self._failure(response, response.read(), call, allowance)
            return _Message(call, self._where, on_text).read(_events(response))

    def _failure(self, response: Response, content: bytes, call: Call, allowance: Allowance) -> AttemptError:
        error = as_object((parse_object(content) or {}).get("error"))
        kind, message = as_text(error.get("type")), as_text(error.get("message"))
        said = shown(f"{kind}: {message}" if kind else "", call.texts(), [self._key])
        if response.status == 413 or "prompt is too long" in message:
            return AttemptError(Outcome.TOO_LARGE, f"{self._where}: {said}")
        if response.status in (401, 403):
            said += "; check ANTHROPIC_API_KEY"
        # A spend limit looks like a rate limit, without a time after which to come back.
        spent_up = as_object(error.get("details")).get("error_code") == "enforced_spend_limit_reached"
        now = allowance.clock.wall()
        return failure(self._where, response.status, response.headers, said, now=now, final=spent_up)


class _Message:
    """One streamed message being put together. Content is read by block type: thoughts come first."""

    def __init__(self, call: Call, where: str, on_text: Callable[[str], None]) -> None:
        self._call, self._where, self._on_text = call, where, on_text
        self._text: list[str] = []
        self._model: str | None = None
        self._counts: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._refusal = ""

    def read(self, events: Iterator[dict[str, Any]]) -> Reply:
        try:
            for event in events:
                if event.get("type") == "message_stop":
                    return self._finished()
                self._take(event)
        except AttemptError as failed:
            failed.spent = self._spent()
            raise
        detail = f"{self._where}: the answer ended too early"
        raise AttemptError(Outcome.BROKEN, detail, spent=self._spent(), retry=True)

    def _take(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "message_start":
            message = as_object(event.get("message"))
            self._model = as_text(message.get("model")) or None
            self._counts.update(as_object(message.get("usage")))
        elif kind == "content_block_delta":
            delta = as_object(event.get("delta"))
            if delta.get("type") == "text_delta":
                self._text.append(as_text(delta.get("text")))
                self._on_text(self._text[-1])
        elif kind == "message_delta":
            delta = as_object(event.get("delta"))
            self._stop_reason = as_text(delta.get("stop_reason")) or None
            self._refusal = as_text(as_object(delta.get("stop_details")).get("category"))
            self._counts.update(as_object(event.get("usage")))
        elif kind == "error":
            error = as_object(event.get("error"))
            said = shown(f"{as_text(error.get('type'))}: {as_text(error.get('message'))}", self._call.texts())
            raise AttemptError(Outcome.BROKEN, f"{self._where}: failed while answering: {said}", retry=True)

    def _spent(self) -> Spent:
        return Spent(self._model, usage_of_message(self._counts) if self._counts else None)

    def _finished(self) -> Reply:
        failed = stop_failure(self._stop_reason, self._refusal)
        if failed is not None:
            raise failed
        return Reply("".join(self._text), self._spent())


def stop_failure(stop_reason: str | None, refusal: str = "") -> AttemptError | None:
    """What a Claude model's `stop_reason` says against its answer; None where it is complete."""
    if stop_reason in ("end_turn", "stop_sequence"):
        return None
    if stop_reason == "refusal":
        return AttemptError(Outcome.REFUSED, f"the model declined{f' ({refusal})' if refusal else ''}")
    if stop_reason == "max_tokens":
        return AttemptError(Outcome.CUT, "stopped at max_tokens; raise --max-tokens or ask for less")
    if stop_reason == "model_context_window_exceeded":
        return AttemptError(Outcome.CUT, "prompt and answer together do not fit the model")
    return AttemptError(Outcome.BROKEN, f"stopped for the unexpected reason {stop_reason!r}")


def _body(call: Call, can: Capabilities) -> dict[str, Any]:
    schema = claude_schema(call.schema) if call.schema is not None and can.json_schema else None
    if call.schema is not None and schema is None:
        call = with_schema_in_words(call)
    room = (call.max_tokens or ANSWER_TOKENS) + (THOUGHT_TOKENS if can.thinking is Thinking.ALWAYS else 0)
    body: dict[str, Any] = {
        "model": call.model,
        "max_tokens": min(room, can.max_output_tokens),
        "stream": True,
        "messages": [{"role": turn.role, "content": turn.text} for turn in call.turns],
    }
    if call.system:
        body["system"] = call.system
    if can.thinking in (Thinking.DISABLED, Thinking.BETWEEN_TOOLS):
        body["thinking"] = {"type": can.thinking.value}
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if call.temperature is not None and can.sampling:
        body["temperature"] = call.temperature
    return body


def _events(response: Response) -> Iterator[dict[str, Any]]:
    """The events of a stream; each repeats its name as `type`, so the `data:` lines are enough."""
    for line in response.lines():
        if line.startswith(b"data:"):
            event = parse_object(line[5:])
            if event is not None:
                yield event
