"""One driver at a time: an advisory lock on a file in the state folder, let go by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backlog_ops.errors import RunStateError


@contextmanager
def driving(state_folder: Path, who: str) -> Iterator[None]:
    """Hold the lock as `who`. Raises RunStateError that names the other driver when there is one."""
    state_folder.mkdir(parents=True, exist_ok=True)
    # Opened without truncation: a second process must still be able to read who holds it.
    with open(state_folder / "driver.lock", "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunStateError(
                f"{holder(state_folder) or 'another backlog-ops'} is at work on this repository; "
                "wait for it or stop it first"
            ) from None
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
