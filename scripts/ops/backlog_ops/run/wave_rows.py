"""Waves of a run in the database: planned once, opened and closed one after the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from backlog_ops.run import journal
from backlog_ops.run.store import Store


def set_waves(
    store: Store, run_id: str, waves: Sequence[Sequence[str]], skipped: Mapping[str, str], source: str, said: str
) -> None:
    """Write the accepted wave plan and open wave 1."""
    with store.transaction() as db:
        for number, ids in enumerate(waves, start=1):
            db.executemany(
                "UPDATE ticket SET wave = ? WHERE run = ? AND id = ?",
                [(number, run_id, ticket_id) for ticket_id in ids],
            )
        db.executemany(
            "UPDATE ticket SET step = 'parked', parked_at = 'prepare', reason = ? WHERE run = ? AND id = ?",
            [(reason, run_id, ticket_id) for ticket_id, reason in skipped.items()],
        )
        db.execute("UPDATE run SET wave_source = ? WHERE id = ?", (source, run_id))
        store.say_within(db, run_id, None, said)
        _open(db, run_id, 1)


def close_wave(store: Store, run_id: str, wave: int, summary: str, said: str) -> None:
    """Keep the summary of a wave and open the next one, together: neither happens twice."""
    with store.transaction() as db:
        db.execute("UPDATE run SET summary = coalesce(summary || char(10), '') || ? WHERE id = ?", (summary, run_id))
        store.say_within(db, run_id, None, said)
        _open(db, run_id, wave + 1)


def _open(db: sqlite3.Connection, run_id: str, number: int) -> None:
    journal.settled(db, run_id, None)
    db.execute("UPDATE run SET wave = ? WHERE id = ?", (number, run_id))
    db.execute(
        # One that `retry` put into a later wave goes on where it was parked.
        "UPDATE ticket SET step = coalesce(parked_at, 'prepare') WHERE run = ? AND wave = ? AND step = 'waiting'",
        (run_id, number),
    )
