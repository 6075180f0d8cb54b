"""A ticket whose last step cost far more than its earlier ones waits until a person has said that it may go on.

Compared are attempts of one gate by their tokens, at the prices of one model and as if all had been read from the
cache: that an escalation costs more is no surprise, and who finds the cache warm is chance.
"""

from __future__ import annotations

from collections.abc import Sequence

from backlog_ops.domain.budget import dollars
from backlog_ops.domain.pricing import Usage, iso_day
from backlog_ops.run import journal
from backlog_ops.run.context import Context
from backlog_ops.run.rows import Action, TicketState

_ATTEMPTS = """
SELECT run, attempt, sum(input + cache_write_5m + cache_write_1h + cache_read) AS read, sum(output) AS written,
    coalesce(sum(cost_nanousd), 0) AS cost, count(*) - count(input) AS unknown
FROM ledger WHERE run IN (SELECT run FROM ticket WHERE id = ?1) AND ticket = ?1 AND gate = ?2 AND EXISTS (
    SELECT 1 FROM action WHERE action.run = ledger.run AND action.ticket = ledger.ticket
    AND action.gate = ledger.gate AND action.attempt = ledger.attempt AND action.brief <> ''
    AND (action.cause IS NULL OR EXISTS (SELECT 1 FROM question WHERE question.run = action.run
        AND question.ticket = action.ticket AND question.tip = action.gate || ' #' || action.attempt)))
GROUP BY run, attempt
"""  # one that died has done only part of its work; one that a person was asked about has done all of it
LEAST_NANOUSD = 10_000_000  # nobody is asked about less than a cent


def spike(ctx: Context, ticket: TicketState, judged: Sequence[Action]) -> str | None:
    """How much more an attempt took than the ticket's earlier ones of that gate; None where it did not, where there
    were none, and where tokens or prices are not known.
    """
    most = ctx.settings.llm_ops.budget.spike_factor
    if not most or not judged or judged[0].number <= ticket.asked_again:  # `retry` is an answer too
        return None
    today = iso_day(ctx.clock())
    price = ctx.prices.price(ctx.settings.llm_ops.models.by_tier[judged[0].tier], today)
    attempts = ctx.store.rows(_ATTEMPTS, ticket.id, judged[0].gate.value)
    if price is None or any(row["unknown"] for row in attempts):
        return None
    work = {
        (row["run"], row["attempt"]): price.rates.nanousd(Usage(cache_read=row["read"], output=row["written"]))
        for row in attempts
    }
    this = (ticket.run, judged[0].attempt)
    cost = next((int(row["cost"]) for row in attempts if (row["run"], row["attempt"]) == this), 0)
    now = work.pop(this, 0)
    usual = sum(work.values()) / len(work) if work else 0
    if cost < LEAST_NANOUSD or not usual or now <= most * usual:
        return None
    return f"{_about(judged)} cost {dollars(cost)}: {now / usual:.1f} times the work of its earlier ones"


def answer_about(ctx: Context, ticket: TicketState, judged: Sequence[Action]) -> str | None:
    """What the person said about this attempt; None where nobody was asked."""
    sql = "SELECT answer FROM question WHERE run = ? AND ticket = ? AND tip = ?"
    rows = ctx.store.rows(sql, ticket.run, ticket.id, _about(judged))
    return rows[0]["answer"] if rows else None


def hold(ctx: Context, ticket: TicketState, judged: Sequence[Action], found: str) -> None:
    """The ticket waits for the person's answer; the others of its wave go on, and may have the money that it held."""
    with ctx.store.transaction() as db:
        asked = db.execute(
            "INSERT INTO question (run, ticket, text, tip, asked_at) VALUES (?, ?, ?, ?, ?)",
            (ticket.run, ticket.id, f"{ticket.id}: {found}; go on with it?", _about(judged), ctx.clock()),
        )
        ctx.store.change_within(db, ticket, {"held": asked.lastrowid})
        db.execute("DELETE FROM reservation WHERE run = ? AND ticket = ?", (ticket.run, ticket.id))
        journal.settled(db, ticket.run, ticket.id)
        ctx.store.say_within(db, ticket.run, ticket.id, f"waits for you: {found}; q{asked.lastrowid}")


def _about(judged: Sequence[Action]) -> str:
    return f"{judged[0].gate} #{judged[0].attempt}"
