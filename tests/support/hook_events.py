"""A Claude Code session as its hooks see it: files, events and environment as the host makes them; hook.sh is real.

host = Host.of(parent.lab.top)                  # its main conversation has answered on opus
said = host.hook("agent", host.agent_call("Read … [backlog:a1]", model="opus"))
agent = host.launch(action)                     # past the guard; its two files are there
agent.answers(HAIKU, output=29)
agent.ends()
said = host.hook("returned", agent.returned())

stage = Stage.set(folder, Gate.IMPLEMENT)       # a run with a sub-agent at work on T-1

Shapes: 2.1.330; with `older` what 2.1.197 writes of a sub-agent.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run.engine import work
from backlog_ops.run.opening import open_run
from backlog_ops.run.processes import end_group
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.conftest import FOREIGN_NAMES, FOREIGN_PREFIXES, GIT_CONFIG, OURS
from tests.support.lab import NO_CLAUDE
from tests.support.parent_session import Parent

HOOK = PLUGIN_ROOT / "scripts" / "ops" / "hooks" / "hook.sh"
HOOKS = ("agent", "write", "bash", "returned", "stopped", "woken", "session", "settle")
HAIKU, SONNET, OPUS, FABLE = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2"
LIMIT_SECONDS = 60.0

Event = dict[str, Any]
_NUMBERS = itertools.count(1)  # no two calls, sub-agents or answers of a test process share an id
_NEXT = "backlog-ops next: "


@dataclass(frozen=True)
class Said:
    """How a hook ended."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def is_silent(self) -> bool:
        return (self.exit_code, self.stdout, self.stderr) == (0, "", "")

    @property
    def parsed(self) -> dict[str, Any]:
        """The one object on stdout. Fails the test where there is something else."""
        assert (self.exit_code, self.stderr) == (0, ""), self
        return dict(json.loads(self.stdout))

    @property
    def decision(self) -> dict[str, Any]:
        """What a guard decided."""
        answer = self.parsed
        assert list(answer) == ["hookSpecificOutput"]
        inner = dict(answer["hookSpecificOutput"])
        assert inner.pop("hookEventName") == "PreToolUse"
        return inner

    @property
    def is_allowed(self) -> bool:
        return self.stdout != "" and self.decision["permissionDecision"] == "allow"

    @property
    def denial(self) -> str:
        """Why a guard said no. Fails the test where it did not."""
        decision = self.decision
        assert decision["permissionDecision"] == "deny", decision
        return str(decision["permissionDecisionReason"])

    @property
    def handed_over(self) -> dict[str, Any]:
        """What the parent is to do next, as it was added to its context."""
        context = self.parsed["hookSpecificOutput"]["additionalContext"]
        assert context.startswith(_NEXT)
        return dict(json.loads(context[len(_NEXT) :]))


@dataclass(frozen=True)
class Running:
    """A hook that was started; `wait` says how it ended."""

    process: subprocess.Popen[bytes]
    began: float
    stdout: IO[bytes]
    stderr: IO[bytes]

    @classmethod
    def start(cls, name: str, stdin: bytes, environ: Mapping[str, str], cwd: Path, script: Path = HOOK) -> Running:
        said: list[IO[bytes]] = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115 `wait` closes them
        with tempfile.TemporaryFile() as file:
            file.write(stdin)
            file.seek(0)
            began = time.perf_counter()
            process = subprocess.Popen(
                ["sh", str(script), name],
                stdin=file,
                stdout=said[0],
                stderr=said[1],
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,
            )
        return cls(process, began, *said)

    def wait(self, seconds: float = LIMIT_SECONDS) -> Said:
        # Not wait(seconds): that looks every now and then, and `seconds` is measured here.
        too_late = threading.Timer(seconds, end_group, [self.process])
        too_late.start()
        code = self.process.wait()
        took = time.perf_counter() - self.began
        too_late.cancel()
        if took >= seconds:
            raise TimeoutError(f"not within {seconds:g} s")
        texts = []
        for file in (self.stdout, self.stderr):
            file.seek(0)
            texts.append(file.read().decode())
            file.close()
        return Said(code, texts[0], texts[1], took)


