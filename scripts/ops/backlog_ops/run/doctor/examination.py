"""All checks side by side, within a time limit: one that hangs must not hide what the others found."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from backlog_ops.domain.health import Diagnosis, Level
from backlog_ops.errors import BacklogError
from backlog_ops.run.doctor.host import hooks, host
from backlog_ops.run.doctor.machine import folders, interpreter, path
from backlog_ops.run.doctor.place import Place
from backlog_ops.run.doctor.price_age import price_age
from backlog_ops.run.doctor.project import project

LIMIT_SECONDS = 4.0  # of 5 that the whole command may take
Check = Callable[[Place], Iterator[Diagnosis]]
CHECKS: tuple[Check, ...] = (interpreter, project, price_age, host, hooks, path, folders)


def examine(place: Place, seconds: float = LIMIT_SECONDS, checks: tuple[Check, ...] = CHECKS) -> list[Diagnosis]:
    """What every check found, in their order. Writes nothing, asks no model and no network."""
    deadline = time.monotonic() + seconds
    running = [_Running(check, place) for check in checks]
    for thread in running:
        thread.start()
    found: list[Diagnosis] = []
    for thread in running:
        thread.join(max(0.0, deadline - time.monotonic()))
        found += thread.outcome(seconds)
    return found


class _Running(threading.Thread):
    """A check at work; as a daemon, because one that hangs on a dead file system never ends."""

    def __init__(self, check: Check, place: Place) -> None:
        super().__init__(daemon=True)
        self._check = check
        self._place = place
        self._found: list[Diagnosis] = []
        self._bug: Exception | None = None

    def run(self) -> None:
        name = self._check.__name__
        try:
            for diagnosis in self._check(self._place):
                self._found.append(diagnosis)
        except BacklogError as error:
            self._found.append(Diagnosis(name, Level.ERROR, error.message))
        except OSError as error:
            self._found.append(Diagnosis(name, Level.ERROR, f"{error.filename or name}: {error.strerror or error}"))
        except Exception as error:
            self._bug = error

    def outcome(self, seconds: float) -> list[Diagnosis]:
        """What it has found so far. Raises what went wrong in our own code."""
        if self._bug is not None:
            raise self._bug
        found = list(self._found)
        if self.is_alive():
            message = f"not all was looked at within {seconds:g} s"
            found.append(
                Diagnosis(self._check.__name__, Level.WARNING, message, "a slow disk, or a program that hangs?")
            )
        return found
