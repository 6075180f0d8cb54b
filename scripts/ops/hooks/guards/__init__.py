"""The guards of a run: pure judgements over a tool call and the run's database.

Each module opens with what it guards, how it fails, and where its limits are.
"""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]  # a PreToolUse event as the host sends it
Decision = dict[str, Any]  # the fields of hookSpecificOutput


def allow(updated_input: dict[str, Any] | None = None) -> Decision:
    """Let it pass without asking anybody; `updated_input` replaces the whole input."""
    decision: Decision = {"permissionDecision": "allow"}
    return decision if updated_input is None else {**decision, "updatedInput": updated_input}


def deny(reason: str) -> Decision:
    """The model reads the reason as the call's error: it says what to do instead."""
    return {"permissionDecision": "deny", "permissionDecisionReason": f"backlog: {reason}"}
