"""Actions: what a driver starts a sub-agent for, each with a brief on disk and a number that never comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.llm.types import Prompt
from backlog_ops.run import briefs
from backlog_ops.run.context import Context
from backlog_ops.run.store import Action, TicketState

AGENTS = {Gate.IMPLEMENT: "implementer", Gate.REVIEW: "reviewer"}
TEXT_AGENT = "scribe"


def agent_name(gate: Gate) -> str:
    """The plugin's agent (agents/<name>.md) that does a gate's work; text gates share one that only writes."""
    return AGENTS.get(gate, TEXT_AGENT)


def write_brief(ctx: Context, ticket: TicketState, action: Action, text: str) -> Path:
    """The brief of an action, in a folder of its own inside the ignored work folder."""
    folder = ctx.action_folder(ticket, action.id)
    ctx.make_work_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "brief.md"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    return path


def open_text_action(
    ctx: Context,
    ticket: TicketState,
    gate: Gate,
    tier: Tier,
    rule: str,
    prompt: Prompt,
    schema: Mapping[str, Any],
) -> None:
    """Hand a text gate to a sub-agent (rules.md: "else a `haiku` sub-agent")."""
    worktree = ctx.worktree_path(ticket)
    action = ctx.store.add_action(ticket, gate, ticket.attempt, tier, rule, None)
    text = briefs.text_action_brief(ticket, action, worktree, prompt.system, prompt.user, json.dumps(schema))
    ctx.store.open_action(action, write_brief(ctx, ticket, action, text), briefs.hand_in_path(action, worktree))
