"""The append-only ledger (contracts.md, "Ledger")."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backlog_ops.domain.pricing import PriceTable, Usage


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
INSERT OR IGNORE INTO ledger (
    key, at, source, run, wave, ticket, gate, attempt, asked_tier, asked_model, provider, answered_model,
    input, cache_write_5m, cache_write_1h, cache_read, output, cost_nanousd, price_date, latency_ms, outcome,
    fallback_cause, escalation_rule, tags, session, agent
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
    row = connection.execute("SELECT * FROM ledger WHERE key = ?", (receipt.key,)).fetchone()
    estimated = row is not None and "estimate" in json.loads(row["tags"]) and "estimate" not in receipt.tags
    if estimated and receipt.usage is not None and receipt.usage.output > row["output"]:
        record(
            connection, correction(row, receipt.usage, receipt.cost_nanousd, "its last block came later", receipt.at)
        )


def spread_output(
    connection: sqlite3.Connection, session: str, model: str, output: int, prices: PriceTable, at: float
) -> Sequence[Receipt]:
    """Put the estimates of a session right, where the host counts `output` tokens more of a model than its transcripts
    hold: evenly, for which call lacks how many is not known. Returns the corrections; each estimate has one at most.
    """
    sql = "SELECT * FROM ledger WHERE session = ? AND (source = ? OR json_extract(tags, '$.estimate') IS NOT NULL)"
    rows = [
        row
        for row in connection.execute(f"{sql} ORDER BY key", (session, CORRECTION)).fetchall()
        if row["answered_model"] and prices.canonical(row["answered_model"]) == model
    ]
    corrected = {row["key"].removesuffix(f"/{CORRECTION}") for row in rows if row["source"] == CORRECTION}
    output -= sum(row["output"] or 0 for row in rows if row["source"] == CORRECTION)
    estimates = [row for row in rows if row["source"] != CORRECTION and row["key"] not in corrected]
    found = []
    for number, row in enumerate(estimates if output > 0 else []):
        share = output // len(estimates) + (number < output % len(estimates))
        booked = Usage(*(row[name] or 0 for name in TOKEN_COLUMNS))
        usage = replace(booked, output=booked.output + share)
        cost = prices.cost(model, usage, time.strftime("%Y-%m-%d", time.gmtime(row["at"])))
        found.append(correction(row, usage, cost, "the host's count, shared out evenly", at))
    record_all(connection, found)
    return found


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
