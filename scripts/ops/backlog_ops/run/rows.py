"""Rows of the run database as values: runs, tickets, actions, verdicts, questions, events."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import NamedTuple

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.run.steps import Step


class Run(NamedTuple):
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
    ended_at: float | None = None
    paused_until: float | None = None
    paused_why: str | None = None

    @property
    def ref(self) -> str:
        """The full name of its branch: a tag of the same name cannot be taken for it."""
        return f"refs/heads/{self.branch}"

    @property
    def base_ref(self) -> str:
        return f"refs/heads/{self.base_branch}"


class TicketState(NamedTuple):
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
    granted: str = "[]"  # JSON: paths beyond the plan that an implementer asked for and got
    parked_at: str | None = None  # the step that `retry` goes on with
    forgiven: int = 0  # attempts before the last `retry`
    asked_again: int = 0  # the newest action when it was retried: what died before does not count
    history: str = "[]"  # JSON: what failed in an earlier run
    carried: str | None = None  # the commit that holds its work of an earlier run
    questions: str | None = None  # JSON: what a plan left open
    answers: str | None = None  # JSON: what the investigator found out
    held: int | None = None  # the number of the question it waits for


class Action(NamedTuple):
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
    host_model: str | None  # the Agent tool's alias for its tier
    reviewer: str | None  # which of reviewPipeline.reviewers
    tree: str | None  # the tree hash it judges

    @property
    def id(self) -> str:
        return f"a{self.number}"

    def as_dead(self, cause: str) -> Action:
        """The same, ended without a usable hand-in."""
        return self._replace(cause=cause)


class SessionAgent(NamedTuple):
    """A sub-agent of somebody's session that works, or worked, on an action."""

    tool_use_id: str
    action: int
    session: str
    host_pid: int | None
    transcripts: str
    agent_id: str | None
    parent_model: str | None
    asked_model: str | None  # None: it inherits
    resolved_model: str | None
    guarded: bool
    overrides: str | None
    started_at: float
    ended_at: float | None
    cause: str | None
    booked: int  # bytes of its complete transcript that are in the ledger; 0: not complete yet

    @property
    def transcript(self) -> Path | None:
        return Path(self.transcripts) / f"agent-{self.agent_id}.jsonl" if self.agent_id else None


class Verdict(NamedTuple):
    attempt: int
    gate: Gate
    tier: Tier
    passed: bool
    tree: str | None
    detail: str


class Question(NamedTuple):
    """What a run asks a person."""

    number: int
    run: str
    text: str
    tip: str  # what the answer is about: a commit, or an attempt of a gate
    answer: str | None  # yes | no | void; None: not answered yet
    ticket: str | None = None  # None: about the whole run

    @property
    def id(self) -> str:
        return f"q{self.number}"


class Event(NamedTuple):
    number: int
    at: float
    ticket: str | None
    text: str


def run_of(row: sqlite3.Row) -> Run:
    return Run(**{name: row[name] for name in Run._fields})


def ticket_of(row: sqlite3.Row) -> TicketState:
    values = {name: row[name] for name in TicketState._fields}
    return TicketState(**{**values, "step": Step(values["step"])})


def action_of(row: sqlite3.Row) -> Action:
    values = {name: row[name] for name in Action._fields}
    return Action(**{**values, "gate": Gate(values["gate"]), "tier": Tier(values["tier"])})


def question_of(row: sqlite3.Row) -> Question:
    return Question(**{name: row[name] for name in Question._fields})


def agent_of(row: sqlite3.Row) -> SessionAgent:
    values = {name: row[name] for name in SessionAgent._fields}
    return SessionAgent(**{**values, "guarded": bool(values["guarded"])})
