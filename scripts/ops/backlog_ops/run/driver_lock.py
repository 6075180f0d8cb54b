"""One driver at a time: an advisory lock on a file in the state folder, let go by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backlog_ops.errors import RunStateError

RUN = "backlog-ops run"
WORKER = "backlog-ops worker"
CLEAN = "backlog-ops clean"
UNDO = "backlog-ops undo"
# `holder` has to take the lock for a moment to see whether it is free; that must not refuse a driver.
_TRIES = 10
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
        for left in reversed(range(_TRIES)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise DrivenError(holder(state_folder) or "another backlog-ops") from None
                time.sleep(_BETWEEN_TRIES_SECONDS)
        file.truncate(0)
        file.write(f"{who} (pid {os.getpid()})".encode())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def holder(state_folder: Path) -> str | None:
    """Who drives the repository's run right now, if anybody does."""
    try:
        with open(state_folder / "driver.lock", "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(200).decode("utf-8", "replace") or "another backlog-ops"
            return None
    except FileNotFoundError:
        return None
