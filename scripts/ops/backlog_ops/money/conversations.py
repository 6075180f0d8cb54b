"""The calls of a conversation that have not been looked at yet, and whose they are; read on where it was left.

Of a file of hundreds of megabytes only what was added since is read. A call is settled, and never looked at again,
once its output is counted and nothing that follows can say whose it is.

Whose: a sub-agent's conversation has one owner. In a main conversation people do other things besides, so a call has
an owner from the first sign of it in its turn on, the answer with the sign included. A turn begins with a prompt.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from backlog_ops.domain.shapes import as_object, as_objects, as_text, parse_object
from backlog_ops.money.transcripts import LAST_WORDS, SYNTHETIC, Line, ModelCall, lines_of, seconds_of, with_line

AGENT_TOOLS = frozenset({"Agent", "Task"})
_LOOKED_BACK = 256  # bytes by which a file is known again

Sign = Callable[[Mapping[str, Any], float], str]  # (line, Unix seconds at which its turn began) → owner or ""


@dataclass(frozen=True)
class Mark:
    """How far a conversation is settled, and what the lines after that are read with."""

    done: int = 0  # bytes
    seen: int = 0  # checksum of the last bytes before that; 0: not known
    asked_at: float = 0.0  # Unix seconds of the last thing that was said to the model
    owner: str = ""  # whose the turn is, by what was seen of it
    prompt: str = ""  # the host's id of the prompt that began the turn
    turn_at: float = 0.0  # Unix seconds at which it began
    last_word: bool = False  # the last answer ended the model's turn, or was the host's own word for an error

    @classmethod
    def from_json(cls, done: int, state: str) -> Mark:
        kept = parse_object(state) or {}
        return cls(
            done,
            int(kept.get("seen") or 0),
            float(kept.get("asked_at") or 0.0),
            as_text(kept.get("owner")),
            as_text(kept.get("prompt")),
            float(kept.get("turn_at") or 0.0),
            kept.get("last_word") is True,
        )

    def state(self) -> str:
        """All but `done`, as JSON."""
        kept = {name: value for name, value in vars(self).items() if value and name != "done"}
        return json.dumps(kept, ensure_ascii=False)


class OwnedCall(NamedTuple):
    call: ModelCall
    owner: str


@dataclass(frozen=True)
class Reading:
    """`calls`: settled ones with an owner, in the order of their answers; `started`: Agent call → its owner."""

    calls: tuple[OwnedCall, ...]
    started: Mapping[str, str]
    mark: Mark
    cost_state: Mapping[str, Any] | None  # what the host says the session has cost, where its end is among the lines


@dataclass
class _Answer:
    """An answer whose lines are being read. `before`: the mark at its first line."""

    before: Mark
    call: ModelCall
    owner: str = ""


def read_on(path: Path, mark: Mark, owner: str = "", sign: Sign | None = None, final: bool = False) -> Reading:
    """What was added to a conversation since `mark`.

    owner   of all its calls; for a main conversation `sign` tells
    final   nothing will be added: what is not settled by now is taken as it is
    """
    if mark.seen and mark.seen != _checksum(path, mark.done):  # cut or written anew; no call counts twice
        mark = Mark()
    reader = _Reader(replace(mark, owner=owner or mark.owner), sign)
    for line in lines_of(path, mark.done):
        reader.take(line)
    found = reader.reading(final)
    return replace(found, mark=replace(found.mark, seen=_checksum(path, found.mark.done)))


def _checksum(path: Path, end: int) -> int:
    """Of the bytes before `end`; 0 where there are none, or not so many."""
    try:
        with open(path, "rb") as file:
            start = max(0, end - _LOOKED_BACK)
            file.seek(start)
            content = file.read(end - start)
    except OSError:
        return 0
    return zlib.crc32(content) if len(content) == end - start else 0


class _Reader:
    def __init__(self, mark: Mark, sign: Sign | None) -> None:
        self._mark = mark
        self._sign = sign
        self._answers: dict[str, _Answer] = {}
        self._newest: _Answer | None = None  # nothing has followed it yet
        self._started: dict[str, str] = {}
        self._cost_state: Mapping[str, Any] | None = None

    def take(self, line: Line) -> None:
        value = line.value
        if value.get("type") == "user":
            self._newest = None
            self._heard(value)
        elif value.get("type") == "assistant":
            self._said(value, line.start)
        elif value.get("type") == "cost-state":
            self._cost_state = value
        self._mark = replace(self._mark, done=line.end)

    def reading(self, final: bool) -> Reading:
        waits = self._newest
        if waits is not None and (final or (waits.call.complete and (self._mark.last_word or waits.owner))):
            waits = None  # else more of its blocks may come, and name an owner
        calls = tuple(
            OwnedCall(answer.call, answer.owner)
            for answer in self._answers.values()
            if answer is not waits and answer.owner
        )
        return Reading(calls, self._started, waits.before if waits else self._mark, self._cost_state)

    def _heard(self, value: Mapping[str, Any]) -> None:
        at = seconds_of(value)
        self._mark = replace(self._mark, asked_at=at)
        if self._sign is None:
            return
        content = as_object(value.get("message")).get("content")
        if not any(block.get("type") == "tool_result" for block in as_objects(content)):
            prompt = as_text(value.get("promptId")) or f"{at}"
            if prompt != self._mark.prompt:
                self._mark = replace(self._mark, owner="", prompt=prompt, turn_at=at)
        self._look(value)

    def _said(self, value: Mapping[str, Any], start: int) -> None:
        message = as_object(value.get("message"))
        ends = as_text(message.get("stop_reason")) in LAST_WORDS
        key = as_text(message.get("id"))
        if not key or message.get("model") == SYNTHETIC:
            self._mark = replace(self._mark, last_word=ends or message.get("model") == SYNTHETIC)
            return
        answer = self._answers.get(key)
        if answer is None:
            call = with_line(None, value, self._mark.asked_at)
            if call is None:
                return
            answer = self._answers[key] = _Answer(replace(self._mark, done=start), call)
        else:
            answer.call = with_line(answer.call, value, self._mark.asked_at) or answer.call
        self._newest = answer
        self._look(value)
        answer.owner = self._mark.owner
        self._mark = replace(self._mark, last_word=ends or bool(value.get("isApiErrorMessage")))
        if answer.owner:
            for block in as_objects(message.get("content")):
                if block.get("type") == "tool_use" and block.get("name") in AGENT_TOOLS:
                    self._started[as_text(block.get("id"))] = answer.owner

    def _look(self, value: Mapping[str, Any]) -> None:
        if self._sign is not None and not self._mark.owner:
            self._mark = replace(self._mark, owner=self._sign(value, self._mark.turn_at))
