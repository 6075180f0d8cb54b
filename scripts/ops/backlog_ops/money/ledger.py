"""The append-only ledger (contracts.md, "Ledger")."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backlog_ops.domain.pricing import PriceTable, Usage, iso_day


@dataclass(frozen=True)
class Receipt:
    """One model call, whoever made it. `usage` and `cost_nanousd` are None where nobody knows them."""

    key: str
    at: float
    source: str
    asked_tier: str
    asked_model: str
    provider: str
    answered_model: str | None
    usage: Usage | None
    cost_nanousd: int | None
    price_date: str | None
    latency_ms: int
    outcome: str
    run: str | None = None
    wave: int | None = None
    ticket: str | None = None
    gate: str | None = None
    attempt: int | None = None
    fallback_cause: str | None = None
    escalation_rule: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    session: str | None = None  # the Claude Code session and sub-agent that made the call, where one did
    agent: str | None = None


TOKEN_COLUMNS = ("input", "cache_write_5m", "cache_write_1h", "cache_read", "output")

_INSERT = """
INSERT INTO ledger (
    key, at, source, run, wave, ticket, gate, attempt, asked_tier, asked_model, provider, answered_model,
    input, cache_write_5m, cache_write_1h, cache_read, output, cost_nanousd, price_date, latency_ms, outcome,
    fallback_cause, escalation_rule, tags, session, agent
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO NOTHING
"""


def record(connection: sqlite3.Connection, receipt: Receipt) -> bool:
    """Append one receipt; the same key a second time changes nothing. Whether it was new."""
    return connection.execute(_INSERT, _values(receipt)).rowcount == 1


def record_all(connection: sqlite3.Connection, receipts: Iterable[Receipt]) -> int:
    """The same for many, in the order given; how many were new. Fastest inside one transaction."""
    return max(0, connection.executemany(_INSERT, map(_values, receipts)).rowcount)


def _values(receipt: Receipt) -> tuple[object, ...]:
    usage = receipt.usage
    tokens = (
        (usage.input, usage.cache_write_5m, usage.cache_write_1h, usage.cache_read, usage.output)
        if usage is not None
        else (None,) * 5
    )
    return (
        receipt.key,
        receipt.at,
        receipt.source,
        receipt.run,
        receipt.wave,
        receipt.ticket,
        receipt.gate,
        receipt.attempt,
        receipt.asked_tier,
        receipt.asked_model,
        receipt.provider,
        receipt.answered_model,
        *tokens,
        receipt.cost_nanousd,
        receipt.price_date,
        receipt.latency_ms,
        receipt.outcome,
        receipt.fallback_cause,
        receipt.escalation_rule,
        json.dumps(dict(receipt.tags), sort_keys=True) if receipt.tags else "{}",
        receipt.session,
        receipt.agent,
    )


CORRECTION = "correction"


def correction(row: Mapping[str, Any], usage: Usage, cost_nanousd: int | None, why: str, at: float) -> Receipt:
    """A receipt of the difference between an estimated row of the ledger and what is known now: nothing in the
    ledger is ever changed, and its sums are right. Its key lets a row be corrected once.
    """
    booked = Usage(*(row[name] or 0 for name in TOKEN_COLUMNS))
    known = cost_nanousd is not None and row["cost_nanousd"] is not None
    return Receipt(
        key=f"{row['key']}/{CORRECTION}",
        at=at,
        source=CORRECTION,
        asked_tier=row["asked_tier"],
        asked_model=row["asked_model"],
        provider=row["provider"],
        answered_model=row["answered_model"],
        usage=usage - booked,
        cost_nanousd=(cost_nanousd or 0) - row["cost_nanousd"] if known else None,
        price_date=row["price_date"],
        latency_ms=0,
        outcome="corrected",
        run=row["run"],
        wave=row["wave"],
        ticket=row["ticket"],
        gate=row["gate"],
        attempt=row["attempt"],
        escalation_rule=row["escalation_rule"],
        tags={"corrects": row["key"], "why": why},
        session=row["session"],
        agent=row["agent"],
    )


def correct_estimate(connection: sqlite3.Connection, receipt: Receipt) -> None:
    """A call that is in the ledger with an early count of its output is known better now."""
    row = _row(connection, receipt.key)
    if row is None or receipt.usage is None or "estimate" in receipt.tags or "estimate" not in json.loads(row["tags"]):
        return
    if receipt.usage.output > row["output"]:
        why = "its last block came later"
        record(connection, correction(row, receipt.usage, receipt.cost_nanousd, why, receipt.at))


BY_THE_HOST = "the host's count, shared out evenly"


def spread_output(
    connection: sqlite3.Connection, keys: Sequence[str], output: int, prices: PriceTable, at: float
) -> Sequence[Receipt]:
    """Put early counts right, of which the host knows that they lack `output` tokens together: evenly, for which call
    lacks how many is not known. Returns the corrections; each estimate has one at most.

    keys  of all those calls, in a fixed order; some may be nobody's here, and keep their share
    """
    rows = {key: _row(connection, key) for key in keys}
    made = {key: _row(connection, f"{key}/{CORRECTION}") for key in keys}
    by_host = {key: row for key, row in made.items() if row and json.loads(row["tags"]).get("why") == BY_THE_HOST}
    waiting = [key for key in keys if key not in by_host]
    output -= sum(row["output"] for row in by_host.values())
    found = []
    for number, key in enumerate(waiting if output > 0 else []):
        row = rows[key]
        if row is None or made[key] is not None:
            continue
        share = output // len(waiting) + (number < output % len(waiting))
        booked = Usage(*(row[name] or 0 for name in TOKEN_COLUMNS))
        usage = replace(booked, output=booked.output + share)
        cost = prices.cost(row["answered_model"], usage, iso_day(row["at"]))
        found.append(correction(row, usage, cost, BY_THE_HOST, at))
    record_all(connection, found)
    return found


def _row(connection: sqlite3.Connection, key: str) -> dict[str, Any] | None:
    row = connection.execute("SELECT * FROM ledger WHERE key = ?", (key,)).fetchone()
    return dict(row) if row else None


@dataclass(frozen=True)
class Spent:
    """A sum of receipts: what is known of it, and how many calls nobody knows the cost of."""

    nanousd: int
    unknown_calls: int

    def __str__(self) -> str:
        known = f"${self.nanousd / 1e9:.4f}"
        return f"{known} + {self.unknown_calls} of unknown cost" if self.unknown_calls else known


def spent(connection: sqlite3.Connection, run: str, ticket: str | None = None) -> Spent:
    """What a run, or one ticket of it, has cost so far."""
    clause, values = ("AND ticket = ?", (run, ticket)) if ticket is not None else ("", (run,))
    row = connection.execute(
        "SELECT coalesce(sum(cost_nanousd), 0), coalesce(sum(cost_nanousd IS NULL AND source <> ?), 0)"
        f" FROM ledger WHERE run = ? {clause}",
        (CORRECTION, *values),
    ).fetchone()
    return Spent(int(row[0]), int(row[1]))