@dataclass
class Host:
    """One session in the repository `top`. `environ`: what its environment has besides."""

    top: Path
    home: Path
    session: str
    pid: int = field(default_factory=os.getpid)
    environ: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, top: Path, model: str | None = OPUS, **environ: str) -> Host:
        """In this test's home; `model` has answered in its main conversation, None: nobody has."""
        host = cls(top, Path(os.environ["HOME"]), f"5e551000-0000-4000-8000-{next(_NUMBERS):012d}", environ=environ)
        host._write({"type": "user", "isSidechain": False, "message": {"role": "user", "content": "Go."}})
        if model:
            host.answers(model)
        return host

    # -- its files

    @property
    def transcript(self) -> Path:
        config = Path(self.environ.get("CLAUDE_CONFIG_DIR") or self.home / ".claude")
        return config / "projects" / re.sub(r"[^A-Za-z0-9]", "-", str(self.top)) / f"{self.session}.jsonl"

    @property
    def subagents(self) -> Path:
        return self.transcript.with_suffix("") / "subagents"

    def _write(self, line: Mapping[str, Any]) -> None:
        append(self.transcript, {**line, **self._common})

    @property
    def _common(self) -> dict[str, Any]:
        return {
            "uuid": f"00000000-0000-4000-8000-{next(_NUMBERS):012d}",
            "timestamp": timestamp(time.time()),
            "cwd": str(self.top),
            "sessionId": self.session,
            "version": "2.1.330",
            "gitBranch": "main",
        }

    def answers(self, model: str) -> None:
        """A line of its main conversation that names the model."""
        self._write({"type": "assistant", "isSidechain": False, "message": answer(model)})

    # -- hooks

    @property
    def environment(self) -> dict[str, str]:
        """All that a hook of this session, or a command of its Bash, inherits."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GIT_CONFIG_NOSYSTEM": "1",
            **NO_CLAUDE,
            "CLAUDECODE": "1",
            "CLAUDE_PLUGIN_ROOT": str(PLUGIN_ROOT),
            "CLAUDE_PROJECT_DIR": str(self.top),
            "CLAUDE_PID": str(self.pid),
            "CLAUDE_CODE_SESSION_ID": self.session,
            **self.environ,
        }

    def begin(self, name: str, event: Event | bytes, cwd: Path | None = None, **environ: str | None) -> Running:
        """`hook.sh NAME` with an event, or with bytes that are none, on stdin; a variable that is None is unset."""
        stdin = event if isinstance(event, bytes) else json.dumps(event).encode()
        merged = {**self.environment, **environ}
        given = {key: value for key, value in merged.items() if value is not None}
        return Running.start(name, stdin, given, cwd or self.top)

    def hook(self, name: str, event: Event | bytes, cwd: Path | None = None, **environ: str | None) -> Said:
        return self.begin(name, event, cwd, **environ).wait()

    # -- its events

    def event(self, name: str, **fields: Any) -> Event:
        return {
            "session_id": self.session,
            "transcript_path": str(self.transcript),
            "cwd": str(self.top),
            "prompt_id": "00000000-0000-4000-8000-000000000000",
            "permission_mode": "default",
            "hook_event_name": name,
            **fields,
        }

    def tool(self, tool_name: str, **tool_input: Any) -> Event:
        """PreToolUse of a tool."""
        call = f"toolu_{next(_NUMBERS):06d}"
        return self.event("PreToolUse", tool_name=tool_name, tool_input=tool_input, tool_use_id=call)

    def agent_call(self, prompt: str, **asked: Any) -> Event:
        """PreToolUse of the Agent tool."""
        return self.tool(
            "Agent", **{"description": "work", "prompt": prompt, "subagent_type": "general-purpose", **asked}
        )

    def prompt(self, text: str) -> Event:
        return self.event("UserPromptSubmit", prompt=text)

    # -- its sub-agents

    def launch(self, action: Mapping[str, Any], older: bool = False, **environ: str) -> SubAgent:
        """Start what `next` printed: past the guard, then the host's files as they are at its first tool call."""
        event = self.agent_call(action["prompt"])
        said = self.hook("agent", event, **environ)
        assert said.is_allowed, said
        return self.sub_agent(said.decision["updatedInput"]["prompt"], event["tool_use_id"], older)

    def sub_agent(self, prompt: str, call: str | None = None, older: bool = False) -> SubAgent:
        """One that came past no guard: somebody else's, or one of a host whose hooks are off."""
        number = next(_NUMBERS)
        agent = SubAgent(self, call or f"toolu_{number:06d}", f"a{number:016x}", prompt, older)
        agent.write_meta()
        agent.write({"type": "user", "promptId": "p", "message": {"role": "user", "content": prompt}})
        return agent


