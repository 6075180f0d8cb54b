"""Where a run stands, asked of the store alone: what is waited for, whether there is work, what may be spent."""

from __future__ import annotations

from backlog_ops.domain.gates import Gate
from backlog_ops.run.context import Context
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.steps import Step

_AGENT_GATES = {Step.PLAN: Gate.PLAN, Step.IMPLEMENT: Gate.IMPLEMENT, Step.REVIEW: Gate.REVIEW}

_BUYING = frozenset({Step.PREPARE, Step.PLAN, Step.IMPLEMENT, Step.REVIEW})


def action_of(ctx: Context, ticket: TicketState) -> Action | None:
    """The agent action this ticket waits for, or whose hand-in is to be judged next."""
    gate = _AGENT_GATES.get(ticket.step)
    return ctx.store.current_action(ticket, gate) if gate else None


def open_action_of(ctx: Context, ticket: TicketState) -> Action | None:
    """The agent action this ticket waits for."""
    action = action_of(ctx, ticket)
    return action if action is not None and action.state == "open" else None


def has_work(ctx: Context, run: Run) -> bool:
    """Whether the engine itself can go on, without any agent."""
    if run.wave == 0:
        return True
    wave = ctx.store.tickets(run.id, run.wave)
    return all(t.step.is_final for t in wave) or any(
        not t.step.is_final and open_action_of(ctx, t) is None for t in wave
    )


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
