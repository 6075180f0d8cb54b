"""What Claude Code keeps of the sub-agents of a session: who they are, whether they have ended, what each call used.

    <config>/projects/<folder>/<session>.jsonl                            the main conversation
    <config>/projects/<folder>/<session>/subagents/agent-<id>.meta.json   toolUseId, finished (since 2.1.330)
    <config>/projects/<folder>/<session>/subagents/agent-<id>.jsonl       one line a content block
    <config>/projects/<folder>/<session>/subagents/workflows/<run>/…      the same of Workflow agents

Only lines of type user and assistant count; the blocks of one answer share its message id and its usage. Files
may be written while they are read: a last line that is cut is left for the next time.
"""

from __future__ import annotations

import contextlib
import datetime
import glob
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backlog_ops.domain.pricing import Usage
from backlog_ops.domain.shapes import as_object, as_objects, as_text, parse_object
from backlog_ops.money.claude_usage import usage_of_message

_SYNTHETIC = "<synthetic>"  # the host's own words, such as an API error; no model said them
_TAKEN_AWAY = "User rejected tool use"  # Esc while a sub-agent works in the foreground
_REPORT = "SubagentHandback"  # a tool by which a sub-agent ends in auto mode
_LAST_WORDS = frozenset({"end_turn", "stop_sequence", "max_tokens", "refusal"})
_META_SUFFIX = ".meta.json"


@dataclass(frozen=True)
class SubAgent:
    """A sub-agent's entry beside its transcript."""

    agent_id: str
    tool_use_id: str  # of the Agent call that started it; "" for Workflow agents and forks
    finished: bool | None  # None: the host is too old to say
    transcript: Path


@dataclass(frozen=True)
class ModelCall:
    """One answer of a model. `complete`: its last block is there, so its output tokens are no early count."""

    message_id: str
    model: str
    usage: Usage
    at: float  # Unix seconds
    latency_ms: int  # since what it answers was said
    complete: bool


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


def config_folder(environ: Mapping[str, str]) -> Path:
    """Where Claude Code keeps its files."""
    return Path(environ.get("CLAUDE_CONFIG_DIR") or Path(environ.get("HOME") or Path.home()) / ".claude")


def find_subagents_folder(environ: Mapping[str, str], session: str) -> Path | None:
    """The folder of a session's sub-agents, if it has one by now."""
    if not session or "/" in session or session.startswith("."):
        return None
    found = (config_folder(environ) / "projects").glob(f"*/{glob.escape(session)}/subagents")
    return next(found, None)


def subagents_in(folder: Path, since: float = 0.0) -> Iterator[SubAgent]:
    """Every sub-agent of a session that has begun, Workflow agents too; in no order, and without those that nobody
    touched since `since` (Unix seconds).
    """
    for path in folder.rglob(f"agent-*{_META_SUFFIX}"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime >= since:
                yield subagent(path.parent, path.name[len("agent-") : -len(_META_SUFFIX)])


def subagent(folder: Path, agent_id: str) -> SubAgent:
    meta = parse_object(_read(folder / f"agent-{agent_id}{_META_SUFFIX}")) or {}
    return SubAgent(
        agent_id=agent_id,
        tool_use_id=as_text(meta.get("toolUseId")),
        finished=meta.get("finished") is True if "requestShape" in meta else None,
        transcript=folder / f"agent-{agent_id}.jsonl",
    )


def first_prompt(transcript: Path) -> str:
    """What a sub-agent was asked; "" where its transcript has not begun."""
    try:
        with open(transcript, "rb") as file:
            line = parse_object(file.readline(1_000_000)) or {}
    except OSError:
        return ""
    return _text(as_object(line.get("message")).get("content"))


def read_transcript(path: Path) -> Transcript:
    """Whatever of it is there; an absent file is an empty transcript. Never raises."""
    prompt, calls, error, last_word = "", dict[str, ModelCall](), "", False
    asked_at, uses, results = 0.0, dict[str, str](), set[str]()
    for raw in _read(path).split(b"\n"):
        if b'"assistant"' not in raw and b'"user"' not in raw:
            continue
        line = parse_object(raw) or {}
        message, at = as_object(line.get("message")), _seconds(as_text(line.get("timestamp")))
        if line.get("type") == "user":
            prompt, asked_at = prompt or _text(message.get("content")), at
            results |= {as_text(block.get("tool_use_id")) for block in as_objects(message.get("content"))}
        elif line.get("type") == "assistant":
            synthetic = message.get("model") == _SYNTHETIC
            error = _text(message.get("content")) if synthetic or line.get("isApiErrorMessage") else ""
            last_word = bool(error) or as_text(message.get("stop_reason")) in _LAST_WORDS
            if not synthetic:
                _add(calls, message, at, round(max(0.0, at - asked_at) * 1000))
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


def _add(calls: dict[str, ModelCall], message: Mapping[str, Any], at: float, latency_ms: int) -> None:
    key, model = as_text(message.get("id")), as_text(message.get("model"))
    if not key or not model:
        return
    usage, before = usage_of_message(as_object(message.get("usage"))), calls.get(key)
    if before is not None and before.usage.output > usage.output:
        usage = before.usage  # an early count, written after a later one
    complete = as_text(message.get("stop_reason")) != "" or (before is not None and before.complete)
    calls[key] = ModelCall(key, model, usage, at, before.latency_ms if before else latency_ms, complete)


@dataclass(frozen=True)
class CallResult:
    """What the main conversation has as the answer to an Agent call."""

    launched: bool  # in the background: its end comes later
    taken_away: bool  # by the person
    error: str  # why it ended badly; else ""


def call_result(transcript: Path, tool_use_id: str) -> CallResult | None:
    """The answer to an Agent call in a main conversation; None where there is none yet."""
    for raw in reversed(_read(transcript).split(b"\n")):
        if tool_use_id.encode() not in raw or b'"tool_result"' not in raw:
            continue
        line = parse_object(raw) or {}
        for block in as_objects(as_object(line.get("message")).get("content")):
            if line.get("type") == "user" and block.get("tool_use_id") == tool_use_id:
                detail = line.get("toolUseResult")
                return CallResult(
                    launched=as_object(detail).get("status") == "async_launched",
                    taken_away=detail == _TAKEN_AWAY,
                    error=_text(block.get("content"))[:300] if block.get("is_error") else "",
                )
    return None


def last_model(path: Path, most_bytes: int = 4_000_000) -> str | None:
    """The model that answered last in a main conversation; None where its end does not tell."""
    for raw in reversed(_read(path, most_bytes).split(b"\n")):
        if b'"assistant"' in raw:
            line = parse_object(raw) or {}
            model = as_text(as_object(line.get("message")).get("model"))
            if line.get("type") == "assistant" and model and model != _SYNTHETIC:
                return model
    return None


def _read(path: Path, most_bytes: int | None = None) -> bytes:
    try:
        with open(path, "rb") as file:
            if most_bytes is not None:
                file.seek(max(0, path.stat().st_size - most_bytes))
            return file.read()
    except OSError:
        return b""


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(as_text(block.get("text")) for block in as_objects(content))


def _seconds(timestamp: str) -> float:
    try:
        return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