@dataclass(frozen=True)
class SubAgent:
    host: Host
    call: str  # id of the Agent call that started it
    id: str
    prompt: str
    older: bool

    # -- its files

    @property
    def transcript(self) -> Path:
        return self.host.subagents / f"agent-{self.id}.jsonl"

    @property
    def meta(self) -> Path:
        return self.host.subagents / f"agent-{self.id}.meta.json"

    def write_meta(self, **fields: Any) -> None:
        meta = {"agentType": "backlog:implementer", "description": "work", "toolUseId": self.call, "spawnDepth": 1}
        newer = {
            "isBuiltIn": False,
            "requestShape": "background",
            "requestNonInteractive": False,
            "launchedWithDefaults": False,
            "model": HAIKU,
        }
        self.host.subagents.mkdir(parents=True, exist_ok=True)
        self.meta.write_text(json.dumps({**meta, **({} if self.older else newer), **fields}), encoding="utf-8")

    def write(self, line: Mapping[str, Any]) -> None:
        own = {"isSidechain": True, "agentId": self.id, "version": "2.1.197" if self.older else "2.1.330"}
        append(self.transcript, {**self.host._common, **own, **line})

    def answers(
        self, model: str, stop_reason: str | None = "tool_use", blocks: int = 1, at: float | None = None, **usage: Any
    ) -> str:
        """One answer, a line for each of its content blocks; returns its message id."""
        message = answer(model, stop_reason, **usage)
        when = {} if at is None else {"timestamp": timestamp(at)}
        for index in range(blocks):
            content = [{"type": "text", "text": f"block {index}"}]
            self.write({"type": "assistant", "message": {**message, "content": content}, **when})
        return str(message["id"])

    def ends(self, model: str | None = HAIKU, **usage: Any) -> None:
        """The last answer, and the host's note that it has finished."""
        if model:
            self.answers(model, "end_turn", **usage)
        if not self.older:
            self.write_meta(finished=True)

    def breaks_off(self, said: str) -> None:
        """The host's own last word: no model answered it any more."""
        message = {**answer("<synthetic>", "stop_sequence"), "content": [{"type": "text", "text": said}]}
        self.write({"type": "assistant", "isApiErrorMessage": True, "message": message})
        self.ends(None)

    # -- its events

    def event(self, name: str, **fields: Any) -> Event:
        return self.host.event(name, agent_id=self.id, agent_type="backlog:implementer", **fields)

    def tool(self, tool_name: str, **tool_input: Any) -> Event:
        """PreToolUse of a tool that it uses."""
        return {**self.host.tool(tool_name, **tool_input), "agent_id": self.id, "agent_type": "backlog:implementer"}

    def _of_its_call(self, name: str, **fields: Any) -> Event:
        asked = {"description": "work", "prompt": self.prompt, "subagent_type": "backlog:implementer"}
        return self.host.event(name, tool_name="Agent", tool_input=asked, tool_use_id=self.call, **fields)

    def launched(self, resolved: str = HAIKU) -> Event:
        """PostToolUse in the background: it has just begun."""
        response = {
            "isAsync": True,
            "status": "async_launched",
            "agentId": self.id,
            "description": "work",
            "resolvedModel": resolved,
            "prompt": self.prompt,
            "outputFile": "/nowhere",
        }
        return self._of_its_call("PostToolUse", tool_response=response, duration_ms=3)

    def returned(self, resolved: str = HAIKU) -> Event:
        """PostToolUse in the foreground: it has ended."""
        response = {
            "status": "completed",
            "agentId": self.id,
            "agentType": "backlog:implementer",
            "resolvedModel": resolved,
            "content": [{"type": "text", "text": "done"}],
            "totalTokens": 84,
            "usage": {"input_tokens": 4, "output_tokens": 33},
        }
        return self._of_its_call("PostToolUse", tool_response=response, duration_ms=300)

    def failed(self, error: str, is_interrupt: bool = False) -> Event:
        return self._of_its_call("PostToolUseFailure", error=error, is_interrupt=is_interrupt)

    def stopped(self) -> Event:
        said = {"last_assistant_message": "done", "stop_hook_active": False, "background_tasks": []}
        return self.event("SubagentStop", agent_transcript_path=str(self.transcript), **said)

    def died(self, said: str) -> Event:
        return self.event("StopFailure", error="unknown", last_assistant_message=said)

    def handed_back(self) -> Event:
        """PreToolUse of what it reports with in auto mode."""
        return self.tool("SubagentHandback", message="done")

    def notification(self, status: str = "completed", summary: str = 'Agent "work" finished') -> str:
        """What the host says in the person's place when one in the background has ended."""
        return (
            f"<task-notification>\n<task-id>{self.id}</task-id>\n<tool-use-id>{self.call}</tool-use-id>\n"
            f"<output-file>/nowhere</output-file>\n<status>{status}</status>\n<summary>{summary}</summary>\n"
            "<note>A task-notification fires each time this agent stops.</note>\n<result>done</result>\n"
            "<usage><subagent_tokens>84</subagent_tokens><tool_uses>1</tool_uses></usage>\n</task-notification>"
        )

    def message(self) -> str:
        """The same in auto mode."""
        return f'<agent-message from="{self.id}">\n[completed report]\n\ndone\n</agent-message>'


