"""INVESTIGATE: an open question of a plan, or of a ticket whose status says so, goes to an agent that reads; then the
ticket is back in the queue, or with a person.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.investigations import INVESTIGATION_SCHEMA, investigation_problem
from backlog_ops.run import briefs, worktrees
from backlog_ops.run.actions import hand_in_path
from backlog_ops.run.context import Context
from backlog_ops.run.gates.outcome import effort, park
from backlog_ops.run.hand_ins import read_json
from backlog_ops.run.repository_view import repository_view
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.steps import Step

DEAD_INVESTIGATORS = 2  # so many may end without a usable answer before the ticket is parked
OF_THE_STATUS = "What has to be known before this ticket can be planned? Its status is needs-investigation."


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    action = ctx.store.current_action(ticket, Gate.INVESTIGATE)
    if action is None:
        _open(ctx, ticket)
    elif action.state == "handed-in":
        _take(ctx, ticket, action)


def _questions(ticket: TicketState) -> list[str]:
    return list(json.loads(ticket.questions)) if ticket.questions else [OF_THE_STATUS]


def _open(ctx: Context, ticket: TicketState) -> None:
    decision = ctx.decide(Gate.INVESTIGATE, ticket)
    assert decision.tier is not None, "INVESTIGATE never parks"
    worktree = ctx.worktree_path(ticket)
    action = ctx.store.add_action(
        ticket,
        Gate.INVESTIGATE,
        max(1, ticket.attempt),
        decision.tier,
        decision.rule.value,
        tree=worktrees.snapshot(ctx, worktree),  # what is cited stood there before anybody looked
    )
    text = briefs.investigation_brief(ticket, action, worktree, _questions(ticket), repository_view(ctx, ticket))
    brief = briefs.write_brief(ctx, ticket, action, text)
    ctx.store.open_actions(ticket, [ctx.opening(ticket, action, brief, hand_in_path(action, worktree))], [])


def _take(ctx: Context, ticket: TicketState, action: Action) -> None:
    found, problem = read_json(Path(action.hand_in or ""), INVESTIGATION_SCHEMA)
    problem = (
        action.cause
        or problem
        or investigation_problem(found, _questions(ticket), lambda path: ctx.git.lines_at(action.tree or "", path))
    )
    if problem:
        _no_answer(ctx, ticket, action, problem)
        return
    if found["open"]:
        park(ctx, ticket, f"needs-investigation: {_still_open(found)}", [action], resume_at=Step.PREPARE)
        return
    said = f"INVESTIGATE {effort(ctx, action)} · {len(found['answers'])} answers"
    answers = json.dumps(found["answers"], ensure_ascii=False)
    ctx.store.settle(ticket, said, closing=[action], answers=answers, step=Step.PLAN)


def _still_open(found: Any) -> str:
    first = found["open"][0]
    return f"{first['question']} ({first['why']})"


def _no_answer(ctx: Context, ticket: TicketState, action: Action, problem: str) -> None:
    dead = action.as_dead(problem)
    if ctx.store.died(ticket, Gate.INVESTIGATE) + 1 < DEAD_INVESTIGATORS:
        ctx.store.settle(ticket, f"INVESTIGATE: no usable answer: {problem}", closing=[dead])
    else:
        park(ctx, ticket, f"needs-investigation: no usable answer: {problem}", [dead])
