"""What tickets cost: all runs and attempts of one, and its share of what the parent session cost."""

from __future__ import annotations

import functools
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from backlog_ops.domain.gates import Gate
from backlog_ops.money.cube import Amount, WaveSum, sum_of
from backlog_ops.report.figures import Slice, TicketCost

_PLACE = {gate.value: number for number, gate in enumerate(Gate)}


class Known(NamedTuple):
    """A ticket of a run."""

    run: str
    id: str
    title: str
    step: str
    reason: str
    wave: int | None
    attempts: int


def known_tickets(connection: sqlite3.Connection, since: str | None) -> list[Known]:
    """The tickets of all runs that began, or cost anything, on ISO day `since` or later; the newest run last."""
    period, values = "", tuple[str, ...]()
    if since is not None:
        period = (
            "WHERE run.created_at >= CAST(strftime('%s', ?) AS INTEGER)"
            " OR run.id IN (SELECT run FROM tally WHERE day >= ?)"
        )
        values = (since, since)
    rows = connection.execute(
        "SELECT run.id, ticket.id, title, step, coalesce(reason, ''), ticket.wave, attempt FROM ticket"
        f" JOIN run ON run.id = ticket.run {period} ORDER BY run.rowid, ticket.position, ticket.id",
        values,
    )
    return [Known(*row) for row in rows]


def parent_shares(known: Iterable[Known], waves: Iterable[WaveSum]) -> Mapping[tuple[str, str], int]:
    """(run, ticket) → nano-dollars: figures.PARENT_SHARE. To the nano-dollar: the first tickets bear the remainder."""
    of_wave: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    of_run: defaultdict[str, list[str]] = defaultdict(list)
    for ticket in known:
        of_wave[ticket.run, ticket.wave or 0].append(ticket.id)
        of_run[ticket.run].append(ticket.id)
    shares: defaultdict[tuple[str, str], int] = defaultdict(int)
    for run, wave, _, parent in waves:
        tickets = (of_wave.get((run, wave)) if wave else None) or of_run.get(run, [])
        if not parent.nanousd or not tickets:
            continue
        each, left = divmod(parent.nanousd, len(tickets))
        for number, ticket_id in enumerate(tickets):
            shares[run, ticket_id] += each + (number < left)
    return shares


def ticket_costs(
    rows: Iterable[tuple[str, str, Amount]],
    known: Sequence[Known],
    shares: Mapping[tuple[str, str], int],
) -> tuple[TicketCost, ...]:
    """One of each ticket id, the dearest first. `rows`: ticket, gate and what they cost."""
    runs: defaultdict[str, list[Known]] = defaultdict(list)
    for ticket in known:
        runs[ticket.id].append(ticket)
    costs: dict[str, dict[str, Amount]] = {}
    gates, of_ticket = dict[str, Amount](), ""
    for ticket_id, gate, amount in rows:
        if ticket_id != of_ticket:  # rows of a ticket come together, mostly
            gates, of_ticket = costs.setdefault(ticket_id, {}), ticket_id
        gates[gate] = gates[gate] + amount if gate in gates else amount
    found = [
        _ticket(ticket_id, runs.get(ticket_id, []), costs.get(ticket_id, {}), shares) for ticket_id in costs | runs
    ]
    found.sort(key=lambda ticket: (-ticket.full_nanousd, ticket.id))
    return tuple(found)


def _ticket(
    ticket_id: str, runs: Sequence[Known], gates: Mapping[str, Amount], shares: Mapping[tuple[str, str], int]
) -> TicketCost:
    last = runs[-1] if runs else None
    return TicketCost(
        id=ticket_id,
        title=last.title if last else "",
        state=last.step if last else "",
        reason=last.reason if last and last.step == "parked" else "",
        runs=tuple(ticket.run for ticket in runs),
        wave=last.wave if last else None,
        attempts=sum(ticket.attempts for ticket in runs),
        gates=tuple(Slice(gate or "–", gates[gate]) for gate in _in_order(tuple(gates))),
        own=sum_of(gates.values()),
        shared_nanousd=sum(shares.get((ticket.run, ticket_id), 0) for ticket in runs),
    )


@functools.cache
def _in_order(gates: tuple[str, ...]) -> list[str]:
    return sorted(gates, key=lambda gate: (_PLACE.get(gate, len(_PLACE)), gate))
