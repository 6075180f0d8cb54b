"""A run in a process of its own that ends itself with SIGKILL at a named point (docs/reliability.md)."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backlog_ops.run import journal
from backlog_ops.run.git import Git
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.store import Store
from tests.support.lab import Lab, ScriptedAgents

PHASES = ("after its record", "before it is settled", "after it is settled")


@dataclass
class KillPoint:
    """The `occurrence`-th time (1 is the first) that `step` comes to `phase`."""

    step: str
    phase: str
    occurrence: int = 1

    def reached(self, step: str, phase: str) -> None:
        if (step, phase) == (self.step, self.phase):
            self.occurrence -= 1
            if self.occurrence == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def run_and_kill(lab: Lab, point: KillPoint) -> bool:
    """Whether the run came to the point, and so was killed there; else it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            _arm(point, lab.agents)
            lab.run(jobs=1)
        finally:
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _arm(point: KillPoint, agents: ScriptedAgents) -> None:
    """Only in the child: nothing is put back."""
    _arm_journal(point)
    _arm_branch(point)
    act = type(agents).__call__

    def acting(self: ScriptedAgents, ctx: Any, action: Any) -> Any:
        cause = act(self, ctx, action)
        point.reached(f"{action.gate.value} agent", "at its end")
        return cause

    type(agents).__call__ = acting  # type: ignore[method-assign]


def _arm_journal(point: KillPoint) -> None:
    begin_step, transaction, settled = Store.begin_step, Store.transaction, journal.settled
    step_at_work = {"name": "", "settled": ""}

    def begin(self: Store, run: Run, step: str, ticket: TicketState | None = None) -> int:
        step_at_work["name"] = step
        cuts = begin_step(self, run, step, ticket)
        point.reached(step, PHASES[0])
        return cuts

    def settle(db: sqlite3.Connection, run_id: str, ticket: str | None) -> None:
        settled(db, run_id, ticket)
        point.reached(step_at_work["name"], PHASES[1])
        step_at_work["settled"] = step_at_work["name"]

    @contextmanager
    def counted(self: Store) -> Iterator[sqlite3.Connection]:
        with transaction(self) as connection:
            yield connection
        done, step_at_work["settled"] = step_at_work["settled"], ""
        point.reached(done, PHASES[2])

    Store.begin_step = begin  # type: ignore[method-assign]
    Store.transaction = counted  # type: ignore[method-assign,assignment]
    journal.settled = settle


def _arm_branch(point: KillPoint) -> None:
    move = Git.move_ref

    def moving(self: Git, ref: str, new: str, old: str, why: str) -> None:
        point.reached("the branch", "before it moves")
        move(self, ref, new, old, why)
        point.reached("the branch", "after it has moved")

    Git.move_ref = moving  # type: ignore[method-assign]
