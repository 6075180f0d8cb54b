"""Sums that budgets are measured by: what was spent since, and what single calls (llm_call) hold at the moment."""

from __future__ import annotations

import os
import sqlite3
import time

from backlog_ops.storage.database import transaction
from backlog_ops.storage.database_file import Connection
from backlog_ops.storage.liveness import is_alive


def start_of_day(now: float) -> float:
    """Unix seconds of the last midnight, local time."""
    day = time.localtime(now)
    return time.mktime((day.tm_year, day.tm_mon, day.tm_mday, 0, 0, 0, 0, 0, -1))


def spent_since(connection: sqlite3.Connection, since: float, run: str | None = None, ticket: str | None = None) -> int:
    """Nano-dollars that are known to be spent since then: in all, or on a ticket of a run."""
    where, values = ("AND run = ? AND ticket = ?", (since, run, ticket)) if ticket else ("", (since,))
    sql = f"SELECT coalesce(sum(cost_nanousd), 0) FROM ledger WHERE at >= ? {where}"
    return int(connection.execute(sql, values).fetchone()[0])


def held_by_tickets(connection: sqlite3.Connection, run: str = "", without: str = "") -> int:
    """Nano-dollars that tickets of the open run hold, less what each has spent since; one may be left out."""
    sql = """
        SELECT coalesce(sum(max(0, reservation.nanousd - coalesce((
            SELECT sum(cost_nanousd) FROM ledger WHERE ledger.run = reservation.run
            AND ledger.ticket = reservation.ticket AND ledger.at >= reservation.at), 0))), 0)
        FROM reservation WHERE run IS NOT NULL AND NOT (run = ? AND ticket = ?)
    """
    return int(connection.execute(sql, (run, without)).fetchone()[0])


def held_by_calls(connection: sqlite3.Connection) -> int:
    """Nano-dollars set aside for calls of no run, by processes that are still there."""
    rows = connection.execute("SELECT nanousd, pid FROM reservation WHERE run IS NULL").fetchall()
    return sum(int(nanousd) for nanousd, pid in rows if pid is not None and is_alive(pid))


def hold(connection: Connection, holder: str, nanousd: int, most: int, now: float) -> int | None:
    """Set aside what a call may cost where the day's budget of `most` allows it: None. Else what is left of that."""
    with transaction(connection):
        _forget_the_dead(connection)
        spent = spent_since(connection, start_of_day(now))
        left = most - spent - held_by_calls(connection) - held_by_tickets(connection)
        if nanousd <= left:
            connection.execute(
                "INSERT OR REPLACE INTO reservation (holder, nanousd, pid, at) VALUES (?, ?, ?, ?)",
                (holder, nanousd, os.getpid(), now),
            )
    return None if nanousd <= left else max(0, left)


def _forget_the_dead(connection: sqlite3.Connection) -> None:
    """Calls whose process was killed."""
    for holder, pid in connection.execute("SELECT holder, pid FROM reservation WHERE pid IS NOT NULL").fetchall():
        if not is_alive(pid):
            let_go(connection, holder)


def let_go(connection: sqlite3.Connection, holder: str) -> None:
    """The call is over, and in the ledger."""
    connection.execute("DELETE FROM reservation WHERE holder = ?", (holder,))
