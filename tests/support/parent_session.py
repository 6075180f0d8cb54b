"""A parent session that does what `next` prints, with scripted sub-agents; the engine's worker is the real one.

workers = Workers.install(home)     # the launcher finds an environment: this interpreter
parent = Parent(lab)
parent.start()
parent.drive()                      # until `done`
workers.wait_until_ended()

action = parent.begin_at(Gate.REVIEW)   # what came before is done in this process, without a worker
"""

from __future__ import annotations

import json
import os
import re
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate
from backlog_ops.run.commands import StoppedError
from backlog_ops.run.context import Context
from backlog_ops.run.engine import work
from backlog_ops.run.hand_over import hand_over
from backlog_ops.run.opening import open_run
from backlog_ops.run.rows import Action, Run
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.lab import Lab, ticket_text

LIMIT_SECONDS = 20.0
ROUNDS = 20  # more turns than any backlog of these tests takes

_PROMPT = re.compile(r"Read (?P<brief>/.+) and do what it says\. \[backlog:(?P<id>a\d+)\]")


def until(condition: Callable[[], Any], seconds: float = LIMIT_SECONDS) -> Any:
    """What `condition` answers as soon as it is true of another process. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.005)
    return answer


class Workers:
    """Every process that the launcher starts holds the write end of a pipe: its end of file is their end."""

    def __init__(self, home: Path) -> None:
        self._pids = home / "workers"
        self._alive = home / "alive"
        os.mkfifo(self._alive)
        self._pipe = os.open(self._alive, os.O_RDONLY | os.O_NONBLOCK)

    @classmethod
    def install(cls, home: Path) -> Workers:
        """Put an environment where the launcher looks for one in the home folder `home`."""
        workers = cls(home)
        with open(PLUGIN_ROOT / "config" / "requirements.lock", "rb") as lock:
            checksum = subprocess.run(["cksum"], stdin=lock, capture_output=True, text=True, check=True).stdout.split()
        python = home / ".cache" / "backlog-ops" / f"venv-{checksum[0]}" / "bin" / "python"
        python.parent.mkdir(parents=True)
        alive, pids, own = (shlex.quote(str(path)) for path in (workers._alive, workers._pids, sys.executable))
        python.write_text(f'#!/bin/sh\nexec 9>{alive}\necho "$$" >>{pids}\nexec {own} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        return workers

    def started(self) -> list[int]:
        """The process ids of all that were started, in order."""
        return [int(line) for line in self._pids.read_text().split()] if self._pids.exists() else []

    def wait_until_ended(self, seconds: float = LIMIT_SECONDS) -> None:
        """Raises TimeoutError when one is still there."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if os.read(self._pipe, 1) == b"":
                    return
            except BlockingIOError:
                pass
            if not select.select([self._pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"a worker is still at work; started were {self.started()}")

    def close(self) -> None:
        os.close(self._pipe)


@dataclass
class Parent:
    """`answers` holds what `next` printed, in order."""

    lab: Lab
    answers: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, *ids: str, config: Mapping[str, Any] | None = None, **fields: Any) -> Parent:
        """In a new repository with these tickets (T-1), all with the same further `fields`."""
        tickets = {f"{name}.md": ticket_text(name, **fields) for name in ids or ("T-1",)}
        return cls(Lab.make(folder, tickets, config))

    @property
    def ctx(self) -> Context:
        return self.lab.context()

    @property
    def run(self) -> Run:
        run = self.ctx.store.last_run()
        assert run is not None
        return run

    def start(self, *ids: str) -> dict[str, Any]:
        ctx = self.ctx
        return self._told(hand_over(ctx, open_run(ctx, ids, None), LIMIT_SECONDS))

    def next(self, limit_seconds: float = LIMIT_SECONDS) -> dict[str, Any]:
        return self._told(hand_over(self.ctx, self.run, limit_seconds))

    def _told(self, answer: dict[str, Any]) -> dict[str, Any]:
        self.answers.append(answer)
        return answer

    def command(self, *args: str) -> dict[str, Any]:
        """A command that prints JSON, as its own process."""
        done = self.lab.cli(*args)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def play(self, action: dict[str, Any]) -> Action:
        """One sub-agent: it knows its prompt and what the brief there says."""
        told = _PROMPT.fullmatch(action["prompt"])
        assert told is not None and told["id"] == action["id"]
        ctx = self.ctx
        known = ctx.store.action(int(action["id"][1:]))._replace(brief=told["brief"])
        assert self.lab.agents(ctx, known) is None
        return known

    def play_all(self, answer: dict[str, Any]) -> None:
        """All sub-agents of an answer; those that can run a command hand in by it, the others by their file."""
        for action in answer["actions"]:
            if action["do"] == "agent" and self.play(action).gate is Gate.IMPLEMENT:
                done = self.lab.cli("submit", action["id"])
                assert done.returncode == 0, done.stderr

    def begin_at(self, gate: Gate, ticket: str = "T-1") -> dict[str, Any]:
        """Open a run and go on, without a worker, until this gate of this ticket waits for its agent."""
        ctx = self.ctx
        run = open_run(ctx, [], None)

        def agents(ctx: Context, action: Action) -> str | None:
            if (action.gate, action.ticket) != (gate, ticket):
                return self.lab.agents(ctx, action)
            ctx.stopping.set()
            raise StoppedError(f"{gate} begins")  # which leaves the action open

        work(ctx, run.id, 1, agents)
        (action,) = self.next()["actions"]
        assert (action["gate"], action["ticket"]) == (gate.value, ticket)
        return dict(action)

    def drive(self) -> dict[str, Any]:
        """Do what is asked for until there is nothing left; returns the last answer."""
        answer = self.answers[-1]
        for _ in range(ROUNDS):
            if answer["actions"][0]["do"] == "done":
                return answer
            self.play_all(answer)
            answer = self.next()
        raise AssertionError(f"not done after {ROUNDS} rounds: {answer}")
