"""Briefs: the files that sub-agents read. A script assembles them; the parent session passes their path only."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.plans import Plan
from backlog_ops.domain.verdicts import VERDICT_SCHEMA
from backlog_ops.run.prompts import fenced
from backlog_ops.run.store import Action, TicketState, VerdictRow
from backlog_ops.storage.locations import PLUGIN_ROOT

LAUNCHER = PLUGIN_ROOT / "bin" / "backlog-ops"


def check_command(action: Action) -> str:
    return f"{shlex.quote(str(LAUNCHER))} check {action.id}"


def prompt_line(action: Action) -> str:
    """All that a parent or `claude -p` says to a sub-agent; the marker ties it to its ticket, gate and budget."""
    return f"Read {action.brief} and do what it says. [backlog:{action.id}]"


def _head(ticket: TicketState, action: Action, worktree: Path) -> list[str]:
    return [
        f"# {action.gate} of {ticket.id}, attempt {action.attempt}",
        "",
        f"Ticket: {ticket.id}",
        f"Gate: {action.gate}",
        f"Attempt: {action.attempt}",
        f"Action: {action.id}",
        f"Worktree: {worktree}",
    ]


def implement_brief(
    ticket: TicketState,
    action: Action,
    worktree: Path,
    plan: Plan,
    allowed: Sequence[str],
    rules: Sequence[str],
    failures: Sequence[VerdictRow],
) -> str:
    lines = [
        *_head(ticket, action, worktree),
        f"Check command: {check_command(action)}",
        "",
        "## Do",
        "",
        "1. Work in the worktree and nowhere else; use absolute paths below it.",
        "2. Read the project rules and the files of the plan. Write the tests first, then the code.",
        "3. Run the check command until it passes. It runs the project's own type check, lint, tests and build; "
        "arguments after ` -- ` go to the test command. No other command is allowed.",
        "4. Stop. Do not commit. Answer with one line that says what you did.",
        "",
        "## Files you may change (nothing else; another file fails the gate)",
        "",
        *[f"- {path}" for path in allowed],
        "",
        "## Project rules",
        "",
        *([f"- read {worktree / rule}" for rule in rules] or ["- none"]),
        "",
    ]
    if failures:
        lines += [
            "## What failed before",
            "",
            "The worktree holds the work of the failed attempt: go on from it.",
            "",
        ]
        for verdict in failures:
            lines += [
                f"### Attempt {verdict.attempt}, {verdict.gate}",
                "",
                fenced("failure", verdict.detail),
                "",
            ]
    lines += [
        "## Plan",
        "",
        fenced("plan", _plan_text(plan)),
        "",
        "## Ticket",
        "",
        fenced("ticket", ticket.text),
        "",
    ]
    return "\n".join(lines)


def _plan_text(plan: Plan) -> str:
    def section(name: str, entries: Sequence[str]) -> list[str]:
        return [f"{name}:", *(f"- {entry}" for entry in entries), ""] if entries else []

    files = [f"{file.path} ({file.action}): {file.purpose}" for file in plan.files]
    return "\n".join(
        section("Files", files)
        + section("Interfaces", plan.interfaces)
        + section("Tests", plan.tests)
        + section("Steps", plan.steps)
    )


def review_brief(
    ticket: TicketState,
    action: Action,
    worktree: Path,
    plan: Plan,
    threshold: int,
    gate_output: str,
    diff: str,
    failures: Sequence[VerdictRow],
) -> str:
    """Everything the reviewer needs in one file: one Read instead of many turns."""
    lines = [
        *_head(ticket, action, worktree),
        f"Verdict file: {hand_in_path(action, worktree)}",
        "",
        "## Do",
        "",
        "1. Judge whether the diff does what the ticket asks, completely and correctly: behaviour against each "
        "acceptance criterion, edge cases, error paths, security, tests that would fail without the change.",
        "2. Read a file of the worktree only where the diff is not enough.",
        "3. Write the verdict file: one JSON object of this schema, nothing else.",
        "4. Answer with one line: the verdict and the number of findings.",
        "",
        "APPROVED means: you would merge it as it is. Every finding cites a line that exists (file relative to the "
        "worktree, line of the new version) and quotes it exactly; what you cannot verify is a finding that says "
        f"so. confidence is 0 to 100; findings below {threshold} are recorded, not acted on. A critical or high "
        "finding and APPROVED contradict each other and count as not approved.",
        "",
        "```json",
        json.dumps(VERDICT_SCHEMA),
        "```",
        "",
    ]
    for verdict in failures:
        lines += [
            f"## An earlier attempt failed ({verdict.gate}, attempt {verdict.attempt})",
            "",
            fenced("failure", verdict.detail),
            "",
        ]
    lines += ["## Ticket", "", fenced("ticket", ticket.text), ""]
    lines += ["## Plan", "", fenced("plan", _plan_text(plan)), ""]
    lines += ["## Gate output", "", fenced("output", gate_output), ""]
    lines += ["## Diff", "", fenced("diff", diff), ""]
    return "\n".join(lines)


def text_action_brief(ticket: TicketState, action: Action, worktree: Path, system: str, user: str, schema: str) -> str:
    """A text gate handed to a sub-agent, where no text model can be reached."""
    return "\n".join(
        [
            *_head(ticket, action, worktree),
            f"Answer file: {hand_in_path(action, worktree)}",
            "",
            "## Do",
            "",
            f"{system} Write the answer, one JSON object of this schema and nothing else, into the answer file. "
            "Then answer with one line: done.",
            "",
            "```json",
            schema,
            "```",
            "",
            user,
            "",
        ]
    )


def hand_in_path(action: Action, worktree: Path) -> Path | None:
    """The file an action's sub-agent writes; None for IMPLEMENT, whose hand-in is the worktree itself."""
    if action.gate is Gate.IMPLEMENT:
        return None
    # Beside its brief and outside the worktree it may be about: <work folder>/runs/<run>/<ticket>/<action>/.
    name = "verdict.json" if action.gate is Gate.REVIEW else "answer.json"
    return worktree.parents[2] / "runs" / action.run / action.ticket / action.id / name
