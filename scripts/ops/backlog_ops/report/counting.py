"""From the database to figures: one look at it, so that every table of a report is about the same rows."""

from __future__ import annotations

import sqlite3
import time
from calendar import timegm
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.host_models import is_same
from backlog_ops.domain.pricing import PriceTable, iso_day
from backlog_ops.domain.settings import Budget
from backlog_ops.money import cube
from backlog_ops.money.cube import Amount, Profile, WaveSum, sum_of
from backlog_ops.money.ledger import spent
from backlog_ops.money.reservations import start_of_day
from backlog_ops.report import outcomes
from backlog_ops.report.baseline import savings
from backlog_ops.report.figures import (
    Acceptance,
    Answered,
    BudgetUse,
    Fallback,
    Figures,
    LocalModelStats,
    Slice,
    TicketCost,
    Unattributed,
    WaveCost,
    Yield,
)
from backlog_ops.report.tickets import Known, known_tickets, parent_shares, ticket_costs

NOBODY_SAYS = outcomes.NOBODY_SAYS
PARENT = "parent"
_GATES = [gate.value for gate in Gate]

Profiles = Sequence[tuple[Profile, Amount]]


@dataclass(frozen=True)
class Question:
    """What a report is asked about, and what it is to be judged by."""

    project: str
    now: float  # Unix seconds
    since: str | None  # ISO day (UTC); None: from the first row on
    prices: PriceTable
    models: Mapping[Tier, str]
    budget: Budget
    most_lines: int | None = None  # of runs and of waves; older ones become one line

    @property
    def today(self) -> str:
        return iso_day(self.now)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader has to know first."""
        warning = self.prices.warning(self.today)
        return (warning,) if warning else ()


def count(connection: sqlite3.Connection, asked: Question) -> Figures:
    """All figures of the period, from one state of the database."""
    connection.execute("BEGIN")
    try:
        return _count(connection, asked)
    finally:
        connection.execute("ROLLBACK")


def count_attempts(connection: sqlite3.Connection, since: str | None) -> tuple[LocalModelStats, tuple[Yield, ...]]:
    """How the attempts of all runs of the period fared."""
    profiles = cube.profiles(connection, since)
    stats = outcomes.stats(outcomes.attempts(connection, since))
    return stats, outcomes.first_passes(connection, profiles, since)


def _count(connection: sqlite3.Connection, asked: Question) -> Figures:
    since = asked.since
    profiles, waves = cube.profiles(connection, since), cube.by_wave(connection, since)
    known = known_tickets(connection, since)
    tickets = ticket_costs(cube.by_ticket(connection, since), known, parent_shares(known, waves))
    tried = list(outcomes.attempts(connection, since))
    parent = sum_of(amount for profile, amount in profiles if profile.of_parent)
    elsewhere = [(p, amount) for p, amount in profiles if not (p.of_ticket or p.of_parent)]
    ruled = [(p, amount) for p, amount in profiles if p.rule]
    routed = [(p, amount) for p, amount in profiles if p.source != "llm_call"]
    return Figures(
        project=asked.project,
        made_at=asked.now,
        since=None if since is None else float(timegm(time.strptime(since, "%Y-%m-%d"))),
        price_date=asked.prices.date,
        notes=asked.notes,
        total=sum_of(amount for _, amount in profiles),
        tickets=tickets,
        parent=parent,
        elsewhere=_slices(elsewhere, lambda p: p.gate, _GATES),
        by_gate=_slices(profiles, lambda p: PARENT if p.of_parent else p.gate, _GATES),
        by_model=_slices(profiles, lambda p: p.answered_model),
        by_wave=_waves(waves, known, asked.most_lines),
        by_run=_runs(waves, asked.most_lines),
        by_source=_slices(profiles, lambda p: p.source),
        answered=_answered(profiles, asked.prices),
        escalations=outcomes.escalations(tried, cube.of_later_attempts(connection, since)),
        by_rule=_slices(ruled, lambda p: p.rule),
        fallbacks=tuple(
            Fallback(f.gate or NOBODY_SAYS, f.answered_model or NOBODY_SAYS, f.cause, f.amount)
            for f in cube.fallbacks(connection, since)
        ),
        yields=outcomes.first_passes(connection, profiles, since),
        acceptance=_acceptance(tickets, waves),
        savings=savings(routed, asked.prices, asked.models, asked.today),
        budget=_budget(connection, asked),
        unattributed=_unattributed(connection, since),
        local_model_stats=outcomes.stats(tried),
    )


def _slices(
    rows: Iterable[tuple[Profile, Amount]], name: Callable[[Profile], str], order: Sequence[str] = ()
) -> tuple[Slice, ...]:
    """In the order given, then the dearest first; "–" is last."""
    found: dict[str, list[Amount]] = {}
    for profile, amount in rows:
        found.setdefault(name(profile) or NOBODY_SAYS, []).append(amount)
    slices = [Slice(key, sum_of(amounts)) for key, amounts in found.items()]
    place = {key: number for number, key in enumerate(order)}
    slices.sort(
        key=lambda one: (one.name == NOBODY_SAYS, place.get(one.name, len(place)), -one.amount.nanousd, one.name)
    )
    return tuple(slices)


def _waves(waves: Sequence[WaveSum], known: Iterable[Known], most: int | None) -> tuple[WaveCost, ...]:
    """In the order of runs and waves; what was outside any run is last."""
    counts = Counter((ticket.run, ticket.wave or 0) for ticket in known)
    lines = [
        WaveCost(
            one.run or NOBODY_SAYS,
            one.wave or None,
            counts[one.run, one.wave] if one.wave else 0,
            one.amount,
            one.parent,
        )
        for one in sorted(waves, key=lambda one: (not one.run, one.run, one.wave))
    ]
    older, newer = _newest(lines, most)
    if not older:
        return tuple(lines)
    tickets, amount = sum(line.tickets for line in older), sum_of(line.amount for line in older)
    parent = sum_of(line.parent for line in older)
    return (WaveCost(f"{len(older):,} older waves", None, tickets, amount, parent), *newer)


def _runs(waves: Iterable[WaveSum], most: int | None) -> tuple[Slice, ...]:
    """In the order in which they began: their names are their times. What was outside any run is last."""
    found: dict[str, list[Amount]] = {}
    for one in waves:
        found.setdefault(one.run, []).append(one.amount)
    order = sorted(found, key=lambda run: (not run, run))
    older, newer = _newest([Slice(run or NOBODY_SAYS, sum_of(found[run])) for run in order], most)
    folded = [Slice(f"{len(older):,} older runs", sum_of(part.amount for part in older))] if older else []
    return (*folded, *newer)


Line = TypeVar("Line")


def _newest(lines: Sequence[Line], most: int | None) -> tuple[Sequence[Line], Sequence[Line]]:
    """(older, newer) of lines that are in the order of time."""
    place = 0 if most is None else max(0, len(lines) - most)
    return lines[:place], lines[place:]


def _answered(profiles: Profiles, prices: PriceTable) -> tuple[Answered, ...]:
    """The dearest first."""
    found: dict[tuple[str, str, str, str], list[Amount]] = {}
    for p, amount in profiles:
        found.setdefault((p.asked_tier, p.asked_model, p.provider, p.answered_model), []).append(amount)
    pairs = [
        Answered(tier, asked, provider, answered or NOBODY_SAYS, _as_asked(asked, answered, prices), sum_of(amounts))
        for (tier, asked, provider, answered), amounts in found.items()
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.amount.nanousd, pair.asked_tier, pair.asked_model)))


def _as_asked(asked: str, answered: str, prices: PriceTable) -> bool | None:
    if not answered:
        return None
    return is_same(prices.aliases.get(asked, asked), prices.aliases.get(answered, answered))


def _acceptance(tickets: Iterable[TicketCost], waves: Iterable[WaveSum]) -> Acceptance:
    """All that runs cost, and what was asked for a ticket outside any."""
    states = [ticket.state for ticket in tickets]
    of_runs = [one.amount for one in waves if one.run]
    by_hand = [ticket.own for ticket in tickets if not ticket.runs]
    accepted, parked = states.count("done"), states.count("parked")
    unknown = states.count("")
    return Acceptance(accepted, parked, len(states) - accepted - parked - unknown, sum_of([*of_runs, *by_hand]))


def _budget(connection: sqlite3.Connection, asked: Question) -> tuple[BudgetUse, ...]:
    """Of the open run or the last one, of its ticket that is nearest to the limit, and of today."""
    budget, uses = asked.budget, []
    run = connection.execute(
        "SELECT id, max_nanousd FROM run ORDER BY state = 'open' DESC, rowid DESC LIMIT 1"
    ).fetchone()
    if run is not None:
        most = budget.per_run_nanousd if run[1] is None else min(run[1], budget.per_run_nanousd)
        uses.append(BudgetUse(f"run {run[0]}", spent(connection, run[0]), most, budget.warn_percent))
        ticket = connection.execute(
            "SELECT ticket FROM tally WHERE run = ? AND ticket <> '' GROUP BY 1 ORDER BY sum(nanousd) DESC, 1 LIMIT 1",
            (run[0],),
        ).fetchone()
        if ticket is not None:
            used = spent(connection, run[0], ticket[0])
            uses.append(BudgetUse(f"ticket {ticket[0]}", used, budget.per_ticket_nanousd, budget.warn_percent))
    today = cube.since_moment(connection, start_of_day(asked.now))
    return (*uses, BudgetUse("today", today, budget.per_day_nanousd, budget.warn_percent))


def _unattributed(connection: sqlite3.Connection, since: str | None) -> tuple[Unattributed, ...]:
    rows = connection.execute(
        "SELECT session, unattributed_nanousd, repriced_nanousd FROM session_cost"
        " WHERE coalesce(date(at, 'unixepoch'), '') >= ?"
        " AND (unattributed_nanousd IS NOT 0 OR repriced_nanousd IS NOT 0) ORDER BY at, session",
        (since or "",),
    )
    return tuple(Unattributed(*row) for row in rows)
