"""A ticket whose last step cost far more than its earlier ones waits until a person has said that it may go on.

Compared are attempts of one gate, by what they would cost on one model: that an escalation costs more is no surprise.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from backlog_ops.domain.budget import dollars
from backlog_ops.run import journal
from backlog_ops.run.budget import ONE_CALL
from backlog_ops.run.context import Context
from backlog_ops.run.rows import Action, TicketState

LEAST_NANOUSD = 10_000_000  # nobody is asked about less than a cent


def spike(ctx: Context, ticket: TicketState, judged: Sequence[Action]) -> str | None:
    """How much more an attempt cost than the ticket's earlier ones of that gate; None where it did not, where there
    were none, and where a price is not known.
    """
    most = ctx.settings.llm_ops.budget.spike_factor
    if not most or not judged:
        return None
    gate, attempt = judged[0].gate.value, judged[0].attempt
    sql = (
        "SELECT run, attempt, answered_model, sum(cost_nanousd) AS cost, count(*) - count(cost_nanousd) AS unknown"
        " FROM ledger WHERE ticket = ? AND gate = ? AND run IS NOT NULL GROUP BY run, attempt, answered_model"
    )
    costs: dict[tuple[str, int], float] = {}
    total = 0
    for row in ctx.store.rows(sql, ticket.id, gate):
        unit = _unit(ctx, row["answered_model"])
        if row["unknown"] or not unit:
            return None
        key = (row["run"], row["attempt"])
        costs[key] = costs.get(key, 0.0) + row["cost"] / unit
        total += row["cost"] if key == (ticket.run, attempt) else 0
    now = costs.pop((ticket.run, attempt), 0.0)
    usual = sum(costs.values()) / len(costs) if costs else 0.0
    if total < LEAST_NANOUSD or not usual or now <= most * usual:
        return None
    return f"{gate} #{attempt} cost {dollars(total)}, {now / usual:.1f} times what its earlier ones did (same prices)"


def answer_about(ctx: Context, ticket: TicketState, judged: Sequence[Action]) -> str | None:
    """What the person said about this attempt; None where nobody was asked."""
    sql = "SELECT answer FROM question WHERE run = ? AND ticket = ? AND tip = ?"
    rows = ctx.store.rows(sql, ticket.run, ticket.id, _about(judged))
    return rows[0]["answer"] if rows else None


def hold(ctx: Context, ticket: TicketState, judged: Sequence[Action], found: str) -> None:
    """The ticket waits for the person's answer; the others of its wave go on."""
    with ctx.store.transaction() as db:
        asked = db.execute(
            "INSERT INTO question (run, ticket, text, tip, asked_at) VALUES (?, ?, ?, ?, ?)",
            (ticket.run, ticket.id, f"{ticket.id}: {found}; go on with it?", _about(judged), ctx.clock()),
        )
        ctx.store.change_within(db, ticket, {"held": asked.lastrowid})
        journal.settled(db, ticket.run, ticket.id)
        ctx.store.say_within(db, ticket.run, ticket.id, f"waits for you: {found}; q{asked.lastrowid}")


def _about(judged: Sequence[Action]) -> str:
    return f"{judged[0].gate} #{judged[0].attempt}"


def _unit(ctx: Context, model: str | None) -> int | None:
    """What one call of a fixed size costs on a model: what its costs are measured by."""
    today = time.strftime("%Y-%m-%d", time.gmtime(ctx.clock()))
    return ctx.prices.cost(model, ONE_CALL, today) if model else None
