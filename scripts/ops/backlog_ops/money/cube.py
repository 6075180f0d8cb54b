"""The ledger, summed up in a few ways. Reads `tally`, which a trigger keeps (storage/migrations.py), so that a million
calls are a question of half a second; `fallbacks` and `since_moment` read the rows of the ledger itself.

`since` is an ISO day (UTC) everywhere: rows of that day and later; None: all rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from operator import add
from typing import Any, NamedTuple

from backlog_ops.domain.pricing import Usage
from backlog_ops.money.ledger import Spent


class Amount(NamedTuple):
    """A sum of ledger rows. An unknown cost is not taken as 0: it is counted. A tuple, because there are many."""

    calls: int = 0  # model calls; a correction is none
    nanousd: int = 0  # the part that is known
    unknown_calls: int = 0  # whose cost nobody knows: not in `nanousd`
    estimated_calls: int = 0  # whose output count is an estimate, less those that were corrected
    input: int = 0  # tokens, where they are known, in five disjoint buckets
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def spent(self) -> Spent:
        """The cost as a text: `$0.1234 + 2 of unknown cost`."""
        return Spent(self.nanousd, self.unknown_calls)

    @property
    def usage(self) -> Usage:
        return Usage(*self[4:])

    def __add__(self, other: Amount) -> Amount:  # type: ignore[override]  # a sum, not one tuple behind the other
        return Amount(*map(add, self, other))


def sum_of(amounts: Iterable[Amount]) -> Amount:
    rows = tuple(amounts)
    return rows[0] if len(rows) == 1 else Amount(*map(sum, zip(*rows)))  # noqa: B905  # all are as long, and many


class Profile(NamedTuple):
    """What calls alike have in common, whatever they were for. "" is nothing known."""

    day: str
    of_ticket: bool
    of_parent: bool
    gate: str
    source: str
    asked_tier: str
    asked_model: str
    provider: str
    answered_model: str
    rule: str
    outcome: str


class WaveSum(NamedTuple):
    """ "" and 0: the rows name no run, or no wave."""

    run: str
    wave: int
    amount: Amount
    parent: Amount  # the parent's part of it


class Fallback(NamedTuple):
    gate: str
    answered_model: str
    cause: str
    amount: Amount


_SUMS = """sum(calls), sum(nanousd), sum(unknown), sum(estimated), sum(input), sum(cache_write_5m),
    sum(cache_write_1h), sum(cache_read), sum(output)"""
# What the parent session itself called, or a correction of that: no other correction is without a gate.
_OF_PARENT = "(ticket = '' AND (source = 'parent' OR (source = 'correction' AND gate = '')))"


def profiles(connection: sqlite3.Connection, since: str | None) -> list[tuple[Profile, Amount]]:
    """All rows, by what they have in common."""
    columns = (
        f"day, ticket <> '', {_OF_PARENT}, gate, source, asked_tier, asked_model, provider, answered_model,"
        " escalation_rule, outcome"
    )
    return [(Profile(*row[:11]), Amount(*row[11:])) for row in _sums(connection, columns, 11, since)]


def by_wave(connection: sqlite3.Connection, since: str | None) -> list[WaveSum]:
    """All rows, in the order of runs and waves."""
    parent = {(run, wave): Amount(*sums) for run, wave, *sums in _sums(connection, "run, wave", 2, since, _OF_PARENT)}
    rows = _sums(connection, "run, wave", 2, since)
    return [WaveSum(run, wave, Amount(*sums), parent.get((run, wave), Amount())) for run, wave, *sums in rows]


def by_ticket(connection: sqlite3.Connection, since: str | None) -> Iterator[tuple[str, str, Amount]]:
    """(ticket, gate, sum) of all rows that name a ticket; a ticket's gate may come several times."""
    period, values = ("AND day >= ?", (since,)) if since else ("", ())
    cursor = connection.cursor()
    cursor.row_factory = None
    for row in cursor.execute(
        "SELECT ticket, gate, calls, nanousd, unknown, estimated, input, cache_write_5m, cache_write_1h, cache_read,"
        f" output FROM tally WHERE ticket <> '' {period}",
        values,
    ):
        yield row[0], row[1], Amount(*row[2:])


def of_later_attempts(connection: sqlite3.Connection, since: str | None) -> dict[tuple[str, str, int], Amount]:
    """By run, ticket and attempt, from the second attempt on."""
    rows = _sums(connection, "run, ticket, attempt", 3, since, "ticket <> '' AND attempt > 1")
    return {(run, ticket, attempt): Amount(*sums) for run, ticket, attempt, *sums in rows}


def since_moment(connection: sqlite3.Connection, at: float) -> Spent:
    """What was spent since then (Unix seconds), whatever for."""
    sql = "SELECT coalesce(sum(cost_nanousd), 0), count(*) - count(cost_nanousd) FROM ledger WHERE at >= ?"
    nanousd, unknown = connection.execute(sql, (at,)).fetchone()
    return Spent(nanousd, unknown)


def fallbacks(connection: sqlite3.Connection, since: str | None) -> list[Fallback]:
    """Calls made because another was of no use, by gate, model and cause; the dearest first.

    A cause is who had been asked and how that ended; what the ledger has beyond (milliseconds, an address) differs
    from call to call.
    """
    period, values = ("AND at >= CAST(strftime('%s', ?) AS INTEGER)", (since,)) if since else ("", ())
    connection.create_function("short_cause", 1, _short, deterministic=True)
    cursor = connection.cursor()
    cursor.row_factory = None
    rows = cursor.execute(
        "SELECT coalesce(gate, ''), coalesce(answered_model, ''), short_cause(fallback_cause), count(*),"
        " coalesce(sum(cost_nanousd), 0), count(*) - count(cost_nanousd), 0, coalesce(sum(input), 0),"
        " coalesce(sum(cache_write_5m), 0), coalesce(sum(cache_write_1h), 0), coalesce(sum(cache_read), 0),"
        f" coalesce(sum(output), 0) FROM ledger WHERE fallback_cause IS NOT NULL {period} GROUP BY 1, 2, 3",
        values,
    )
    found = [Fallback(gate, model, cause, Amount(*sums)) for gate, model, cause, *sums in rows]
    return sorted(found, key=lambda each: (-each.amount.nanousd, each[:3]))


def _short(cause: str) -> str:
    """`free ollama qwen3:8b: invalid` of `free ollama qwen3:8b: invalid: not JSON (900 ms)`."""
    who, colon, rest = cause.partition(": ")
    return who + colon + rest.partition(":")[0].partition(" (")[0]


def _sums(
    connection: sqlite3.Connection, columns: str, count: int, since: str | None, where: str = "1"
) -> Iterator[tuple[Any, ...]]:
    groups = ", ".join(str(number) for number in range(1, count + 1))
    period, values = ("AND day >= ?", (since,)) if since else ("", ())
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(f"SELECT {columns}, {_SUMS} FROM tally WHERE {where} {period} GROUP BY {groups}", values)
