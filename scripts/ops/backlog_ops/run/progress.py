"""Where a run stands, asked of the store alone: what is waited for, whether there is work, what may be spent."""

from __future__ import annotations

from backlog_ops.domain.gates import Gate
from backlog_ops.run.context import Context
from backlog_ops.run.questions import open_question
from backlog_ops.run.rows import Action, Question, Run, TicketState
from backlog_ops.run.steps import Step

_AGENT_GATES = {
    Step.INVESTIGATE: Gate.INVESTIGATE,
    Step.PLAN: Gate.PLAN,
    Step.IMPLEMENT: Gate.IMPLEMENT,
    Step.REVIEW: Gate.REVIEW,
}

_BUYING = frozenset({Step.PREPARE, *_AGENT_GATES})


def actions_of(ctx: Context, ticket: TicketState) -> list[Action]:
    """The agent actions this ticket waits for, or whose hand-ins are to be judged next."""
    gate = _AGENT_GATES.get(ticket.step)
    return ctx.store.current_actions(ticket, gate) if gate else []


def open_actions_of(ctx: Context, ticket: TicketState) -> list[Action]:
    """The agent actions this ticket waits for."""
    return [action for action in actions_of(ctx, ticket) if action.state == "open"]


def has_work(ctx: Context, run: Run) -> bool:
    """Whether the engine itself can go on, without any agent or person."""
    if is_paused(ctx, run):
        return False
    if run.wave == 0:
        return True
    wave = ctx.store.tickets(run.id, run.wave)
    if not wave:
        return waits_for_person(ctx, run) is None
    return all(t.step.is_final for t in wave) or any(not t.step.is_final and not open_actions_of(ctx, t) for t in wave)


def waits_for_person(ctx: Context, run: Run) -> Question | None:
    """The question that the run stands still for; one asked before a ticket was taken up again waits itself."""
    return None if ctx.store.step_counts(run.id, run.wave) else open_question(ctx.store, run.id)


def is_paused(ctx: Context, run: Run) -> bool:
    """Whether a usage limit has not been reset yet."""
    return run.paused_until is not None and ctx.clock() < run.paused_until


def budget_left(ctx: Context, run: Run, ticket: TicketState) -> int:
    """Nano-dollars that may still be spent on this ticket: what is left of its own and of the run's budget."""
    per_ticket = ctx.settings.llm_ops.budget.per_ticket_nanousd
    return min(per_ticket - ctx.store.spent(run.id, ticket.id).nanousd, run_left(ctx, run))


def run_left(ctx: Context, run: Run) -> int:
    return run_limit(ctx, run) - ctx.store.spent(run.id).nanousd


def run_limit(ctx: Context, run: Run) -> int:
    """Nano-dollars a run may cost: --max-usd, never more than llmOps.budget.perRunUsd."""
    limit = ctx.settings.llm_ops.budget.per_run_nanousd
    return limit if run.max_nanousd is None else min(run.max_nanousd, limit)


def over_budget(ctx: Context, run: Run, ticket: TicketState) -> str | None:
    """Why nothing more may be bought for this ticket, or None. LINT, COMMIT and MERGE buy nothing."""
    if ticket.step not in _BUYING or budget_left(ctx, run, ticket) > 0:
        return None
    spent = ctx.store.spent(run.id, ticket.id)
    return f"budget: nothing left for this ticket ({spent} spent on it; llmOps.budget, --max-usd)"
