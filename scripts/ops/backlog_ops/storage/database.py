"""One SQLite file per repository: run state and ledger, in WAL mode, opened by any number of processes.

Plain SQL that people may query themselves; docs/ledger.md lists the tables. `PRAGMA user_version` counts the
migrations applied. A database written by a newer version is refused, never altered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backlog_ops.errors import RunStateError
from backlog_ops.storage.database_file import (
    Connection,
    DatabaseTroubleError,
    look_for_damage,
    make_if_missing,
    trouble,
    was_cut_off,
)
from backlog_ops.storage.migrations import MIGRATIONS


def connect(path: Path) -> Connection:
    """Open (and make or migrate) the database at `path`.

    Autocommit is off inside `transaction` and `with connection:` only: every other statement commits by itself.
    Raises DatabaseTroubleError when the file cannot be used, RunStateError when it comes from a newer version.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseTroubleError(
            f"{path.parent}: cannot be made ({error.strerror}); set XDG_STATE_HOME to a folder that you may write to"
        ) from None
    try:
        make_if_missing(path, _build)
        left_open = was_cut_off(path)
        connection = Connection.to(path)
        connection.row_factory = sqlite3.Row
        _migrate(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if left_open:
            look_for_damage(connection)
    except UnicodeDecodeError:  # SQLite quotes what it cannot read
        raise trouble(path, "damaged: it holds what is no text") from None
    except sqlite3.Error as error:
        raise trouble(path, str(error)) from None
    except OSError as error:
        raise trouble(path, error.strerror or str(error)) from None
    return connection


@contextmanager
def transaction(connection: Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """All or nothing; waits for other writers. Raises DatabaseTroubleError when the file is no longer there."""
    connection.execute(f"BEGIN {kind}")
    try:
        connection.must_be_there()
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk ends it by itself
            connection.execute("ROLLBACK")
        raise


def _build(connection: Connection) -> None:
    with transaction(connection, "EXCLUSIVE"):
        _apply(connection, 0)
    connection.execute("PRAGMA journal_mode = WAL")


def _migrate(connection: Connection, path: Path) -> None:
    version = _version(connection)
    if version == len(MIGRATIONS):
        return
    if version > len(MIGRATIONS):
        raise RunStateError(
            f"{path}: written by a newer version of this plugin (schema {version}, this one knows "
            f"{len(MIGRATIONS)}): update the plugin"
        )
    if version == 0:  # it is made whole or not at all
        raise trouble(path, "it is empty, or another program's")
    with transaction(connection, "EXCLUSIVE"):
        _apply(connection, _version(connection))  # another process may have been faster


def _version(connection: Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _apply(connection: Connection, version: int) -> None:
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        for statement in _statements(script):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")


def _statements(script: str) -> list[str]:
    # executescript() would commit the surrounding transaction; sqlite3 itself says where a statement ends.
    found, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    return found
