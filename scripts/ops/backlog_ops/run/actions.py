"""Actions: what a driver starts a sub-agent for, and how it is told to it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.run.rows import Action
from backlog_ops.storage.locations import PLUGIN_ROOT

LAUNCHER = PLUGIN_ROOT / "bin" / "backlog-ops"
AGENTS = {Gate.INVESTIGATE: "investigator", Gate.IMPLEMENT: "implementer", Gate.REVIEW: "reviewer"}
TEXT_AGENT = "scribe"
_MARKER = re.compile(r"\[backlog:a([0-9]{1,15})\]")


def agent_name(gate: Gate) -> str:
    """The plugin's agent (agents/<name>.md) that does a gate's work; text gates share one that only writes."""
    return AGENTS.get(gate, TEXT_AGENT)


def session_agent_name(gate: Gate, tier: Tier) -> str:
    """The same for a parent session: an agent with a model of its own inherits none, so `frontier` has one without."""
    return agent_name(gate) + ("-frontier" if tier is Tier.FRONTIER else "")


def check_command(action: Action) -> str:
    """The one command an implementer needs, as a shell would need it written."""
    return f"{shlex.quote(str(LAUNCHER))} check {action.id}"


def submit_command(action: Action) -> str:
    """How a sub-agent of a parent session says that it is done."""
    return f"{shlex.quote(str(LAUNCHER))} submit {action.id}"


def request_command(action: Action) -> str:
    """How an implementer asks to write a file beyond the plan; the path comes after it."""
    return f"{submit_command(action)} --request"


def prompt_line(action: Action) -> str:
    """All that a parent or `claude -p` says to a sub-agent; the marker ties it to its ticket, gate and budget."""
    return f"Read {action.brief} and do what it says. [backlog:{action.id}]"


def description(action: Action) -> str:
    """`T-1 REVIEW #2`: how a session's list of sub-agents shows it."""
    return f"{action.ticket} {action.gate} #{action.attempt}"


def marked_action(prompt: str) -> int | None:
    """The number of the action that a sub-agent's prompt is marked with."""
    found = _MARKER.search(prompt)
    return int(found[1]) if found else None


def hand_in_path(action: Action, worktree: Path) -> Path | None:
    """The file an action's sub-agent writes; None for IMPLEMENT, whose hand-in is the worktree itself."""
    if action.gate is Gate.IMPLEMENT:
        return None
    # Beside its brief and outside the worktree it may be about: <work folder>/runs/<run>/<ticket>/<action>/.
    name = "verdict.json" if action.gate is Gate.REVIEW else "answer.json"
    return worktree.parents[2] / "runs" / action.run / action.ticket / action.id / name
