"""The ledger, summed up in a few ways. Reads `tally`, which a trigger keeps (storage/database.py), so that a million
calls are a question of half a second; `calls` and `fallbacks` read the ledger itself, row by row.

`since` is an ISO day (UTC) everywhere: rows of that day and later; None: all rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from backlog_ops.domain.pricing import Usage
from backlog_ops.money.ledger import Spent

PARENT = "parent"  # the source of what the parent session itself called


class Amount(NamedTuple):
    """A sum of ledger rows. An unknown cost is not taken as 0: it is counted."""

    calls: int = 0  # model calls; a correction is none
    unknown_calls: int = 0  # whose cost nobody knows: not in `nanousd`
    estimated_calls: int = 0  # whose output count is an estimate that nothing has corrected yet
    nanousd: int = 0  # the part that is known
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


def sum_of(amounts: Iterable[Amount]) -> Amount:
    columns = list(zip(*amounts, strict=True))
    return Amount(*map(sum, columns)) if columns else Amount()


class Profile(NamedTuple):
    """What calls alike have in common, whatever they were for. "" is nothing known."""

    day: str
    gate: str
    source: str
    asked_tier: str
    asked_model: str
    provider: str
    answered_model: str
    rule: str
    outcome: str


class Fallback(NamedTuple):
    gate: str | None
    answered_model: str | None
    cause: str
    amount: Amount


_SUMS = (
    "sum(calls), sum(unknown), sum(estimated), sum(nanousd), sum(input), sum(cache_write_5m), sum(cache_write_1h),"
    " sum(cache_read), sum(output)"
)


def profiles(connection: sqlite3.Connection, since: str | None) -> list[tuple[Profile, Amount]]:
    """All rows, by what they have in common."""
    columns = "day, gate, source, asked_tier, asked_model, provider, answered_model, escalation_rule, outcome"
    return [(Profile(*row[:9]), Amount(*row[9:])) for row in _sums(connection, columns, since)]


def by_wave(connection: sqlite3.Connection, since: str | None) -> list[tuple[str, int, bool, Amount]]:
    """(run, wave, whether it is the parent's own, sum): "" and 0 where the rows name none."""
    rows = _sums(connection, f"run, wave, source = '{PARENT}'", since)
    return [(row[0], row[1], bool(row[2]), Amount(*row[3:])) for row in rows]


def by_ticket(connection: sqlite3.Connection, since: str | None) -> Iterator[tuple[str, str, str, Amount]]:
    """(run, ticket, gate, sum) of all rows that name a ticket."""
    for row in _sums(connection, "run, ticket, gate", since, "ticket <> ''"):
        yield row[0], row[1], row[2], Amount(*row[3:])


def by_attempt(connection: sqlite3.Connection, since: str | None) -> Iterator[tuple[str, str, int, str, str, Amount]]:
    """(run, ticket, attempt, gate, answered model, sum) of all rows that name a ticket."""
    for row in _sums(connection, "run, ticket, attempt, gate, answered_model", since, "ticket <> ''"):
        yield row[0], row[1], row[2], row[3], row[4], Amount(*row[5:])


def _sums(
    connection: sqlite3.Connection, columns: str, since: str | None, where: str = "1"
) -> Iterator[tuple[str | int, ...]]:
    order = ", ".join(str(number + 1) for number in range(columns.count(",") + 1))
    period = "AND day >= ?" if since else ""
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(
        f"SELECT {columns}, {_SUMS} FROM tally WHERE {where} {period} GROUP BY {order}", (since,) if since else ()
    )
