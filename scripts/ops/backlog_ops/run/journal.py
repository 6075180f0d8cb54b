"""The write-ahead record of the engine: one row before each step, closed by the transaction that settles the step.

A row that is open while no engine is at work is a step that was cut off; the next engine does the step again. A
step during which the engine died again and again is a person's matter: `MOST_CUTS` bounds that loop too.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backlog_ops.run.transactions import Transactions

MOST_CUTS = 5
DELIVER = "deliver"  # the step in which the base branch moves

_OPEN = "run = ? AND ticket IS ? AND outcome IS NULL"


def begin(db: sqlite3.Connection, run_id: str, ticket: str | None, step: str, attempt: int, at: float) -> int:
    """Note that a step begins; returns how often the engine has died in it so far. Inside a transaction."""
    db.execute(f"UPDATE journal SET outcome = 'cut' WHERE {_OPEN}", (run_id, ticket))
    db.execute(
        "INSERT INTO journal (run, ticket, step, attempt, pid, at) VALUES (?, ?, ?, ?, ?, ?)",
        (run_id, ticket, step, attempt, os.getpid(), at),
    )
    row = db.execute(
        "SELECT count(*) FROM journal WHERE run = ? AND ticket IS ? AND step = ? AND attempt = ? AND outcome = 'cut'"
        " AND number > (SELECT coalesce(max(number), 0) FROM journal WHERE run = ? AND ticket IS ? AND outcome ="
        " 'settled')",
        (run_id, ticket, step, attempt, run_id, ticket),
    ).fetchone()
    return int(row[0])


def settled(db: sqlite3.Connection, run_id: str, ticket: str | None) -> None:
    """The step at work has come to its end; in the transaction that says what came of it."""
    db.execute(f"UPDATE journal SET outcome = 'settled' WHERE {_OPEN}", (run_id, ticket))


def stopped(db: sqlite3.Connection, run_id: str, ticket: str | None) -> None:
    """The step was stopped in good order before its end. Inside a transaction."""
    db.execute(f"UPDATE journal SET outcome = 'stopped' WHERE {_OPEN}", (run_id, ticket))


def is_at_work(store: Transactions, run_id: str, step: str) -> bool:
    """Whether a step of the whole run has begun and not come to its end; the engine in it may be dead."""
    return bool(store.rows(f"SELECT 1 FROM journal WHERE {_OPEN} AND step = ?", run_id, None, step))
