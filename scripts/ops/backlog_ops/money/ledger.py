"""The append-only ledger (contracts.md, "Ledger")."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from backlog_ops.domain.pricing import Usage


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


_INSERT = """
INSERT OR IGNORE INTO ledger (
    key, at, source, run, wave, ticket, gate, attempt, asked_tier, asked_model, provider, answered_model,
    input, cache_write_5m, cache_write_1h, cache_read, output, cost_nanousd, price_date, latency_ms, outcome,
    fallback_cause, escalation_rule, tags, session, agent
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def record(connection: sqlite3.Connection, receipt: Receipt) -> None:
    """Append one receipt; the same key a second time changes nothing."""
    usage = receipt.usage
    tokens = (
        (usage.input, usage.cache_write_5m, usage.cache_write_1h, usage.cache_read, usage.output)
        if usage is not None
        else (None,) * 5
    )
    connection.execute(
        _INSERT,
        (
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
            json.dumps(dict(receipt.tags), sort_keys=True),
            receipt.session,
            receipt.agent,
        ),
    )


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
        f"SELECT coalesce(sum(cost_nanousd), 0), count(*) - count(cost_nanousd) FROM ledger WHERE run = ? {clause}",
        values,
    ).fetchone()
    return Spent(int(row[0]), int(row[1]))
