"""One driver at a time: an advisory lock on a file in the state folder, let go by the kernel when its holder dies.

The holder's minder has it too: after a kill it lasts until what was in flight is over, and the next driver waits.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from backlog_ops.errors import RunStateError
from backlog_ops.run.processes import minder_holds
from backlog_ops.storage.liveness import is_alive

RUN = "backlog-ops run"
WORKER = "backlog-ops worker"
CLEAN = "backlog-ops clean"
UNDO = "backlog-ops undo"
# `holder` has to take the lock for a moment to see whether it is free; that must not refuse a driver.
_LOOK_SECONDS = 0.1
_MINDER_SECONDS = 3.0
_BETWEEN_TRIES_SECONDS = 0.01


class DrivenError(RunStateError):
    """Another process is at work on this repository's run."""

    def __init__(self, who: str) -> None:
        super().__init__(f"{who} is at work on this repository; wait for it or stop it first")


@contextmanager
def driving(state_folder: Path, who: str) -> Iterator[None]:
    """Hold the lock as `who`. Raises DrivenError that names the other driver when there is one."""
    state_folder.mkdir(parents=True, exist_ok=True)
    # Opened without truncation: a second process must still be able to read who holds it.
    with open(state_folder / "driver.lock", "a+b") as file:
        _take(file, state_folder)
        file.truncate(0)
        file.write(f"{who} (pid {os.getpid()})".encode())
        file.flush()
        minder_holds(file.fileno())
        try:
            yield
        finally:
            minder_holds(None)
            file.truncate(0)
            fcntl.flock(file, fcntl.LOCK_UN)


def _take(file: IO[bytes], state_folder: Path) -> None:
    started = time.monotonic()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            who = holder(state_folder)
            if time.monotonic() - started >= (_MINDER_SECONDS if who is None else _LOOK_SECONDS):
                raise DrivenError(who or "another backlog-ops") from None
            time.sleep(_BETWEEN_TRIES_SECONDS)


def holder(state_folder: Path) -> str | None:
    """Who drives the repository's run right now, if anybody does; one that was killed no longer does."""
    try:
        with open(state_folder / "driver.lock", "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                said = file.read(200).decode("utf-8", "replace")
                return None if _is_dead(said) else said or "another backlog-ops"
            return None
    except FileNotFoundError:
        return None


def _is_dead(holder: str) -> bool:
    found = re.search(r"\(pid (\d+)\)$", holder)
    return found is not None and not is_alive(int(found[1]))
