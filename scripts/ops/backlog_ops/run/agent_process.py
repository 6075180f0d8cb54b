"""One `claude -p` process, tied to the folder of its action and not to the engine that started it.

    agent.pid      its process id; the process itself holds a lock on this file for as long as it lives
    prompt.txt     its stdin
    result.json    its stdout
    stderr.txt     its stderr

An engine that is killed leaves its agents at work. The next one finds them here: who still works is waited
for, who has ended left result and bill. So no worktree ever has two agents, and nothing is bought twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from backlog_ops.errors import RunStateError
from backlog_ops.run.rows import Action

# SIGINT makes `claude` print what it cost so far (after 2 s at most); SIGTERM would lose that.
ENDING = ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0))
POLL_SECONDS = 0.05


class AgentProcess:
    """The agent of one action, whoever started it."""

    def __init__(self, folder: Path) -> None:
        self._pid_file = folder / "agent.pid"
        self._prompt, self._stdout, self._stderr = (
            folder / name for name in ("prompt.txt", "result.json", "stderr.txt")
        )
        self._child: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, action: Action) -> AgentProcess:
        """The agent of an action: it lives in the folder of the brief."""
        return cls(Path(action.brief).parent)

    def start(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], prompt: str) -> None:
        """Raises RunStateError when an agent of this action is at work already."""
        self._prompt.write_text(prompt, encoding="utf-8")
        with (
            self._pid_file.open("a+b") as pid_file,
            self._prompt.open("rb") as stdin,
            contextlib.ExitStack() as outputs,
        ):
            if not _lock(pid_file.fileno()):
                raise RunStateError(f"{self._pid_file}: an agent is still at work there; end it, then run again")
            pid_file.truncate(0)
            stdout = outputs.enter_context(self._stdout.open("wb"))  # emptied only once nobody else writes to it
            stderr = outputs.enter_context(self._stderr.open("wb"))
            self._child = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                # It inherits the lock and keeps it until it ends; what it starts itself does not get it.
                pass_fds=[pid_file.fileno()],
            )
            pid_file.write(str(self._child.pid).encode())

    @property
    def was_started(self) -> bool:
        return self._pid_file.is_file() and (self._pid_file.stat().st_size > 0 or self.is_running)

    @property
    def is_at_work(self) -> bool:
        return self.was_started and self.is_running

    @property
    def is_running(self) -> bool:
        return not self.wait(0)

    @property
    def started_at(self) -> float:
        """Unix seconds."""
        return self._pid_file.stat().st_mtime

    @property
    def seconds(self) -> float:
        """From its start to the result it printed, or until now."""
        printed = self._stdout.stat()
        return max(0.0, (printed.st_mtime if printed.st_size else time.time()) - self.started_at)

    @property
    def exit_code(self) -> int | None:
        """None for one that another engine started: only a parent is told."""
        return self._child.returncode if self._child else None

    def output(self) -> tuple[bytes, bytes]:
        """What it has printed so far: (stdout, stderr)."""
        return self._stdout.read_bytes(), self._stderr.read_bytes()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, within so many seconds."""
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(seconds)
            return self._child.returncode is not None
        deadline = time.monotonic() + seconds
        with self._pid_file.open("r+b") as pid_file:
            while not _lock(pid_file.fileno()):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(POLL_SECONDS)
        return True

    def end(self) -> None:
        """Make it stop, politely first, so that it leaves its bill."""
        for number, grace in ENDING:
            if not self.is_running:
                return
            # It holds the lock, so the number is still its own; it is a session of its own, so the group is too.
            with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
                os.killpg(int(self._pid_file.read_text(encoding="ascii")), number)
            self.wait(grace)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
