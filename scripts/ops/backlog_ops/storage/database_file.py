"""What can befall the file of a database: half made, removed, cut, on a disk that is full. Never silently a new one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from backlog_ops.errors import RunStateError
from backlog_ops.storage.liveness import is_alive
from backlog_ops.storage.probe import write_error

BUSY_TIMEOUT_SECONDS = 30.0
CHECK_SECONDS = 0.05

_FREE = "free some space on that disk, then the same command goes on"
_WRITABLE = "make it and its folder writable, then the same command goes on"
# By the words of SQLite and of the system: Python tells SQLite's codes from 3.11 on only.
_REMEDIES = (
    ("is full", _FREE),
    ("No space left", _FREE),
    ("quota", _FREE),
    ("too large", "raise the limit of file sizes (ulimit -f), then the same command goes on"),
    ("readonly", _WRITABLE),
    ("Read-only", _WRITABLE),
    ("not permitted", _WRITABLE),
    ("ermission denied", _WRITABLE),
    ("unable to open", _WRITABLE),
    ("is locked", "another process keeps it locked; end that one, then the same command goes on"),
    ("disk I/O error", "look after that disk; what was committed is still in the file"),
    ("is gone", "put it back, or move what is left of it away to start afresh"),
)


class DatabaseTroubleError(RunStateError):
    """The file of a database, or the disk it lies on: nothing that any ticket could mend."""


def trouble(path: Path, what: str) -> DatabaseTroubleError:
    """The error that says so, with the remedy. SQLite's words may say less than the disk does."""
    because = write_error(path.parent)
    if because is not None and because.strerror:
        what = because.strerror
    remedy = next((remedy for words, remedy in _REMEDIES if words in what), "move the file away to start afresh")
    return DatabaseTroubleError(f"{path}: cannot open the run database ({what}); {remedy}")


class Connection(sqlite3.Connection):
    """Knows which file it has open: SQLite itself goes on writing into one that was removed."""

    path: Path
    _file: tuple[int, int] | None

    @classmethod
    def to(cls, path: Path, mode: str = "rw") -> Connection:
        """`rw`: a file that is not there is never made."""
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=cls,
        )
        connection.path, connection._file = path, _file_at(path)
        return connection

    def must_be_there(self) -> None:
        """Raises DatabaseTroubleError when the file was removed or replaced: nobody would find what is written now."""
        if _file_at(self.path) != self._file:
            raise trouble(self.path, "it is gone or was replaced while it was in use")


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def was_cut_off(path: Path) -> bool:
    """Whether somebody is at work in the database, or was killed at it: its write-ahead log holds something."""
    try:
        return _beside(path, "-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def make_if_missing(path: Path, build: Callable[[Connection], None]) -> None:
    """Make the database whole before it gets its name: so one that is empty is damaged, never just new.

    Raises DatabaseTroubleError when only its write-ahead log is left.
    """
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_nlink > 1:  # a maker was killed after it had given the name, before it took its own away
            _sweep(path)
        return
    if was_cut_off(path) and not path.exists():  # another process may have made it in between
        raise trouble(path, f"it is gone, only {_beside(path, '-wal').name} is left")
    _sweep(path)
    fresh = _beside(path, f".new-{os.getpid()}-{threading.get_ident()}")
    try:
        with contextlib.closing(Connection.to(fresh, "rwc")) as connection:
            build(connection)
        _give_name(fresh, path)
    finally:
        _remove(fresh)


def _give_name(fresh: Path, path: Path) -> None:
    try:
        os.link(fresh, path)
    except FileExistsError:  # another process was faster
        pass
    except OSError:  # a file system without hard links
        if not path.exists():
            fresh.rename(path)


def _sweep(path: Path) -> None:
    """Remove what those left who were killed while they made it."""
    for left in path.parent.glob(f"{path.name}.new-*"):
        pid = left.name.split("-")[1]
        if pid.isdecimal() and not is_alive(int(pid)):
            left.unlink(missing_ok=True)


def _remove(fresh: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        _beside(fresh, ending).unlink(missing_ok=True)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def look_for_damage(connection: Connection) -> None:
    """Raises sqlite3.DatabaseError when the file does not hold together, as far as that is seen in CHECK_SECONDS."""
    deadline = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 10_000)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        return
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise sqlite3.DatabaseError(f"damaged: {str(found).splitlines()[-1]}")
