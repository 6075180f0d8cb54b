"""`backlog-ops quote`: what the pending tickets will cost, and how good such quotes were. No model is asked."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from backlog_ops.cli.opening import open_context
from backlog_ops.cli.prices import warn_of_age
from backlog_ops.cli.printing import table
from backlog_ops.domain.budget import Expected
from backlog_ops.domain.pricing import iso_day
from backlog_ops.domain.settings import Budget
from backlog_ops.domain.waves import plan_waves
from backlog_ops.errors import EXIT_OK
from backlog_ops.money.history import Calibration, calibration
from backlog_ops.money.quote import Quote, TicketQuote, quote
from backlog_ops.money.reservations import spent_since, start_of_day
from backlog_ops.run.backlog import first_committed
from backlog_ops.run.context import Context
from backlog_ops.run.opening import select

COLUMNS = ("ticket", "gate", "tier", "model", "P50", "P90", "basis")


def print_quote(args: argparse.Namespace) -> int:
    ctx = open_context()
    today = iso_day(ctx.clock())
    quoted, left_out = quote_of(ctx, args.ids, today)
    past = calibration(ctx.store.connection)
    warnings = over_budget(quoted, ctx.settings.llm_ops.budget, spent_today(ctx))
    if args.format == "json":
        print(json.dumps(_as_json(ctx, quoted, left_out, past, warnings), ensure_ascii=False))
    else:
        print(as_text(ctx, quoted, left_out, past))
    for line in warnings:
        print(f"backlog-ops: warning: {line}", file=sys.stderr)
    warn_of_age(ctx.prices, today)
    return EXIT_OK


def quote_of(ctx: Context, ids: Sequence[str], today: str) -> tuple[Quote, dict[str, str]]:
    """(quote, id → why it is left out) of the tickets that a run would take up, in the deterministic planner's waves.

    Raises as `select` does.
    """
    selection = select(ctx, ids)
    ages = first_committed(ctx.git, ctx.settings)
    added = {ticket.id: ages[ticket.path] for ticket in selection.tickets if ticket.path in ages}
    plan = plan_waves(selection.tickets, selection.completed, added, ctx.settings.backlog)
    by_id = {ticket.id: ticket for ticket in selection.tickets}
    planned = [by_id[slot.id] for wave in plan.waves for slot in wave]
    quoted = quote(ctx.store.connection, ctx.settings, ctx.prices, planned, len(plan.waves), today)
    return quoted, {**selection.skipped, **{skip.id: skip.reason for skip in plan.skipped}}


def spent_today(ctx: Context) -> int:
    """Nano-dollars, by every run and call of this repository since midnight."""
    return spent_since(ctx.store.connection, start_of_day(ctx.clock()))


def over_budget(quoted: Quote, budget: Budget, spent: int) -> list[str]:
    """What will more likely than not end at a limit; `spent`: nano-dollars today."""
    found = [
        f"{one.id}: P50 {dollars(one.expected.p50)} is more than llmOps.budget.perTicketUsd"
        f" ({dollars(budget.per_ticket_nanousd)}); it would be parked"
        for one in quoted.tickets
        if one.expected and one.expected.p50 > budget.per_ticket_nanousd
    ]
    if quoted.total.p50 > budget.per_run_nanousd:
        found.append(
            f"all: P50 {dollars(quoted.total.p50)} is more than llmOps.budget.perRunUsd"
            f" ({dollars(budget.per_run_nanousd)}); the run would end before all tickets are done"
        )
    left = max(0, budget.per_day_nanousd - spent)
    if quoted.total.p50 > left:
        found.append(
            f"all: P50 {dollars(quoted.total.p50)} is more than the {dollars(left)} that is left today of"
            f" llmOps.budget.perDayUsd ({dollars(budget.per_day_nanousd)}); the run would end before all are done"
        )
    return found


def dollars(nanousd: int | None) -> str:
    return "unknown" if nanousd is None else f"${nanousd / 1e9:.4f}"


def as_text(ctx: Context, quoted: Quote, left_out: dict[str, str], past: Calibration) -> str:
    rows = [row for one in quoted.tickets for row in _rows(one)]
    rows.append(("run", f"{quoted.waves} waves", "", "", *_both(quoted.around), "planning and summaries"))
    unknown = f" + {quoted.unknown} tickets of unknown cost" if quoted.unknown else ""
    budget = ctx.settings.llm_ops.budget
    lines = [
        table(COLUMNS, rows),
        "",
        f"all: P50 {dollars(quoted.total.p50)} · P90 {dollars(quoted.total.p90)}{unknown}"
        f" (budget: {dollars(budget.per_run_nanousd)} a run, {dollars(budget.per_ticket_nanousd)} a ticket,"
        f" {dollars(budget.per_day_nanousd)} a day, of which {dollars(spent_today(ctx))} is spent)",
        f"a parent session adds about {dollars(quoted.parent_wave)} a wave; `backlog-ops run` has none",
        f"prices of {ctx.prices.date}; priors stand for what you have no history of: docs/costs.md",
        calibration_line(past),
        *(f"left out: {name}: {reason}" for name, reason in left_out.items()),
    ]
    return "\n".join(lines)


def _rows(one: TicketQuote) -> list[tuple[str, ...]]:
    gates = [("", str(g.gate), str(g.tier), g.model, *_both(g.expected), "") for g in one.gates]
    return [(one.id, "all", "", "", *_both(one.expected), one.basis), *gates]


def _both(expected: Expected | None) -> tuple[str, str]:
    return (dollars(expected.p50), dollars(expected.p90)) if expected else ("unknown", "unknown")


def calibration_line(past: Calibration) -> str:
    if not past.tickets:
        return "past quotes: none has ended yet"
    ratio = f", in the middle {past.median_ratio:.2f} times its P50" if past.median_ratio is not None else ""
    return (
        f"past quotes: of {past.tickets} tickets {past.within_p50} cost no more than their P50 (expected: half),"
        f" {past.within_p90} no more than their P90 (expected: nine in ten){ratio}"
    )


def _as_json(
    ctx: Context, quoted: Quote, left_out: dict[str, str], past: Calibration, warnings: list[str]
) -> dict[str, Any]:
    budget = ctx.settings.llm_ops.budget
    return {
        "tickets": [_ticket_json(one) for one in quoted.tickets],
        "waves": quoted.waves,
        "around": _expected_json(quoted.around),
        "total": {**_expected_json(quoted.total), "unknown_tickets": quoted.unknown},
        "parent_wave_nanousd": quoted.parent_wave,
        "budget": {
            "per_ticket_nanousd": budget.per_ticket_nanousd,
            "per_run_nanousd": budget.per_run_nanousd,
            "per_day_nanousd": budget.per_day_nanousd,
            "spent_today_nanousd": spent_today(ctx),
        },
        "calibration": {
            "tickets": past.tickets,
            "within_p50": past.within_p50,
            "within_p90": past.within_p90,
            "median_ratio": past.median_ratio,
        },
        "price_date": ctx.prices.date,
        "left_out": left_out,
        "warnings": warnings,
    }


def _ticket_json(one: TicketQuote) -> dict[str, Any]:
    return {
        "id": one.id,
        "type": one.kind.type,
        "size": one.kind.size,
        "complexity": one.kind.complexity,
        **_expected_json(one.expected),
        "basis": one.basis,
        "gates": [
            {"gate": g.gate.value, "tier": g.tier.value, "model": g.model, **_expected_json(g.expected)}
            for g in one.gates
        ],
    }


def _expected_json(expected: Expected | None) -> dict[str, Any]:
    return {
        "p50_nanousd": expected.p50 if expected else None,
        "p90_nanousd": expected.p90 if expected else None,
    }
