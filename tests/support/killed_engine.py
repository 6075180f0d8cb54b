"""An engine in a process of its own that is killed with SIGKILL while something it started is at work.

    with Engine.running("with own_group(...) as child: child.wait()") as engine:
        fifo.line()
        engine.kill()
        assert fifo.is_free_within(1.0)

What it started holds a FIFO open: the kernel closes it when the last of them has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backlog_ops.storage.locations import PLUGIN_ROOT

PRELUDE = """
import os, signal, sys, threading
from pathlib import Path
from backlog_ops.run import processes
from backlog_ops.run.commands import run_checks
from backlog_ops.run.driver_lock import RUN, driving
from backlog_ops.run.git import Git
from backlog_ops.run.processes import own_group
"""
UP_SECONDS = 20.0


@dataclass
class Fifo:
    """The reading end; `path` is for those who are to be seen."""

    path: Path
    reader: int

    @classmethod
    @contextlib.contextmanager
    def at(cls, path: Path) -> Iterator[Fifo]:
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            yield cls(path, reader)
        finally:
            os.close(reader)

    def line(self) -> str:
        """What the next one says that has come to work."""
        said = b""
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([self.reader], [], [], UP_SECONDS)
            assert ready, "nobody has come to work"
            said += os.read(self.reader, 1)
        return said.decode().strip()

    def is_free_within(self, seconds: float) -> bool:
        """Whether all who held it are gone so soon."""
        deadline = time.monotonic() + seconds
        while select.select([self.reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if os.read(self.reader, 4096) == b"":
                return True
        return False

    def holding(self, then: str = "sleep 60") -> str:
        """Shell code of somebody who comes to work, says so and goes on."""
        return f"exec 3>'{self.path}'; echo $$ >&3; {then}"


@dataclass
class Engine:
    process: subprocess.Popen[bytes]

    @classmethod
    @contextlib.contextmanager
    def running(cls, code: str, *args: object) -> Iterator[Engine]:
        """A Python that runs `code`, with `args` in sys.argv[1:]."""
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, *map(str, args)],
            env={**os.environ, "PYTHONPATH": str(PLUGIN_ROOT / "scripts" / "ops")},
            start_new_session=True,
        )
        with process:
            try:
                yield cls(process)
            finally:
                process.kill()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
