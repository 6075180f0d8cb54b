"""PREPARE and PLAN: the worktree, then what to do in it (rules.md, "Gate contracts")."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate, TicketStatus, Tier
from backlog_ops.domain.plans import PLAN_SCHEMA, Plan, plan_problem
from backlog_ops.domain.write_set import deletable, outside
from backlog_ops.llm.types import Prompt
from backlog_ops.run import worktrees
from backlog_ops.run.briefs import open_text_action
from backlog_ops.run.context import Context
from backlog_ops.run.failures import Failure, as_history, earlier_failures
from backlog_ops.run.gates.outcome import park
from backlog_ops.run.hand_ins import read_json
from backlog_ops.run.prompts import plan_prompt
from backlog_ops.run.repository_view import repository_view
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.steps import Step
from backlog_ops.run.text_gates import ask_gate


def prepare(ctx: Context, run: Run, ticket: TicketState) -> None:
    blocked = _unmet(ctx, ticket)
    if blocked:
        park(ctx, ticket, f"depends on {blocked}, which was not completed in this run")
        return
    commit = ctx.git.commit_of(run.ref)
    assert commit is not None, "the branch is made before the first wave"
    path = ctx.worktree_path(ticket)
    worktrees.create(ctx, path, commit)
    parsed = ctx.parsed(ticket)
    unusable = worktrees.unusable_paths(ctx, ticket, [file.path for file in parsed.affected_files])
    if unusable:
        park(ctx, ticket, f"{unusable[0][0]}: named by the ticket, but it {unusable[0][1]}")
        return
    unfit = worktrees.bring_in(ctx, ticket, commit) if ticket.carried else None
    history = as_history([*earlier_failures(ticket), Failure("The work so far", unfit)]) if unfit else ticket.history
    if ticket.plan:
        following = Step.IMPLEMENT
    elif parsed.status is TicketStatus.NEEDS_INVESTIGATION and ticket.answers is None:
        following = Step.INVESTIGATE
    else:
        following = Step.PLAN
    ctx.store.settle(
        ticket,
        None,
        closing=ctx.store.live_actions(ticket),  # about a worktree that is no more
        step=following,
        worktree=str(path),
        base_commit=commit,
        history=history,
        work_tree=None,
        approved_tree=None,
        message=None,
        commit_id=None,
    )


def _unmet(ctx: Context, ticket: TicketState) -> str | None:
    """A dependency that is in this run and did not get done; those outside it were met before the run began."""
    for other in ctx.parsed(ticket).depends_on:
        if ctx.store.step_of(ticket.run, other) not in (None, Step.DONE):
            return other
    return None


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    handed_in = ctx.store.current_action(ticket, Gate.PLAN)
    if handed_in is not None:
        if handed_in.state == "handed-in":
            _take_hand_in(ctx, ticket, handed_in)
        return
    decision = ctx.decide(Gate.PLAN, ticket)
    if decision.tier is None:
        park(ctx, ticket, decision.reason)
        return
    prompt = _prompt(ctx, ticket)
    answer, line = ask_gate(
        ctx,
        run,
        Gate.PLAN,
        decision.tier,
        prompt,
        ticket=ticket,
        accept=lambda _text, parsed: _problem(ctx, ticket, parsed),
        rule=decision.rule.value,
    )
    if answer is not None:
        _accept(ctx, ticket, answer.parsed, line)
    elif ctx.store.died(ticket, Gate.PLAN):
        park(ctx, ticket, f"no usable plan: {line}")
    else:
        tier = max(decision.tier, Tier.CHEAP)
        said = f"PLAN: no text model answered ({line}); asking a sub-agent"
        open_text_action(ctx, ticket, Gate.PLAN, tier, decision.rule.value, prompt, PLAN_SCHEMA, said)


def _problem(ctx: Context, ticket: TicketState, answer: Any) -> str | None:
    """Why a schema-valid answer cannot be used: by its own words, or for what git would do with its files."""
    problem = plan_problem(answer)
    if problem:
        return problem
    deleted = Plan.from_json(answer).deleted_paths
    unnamed = outside(deleted, deletable(ctx.parsed(ticket)))
    if unnamed:
        return f"files: {unnamed[0]!r} is to be deleted, but the ticket does not name it for that"
    unusable = worktrees.unusable_paths(ctx, ticket, [file["path"] for file in answer["files"]])
    return f"files: {unusable[0][0]!r} {unusable[0][1]}" if unusable else None


def _take_hand_in(ctx: Context, ticket: TicketState, action: Action) -> None:
    answer, problem = read_json(Path(action.hand_in or ""), PLAN_SCHEMA)
    problem = action.cause or problem or _problem(ctx, ticket, answer)
    if problem:
        park(ctx, ticket, f"no usable plan: {problem}", [action])
    else:
        _accept(ctx, ticket, answer, f"{action.tier} · sub-agent", [action])


def _accept(ctx: Context, ticket: TicketState, answer: Any, line: str, closing: Sequence[Action] = ()) -> None:
    """A plan that asks something goes to the investigator once; one that still asks, to a person."""
    plan = Plan.from_json(answer)
    if plan.open_questions and ticket.answers is not None:
        park(ctx, ticket, f"needs-investigation: {plan.open_questions[0]}", closing)
        return
    said = f"PLAN · {line} · {len(plan.files)} files, {len(plan.tests)} tests"
    if plan.open_questions:
        said = f"PLAN · {line} · open question: {plan.open_questions[0]}"
        questions = json.dumps(plan.open_questions, ensure_ascii=False)
        ctx.store.settle(ticket, said, closing=closing, questions=questions, step=Step.INVESTIGATE)
        return
    text = json.dumps(answer, ensure_ascii=False)
    ctx.store.settle(ticket, said, closing=closing, plan=text, step=Step.IMPLEMENT)


def _prompt(ctx: Context, ticket: TicketState) -> Prompt:
    parsed, seen = ctx.parsed(ticket), repository_view(ctx, ticket)
    return plan_prompt(ctx.project, parsed, seen.paths, seen.files, seen.rules, ticket.answers)
