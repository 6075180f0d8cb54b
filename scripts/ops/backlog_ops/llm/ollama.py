"""Ollama's native API. What it really answers is recorded in tests/fixtures/ollama.

Native and not /v1, because only here a client sets the context size; without that Ollama silently cuts a
long prompt and answers what is left of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from backlog_ops.domain.pricing import Usage
from backlog_ops.domain.shapes import as_count, as_object, as_objects, as_text, parse_object
from backlog_ops.llm.http_failures import failure
from backlog_ops.llm.redact import shown
from backlog_ops.llm.sizing import tokens_about, tokens_at_least
from backlog_ops.llm.thoughts import ThoughtFilter, without_thoughts
from backlog_ops.llm.transport import Limits, Request, Response, is_loopback, origin, send
from backlog_ops.llm.types import Allowance, AttemptError, Call, Outcome, Reply, Spent

# A model is loaded anew when num_ctx changes, so there are only a few sizes.
CONTEXT_SIZES = tuple(2**exponent for exponent in range(12, 21))
ANSWER_TOKENS = 4096  # room for an answer where the caller names no limit
METADATA_SECONDS = 2.0  # a healthy server says in microseconds what it has loaded; this one may be busy


class _Model(NamedTuple):
    context_length: int | None  # what it was trained for; None: the server does not say
    loaded_context: int  # 0: not in memory
    can_think: bool
    may_start_in_thought: bool


class Ollama:
    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._where = origin(base_url)

    def call(self, call: Call, allowance: Allowance, on_text: Callable[[str], None]) -> Reply:
        model = self._model(call, allowance)
        if model.context_length is not None and tokens_at_least(call) > model.context_length:
            raise AttemptError(Outcome.TOO_LARGE, self._does_not_fit(call.model, model.context_length))
        num_ctx = _context_size(tokens_about(call) + (call.max_tokens or ANSWER_TOKENS), model)
        try:
            return self._chat(call, model, num_ctx, allowance, on_text)
        except _ContextTooSmallError as small:
            larger = _context_size(small.prompt_tokens + (call.max_tokens or ANSWER_TOKENS), model)
            if larger <= num_ctx:
                raise
            return self._chat(call, model, larger, allowance, on_text)

    def _model(self, call: Call, allowance: Allowance) -> _Model:
        """What the server knows of the model; also the quick proof that somebody is there."""
        names = (call.model, f"{call.model}:latest")
        loaded = as_objects(self._metadata("GET", "/api/ps", call, allowance).get("models"))
        mine = [entry for entry in loaded if entry.get("model") in names]
        about = self._metadata("POST", "/api/show", call, allowance)
        info = as_object(about.get("model_info"))
        capabilities = about.get("capabilities")
        can_think = isinstance(capabilities, list) and "thinking" in capabilities
        return _Model(
            context_length=as_count(info.get(f"{info.get('general.architecture')}.context_length")) or None,
            loaded_context=max((as_count(entry.get("context_length")) for entry in mine), default=0),
            can_think=can_think,
            may_start_in_thought=not can_think and "<think>" in as_text(about.get("template")),
        )

    def _metadata(self, method: str, path: str, call: Call, allowance: Allowance) -> dict[str, Any]:
        body = json.dumps({"model": call.model}).encode() if method == "POST" else b""
        limits = self._limits(allowance, METADATA_SECONDS)
        try:
            with self._send(method, path, body, limits, allowance) as response:
                content = response.read()
                if response.status != 200:
                    raise self._failure(response, content, call, allowance)
        except AttemptError as failed:
            if failed.outcome is Outcome.TIMEOUT:  # no model was reached yet
                detail = f"{self._where}: accepts connections and does not answer; restart Ollama"
                raise AttemptError(Outcome.UNREACHABLE, detail, closes_endpoint=True) from None
            if failed.outcome is Outcome.UNREACHABLE:
                failed.detail += "; start Ollama (`ollama serve`) or set llmOps.ollama.baseURL"
            raise
        parsed = parse_object(content)
        if parsed is None:
            raise AttemptError(Outcome.REJECTED, f"{self._where}{path}: this is not Ollama", closes_endpoint=True)
        return parsed

    def _chat(
        self, call: Call, model: _Model, num_ctx: int, allowance: Allowance, on_text: Callable[[str], None]
    ) -> Reply:
        warm = model.loaded_context == num_ctx
        limits = self._limits(
            allowance, allowance.timeouts.first_byte_warm if warm else allowance.timeouts.first_byte_cold
        )
        body = json.dumps(_chat_body(call, model, num_ctx)).encode()
        with self._send("POST", "/api/chat", body, limits, allowance) as response:
            if response.status != 200:
                raise self._failure(response, response.read(), call, allowance)
            visible = ThoughtFilter()
            answer, last = "", {}
            for part in self._parts(response, call):
                chunk = as_text(as_object(part.get("message")).get("content"))
                answer += chunk
                if not model.may_start_in_thought and (text := visible.feed(chunk)):
                    on_text(text)
                if part.get("done"):
                    last = part
        return self._reply(answer, last, call, num_ctx)

    def _parts(self, response: Response, call: Call) -> Iterator[dict[str, Any]]:
        """The objects of the stream, up to and with the one that says `done`."""
        for line in response.lines():
            if not line.strip():
                continue
            part = parse_object(line)
            if part is None:
                raise AttemptError(Outcome.BROKEN, f"{self._where}: a line of the answer is not JSON")
            if "error" in part:
                said = shown(str(part["error"]), call.texts())
                raise AttemptError(Outcome.BROKEN, f"{self._where}: failed while answering: {said}", retry=True)
            yield part
            if part.get("done"):
                return
        raise AttemptError(Outcome.BROKEN, f"{self._where}: the answer ended too early", retry=True)

    def _reply(self, answer: str, last: dict[str, Any], call: Call, num_ctx: int) -> Reply:
        read, written = as_count(last.get("prompt_eval_count")), as_count(last.get("eval_count"))
        usage = Usage(input=read, output=written) if read or written else None
        spent = Spent(as_text(last.get("model")) or None, usage)
        reason = last.get("done_reason")
        least = tokens_at_least(call)
        if read and read < least:
            detail = f"{self._where} read {read} tokens of a prompt of at least {least}: it was cut"
            raise AttemptError(Outcome.TOO_LARGE, detail, spent=spent)
        if reason == "length":
            detail = f"stopped after {written} tokens (context {num_ctx}); raise --max-tokens or ask for less"
            raise AttemptError(Outcome.CUT, detail, spent=spent)
        if reason in ("load", "unload"):
            raise AttemptError(Outcome.EMPTY, f"the model was only {reason}ed", spent=spent)
        if reason != "stop":
            raise AttemptError(Outcome.BROKEN, f"stopped for the unknown reason {reason!r}", spent=spent)
        return Reply(without_thoughts(answer), spent)

    def _failure(self, response: Response, content: bytes, call: Call, allowance: Allowance) -> AttemptError:
        message, details = _error(content)
        if details.get("type") == "exceed_context_size_error":
            return _ContextTooSmallError(
                as_count(details.get("n_prompt_tokens")),
                self._does_not_fit(call.model, as_count(details.get("n_ctx"))),
            )
        said = shown(message, call.texts())
        if response.status == 404 and "not found" in message:
            said += f"; get it with `ollama pull {call.model}` or set llmOps.models.free"
        now = allowance.clock.wall()
        return failure(self._where, response.status, response.headers, said, now=now)

    def _does_not_fit(self, model: str, context: int) -> str:
        return f"the prompt does not fit the {context} tokens of {model}"

    def _limits(self, allowance: Allowance, first_byte: float) -> Limits:
        timeouts = allowance.timeouts
        connect = timeouts.connect_local if is_loopback(self._base_url) else timeouts.connect_remote
        return Limits(connect, first_byte, timeouts.idle, allowance.share)

    def _send(self, method: str, path: str, body: bytes, limits: Limits, allowance: Allowance) -> Response:
        headers = {"Content-Type": "application/json"} if body else {}
        return send(Request(method, self._base_url + path, headers, body), limits, allowance.clock)


class _ContextTooSmallError(AttemptError):
    def __init__(self, prompt_tokens: int, detail: str) -> None:
        super().__init__(Outcome.TOO_LARGE, detail)
        self.prompt_tokens = prompt_tokens


def _chat_body(call: Call, model: _Model, num_ctx: int) -> dict[str, Any]:
    system = [{"role": "system", "content": call.system}] if call.system else []
    options: dict[str, Any] = {"num_ctx": num_ctx}
    if call.max_tokens is not None:
        options["num_predict"] = call.max_tokens
    if call.temperature is not None:
        options["temperature"] = call.temperature
    body: dict[str, Any] = {
        "model": call.model,
        "messages": [*system, *({"role": turn.role, "content": turn.text} for turn in call.turns)],
        "stream": True,
        "truncate": False,  # else a prompt that is too long is cut, and nobody told
        "shift": False,  # else the beginning of the prompt is forgotten while the answer grows
        "options": options,
    }
    if call.schema is not None:
        body["format"] = call.schema
    if model.can_think:
        body["think"] = False
    return body


def _context_size(tokens: int, model: _Model) -> int:
    """The size that is loaded where it will do, else the next of a few, bounded by what the model can."""
    most = model.context_length or CONTEXT_SIZES[-1]
    if tokens <= model.loaded_context <= most:
        return model.loaded_context
    return min(next((size for size in CONTEXT_SIZES if size >= tokens), most), most)


def _error(content: bytes) -> tuple[str, dict[str, Any]]:
    """Message and details of an error body; the runner's own errors arrive as JSON inside a string."""
    outer = parse_object(content) or {}
    message = as_text(outer.get("error"))
    inner = as_object((parse_object(message) or {}).get("error"))
    return (as_text(inner.get("message")), inner) if inner else (message, {})
