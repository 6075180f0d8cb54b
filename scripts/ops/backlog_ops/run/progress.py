"""Where a run stands, asked of the store alone: what is waited for, whether there is work, what may be spent."""

from __future__ import annotations

from backlog_ops.domain.gates import Gate
from backlog_ops.run.context import Context
from backlog_ops.run.questions import open_question, question
from backlog_ops.run.rows import Action, Question, Run, TicketState
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Store

GATES = {
    Step.INVESTIGATE: Gate.INVESTIGATE,
    Step.PLAN: Gate.PLAN,
    Step.IMPLEMENT: Gate.IMPLEMENT,
    Step.REVIEW: Gate.REVIEW,
}


def actions_of(ctx: Context, ticket: TicketState) -> list[Action]:
    """The agent actions this ticket waits for, or whose hand-ins are to be judged next."""
    gate = GATES.get(ticket.step)
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
    unfinished = [ticket for ticket in wave if not ticket.step.is_final]
    free = [ticket for ticket in unfinished if ticket.held is None and not open_actions_of(ctx, ticket)]
    if len(free) < sum(ticket.held is None for ticket in unfinished):  # others are at work, and may hold its money
        waiting = waits_for_others(ctx.store, run)
        free = [ticket for ticket in free if ticket.id not in waiting]
    return not unfinished or bool(free)


def waits_for_person(ctx: Context, run: Run) -> Question | None:
    """The question that the run stands still for; one asked before a ticket was taken up again waits itself."""
    unfinished = [ticket for ticket in ctx.store.tickets(run.id, run.wave) if not ticket.step.is_final]
    if unfinished:
        held = [ticket.held for ticket in unfinished if ticket.held is not None]
        return question(ctx.store, held[0]) if len(held) == len(unfinished) else None
    return None if ctx.store.step_counts(run.id, run.wave) else open_question(ctx.store, run.id)


def waits_for_others(store: Store, run: Run) -> frozenset[str]:
    """Tickets that were not admitted (run/budget.py): others of their wave hold what they need."""
    rows = store.rows("SELECT ticket FROM reservation WHERE run = ? AND nanousd = 0", run.id)
    return frozenset(str(row["ticket"]) for row in rows)


def is_paused(ctx: Context, run: Run) -> bool:
    """Whether a usage limit has not been reset yet."""
    return run.paused_until is not None and ctx.clock() < run.paused_until


def run_limit(ctx: Context, run: Run) -> int:
    """Nano-dollars a run may cost: --max-usd, never more than llmOps.budget.perRunUsd."""
    limit = ctx.settings.llm_ops.budget.per_run_nanousd
    return limit if run.max_nanousd is None else min(run.max_nanousd, limit)