def answer(model: str, stop_reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    """The `message` of an answer; usage by the names of pricing.Usage."""
    counts = {"input": 10, "cache_write_5m": 0, "cache_write_1h": 0, "cache_read": 0, "output": 20, **usage}
    return {
        "id": f"msg_{next(_NUMBERS):06d}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "done"}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": counts["input"],
            "cache_creation_input_tokens": counts["cache_write_5m"] + counts["cache_write_1h"],
            "cache_read_input_tokens": counts["cache_read"],
            "cache_creation": {
                "ephemeral_5m_input_tokens": counts["cache_write_5m"],
                "ephemeral_1h_input_tokens": counts["cache_write_1h"],
            },
            "output_tokens": counts["output"],
            "service_tier": "standard",
        },
    }


def append(path: Path, line: Mapping[str, Any] | bytes) -> None:
    """One more line of a transcript."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")


def timestamp(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- a run to have hooks in


def open_wave(parent: Parent) -> list[dict[str, Any]]:
    """Open a run; the actions that wait for sub-agents once the engine, in this process, has done its part.

    In no order: tickets are worked on side by side.
    """
    open_run(parent.ctx, [], None)
    return go_on(parent)


def go_on(parent: Parent) -> list[dict[str, Any]]:
    """Let the engine, in this process, do what it can; the actions that wait for sub-agents then."""
    work(parent.ctx, parent.run.id, 3, None)
    return list(parent.next()["actions"])


def finish(parent: Parent, action: Mapping[str, Any]) -> None:
    """What a sub-agent would do, and that it is done."""
    parent.ctx.store.hand_in(parent.play(dict(action)))


@dataclass(frozen=True)
class Stage:
    """A run in which a sub-agent is at work on the first ticket."""

    parent: Parent
    host: Host
    action: dict[str, Any]
    agent: SubAgent
    worktree: Path

    @classmethod
    def set(cls, folder: Path, gate: Gate, *ids: str, **fields: Any) -> Stage:
        """All tickets wait at `gate`, which is PLAN or IMPLEMENT; with one ticket REVIEW too."""
        parent = Parent.of(folder / "repo", *ids, **fields)
        if gate is Gate.REVIEW:
            action = parent.begin_at(gate)
        else:
            actions = open_wave(parent)
            if gate is Gate.IMPLEMENT:
                for planned in actions:
                    finish(parent, planned)
                actions = go_on(parent)
            (action,) = [each for each in actions if each["ticket"] == (ids or ("T-1",))[0]]
        host = Host.of(parent.lab.top)
        worktree = parent.lab.top / ".backlog-ops" / "worktrees" / parent.run.id / action["ticket"]
        return cls(parent, host, action, host.launch(action), worktree)

    @property
    def brief(self) -> Path:
        return Path(self.action["prompt"].split()[1])


@contextmanager
def apart(home: Path) -> Iterator[None]:
    """For what several tests share: the environment that each has of its own, with `home`."""
    with pytest.MonkeyPatch.context() as environment:
        for name in set(os.environ) - OURS:
            if name.startswith(FOREIGN_PREFIXES) or name.upper() in FOREIGN_NAMES:
                environment.delenv(name)
        home.mkdir(parents=True, exist_ok=True)
        (home / ".gitconfig").write_text(GIT_CONFIG, encoding="utf-8")
        environment.setenv("HOME", str(home))
        environment.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield
