"""Briefs: the files that sub-agents read. A script assembles them; the parent session passes their path only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.investigations import INVESTIGATION_SCHEMA
from backlog_ops.domain.plans import Plan
from backlog_ops.domain.settings import Reviewer
from backlog_ops.domain.verdicts import VERDICT_SCHEMA
from backlog_ops.llm.types import Prompt
from backlog_ops.run.actions import check_command, hand_in_path, request_command, submit_command
from backlog_ops.run.context import Context
from backlog_ops.run.failures import Failure
from backlog_ops.run.prompts import fenced, listing
from backlog_ops.run.repository_view import RepositoryView
from backlog_ops.run.rows import Action, TicketState


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


def _failures(failures: Sequence[Failure]) -> list[str]:
    return [
        line for failure in failures for line in (f"### {failure.heading}", "", fenced("failure", failure.detail), "")
    ]


def implement_brief(
    ticket: TicketState,
    action: Action,
    worktree: Path,
    plan: Plan,
    allowed: Sequence[str],
    rules: Sequence[str],
    failures: Sequence[Failure],
    has_work: bool,
    for_session: bool,
) -> str:
    """`has_work`: the worktree holds what an earlier attempt did; `for_session`: a parent session starts the sub-agent,
    which then says itself that it is done.
    """
    lines = [
        *_head(ticket, action, worktree),
        f"Check command: {check_command(action)}",
        "",
        *_implement_steps(action, plan, for_session),
        "## Files you may change (what is done to others is taken back)",
        "",
        fenced("files", "\n".join(f"- {path}" for path in allowed)),
        "",
        "## Project rules",
        "",
        *([f"- read {worktree / rule}" for rule in rules] or ["- none"]),
        "",
    ]
    if failures:
        lines += ["## What failed before", ""]
        lines += ["The worktree holds the work of the failed attempt: go on from it.", ""] if has_work else []
        lines += _failures(failures)
    lines += ["## Plan", "", fenced("plan", _plan_text(plan)), ""]
    lines += ["## Ticket", "", fenced("ticket", ticket.text), ""]
    return "\n".join(lines)


def _implement_steps(action: Action, plan: Plan, for_session: bool) -> list[str]:
    steps = [
        "Work in the worktree and nowhere else; use absolute paths below it.",
        "Read the project rules and the files of the plan. Write the tests first, then the code.",
        f"Does it need a file that is not listed? Run `{request_command(action)} PATH` first: it says yes or no.",
        "Run the check command until it passes. It runs the project's own type check, lint, tests and build; "
        "arguments after ` -- ` go to the test command.",
        "Stop. Do not commit. Answer with one line that says what you did.",
    ]
    if plan.deleted_paths:
        steps.insert(2, "Files that the plan deletes go when the check command first runs: read them before.")
    if for_session:
        steps.insert(-1, f"Hand in: run `{submit_command(action)}`.")
    only = "No other command can be run than those named here."
    return ["## Do", "", *(f"{number}. {step}" for number, step in enumerate(steps, start=1)), "", only, ""]


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


@dataclass(frozen=True)
class ReviewEvidence:
    """What code found out about a change, for the eyes of its reviewers."""

    gate_output: str
    diff: str
    warnings: Sequence[str]  # tests that are gone or weaker, files that shrank or govern the gates, by name


def _review_steps(threshold: int) -> list[str]:
    return [
        "1. Judge whether the diff does what the ticket asks, completely and correctly: behaviour against each "
        "acceptance criterion, edge cases, error paths, security, tests that would fail without the change.",
        "2. Read a file of the worktree only where the diff is not enough.",
        "3. Write the verdict file: one JSON object of this schema, nothing else. `tree` is the one named above: it "
        "says which state of the files you judged.",
        "4. Answer with one line: the verdict and the number of findings.",
        "",
        "APPROVED means: you would merge it as it is. Every finding cites a line that exists (file relative to the "
        "worktree, line of the new version) and quotes it exactly; what you cannot verify is a finding that says "
        f"so. confidence is 0 to 100; findings below {threshold} are recorded, not acted on. A critical or high "
        "finding and APPROVED contradict each other and count as not approved.",
        "",
    ]


def review_brief(
    ticket: TicketState,
    action: Action,
    worktree: Path,
    plan: Plan,
    reviewer: Reviewer,
    threshold: int,
    evidence: ReviewEvidence,
    failures: Sequence[Failure],
    granted: Sequence[str],
    rules: Sequence[str],
) -> str:
    """Everything the reviewer needs in one file: one Read instead of many turns."""
    lines = [
        *_head(ticket, action, worktree),
        f"Tree: {action.tree}",
        f"Verdict file: {hand_in_path(action, worktree)}",
        "",
        "## Do",
        "",
        *_review_steps(threshold),
        "```json",
        json.dumps(VERDICT_SCHEMA),
        "```",
        "",
    ]
    if reviewer.focus:
        lines += [f"## Your part ({reviewer.name}; others review the same diff)", "", reviewer.focus, ""]
    if failures:
        lines += ["## Earlier attempts failed", "", *_failures(failures)]
    if evidence.warnings:
        lines += ["## Look at these: does the ticket ask for each?", ""]
        lines += [fenced("warnings", "\n".join(f"- {warning}" for warning in evidence.warnings)), ""]
    if rules:
        lines += ["## Project rules that bind this change", "", *[f"- {worktree / rule}" for rule in rules], ""]
    if granted:
        listed = fenced("files", "\n".join(f"- {path}" for path in granted))
        lines += ["## Files beyond the plan, which the implementer asked for", "", listed, ""]
    lines += ["## Ticket", "", fenced("ticket", ticket.text), ""]
    lines += ["## Plan", "", fenced("plan", _plan_text(plan)), ""]
    lines += ["## Gate output", "", fenced("output", evidence.gate_output), ""]
    lines += ["## Diff", "", fenced("diff", evidence.diff), ""]
    return "\n".join(lines)


def investigation_brief(
    ticket: TicketState, action: Action, worktree: Path, questions: Sequence[str], seen: RepositoryView
) -> str:
    """An open question for an agent that reads and answers, nothing else."""
    return "\n".join(
        [
            *_head(ticket, action, worktree),
            f"Answer file: {hand_in_path(action, worktree)}",
            "",
            "## Do",
            "",
            "1. Find out what the questions below ask, in the files of the worktree. Change nothing there.",
            "2. Write the answer file: one JSON object of this schema, nothing else. Every question is either "
            "answered, with evidence (file relative to the worktree, line, exact quote), or named as open with the "
            "reason. Do not guess: what only a person can decide is open.",
            "3. Answer with one line: how many are answered and how many open.",
            "",
            "```json",
            json.dumps(INVESTIGATION_SCHEMA),
            "```",
            "",
            "## Questions",
            "",
            fenced("questions", "\n".join(f"- {question}" for question in questions)),
            "",
            "## Ticket",
            "",
            fenced("ticket", ticket.text),
            "",
            "## Repository",
            "",
            fenced("repository", listing(seen.paths)),
            "",
        ]
    )


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
    said: str,
) -> None:
    """Hand a text gate to a sub-agent (rules.md: "else a `haiku` sub-agent"); `said` tells people."""
    worktree = ctx.worktree_path(ticket)
    action = ctx.store.add_action(ticket, gate, max(1, ticket.attempt), tier, rule)
    text = text_action_brief(ticket, action, worktree, prompt.system, prompt.user, json.dumps(schema))
    brief = write_brief(ctx, ticket, action, text)
    ctx.store.open_actions(ticket, [ctx.opening(ticket, action, brief, hand_in_path(action, worktree))], [said])
