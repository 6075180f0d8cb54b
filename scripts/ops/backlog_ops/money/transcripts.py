"""What Claude Code writes down of a conversation: what was said, whether it has ended, what each call used.

Only lines of type user and assistant count; the blocks of one answer share its message id and its usage. Files may be
written while they are read: a last line that is cut is left for the next time. Where a process was killed while it
wrote, a line may hold the beginning of one entry and the whole of the next.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from backlog_ops.domain.pricing import Usage
from backlog_ops.domain.shapes import as_object, as_objects, as_text, parse_object
from backlog_ops.money.claude_usage import usage_of_message
from backlog_ops.money.host_files import content_of

SYNTHETIC = "<synthetic>"  # the host's own words, such as an API error; no model said them
_TAKEN_AWAY = "User rejected tool use"  # Esc while a sub-agent works in the foreground
_REPORT = "SubagentHandback"  # a tool by which a sub-agent ends in auto mode
LAST_WORDS = frozenset({"end_turn", "stop_sequence", "max_tokens", "refusal"})
_TYPES = frozenset({"user", "assistant", "cost-state"})
_SIGNS = tuple(f'"{name}"'.encode() for name in sorted(_TYPES))  # a word first: most bytes belong to other lines
_TYPE = re.compile(rb'"type"\s*:\s*"(?:user|assistant|cost-state)"')
_MOST_TRIES = 200  # to find an entry in a line that is none


class Line(NamedTuple):
    """A line that counts, and where it lies in its file, in bytes. An empty `value`: no more whole lines."""

    start: int
    end: int
    value: Mapping[str, Any]


def lines_of(path: Path, start: int = 0) -> Iterator[Line]:
    """The user, assistant and cost-state lines from byte `start` on, one at a time; at the end one without a value.

    Never raises: a file that cannot be read has no lines, bytes that make no sense are passed over.
    """
    at = start
    try:
        with open(path, "rb") as file:
            file.seek(start)
            for raw in file:
                values = _entries(raw)
                if not raw.endswith(b"\n") and not values:
                    break  # it is still being written
                for value in values:
                    yield Line(at, at + len(raw), value)
                at += len(raw)
    except OSError:
        pass
    yield Line(at, at, {})


def _entries(raw: bytes) -> list[dict[str, Any]]:
    if not any(sign in raw for sign in _SIGNS) or not _TYPE.search(raw):
        return []
    value = parse_object(raw)
    found = [value] if value is not None else list(_salvaged(raw.decode("utf-8", "replace")))
    return [entry for entry in found if as_text(entry.get("type")) in _TYPES]


def _salvaged(text: str) -> Iterator[dict[str, Any]]:
    """Entries in a line that is no JSON: two without a line break between, or one after the half of another."""
    decoder, at = json.JSONDecoder(), 0
    for _ in range(_MOST_TRIES):
        at = text.find('{"', at)
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 2
            continue
        if as_text(as_object(value).get("type")) in _TYPES:
            yield value
            at = end
        else:
            at += 2


def first_prompt(transcript: Path) -> str:
    """What a sub-agent was asked; "" where its transcript has not begun."""
    try:
        with open(transcript, "rb") as file:
            line = parse_object(file.readline(1_000_000)) or {}
    except OSError:
        return ""
    return text_of(as_object(line.get("message")).get("content"))


@dataclass(frozen=True)
class ModelCall:
    """One answer of a model. `complete`: its last block is there, so its output tokens are no early count."""

    message_id: str
    model: str
    usage: Usage
    at: float  # Unix seconds
    latency_ms: int  # since what it answers was said
    complete: bool
    unlisted: str = ""  # what list prices do not cover: fast mode, an answer from the US alone


def with_line(before: ModelCall | None, line: Mapping[str, Any], asked_at: float) -> ModelCall | None:
    """An answer after one more of its lines; None for a line that is no model's answer."""
    message = as_object(line.get("message"))
    key, model = as_text(message.get("id")), as_text(message.get("model"))
    if not key or not model or model == SYNTHETIC:
        return before
    counts = as_object(message.get("usage"))
    at, usage = seconds_of(line), usage_of_message(counts)
    complete = as_text(message.get("stop_reason")) != ""
    if before is None:
        return ModelCall(key, model, usage, at, round(max(0.0, at - asked_at) * 1000), complete, _unlisted(counts))
    if before.usage.output > usage.output:
        usage = before.usage  # an early count, written after a later one
    return replace(before, usage=usage, at=at, complete=complete or before.complete)


