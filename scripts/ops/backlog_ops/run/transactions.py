"""The run database's connections and transactions, and the lines for people that stand in them.

Connections belong to a thread; the file to any number of processes.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backlog_ops.domain.text import one_line
from backlog_ops.run.rows import Event
from backlog_ops.storage.database import connect, transaction
from backlog_ops.storage.database_file import Connection

LONGEST_LINE = 1_000  # characters: models' words stand in some


def printable(text: str) -> str:
    """File names need not be UTF-8; what is kept about them is."""
    return text.encode("utf-8", "backslashreplace").decode()


class Transactions:
    """Opens the database at `path` on first use. `clock` gives Unix seconds."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self.path = path
        self.clock = clock
        self._local = threading.local()

    @property
    def connection(self) -> Connection:
        """This thread's connection, for the ledger's own functions."""
        if not hasattr(self._local, "connection"):
            self._local.connection = connect(self.path)
        return self._local.connection  # type: ignore[no-any-return]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; waits for other writers."""
        with transaction(self.connection):
            yield self.connection

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self.connection.execute(sql, values).fetchall()

    def say(self, run_id: str, text: str, ticket: str | None = None) -> None:
        """A line for people, in the order in which things happened."""
        with self.transaction() as db:
            self.say_within(db, run_id, ticket, text)

    def say_within(self, db: sqlite3.Connection, run_id: str, ticket: str | None, text: str) -> None:
        """The same inside a transaction, together with what it is about."""
        db.execute(
            "INSERT INTO event (run, at, ticket, text) VALUES (?, ?, ?, ?)",
            (run_id, self.clock(), ticket, one_line(text, LONGEST_LINE)),
        )

    def events(self, run_id: str, after: int = 0) -> list[Event]:
        rows = self.rows("SELECT * FROM event WHERE run = ? AND number > ? ORDER BY number", run_id, after)
        return [Event(row["number"], row["at"], row["ticket"], row["text"]) for row in rows]
