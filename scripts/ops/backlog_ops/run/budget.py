"""Budgets of a run: what a step may cost is set aside before it begins (domain/budget.py says how it is admitted).

A ticket does one thing at a time, so it holds one reservation: what its step is expected to take, and its share of what
nobody else has a claim to. It counts, less what has come in since, until the ticket is judged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from backlog_ops.domain.budget import Admission, Expected, Limit, admit, dollars
from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.pricing import Usage, iso_day
from backlog_ops.money.ledger import spent
from backlog_ops.money.reservations import held_by_calls, held_by_tickets, spent_since, start_of_day
from backlog_ops.run.actions import AGENTS
from backlog_ops.run.context import Context
from backlog_ops.run.progress import GATES, actions_of, run_limit
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.steps import Step

ONE_CALL = Usage(cache_write_5m=2_000, cache_read=40_000, output=1_000)  # by so much an agent may pass its limit
_BUYING = {Step.PREPARE: Gate.PLAN, **GATES}
_BUYING_STEPS = ", ".join(f"'{step.value}'" for step in _BUYING)


def admit_step(ctx: Context, run: Run, ticket: TicketState) -> Admission | None:
    """Set aside what the next step of a ticket may cost; None for a step that buys nothing."""
    gate = _BUYING.get(ticket.step)
    if gate is None or actions_of(ctx, ticket):  # what was bought already is to be judged
        return None
    need, what = _need(ctx, gate, ticket)
    with ctx.store.transaction() as db:
        limits = _limits(db, ctx, run, ticket)
        admission = admit(limits, need, _sharing(db, run, ticket), what)
        _set_aside(db, ctx, ticket, admission)
        _warn(db, ctx, run, ticket, limits)
    return admission


def _set_aside(db: sqlite3.Connection, ctx: Context, ticket: TicketState, admission: Admission) -> None:
    """What the ticket holds from now on; a row of 0 is one that waits."""
    held = db.execute("SELECT nanousd FROM reservation WHERE holder = ?", (_holder(ticket),)).fetchone()
    if admission.waits and held is not None and held[0] == 0:
        return
    db.execute("DELETE FROM reservation WHERE holder = ?", (_holder(ticket),))
    if admission.amount or admission.waits:
        db.execute(
            "INSERT INTO reservation (holder, run, ticket, nanousd, at) VALUES (?, ?, ?, ?, ?)",
            (_holder(ticket), ticket.run, ticket.id, admission.amount or 0, ctx.clock()),
        )
    if admission.waits:
        ctx.store.say_within(db, ticket.run, ticket.id, admission.reason)


def exhausted(ctx: Context, run: Run, ticket: TicketState) -> str | None:
    """Why agents at work on a ticket have to end: a budget is spent. None while there is something left."""
    if ticket.step not in _BUYING:
        return None
    limits = _limits(ctx.store.connection, ctx, run, ticket)
    over = next((limit for limit in limits if limit.spent >= limit.most), None)
    return f"budget: nothing is left of {over.name}" if over else None


def agents_limit(ctx: Context, ticket: TicketState, action: Action) -> int:
    """Nano-dollars after which the host ends an agent: its part of what the ticket holds, less the one call by which
    it may pass that.
    """
    rows = ctx.store.rows("SELECT nanousd, at FROM reservation WHERE holder = ?", _holder(ticket))
    if not rows:  # opened before anybody set anything aside
        most = ctx.settings.llm_ops.budget.per_ticket_nanousd
        return max(0, most - ctx.store.spent(ticket.run, ticket.id).nanousd)
    used = spent_since(ctx.store.connection, rows[0]["at"], ticket.run, ticket.id)
    at_work = max(1, sum(one.state == "open" for one in actions_of(ctx, ticket)))
    part = max(0, int(rows[0]["nanousd"]) - used) // at_work
    return max(part - _one_call(ctx, action.tier), part // 2)


def may_pay(ctx: Context, run: Run, gate: Gate) -> bool:
    """Whether a text gate of the run as a whole may go to a paid model."""
    need, _what = _need(ctx, gate, None)
    return all(limit.left >= (need.p50 if need else 1) for limit in _limits(ctx.store.connection, ctx, run, None))


def _holder(ticket: TicketState) -> str:
    return f"{ticket.run}/{ticket.id}"


def _need(ctx: Context, gate: Gate, ticket: TicketState | None) -> tuple[Expected | None, str]:
    """What a step is expected to take, and what it is."""
    from backlog_ops.domain.routing import entry_tier
    from backlog_ops.money.quote import action_expected

    tier = ctx.decide(gate, ticket).tier if ticket else entry_tier(gate, ctx.settings.llm_ops.routing)
    if tier is None:  # the step will say that no attempt is left
        return Expected(0, 0), str(gate)
    found = action_expected(ctx.store.connection, ctx.settings, ctx.prices, gate, tier, _today(ctx))
    times = len(ctx.settings.review_pipeline.reviewers) if gate is Gate.REVIEW else 1
    over = _one_call(ctx, tier) if gate in AGENTS else 0
    return found and Expected((found.p50 + over) * times, (found.p90 + over) * times), f"{gate} on {tier}"


def _one_call(ctx: Context, tier: Tier) -> int:
    return ctx.prices.cost(ctx.settings.llm_ops.models.by_tier[tier], ONE_CALL, _today(ctx)) or 0


def _limits(db: sqlite3.Connection, ctx: Context, run: Run, ticket: TicketState | None) -> list[Limit]:
    budget = ctx.settings.llm_ops.budget
    held = held_by_tickets(db, run.id, ticket.id if ticket else "")
    most, flag = run_limit(ctx, run), "llmOps.budget.perRunUsd"
    if run.max_nanousd is not None and run.max_nanousd == most:
        flag = "--max-usd"
    today = spent_since(db, start_of_day(ctx.clock()))
    limits = [
        Limit(_named("the run's", most, flag), most, spent(db, run.id).nanousd, held),
        Limit(
            _named("today's", budget.per_day_nanousd, "llmOps.budget.perDayUsd"),
            budget.per_day_nanousd,
            today,
            held + held_by_calls(db),
        ),
    ]
    if ticket is not None:
        of_ticket = budget.per_ticket_nanousd
        name = _named("the ticket's", of_ticket, "llmOps.budget.perTicketUsd")
        limits.append(Limit(name, of_ticket, spent(db, run.id, ticket.id).nanousd, 0, shared=False))
    return limits


def _named(whose: str, most: int, key: str) -> str:
    return f"{whose} {dollars(most)} ({key})"


def _sharing(db: sqlite3.Connection, run: Run, ticket: TicketState) -> int:
    """Tickets of the wave that still have something to buy and hold nothing yet, and this one: it gives back what it
    holds.
    """
    sql = (
        f"SELECT count(*) FROM ticket WHERE run = ? AND wave = ? AND step IN ({_BUYING_STEPS}) AND (id = ? OR NOT"
        " EXISTS (SELECT 1 FROM reservation WHERE reservation.run = ticket.run AND reservation.ticket = ticket.id"
        " AND reservation.nanousd > 0))"
    )
    return int(db.execute(sql, (run.id, run.wave, ticket.id)).fetchone()[0])


def _warn(db: sqlite3.Connection, ctx: Context, run: Run, ticket: TicketState, limits: Sequence[Limit]) -> None:
    share = ctx.settings.llm_ops.budget.warn_percent
    day = int(start_of_day(ctx.clock()))
    subjects = (f"{run.id}", f"day {day}", _holder(ticket))
    for limit, subject in zip(limits, subjects, strict=True):
        if limit.spent * 100 < limit.most * share or not limit.most:
            continue
        new = db.execute("INSERT OR IGNORE INTO warning (subject, at) VALUES (?, ?)", (subject, ctx.clock()))
        if new.rowcount == 1:
            percent = limit.spent * 100 // limit.most
            text = f"warning: {percent} % of {limit.name} is spent"
            ctx.store.say_within(db, run.id, None if limit.shared else ticket.id, text)


def _today(ctx: Context) -> str:
    return iso_day(ctx.clock())
