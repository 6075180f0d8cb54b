"""A run database with whatever runs, verdicts and receipts a test writes into it."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backlog_ops.domain.pricing import Usage
from backlog_ops.domain.settings import Settings
from backlog_ops.money.ledger import Receipt, correction, record
from backlog_ops.report import counting
from backlog_ops.report.figures import Figures
from backlog_ops.storage.config_file import load_preset, load_prices
from backlog_ops.storage.database import connect
from backlog_ops.storage.database_file import Connection

NOON = 1_795_521_600.0  # 2026-11-24 12:00 UTC
DAY = 86_400.0
HAIKU, SONNET, OPUS, QWEN = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "qwen3:8b"
_TIERS = {QWEN: "free", HAIKU: "cheap", SONNET: "balanced", OPUS: "frontier"}


@dataclass
class Books:
    connection: Connection
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @classmethod
    def at(cls, path: Path) -> Books:
        return cls(connect(path))

    def run(self, run: str, *tickets: str, state: str = "done", at: float = NOON, wave: int = 1, **of_all: Any) -> None:
        """A run with these tickets, all of one wave; `of_all`: further columns of theirs."""
        self.connection.execute(
            "INSERT INTO run (id, state, created_at, top, base_branch, base_commit, branch, wave)"
            " VALUES (?, ?, ?, '/p', 'main', '', ?, ?)",
            (run, state, at, f"backlog/{run}", wave),
        )
        for position, ticket in enumerate(tickets):
            columns = {"step": "done", "attempt": 1, "wave": wave, "title": f"Do {ticket}", **of_all}
            columns |= {"run": run, "id": ticket, "path": f"{ticket}.md", "text": "", "position": position}
            self.connection.execute(
                f"INSERT INTO ticket ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                tuple(columns.values()),
            )

    def attempt(
        self, run: str, ticket: str, number: int, tier: str, *, rule: str = "entry", failed: str | None = None
    ) -> None:
        """An IMPLEMENT attempt; LINT and REVIEW were passed but for the gate `failed`."""
        self.connection.execute(
            "INSERT INTO action (run, ticket, gate, attempt, tier, rule, brief, state, created_at)"
            " VALUES (?, ?, 'IMPLEMENT', ?, ?, ?, 'brief.md', 'closed', ?)",
            (run, ticket, number, tier, rule, NOON),
        )
        for gate in ("LINT",) if failed == "LINT" else ("LINT", "REVIEW"):
            self.connection.execute(
                "INSERT INTO verdict (run, ticket, attempt, gate, tier, passed, detail, at) VALUES (?,?,?,?,?,?,'',?)",
                (run, ticket, number, gate, tier, gate != failed, NOON),
            )

    def call(self, model: str | None = HAIKU, cost: int | None = 1_000, **fields: Any) -> str:
        """A receipt of a run's sub-agent, unless `fields` say otherwise; returns its key."""
        key = f"claude/msg_{next(self.numbers)}"
        asked = fields.pop("asked_model", model or HAIKU)
        values = {
            **{"key": key, "at": NOON, "source": "session", "asked_tier": _TIERS.get(asked, "cheap")},
            **{"asked_model": asked, "provider": "claude-code", "answered_model": model},
            **{"usage": Usage(10, 20, 0, 300, 40), "cost_nanousd": cost, "price_date": "2026-11-23"},
            **{"latency_ms": 5, "outcome": "answered", **fields},
        }
        record(self.connection, Receipt(**values))
        return key

    def parent(self, run: str, wave: int | None, cost: int | None) -> None:
        self.call(OPUS, cost, source="parent", run=run, wave=wave)

    def correct(self, key: str, usage: Usage, cost: int | None) -> None:
        row = self.connection.execute("SELECT * FROM ledger WHERE key = ?", (key,)).fetchone()
        record(self.connection, correction(row, usage, cost, "known better", NOON))

    def figures(
        self, since: str | None = None, now: float = NOON, most_lines: int | None = None, **budget: Any
    ) -> Figures:
        preset = load_preset()
        preset["llmOps"]["budget"].update(budget)
        llm = Settings.from_json(json.loads(json.dumps(preset))).llm_ops
        asked = counting.Question("scratch", now, since, load_prices(), llm.models.by_tier, llm.budget, most_lines)
        return counting.count(self.connection, asked)
