"""How a gate ends a ticket's step: passed on, failed, parked."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.text import one_line
from backlog_ops.run import worktrees
from backlog_ops.run.context import Context
from backlog_ops.run.rows import Action, TicketState, Verdict
from backlog_ops.run.steps import Step
from backlog_ops.run.transactions import LONGEST_LINE


def park(
    ctx: Context, ticket: TicketState, reason: str, closing: Sequence[Action] = (), resume_at: Step | None = None
) -> None:
    """Take the ticket out of the run, with its history and its work; the run goes on. `retry` goes on with
    `resume_at`, else with the step that failed.
    """
    reason = one_line(reason, LONGEST_LINE)
    kept = worktrees.keep(ctx, ticket)
    ctx.store.settle(
        ticket,
        f"parked: {reason}" if kept is None else f"parked: {reason} (its work could not be kept: {kept})",
        closing=[action._replace(cause=action.cause or reason) for action in closing],
        step=Step.PARKED,
        reason=reason,
        parked_at=resume_at or ticket.step,
        held=None,
    )


def fail(
    ctx: Context,
    ticket: TicketState,
    gate: Gate,
    detail: str,
    headline: str,
    closing: Sequence[Action] = (),
    **changes: str | None,
) -> None:
    """A failed LINT or REVIEW verdict: one more quality-gate failure, and back to IMPLEMENT, which routes."""
    ctx.store.settle(
        ticket,
        f"{gate} failed: {headline}",
        closing=closing,
        verdict=verdict_on(ctx, ticket, gate, False, detail),
        step=Step.IMPLEMENT,
        fails=ticket.fails + 1,
        approved_tree=None,
        message=None,
        **changes,
    )


def verdict_on(ctx: Context, ticket: TicketState, gate: Gate, passed: bool, detail: str) -> Verdict:
    """The verdict of a gate on the attempt that is being judged."""
    return Verdict(ticket.attempt, gate, implemented_on(ctx, ticket), passed, ticket.work_tree, detail)


def implemented_on(ctx: Context, ticket: TicketState) -> Tier:
    """The tier that wrote what is being judged."""
    return ctx.store.implement_tiers(ticket).get(ticket.attempt, Tier.CHEAP)


def effort(ctx: Context, action: Action) -> str:
    """`#2 · balanced (fails>=1) · claude-sonnet-5-5 · $0.0164 · 12.3 s`: what an action took."""
    receipts = ctx.store.receipts_of(action)
    models = sorted({row["answered_model"] for row in receipts if row["answered_model"]})
    costs = [row["cost_nanousd"] for row in receipts]
    parts = [f"#{action.attempt}", f"{action.tier} ({action.rule})", *models]
    if costs:
        parts.append("cost unknown" if None in costs else f"${sum(costs) / 1e9:.4f}")
        parts.append(f"{_seconds(receipts):.1f} s")
    return " · ".join(parts)


def _seconds(receipts: Sequence[sqlite3.Row]) -> float:
    """What models took: a session's receipts are one a call, those of `claude -p` each cover the whole process."""
    calls = sum(row["latency_ms"] for row in receipts if row["source"] == "session")
    whole = max((row["latency_ms"] for row in receipts if row["source"] != "session"), default=0)
    return float(calls + whole) / 1000
