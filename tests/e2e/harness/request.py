"""One request as the scripted API saw it, with the parts that scenarios and assertions ask for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>\s*", re.DOTALL)


def content_text(content: Any) -> str:
    """Text of a message's (or a tool result's) content, whatever its shape."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(text for text in map(_block_text, content) if text)


def _block_text(block: Any) -> str:
    if isinstance(block, str):
        return block
    if not isinstance(block, dict):
        return ""
    if block.get("type") == "text":
        return str(block.get("text", ""))
    if block.get("type") == "tool_result":
        return content_text(block.get("content"))
    return ""


@dataclass(frozen=True)
class ToolResult:
    """A tool's answer together with the call it answers."""

    id: str
    name: str
    input: Json
    text: str
    is_error: bool


@dataclass
class Req:
    """`status` and `answered` are filled in as the answer goes out; a negative status: no answer was sent."""

    seq: int
    at: float  # Unix seconds
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any
    status: int = 0
    answered: Json | None = None

    @property
    def is_message(self) -> bool:
        return self.method == "POST" and self.path.split("?")[0] == "/v1/messages"

    @property
    def fields(self) -> Json:
        return self.body if isinstance(self.body, dict) else {}

    @property
    def model(self) -> str:
        return str(self.fields.get("model", ""))

    @property
    def stream(self) -> bool:
        return bool(self.fields.get("stream"))

    @property
    def messages(self) -> list[Json]:
        return list(self.fields.get("messages", []))

    @property
    def system(self) -> str:
        """The top-level system prompt, joined."""
        return content_text(self.fields.get("system"))

    @property
    def tools(self) -> dict[str, Json]:
        return {tool.get("name", tool.get("type", "?")): tool for tool in self.fields.get("tools") or []}

    @property
    def set_up_tokens(self) -> int:
        """The whole request at four bytes a token: what a first call costs before any work is done."""
        return len(self.raw) // 4

    @property
    def last_text(self) -> str:
        """Text of the last user message, without system reminders and tool results."""
        message = self._last_user()
        content = message["content"] if message else ""
        if not isinstance(content, str):
            content = "\n".join(block.get("text", "") for block in content if block.get("type") == "text")
        return _REMINDER.sub("", content).strip()

    @property
    def first_text(self) -> str:
        """Text of the first user message, without system reminders: the prompt a run began with."""
        for message in self.messages:
            if message.get("role") == "user":
                return _REMINDER.sub("", content_text(message["content"])).strip()
        return ""

    @property
    def all_text(self) -> str:
        """Every message's text: reminders, tool results and system messages too."""
        return "\n".join(content_text(message.get("content")) for message in self.messages)

    @property
    def tool_results(self) -> list[ToolResult]:
        """The tool results of the last user message, in order."""
        message = self._last_user()
        if not message or isinstance(message["content"], str):
            return []
        return self._results_in(message)

    @property
    def all_tool_results(self) -> list[ToolResult]:
        """The tool results of the whole conversation, in order."""
        users = [m for m in self.messages if m.get("role") == "user" and not isinstance(m["content"], str)]
        return [result for message in users for result in self._results_in(message)]

    @property
    def turn(self) -> int:
        """How many assistant turns the conversation already holds: 0 on its first call."""
        return sum(1 for message in self.messages if message.get("role") == "assistant")

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)

    @property
    def agent_id(self) -> str | None:
        """The sub-agent's id as the CLI sends it, None for the main conversation."""
        return self.header("x-claude-code-agent-id")

    def to_json(self) -> str:
        kept = ("seq", "at", "method", "path", "headers", "body", "status", "answered")
        return json.dumps({key: getattr(self, key) for key in kept})

    def _last_user(self) -> Json | None:
        return next((m for m in reversed(self.messages) if m.get("role") == "user"), None)

    def _results_in(self, message: Json) -> list[ToolResult]:
        calls = {
            block["id"]: block
            for turn in self.messages
            if turn.get("role") == "assistant" and isinstance(turn["content"], list)
            for block in turn["content"]
            if block.get("type") == "tool_use"
        }
        found = []
        for block in message["content"]:
            if block.get("type") == "tool_result":
                call = calls.get(block.get("tool_use_id"), {})
                found.append(
                    ToolResult(
                        id=block.get("tool_use_id", ""),
                        name=call.get("name", ""),
                        input=call.get("input", {}),
                        text=content_text(block.get("content")),
                        is_error=bool(block.get("is_error")),
                    )
                )
        return found
