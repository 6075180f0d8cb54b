"""A person steers the run: a ticket is parked, or taken up again where it was parked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backlog_ops.domain.gates import TicketStatus
from backlog_ops.domain.tickets import with_status
from backlog_ops.errors import RunStateError, UsageError
from backlog_ops.run import agent_rows
from backlog_ops.run.backlog import read_backlog
from backlog_ops.run.claude_agents import end_agents
from backlog_ops.run.context import Context
from backlog_ops.run.failures import Failure, as_history, earlier_failures
from backlog_ops.run.gates.merge import CONFLICT
from backlog_ops.run.gates.outcome import park
from backlog_ops.run.opening import open_run
from backlog_ops.run.progress import open_actions_of
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.steps import Step
from backlog_ops.run.wave_rows import take_up
from backlog_ops.run.worktrees import kept_ref

INVESTIGATE = "needs-investigation:"


def park_ticket(ctx: Context, ticket_id: str, reason: str) -> str:
    """Park a ticket of the open run, and end its agents. Returns what to tell the person."""
    run = ctx.open_run()
    ticket = ctx.store.ticket(run.id, ticket_id)
    if ticket.step is Step.PARKED:
        return f"{ticket_id}: parked already: {ticket.reason}"
    if ticket.step is Step.MERGE:
        raise RunStateError(f"{ticket_id}: is being merged; `backlog-ops undo {ticket_id}` takes it back afterwards")
    if ticket.step is Step.DONE:
        raise RunStateError(f"{ticket_id}: done already; `backlog-ops undo {ticket_id}` takes its commit back")
    at_work = open_actions_of(ctx, ticket)
    park(ctx, ticket, reason, at_work, resume_at=Step.PREPARE if ticket.step is Step.WAITING else None)
    end_agents(ctx, at_work)
    for action in at_work:
        for agent in agent_rows.agents_on(ctx.store, action.number):
            agent_rows.end(ctx.store, agent, reason, hands_in=False)
    return f"{ticket_id}: parked; `backlog-ops retry {ticket_id}` takes it up again"


def write_status(ctx: Context, ticket_id: str) -> str:
    """Say in the ticket's file that it is not to be taken up; no other byte of it changes."""
    found = [ticket for ticket in read_backlog(ctx.top, ctx.settings).pending if ticket.id == ticket_id]
    if not found:
        raise UsageError(f"{ticket_id}: no such ticket in {ctx.settings.backlog.data_dir}/pending")
    last = _last_state(ctx, ticket_id)
    asks = last is not None and last.step is Step.PARKED and (last.reason or "").startswith(INVESTIGATE)
    status = TicketStatus.NEEDS_INVESTIGATION if asks else TicketStatus.BLOCKED
    path = Path(ctx.top, found[0].path)
    try:
        path.write_bytes(with_status(path.read_bytes(), status))
    except ValueError as error:
        raise UsageError(f"{found[0].path}: {error}") from None
    return f"{found[0].path}: status: {status}; commit it when you like"


def _last_state(ctx: Context, ticket_id: str) -> TicketState | None:
    """The ticket in the newest run that has it."""
    runs = [run for run in [ctx.store.open_run()] if run] + ctx.store.ended_runs()[::-1]
    for run in runs:
        if ctx.store.step_of(run.id, ticket_id) is not None:
            return ctx.store.ticket(run.id, ticket_id)
    return None


def retry(ctx: Context, ids: Sequence[str]) -> list[str]:
    """Take parked tickets up again: in the open run, else in a new one that goes on from what the last one left.

    Failures and attempts are counted anew; what failed before is told to the next attempt. Returns what to tell the
    person, a line a ticket. Raises RunStateError, before anything is written, where one is not parked.
    """
    run = ctx.store.open_run()
    parked = [_parked(ctx, ticket_id, run) for ticket_id in dict.fromkeys(ids)]
    if run is None:
        run = open_run(ctx, [ticket.id for ticket in parked], None, {ticket.id: ticket for ticket in parked})
        return [_taken_over(ctx, run, ticket.id) for ticket in parked]
    order = [ticket.id for ticket in ctx.store.tickets(run.id)]  # what is depended on first
    return [_take_up(ctx, ticket) for ticket in sorted(parked, key=lambda ticket: order.index(ticket.id))]


def _taken_over(ctx: Context, run: Run, ticket_id: str) -> str:
    if ctx.store.step_of(run.id, ticket_id) is not None:
        return f"{ticket_id}: taken up again in run {run.id}"
    said = [event.text for event in ctx.store.events(run.id) if event.ticket == ticket_id]
    return f"{ticket_id}: {said[0] if said else 'left out'}"


def _parked(ctx: Context, ticket_id: str, run: Run | None) -> TicketState:
    if run is not None and ctx.store.step_of(run.id, ticket_id) is None:
        raise RunStateError(f"{ticket_id}: not part of the open run {run.id}; retry it when that has ended")
    ticket = ctx.store.ticket(run.id, ticket_id) if run else _last_state(ctx, ticket_id)
    if ticket is None:
        raise UsageError(f"{ticket_id}: no run has had it; `backlog-ops run {ticket_id}` does")
    aborted = run is None and ticket.step is not Step.DONE
    if ticket.step is not Step.PARKED and not aborted:
        raise RunStateError(f"{ticket_id}: not parked; it is {ticket.step}")
    return ticket


def _take_up(ctx: Context, ticket: TicketState) -> str:
    at, history = Step(ticket.parked_at or Step.PREPARE.value), ticket.history
    if ticket.worktree is None or not ctx.worktree_path(ticket).is_dir():
        at = Step.PREPARE
    carried = ctx.git.commit_of(kept_ref(ticket)) if at is Step.PREPARE else None
    if ticket.reason and ticket.reason.startswith(CONFLICT):
        history = as_history([*earlier_failures(ticket), Failure("Merge", ticket.reason)])
    unfinished = {t.id: t.wave or 0 for t in ctx.store.tickets(ticket.run) if t.step is not Step.DONE}
    least = 1 + max((unfinished[other] for other in ctx.parsed(ticket).depends_on if other in unfinished), default=-1)
    wave = take_up(ctx.store, ticket, at, carried, history, least)
    return f"{ticket.id}: taken up again at {at}" + (f", in wave {wave}" if wave else "")
