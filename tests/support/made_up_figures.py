"""Figures of a made-up project, whose parts agree as those of a real ledger do: for looking at a report."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from backlog_ops.money.ledger import Spent
from backlog_ops.report.figures import (
    Acceptance,
    Amount,
    Answered,
    BudgetUse,
    Escalation,
    Fallback,
    Figures,
    LocalModelStats,
    Savings,
    SavingsLine,
    Slice,
    TicketCost,
    Unattributed,
    WaveCost,
    Yield,
    sum_of,
)

RUNS = ("r-20261120-0901", "r-20261123-1410")
HAIKU, SONNET, OPUS, LOCAL = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "qwen3-coder:30b"
TITLES = ("Login fails on long names", "Add a dark theme", "Faster start", "Export as CSV", "Remove the old parser")
GATES = {"PLAN": 4_000_000, "IMPLEMENT": 30_000_000, "LINT": 300_000, "REVIEW": 9_000_000, "COMMIT": 200_000}
TICKETS_A_WAVE = 3
ASSUMPTION = (
    "The same tokens priced on the routing before the plan: IMPLEMENT on balanced, REVIEW on cheap, all else as it was."
)


def made_up_figures(tickets: int = 7, title: str = "", note: str = "") -> Figures:
    """The same each time. `title`: of the dearest ticket; `note`: beside the sums."""
    random = Random(7)
    costs = sorted((_ticket(random, place) for place in range(tickets)), key=lambda t: -t.full_nanousd)
    if title:
        costs[0] = replace(costs[0], title=title)
    parent = Amount(6 * tickets, sum(ticket.shared_nanousd for ticket in costs), cache_read=90_000, output=900)
    elsewhere = (Slice("WAVE_PLAN", Amount(tickets // 3, 450_000 * tickets, input=2_000, output=300)),)
    return _figures(tuple(costs), parent, elsewhere, (note,) if note else ())


def no_figures() -> Figures:
    """Of a ledger without a row."""
    return _figures((), Amount(), (), ())


def _ticket(random: Random, place: int) -> TicketCost:
    attempts = random.choice((1, 1, 1, 2, 3))
    parked = random.random() < 0.15
    gates = []
    for gate, usual in GATES.items():
        cost = int(usual * random.uniform(0.5, 1.8)) * (attempts if gate in ("IMPLEMENT", "REVIEW") else 1)
        unknown = int(random.random() < 0.04)
        read, written = cost // 1_000, cost // 20_000
        tokens = {"input": read // 10, "cache_read": read - read // 10, "output": written}
        gates.append(Slice(gate, Amount(4 * attempts + unknown, cost, unknown, **tokens)))
    return TicketCost(
        id=f"{random.choice(('BUG', 'FEAT', 'TECH'))}-{place + 1:03}",
        title=TITLES[place % len(TITLES)],
        state="parked" if parked else "done",
        reason="REVIEW failed 3 times" if parked else "",
        runs=(RUNS[place % 2],),
        wave=place // (2 * TICKETS_A_WAVE) + 1,
        attempts=attempts,
        gates=tuple(gates),
        own=sum_of(part.amount for part in gates),
        shared_nanousd=2_300_000 + place % 3,
    )


def _figures(
    tickets: tuple[TicketCost, ...], parent: Amount, elsewhere: tuple[Slice, ...], notes: tuple[str, ...]
) -> Figures:
    own = sum_of(ticket.own for ticket in tickets)
    total = own + parent + sum_of(part.amount for part in elsewhere)
    gates = tuple(Slice(gate, _of_gate(tickets, gate)) for gate in GATES) if tickets else ()
    return Figures(
        project="example-shop",
        made_at=1_795_600_000.0,
        since=None,
        price_date="2026-11-01",
        notes=notes,
        total=total,
        tickets=tickets,
        parent=parent,
        elsewhere=elsewhere,
        by_gate=(*elsewhere, *gates, Slice("parent", parent)) if tickets else (),
        by_model=_parts(total, ((SONNET, 70), (HAIKU, 18), (OPUS, 9), (LOCAL, 0))) if tickets else (),
        by_wave=_waves(tickets, total, parent),
        by_run=_parts(total, ((RUNS[0], 55), (RUNS[1], 45))) if tickets else (),
        by_source=_parts(total, (("session", 60), ("claude-cli", 25), ("parent", 10), ("llm_call", 5)))
        if tickets
        else (),
        answered=_answered(total) if tickets else (),
        escalations=(
            Escalation("cheap", "balanced", "REVIEW", "failed-twice", 3, Amount(12, 80_000_000)),
            Escalation("balanced", "frontier", "TEST_EXEC", "failed-twice", 1, Amount(7, 140_000_000)),
        )
        if tickets
        else (),
        by_rule=_parts(total, (("default", 80), ("failed-twice", 15), ("security tag", 5))) if tickets else (),
        fallbacks=(Fallback("LINT", HAIKU, "ollama: connection refused", Amount(4, 900_000)),) if tickets else (),
        yields=(
            Yield("all gates", SONNET, 5 * len(tickets) // 7, len(tickets)),
            Yield("LINT", SONNET, len(tickets), len(tickets)),
            Yield("REVIEW", SONNET, 6 * len(tickets) // 7, len(tickets)),
        )
        if tickets
        else (),
        acceptance=_acceptance(tickets, total),
        savings=_savings(tickets),
        budget=(
            BudgetUse("run " + RUNS[1], Spent(total.nanousd // 2, total.unknown_calls), 3 * total.nanousd // 4, 80),
            BudgetUse("today", Spent(total.nanousd // 2, 0), 5 * total.nanousd // 9, 80),
        )
        if tickets
        else (),
        unattributed=(Unattributed("5f0c6c1e-session", 1_200_000), Unattributed("another-session", None))
        if tickets
        else (),
        local_model_stats=LocalModelStats(9, 6, 3, (("LINT", 1), ("REVIEW", 2)))
        if tickets
        else LocalModelStats(0, 0, 0, ()),
    )


def _of_gate(tickets: tuple[TicketCost, ...], gate: str) -> Amount:
    return sum_of(part.amount for ticket in tickets for part in ticket.gates if part.name == gate)


def _parts(total: Amount, percents: tuple[tuple[str, int], ...]) -> tuple[Slice, ...]:
    """`total` by parts; the first takes what rounding leaves."""

    others = [Slice(name, Amount(*(count * percent // 100 for count in total))) for name, percent in percents[1:]]
    rest = sum_of(other.amount for other in others)
    first = Amount(*(whole - part for whole, part in zip(total, rest, strict=True)))
    return (Slice(percents[0][0], first), *others)


def _waves(tickets: tuple[TicketCost, ...], total: Amount, parent: Amount) -> tuple[WaveCost, ...]:
    if not tickets:
        return ()
    names = sorted({(ticket.runs[0], ticket.wave or 0) for ticket in tickets})
    waves = []
    for run, number in names:
        inside = [ticket for ticket in tickets if (ticket.runs[0], ticket.wave) == (run, number)]
        shared = Amount(6 * len(inside), sum(ticket.shared_nanousd for ticket in inside))
        waves.append(WaveCost(run, number, len(inside), sum_of(ticket.own for ticket in inside) + shared, shared))
    known = sum_of(wave.amount for wave in waves)
    rest = Amount(total.calls - known.calls, total.nanousd - known.nanousd)
    return (*waves, WaveCost(RUNS[0], None, 0, rest, Amount()))


def _answered(total: Amount) -> tuple[Answered, ...]:
    asked = (
        ("balanced", SONNET, "anthropic", SONNET, True),
        ("cheap", HAIKU, "anthropic", HAIKU, True),
        ("frontier", OPUS, "anthropic", SONNET, False),
        ("free", LOCAL, "ollama", "–", None),
    )
    amounts = [part.amount for part in _parts(total, (("a", 70), ("b", 18), ("c", 9), ("d", 3)))]
    return tuple(Answered(*who, amount) for who, amount in zip(asked, amounts, strict=True))


def _acceptance(tickets: tuple[TicketCost, ...], total: Amount) -> Acceptance:
    accepted = sum(ticket.accepted for ticket in tickets)
    return Acceptance(accepted, sum(ticket.state == "parked" for ticket in tickets), 0, total)


def _savings(tickets: tuple[TicketCost, ...]) -> Savings:
    if not tickets:
        return Savings(ASSUMPTION, ())
    lines = []
    for gate, tier, model, factor in (("IMPLEMENT", "balanced", SONNET, 1.6), ("REVIEW", "cheap", HAIKU, 0.7)):
        amount = _of_gate(tickets, gate)
        known = amount._replace(unknown_calls=0)
        lines.append(SavingsLine(gate, tier, model, known, int(amount.nanousd * factor)))
    return Savings(ASSUMPTION, tuple(lines))