def _unlisted(counts: Mapping[str, Any]) -> str:
    """config/models.json, `notCovered`."""
    if counts.get("speed") == "fast":
        return "fast mode"
    return "answered in the US only" if counts.get("inference_geo") == "us" else ""


@dataclass(frozen=True)
class Transcript:
    prompt: str  # what the conversation began with
    calls: tuple[ModelCall, ...]
    said_last_word: bool  # the model has ended its turn, or the host gave up on it
    error: str  # what the host said instead of an answer, at the end; else ""
    turns: int = 0  # answers that used tools and had all their results: what the host's turn limits count

    def was_cut(self, most_turns: int | None) -> bool:
        """Whether a turn limit has ended it. The host says so in no file; but after so many turns it asks no more,
        and one that ends by itself has one turn less at the most.
        """
        return most_turns is not None and self.turns >= most_turns and not self.said_last_word


def read_transcript(path: Path) -> Transcript:
    """Whatever of it is there; an absent file is an empty transcript. Never raises."""
    prompt, calls, error, last_word = "", dict[str, ModelCall](), "", False
    asked_at, uses, results = 0.0, dict[str, str](), set[str]()
    for _start, _end, line in lines_of(path):
        message = as_object(line.get("message"))
        if line.get("type") == "user":
            prompt, asked_at = prompt or text_of(message.get("content")), seconds_of(line)
            results |= {as_text(block.get("tool_use_id")) for block in as_objects(message.get("content"))}
        elif line.get("type") == "assistant":
            synthetic = message.get("model") == SYNTHETIC
            error = text_of(message.get("content")) if synthetic or line.get("isApiErrorMessage") else ""
            last_word = bool(error) or as_text(message.get("stop_reason")) in LAST_WORDS
            if not synthetic:
                key = as_text(message.get("id"))
                call = with_line(calls.get(key), line, asked_at)
                if call is not None:
                    calls[key] = call
                uses |= _tool_uses(message)
    turns = set(uses.values()) - {answer for use, answer in uses.items() if use not in results}
    return Transcript(prompt, tuple(calls.values()), last_word, error, len(turns))


def _tool_uses(message: Mapping[str, Any]) -> dict[str, str]:
    """Tool call → the answer it is in."""
    return {
        as_text(block.get("id")): as_text(message.get("id"))
        for block in as_objects(message.get("content"))
        if block.get("type") == "tool_use" and block.get("name") != _REPORT
    }


@dataclass(frozen=True)
class CallResult:
    """What the main conversation has as the answer to an Agent call."""

    launched: bool  # in the background: its end comes later
    taken_away: bool  # by the person
    error: str  # why it ended badly; else ""


def call_result(transcript: Path, tool_use_id: str) -> CallResult | None:
    """The answer to an Agent call in a main conversation; None where there is none yet."""
    for raw in reversed(content_of(transcript).split(b"\n")):
        if tool_use_id.encode() not in raw or b'"tool_result"' not in raw:
            continue
        line = parse_object(raw) or {}
        for block in as_objects(as_object(line.get("message")).get("content")):
            if line.get("type") == "user" and block.get("tool_use_id") == tool_use_id:
                detail = line.get("toolUseResult")
                return CallResult(
                    launched=as_object(detail).get("status") == "async_launched",
                    taken_away=detail == _TAKEN_AWAY,
                    error=text_of(block.get("content"))[:300] if block.get("is_error") else "",
                )
    return None


def last_model(path: Path, most_bytes: int = 4_000_000) -> str | None:
    """The model that answered last in a main conversation; None where its end does not tell."""
    for raw in reversed(content_of(path, most_bytes).split(b"\n")):
        if b'"assistant"' in raw:
            line = parse_object(raw) or {}
            model = as_text(as_object(line.get("message")).get("model"))
            if line.get("type") == "assistant" and model and model != SYNTHETIC:
                return model
    return None


def text_of(content: Any) -> str:
    """The words of a message's content, tool calls and results left out."""
    if isinstance(content, str):
        return content
    return "\n".join(as_text(block.get("text")) for block in as_objects(content))


def seconds_of(line: Mapping[str, Any]) -> float:
    """Unix seconds of a line's timestamp; 0 where it has none."""
    try:
        return datetime.datetime.fromisoformat(as_text(line.get("timestamp")).replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
