"""Rows of the run database as values: runs, tickets, actions, verdicts, events."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.run.steps import Step


@dataclass(frozen=True)
class Run:
    id: str
    state: str  # open | done | aborted
    created_at: float
    top: str
    base_branch: str
    base_commit: str
    branch: str
    wave: int  # 0 until the waves are planned
    wave_source: str | None
    max_nanousd: int | None
    summary: str | None

    @property
    def ref(self) -> str:
        """The full name of its branch: a tag of the same name cannot be taken for it."""
        return f"refs/heads/{self.branch}"

    @property
    def base_ref(self) -> str:
        return f"refs/heads/{self.base_branch}"


@dataclass(frozen=True)
class TicketState:
    run: str
    id: str
    path: str
    title: str
    text: str
    wave: int | None
    step: Step
    reason: str | None
    attempt: int
    fails: int
    worktree: str | None
    base_commit: str | None
    plan: str | None
    work_tree: str | None
    note: str | None
    approved_tree: str | None
    message: str | None
    commit_id: str | None


@dataclass(frozen=True)
class Action:
    number: int
    run: str
    ticket: str
    gate: Gate
    attempt: int
    tier: Tier
    rule: str
    brief: str
    hand_in: str | None
    state: str  # open | handed-in | closed
    cause: str | None

    @property
    def id(self) -> str:
        return f"a{self.number}"


@dataclass(frozen=True)
class Verdict:
    attempt: int
    gate: Gate
    tier: Tier
    passed: bool
    tree: str | None
    detail: str


@dataclass(frozen=True)
class Event:
    number: int
    at: float
    ticket: str | None
    text: str


def run_of(row: sqlite3.Row) -> Run:
    return Run(**{name: row[name] for name in Run.__dataclass_fields__})


def ticket_of(row: sqlite3.Row) -> TicketState:
    values = {name: row[name] for name in TicketState.__dataclass_fields__}
    return TicketState(**{**values, "step": Step(values["step"])})


def action_of(row: sqlite3.Row) -> Action:
    values = {name: row[name] for name in Action.__dataclass_fields__}
    return Action(**{**values, "gate": Gate(values["gate"]), "tier": Tier(values["tier"])})
