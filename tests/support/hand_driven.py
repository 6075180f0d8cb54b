"""A run in which the test says when an agent hands in; the engine does the rest in this process, as `next` does.

driven = HandDriven.begin(lab)
driven.play_until(Gate.REVIEW)      # T-1 has come so far; its reviewer is asked, and has not answered
driven.play()                       # the open actions of T-1 are handed in
driven.play_all()                   # everybody, until nobody is asked any more
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate
from backlog_ops.run.context import Context
from backlog_ops.run.engine import work
from backlog_ops.run.opening import open_run
from backlog_ops.run.rows import Action, Run, TicketState
from tests.support.lab import Lab, ticket_text

MOST_ROUNDS = 40


def several(folder: Path, *ids: str, config: Mapping[str, Any] | None = None, **fields: Any) -> Lab:
    """A repository with these tickets (T-1), all with the same further `fields`."""
    tickets = {f"{name}.md": ticket_text(name, **fields) for name in ids or ("T-1",)}
    return Lab.make(folder / "repo", tickets, config)


def hook(lab: Lab, name: str, script: str) -> Path:
    """A git hook of the repository."""
    path = lab.write(f".git/hooks/{name}", f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def land(lab: Lab, path: str, text: str, branch: str = "") -> str:
    """Another ticket's work comes onto the run's branch, or `branch`; its commit."""
    run = lab.context().open_run()
    ref = f"refs/heads/{branch}" if branch else run.ref
    index = {"GIT_INDEX_FILE": str(lab.top / ".git" / "index-of-another")}
    blob = lab.git.run("hash-object", "-w", "--stdin", stdin=text.encode()).stdout.decode().strip()
    lab.git.run("read-tree", ref, env=index)
    lab.git.run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
    commit = lab.git.text("commit-tree", lab.git.text("write-tree", env=index), "-p", ref, "-m", f"land {path}")
    lab.git.run("update-ref", ref, commit)
    return commit


@dataclass
class HandDriven:
    lab: Lab
    ctx: Context
    run_id: str

    @classmethod
    def begin(cls, lab: Lab, *ids: str, clock: Callable[[], float] | None = None) -> HandDriven:
        """Open a run and let the engine do what it can."""
        ctx = lab.context()
        ctx = replace(ctx, clock=clock) if clock else ctx
        return cls(lab, ctx, open_run(ctx, ids, None).id).works()

    @classmethod
    def going_on(cls, lab: Lab) -> HandDriven:
        """With the open run."""
        ctx = lab.context()
        return cls(lab, ctx, ctx.open_run().id).works()

    def works(self) -> HandDriven:
        work(self.ctx, self.run_id, 1, None)
        return self

    @property
    def run(self) -> Run:
        return self.ctx.store.run(self.run_id)

    @property
    def told(self) -> list[str]:
        """What people were told, in order."""
        return [event.text for event in self.ctx.store.events(self.run_id)]

    def state(self, ticket: str = "T-1") -> TicketState:
        return self.ctx.store.ticket(self.run_id, ticket)

    def waiting(self, ticket: str = "T-1") -> list[Action]:
        """The ticket's actions that nobody has handed in."""
        return [action for action in self.ctx.store.actions(self.run_id, "open") if action.ticket == ticket]

    def asked(self, gate: Gate) -> list[Action]:
        """All actions of this gate that were handed in, in order."""
        return [action for action in self.lab.agents.seen if action.gate is gate]

    def hand_in(self, action: Action) -> None:
        """One agent does its part; the engine does not look yet."""
        self.ctx.store.hand_in(action, self.lab.agents(self.ctx, action))

    def play(self, ticket: str = "T-1") -> HandDriven:
        for action in self.waiting(ticket):
            self.hand_in(action)
        return self.works()

    def play_until(self, gate: Gate, ticket: str = "T-1") -> Action:
        """The first action of this gate that waits."""
        for _ in range(MOST_ROUNDS):
            there = [action for action in self.waiting(ticket) if action.gate is gate]
            if there:
                return there[0]
            assert self.waiting(ticket), f"{ticket} is at {self.state(ticket).step}: {self.state(ticket).reason}"
            self.play(ticket)
        raise AssertionError(f"{ticket} does not come to {gate}")

    def play_all(self, *tickets: str) -> HandDriven:
        """Until none of these tickets (all of them) waits for an agent."""
        for _ in range(MOST_ROUNDS):
            ids = tickets or tuple(state.id for state in self.ctx.store.tickets(self.run_id))
            waiting = [ticket for ticket in ids if self.waiting(ticket)]
            if not waiting:
                return self
            for ticket in waiting:
                self.play(ticket)
        raise AssertionError("no end")


def worktree_of(driven: HandDriven, ticket: str = "T-1") -> Path:
    return driven.ctx.worktree_path(driven.state(ticket))


def brief_of(action: Action) -> str:
    return Path(action.brief).read_text(encoding="utf-8")
