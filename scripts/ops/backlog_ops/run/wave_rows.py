"""Waves of a run in the database: planned once, opened and closed one after the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from backlog_ops.run import journal
from backlog_ops.run.rows import TicketState
from backlog_ops.run.steps import Step
from backlog_ops.run.store import NOT_FINAL, Store


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
    """Keep the summary of a wave and open the next one, together: neither happens twice. A wave that has work again,
    because a ticket was taken up meanwhile, stays open.
    """
    with store.transaction() as db:
        if db.execute(f"SELECT 1 FROM ticket WHERE run = ? AND wave = ? AND {NOT_FINAL}", (run_id, wave)).fetchone():
            journal.settled(db, run_id, None)
            return
        db.execute("UPDATE run SET summary = coalesce(summary || char(10), '') || ? WHERE id = ?", (summary, run_id))
        store.say_within(db, run_id, None, said)
        _open(db, run_id, wave + 1)


def take_up(store: Store, ticket: TicketState, at: Step, carried: str | None, history: str, least: int) -> int | None:
    """A parked ticket goes on at `at`: in its own wave where that is under way or still to come, at once where all are
    over, else in a wave of its own at the end; never before wave `least`. Returns the number of a wave to come.
    Failures and attempts are counted anew.
    """
    with store.transaction() as db:
        now, last = db.execute(
            "SELECT run.wave, coalesce(max(ticket.wave), 0) FROM run JOIN ticket ON ticket.run = run.id"
            " WHERE run.id = ?",
            (ticket.run,),
        ).fetchone()
        own = ticket.wave or 0
        own_wave_is_over = now <= last and own < now
        wave = max(least, last + 1 if own_wave_is_over else max(own, now))
        later = wave > now
        newest = db.execute("SELECT coalesce(max(number), 0) FROM action").fetchone()[0]
        store.change_within(
            db,
            ticket,
            {
                "step": Step.WAITING if later else at,
                "wave": wave,
                "parked_at": at,
                "reason": None,
                "fails": 0,
                "forgiven": ticket.attempt,
                "asked_again": newest,
                "carried": carried or ticket.carried,
                "history": history,
                "held": None,
            },
        )
        store.say_within(db, ticket.run, ticket.id, "taken up again")
    return wave if later else None


def _open(db: sqlite3.Connection, run_id: str, number: int) -> None:
    journal.settled(db, run_id, None)
    db.execute("UPDATE run SET wave = ? WHERE id = ?", (number, run_id))
    db.execute(
        # One that `retry` put into a later wave goes on where it was parked.
        "UPDATE ticket SET step = coalesce(parked_at, 'prepare') WHERE run = ? AND wave = ? AND step = 'waiting'",
        (run_id, number),
    )
