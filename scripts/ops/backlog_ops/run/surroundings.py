"""Trouble that is the machine's and not a ticket's: a full disk, a read-only one, no memory, a damaged database.

Such trouble stops a run with one line and leaves its state as it is; once it is mended, the same command goes on.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from backlog_ops.errors import SurroundingsError
from backlog_ops.storage.database_file import DatabaseTroubleError
from backlog_ops.storage.locations import WORK_FOLDER_NAME, find_repository, state_base
from backlog_ops.storage.probe import PROBE_BYTES, existing, write_error

if TYPE_CHECKING:
    from backlog_ops.run.context import Context

_SPACE = "free some space"
_WRITABLE = "make it writable"
_ALLOWED = "see to its permissions"
_DISK = "look after that disk"
_MEMORY = "free some memory"
_PROCESSES = "end some processes or raise the limit (ulimit -u)"
_FILES = "end some processes or raise the limit (ulimit -n)"
_SIZE = "raise the limit of file sizes (ulimit -f)"

_BY_NUMBER = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EROFS: _WRITABLE,
    errno.EACCES: _ALLOWED,
    errno.EPERM: _ALLOWED,
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.ENOTCONN: _DISK,
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: _PROCESSES,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EFBIG: _SIZE,
}
_PERMISSION = (errno.EACCES, errno.EPERM)
NO_PROCESS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # nothing at all can be started

# What git says itself, after `fatal: ` or `error: `; it does not always give the system's reason.
_BY_GITS_WORDS = (
    ("No space left on device|Out of diskspace|[Qq]uota exceeded", _SPACE),
    ("Read-only file system", _WRITABLE),
    (r"(\.git[/'\" ]|repository database).*(Permission denied|Operation not permitted)", _ALLOWED),
    ("insufficient permission for adding an object", _ALLOWED),
    ("Input/output error|[Ss]tale (NFS )?file handle|Transport endpoint is not connected", _DISK),
    ("[Oo]ut of memory|Cannot allocate memory", _MEMORY),
    ("Resource temporarily unavailable", _PROCESSES),
    ("Too many open files", _FILES),
    ("File too large", _SIZE),
)
# Said without the reason; a commit object is not written either where the commit could not be signed.
_UNCLEAR = (("(couldn't|could not|unable to) write(?! commit object)", "see whether that disk is full or read-only"),)

# SQLite's own words; a constraint that fails or a column that is missing is our error, not the machine's.
_BY_SQLITES_WORDS = (
    ("is full", _SPACE),
    ("readonly", _WRITABLE),
    ("unable to open", _WRITABLE),
    ("disk I/O error", _DISK),
    ("is locked", "end the other process that keeps it locked"),
    ("malformed|not a database|not decode", "move the damaged file away to start afresh"),
)


def surroundings_problem(error: BaseException) -> str | None:
    """One line when the machine, not the ticket, is the trouble: where, what, and what to do. None for all else."""
    if isinstance(error, (SurroundingsError, DatabaseTroubleError)):
        return error.message
    if isinstance(error, OSError):
        return _system_problem(error)
    if isinstance(error, sqlite3.Error):
        return _database_problem(error)
    if isinstance(error, MemoryError):
        return _line("out of memory", "", _MEMORY)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return _line(str(error), "", _PROCESSES)
    return None


def git_problem(said: str, git_folder: Path, written: Iterable[Path] = ()) -> str | None:
    """The same for a git that failed in a folder: by its own words, else by writing to where it had to write.

    Hooks print what they like: where one may have spoken, `said` must be empty.
    """
    own = [line for line in said.splitlines() if line.startswith(("fatal: ", "error: "))]
    where = f"{git_folder}: git: "
    return _by_words(own, _BY_GITS_WORDS, where) or unwritable(written) or _by_words(own, _UNCLEAR, where)


def _by_words(lines: Iterable[str], known: Iterable[tuple[str, str]], where: str) -> str | None:
    for line in lines:
        for words, remedy in known:
            if re.search(words, line):
                return _line(re.sub("^(fatal|error): ", "", line), where, remedy)
    return None


def unwritable(folders: Iterable[Path]) -> str | None:
    """One line about the first of the folders that nothing can be written to; for one that is not there yet, the one
    above it answers.
    """
    for folder in folders:
        there, error = existing(folder), write_error(folder)
        if error is not None and not (error.errno in _PERMISSION and _is_a_tickets(f"{there}{os.sep}")):
            remedy = _BY_NUMBER.get(error.errno or 0, _WRITABLE)
            return _line(f"nothing can be written there ({error.strerror})", f"{there}: ", remedy)
    return None


def check_surroundings(ctx: Context) -> None:
    """Before a run begins: it can write where it has to. Raises SurroundingsError."""
    found = find_repository(ctx.top)
    problem = unwritable([*([found[1]] if found else []), ctx.work_folder, ctx.state_folder])
    if problem is not None:
        raise SurroundingsError(problem)


def _system_problem(error: OSError) -> str | None:
    remedy = _BY_NUMBER.get(error.errno or 0)
    if remedy is None or (error.errno in _PERMISSION and _is_a_tickets(error.filename)):
        return None
    if error.errno in NO_PROCESS:
        return _line(error.strerror or str(error), "", remedy)
    named = isinstance(error.filename, (str, bytes))
    where = os.fsdecode(error.filename) if named else _where()
    return _line(error.strerror or str(error), f"{where}: ", remedy)


def _is_a_tickets(name: object) -> bool:
    """Whether a path lies in a ticket's worktree: what may not be touched there, its own tests have made so."""
    inside = f"{os.sep}{WORK_FOLDER_NAME}{os.sep}worktrees{os.sep}"
    return isinstance(name, (str, bytes)) and inside in os.fsdecode(name)


def _where() -> str:
    """Where the engine writes, for an error that names no file: the places that are full, else all of them."""
    places = [Path(), state_base(os.environ), Path(tempfile.gettempdir())]
    full = [place for place in places if _free_bytes(existing(place)) < PROBE_BYTES]
    return " or ".join(str(place) if place.name else "the repository" for place in full or places)


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def _database_problem(error: sqlite3.Error) -> str | None:
    folder = state_base(os.environ)
    known = _by_words([str(error)], _BY_SQLITES_WORDS, f"{folder}: the run database: ")
    return known and (unwritable([folder]) or known)  # of a full disk SQLite says "disk I/O error" as well


def _line(what: str, where: str, remedy: str) -> str:
    return f"{where}{what}; {remedy}, then the same command goes on"
