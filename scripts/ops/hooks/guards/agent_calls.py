"""The model guard. Guards: every call of the Agent tool whose prompt carries a `[backlog:…]` marker.

The call is replaced whole by what the engine says of that action: agent type, prompt, routed model, foreground. A
marker that is unknown, used up or somebody else's is denied. A call without a marker is never touched.

Fails closed where the marker is there but the run's state cannot be read: a sub-agent on the wrong model, or a
second one on the same action, is money. Limits: the host may still decide otherwise (CLAUDE_CODE_SUBAGENT_MODEL_FORCE,
availableModels; in a terminal sub-agents run in the background), and forks and Workflow agents do not pass here.
The receipts, read from each sub-agent's own transcript, say what really answered.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time

from backlog_ops.domain.host_models import must_name_frontier
from guards import Decision, Event, allow, deny
from guards.run_state import MARKER, NEXT, RunState

AGENTS = {"INVESTIGATE": "investigator", "IMPLEMENT": "implementer", "REVIEW": "reviewer"}
TAIL_BYTES = 2_000_000
PATIENCE_SECONDS = 2.0
OVERRIDES = ("CLAUDE_CODE_SUBAGENT_MODEL_FORCE", "CLAUDE_CODE_SUBAGENT_MODEL")


def judge(event: Event, state: RunState) -> Decision | None:
    asked = event["tool_input"]
    markers = MARKER.findall(str(asked.get("prompt", "")))
    if not markers:
        return None
    if len(markers) > 1:
        return deny(f"one marker a sub-agent; start one for each action, with its prompt as `{NEXT}` prints it")
    try:
        return _judge_marked(event, markers[0], state)
    except Exception as error:  # of another version of the plugin, say: nobody knows what the row means
        return deny(f"the run's state cannot be read ({error}); call again, or run `{NEXT}`")


def _judge_marked(event: Event, name: str, state: RunState) -> Decision:
    action = state.action(name)
    if action is None:
        return deny(
            f"{name or 'this marker'} is no action of the run that is open here; run `{NEXT}` for those that are"
        )
    if event.get("agent_id"):
        return deny(f"{name} is for the main session to start, which has it from `{NEXT}`; a sub-agent starts none")
    if action["state"] != "open":
        return deny(f"{name} is used: it is {action['state']}; run `{NEXT}` for what is open")
    inherits = action["tier"] == "frontier"
    parent = _last_model(str(event.get("transcript_path", "")), PATIENCE_SECONDS if inherits else 0.0)
    model = action["host_model"]
    if inherits and not must_name_frontier(parent):
        model = None
    begun = state.begin(
        str(event.get("tool_use_id")),
        action,
        session=str(event.get("session_id")),
        host_pid=_host_pid(),
        transcripts=str(event.get("transcript_path", "")).removesuffix(".jsonl") + "/subagents",
        parent_model=parent,
        asked_model=model,
        overrides=_overrides(),
    )
    if not begun:
        return deny(f"{name} is used: a sub-agent is at work on it; wait for its end, then run `{NEXT}`")
    if state.headless_driver():  # looked at after the claim, as `run` looks at claims after it has its lock
        state.take_back(str(event.get("tool_use_id")))
        return deny(f"`backlog-ops run` is at work on {name}'s run; wait for its end, then run `{NEXT}`")
    routed = {"model": model} if model else {}
    return allow(
        {
            "description": f"{action['ticket']} {action['gate']} #{action['attempt']}",
            "prompt": f"Read {action['brief']} and do what it says. [backlog:{name}]",
            "subagent_type": _agent_type(action),
            **routed,
            "run_in_background": False,
        }
    )


def _agent_type(action: sqlite3.Row) -> str:
    # An agent with a model of its own inherits none: on the frontier tier it is the one without.
    variant = "-frontier" if action["tier"] == "frontier" else ""
    return f"backlog:{AGENTS.get(action['gate'], 'scribe')}{variant}"


def _last_model(transcript: str, patience: float) -> str | None:
    """The model that answered last in the main conversation; None where that stands nowhere after `patience` seconds:
    the host may still be writing down the very answer that holds this call.
    """
    deadline = time.monotonic() + patience
    while True:
        found = _model_in(transcript)
        if found is not None or time.monotonic() >= deadline:
            return found
        time.sleep(0.05)


def _model_in(transcript: str) -> str | None:
    try:
        with open(transcript, "rb") as file:
            file.seek(max(0, os.path.getsize(transcript) - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for raw in reversed(lines):
        if b'"assistant"' in raw:
            try:
                line = json.loads(raw)
                model = line["message"]["model"]
            except (ValueError, KeyError, TypeError):
                continue
            if line.get("type") == "assistant" and model != "<synthetic>":
                return str(model)
    return None


def _host_pid() -> int | None:
    """Claude Code's process; hosts that do not say so themselves are not watched."""
    pid = os.environ.get("CLAUDE_PID", "")
    return int(pid) if pid.isdecimal() else None


def _overrides() -> str | None:
    """Settings of the host that can make it ignore the model of a call."""
    found = [f"{name}={os.environ[name]}" for name in OVERRIDES if os.environ.get(name)]
    return ", ".join(found) or None
