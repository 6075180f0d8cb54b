"""`backlog-ops hook NAME`: the hand-over hooks, called by scripts/ops/hooks/hook.sh in a repository with an open run.

    returned   PostToolUse, PostToolUseFailure of Agent: a sub-agent was launched, or has ended in the foreground
    stopped    SubagentStop, SubagentHandback (auto mode's last word), StopFailure: one has ended; held until the whole
               list has, and the engine's work is done
    woken      UserPromptSubmit: a notification, or in auto mode a message, that one has ended in the background
    session    SessionStart: a run is open, and how it goes on
    settle     Stop, SessionEnd: receipts of what has ended

They print nothing or one JSON object for the host. Cut or disabled they cost the parent a call of `next`: whatever
they would have noted, `next` finds in the files of the host.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backlog_ops.cli.opening import open_context
from backlog_ops.domain.shapes import as_object, as_text, parse_object
from backlog_ops.errors import EXIT_OK
from backlog_ops.money.host_files import subagent
from backlog_ops.run import agent_rows
from backlog_ops.run.actions import LAUNCHER
from backlog_ops.run.context import Context
from backlog_ops.run.hand_over import hand_over_once, headline, hold
from backlog_ops.run.marks import sync_mark
from backlog_ops.run.rows import SessionAgent
from backlog_ops.run.session_agents import note_end, settle
from backlog_ops.run.session_receipts import book
from backlog_ops.storage.locations import find_repository

HOLD_SECONDS = 3500.0  # hooks.json gives them 3600
MOST_BYTES = 16_000_000
NOTIFICATION = "<task-notification>"
_BLOCKED = {
    "decision": "block",
    "reason": "backlog: noted; what comes next comes with the last sub-agent of the list",
    "hookSpecificOutput": {"hookEventName": "UserPromptSubmit", "suppressOriginalPrompt": True},
}
_MESSAGE = re.compile(r'<agent-message from="([^"]+)">')
_ENDED_BADLY = frozenset({"failed", "killed", "stopped"})


def hook(args: argparse.Namespace) -> int:
    raw = sys.stdin.buffer.read(MOST_BYTES + 1)
    event = parse_object(raw) if len(raw) <= MOST_BYTES else None
    if event is not None:
        ctx = open_context()
        said = _HOOKS[args.name](ctx, event)
        if said:
            print(said)
    return EXIT_OK


def _returned(ctx: Context, event: Mapping[str, Any]) -> str | None:
    agent = agent_rows.agent_by_call(ctx.store, as_text(event.get("tool_use_id")))
    if agent is None:
        return None
    response = as_object(event.get("tool_response"))
    agent = agent_rows.note_host(
        ctx.store, agent, as_text(response.get("agentId")) or None, as_text(response.get("resolvedModel")) or None
    )
    if response.get("status") == "async_launched":
        return None
    failed = as_text(event.get("error")) or None
    if event.get("is_interrupt") is True:  # the person took it away: another one goes on with the action, when asked
        agent_rows.end(ctx.store, agent, failed, hands_in=False)
        return None
    if failed is None or agent_rows.identified(ctx.store, agent).agent_id is not None:
        note_end(ctx, agent, failed)
    else:  # the host refused to start it
        agent_rows.end(ctx.store, agent, failed, hands_in=False)
    return _next(ctx, event, agent)


def _stopped(ctx: Context, event: Mapping[str, Any]) -> None:
    agent = _agent_of(ctx, event)
    if agent is None or agent.ended_at is not None:
        return
    died = event.get("hook_event_name") == "StopFailure"
    cause = as_text(event.get("last_assistant_message")) or "it died" if died else None
    note_end(ctx, agent, cause, by_itself=not died)
    if not died:
        hold(ctx, agent, HOLD_SECONDS)


def _woken(ctx: Context, event: Mapping[str, Any]) -> str | None:
    prompt = as_text(event.get("prompt"))
    notifications = prompt.split(NOTIFICATION)[1:] if prompt.startswith(NOTIFICATION) else []
    agents = [_notified(ctx, notification) for notification in notifications]
    if sender := _MESSAGE.match(prompt):
        agents = [agent_rows.agent_by_id(ctx.store, as_text(event.get("session_id")), sender[1])]
    ours = [agent for agent in agents if agent is not None]
    # One that a person asked to go on wakes again, and two copies of this hook wake twice: neither is ours to stop.
    if not [agent for agent in ours if agent_rows.is_first_wake(ctx.store, agent)]:
        return None
    said = _next(ctx, event, ours[-1])
    # A wake that hands nothing over would cost the parent a call to say so.
    return said or (json.dumps(_BLOCKED) if len(ours) == len(agents) else None)


def _notified(ctx: Context, notification: str) -> SessionAgent | None:
    """The run's sub-agent that a notification is about, its end noted."""
    agent = agent_rows.agent_by_call(ctx.store, _tag(notification, "tool-use-id"))
    if agent is not None:
        badly = _tag(notification, "status") in _ENDED_BADLY
        note_end(ctx, agent, (_tag(notification, "summary") or "it ended badly") if badly else None)
    return agent


def _session(ctx: Context, event: Mapping[str, Any]) -> str | None:
    run = ctx.store.open_run()
    here = find_repository(Path(as_text(event.get("cwd")) or ctx.top))
    if run is None or here is None or here[0].resolve() != ctx.top.resolve():
        return None  # a repository inside this one has nothing to do with it
    launcher = shlex.quote(str(LAUNCHER))
    how = "start each action it prints as a sub-agent, all in one message and as printed; repeat until it says done"
    return "\n".join(
        [
            f"A backlog run is open in this repository: {run.id} · {headline(ctx, run)}",
            f"How it goes on: run `{launcher} next` and {how}.",
            f"Do so if you were working on it, else when the person asks. `{launcher} abort` ends it.",
        ]
    )


def _settle(ctx: Context, event: Mapping[str, Any]) -> None:
    leaving = event.get("hook_event_name") == "SessionEnd"
    settle(ctx, ended=as_text(event.get("session_id")) if leaving else "")
    sync_mark(ctx, leaving=leaving)


def _next(ctx: Context, event: Mapping[str, Any], agent: SessionAgent) -> str | None:
    """The next actions, as context for the parent, once the last sub-agent of its list has ended."""
    book(ctx)
    ended = agent_rows.agent_by_call(ctx.store, agent.tool_use_id) or agent
    answer = hand_over_once(ctx, ended, HOLD_SECONDS)
    if answer is None:
        return None
    context = f"backlog-ops next: {json.dumps(answer, ensure_ascii=False)}"
    said = {"hookEventName": as_text(event.get("hook_event_name")), "additionalContext": context}
    return json.dumps({"hookSpecificOutput": said}, ensure_ascii=False)


def _agent_of(ctx: Context, event: Mapping[str, Any]) -> SessionAgent | None:
    """The run's sub-agent that an event is about; None for anybody else's."""
    agent_id = as_text(event.get("agent_id"))
    if not agent_id or "/" in agent_id:
        return None
    folder = Path(as_text(event.get("transcript_path")).removesuffix(".jsonl")) / "subagents"
    agent = agent_rows.agent_by_call(ctx.store, subagent(folder, agent_id).tool_use_id)
    return agent_rows.note_host(ctx.store, agent, agent_id, None) if agent else None


_HOOKS: Mapping[str, Callable[[Context, Mapping[str, Any]], str | None]] = {
    "returned": _returned,
    "stopped": _stopped,
    "woken": _woken,
    "session": _session,
    "settle": _settle,
}


def _tag(text: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return " ".join(found[1].split()) if found else ""
