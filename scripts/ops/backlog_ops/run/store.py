"""Run state as typed rows over SQLite: runs, tickets, actions, verdicts. Every method is one transaction.

Beside it: journal.py (what was begun), wave_rows.py, questions.py, agent_rows.py.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.errors import RunStateError
from backlog_ops.money import ledger
from backlog_ops.run import journal
from backlog_ops.run.rows import Action, Run, TicketState, Verdict, action_of, run_of, ticket_of
from backlog_ops.run.steps import Step
from backlog_ops.run.transactions import Transactions, printable

NOT_FINAL = "step NOT IN ('done', 'parked')"


class OvertakenError(RunStateError):
    """A ticket no longer stands where a step found it: parked, undone or done by somebody else meanwhile."""


@dataclass(frozen=True)
class OpenAction:
    """What drivers and guards are to know of an action: its brief, and what its agent may write."""

    number: int
    brief: Path
    hand_in: Path | None
    host_model: str
    worktree: Path
    write_set: Sequence[str] = ()


class Store(Transactions):
    """The run database of a repository."""

    # -- runs

    def open_run(self) -> Run | None:
        rows = self.rows("SELECT * FROM run WHERE state = 'open'")
        return run_of(rows[0]) if rows else None

    def last_run(self) -> Run | None:
        rows = self.rows("SELECT * FROM run ORDER BY rowid DESC LIMIT 1")
        return run_of(rows[0]) if rows else None

    def run(self, run_id: str) -> Run:
        rows = self.rows("SELECT * FROM run WHERE id = ?", run_id)
        if not rows:
            raise RunStateError(f"run {run_id}: unknown; `backlog-ops status` names the runs")
        return run_of(rows[0])

    def ended_runs(self) -> list[Run]:
        return [run_of(row) for row in self.rows("SELECT * FROM run WHERE state <> 'open' ORDER BY rowid")]

    def begin(self, run: Run, tickets: Sequence[TicketState]) -> None:
        """Open a run with its tickets. Raises RunStateError when another run is open."""
        try:
            with self.transaction() as db:
                db.execute(
                    "INSERT INTO run (id, state, created_at, top, base_branch, base_commit, branch, wave, max_nanousd)"
                    " VALUES (?, 'open', ?, ?, ?, ?, ?, 0, ?)",
                    (run.id, run.created_at, run.top, run.base_branch, run.base_commit, run.branch, run.max_nanousd),
                )
                db.executemany(
                    "INSERT INTO ticket (run, id, path, title, text, position, step, plan, history, carried, answers,"
                    " granted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    [
                        (
                            *(run.id, t.id, t.path, t.title, t.text, position, t.step.value),
                            *(t.plan, t.history, t.carried, t.answers, t.granted),
                        )
                        for position, t in enumerate(tickets)
                    ],
                )
        except sqlite3.IntegrityError:
            other = self.open_run()
            raise RunStateError(
                f"run {other.id if other else '?'} is open in this repository: `backlog-ops run` or "
                "`backlog-ops next` goes on with it, `backlog-ops abort` ends it"
            ) from None
        # Into the file itself: whoever loses the log beside it must not lose that there is a run.
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def end_run(self, run_id: str, state: str, said: str) -> bool:
        """Close an open run; `said`, its last line, ends its summary. False, and nothing changed, where it is no longer
        open, or was to be done but a ticket was taken up meanwhile.
        """
        with self.transaction() as db:
            unfinished = f"SELECT 1 FROM ticket WHERE run = ? AND wave IS NOT NULL AND {NOT_FINAL}"
            if state == "done" and db.execute(unfinished, (run_id,)).fetchone():
                return False
            done = db.execute(
                "UPDATE run SET state = ?, ended_at = ?, paused_until = NULL, paused_why = NULL,"
                " summary = coalesce(summary || char(10), '') || ? WHERE id = ? AND state = 'open'",
                (state, self.clock(), said, run_id),
            )
            if done.rowcount != 1:
                return False
            db.execute("UPDATE action SET state = 'closed' WHERE run = ? AND state <> 'closed'", (run_id,))
            journal.settled(db, run_id, None)
            self.say_within(db, run_id, None, said)
        return True

    def pause(self, run_id: str, until: float | None, why: str | None, said: str) -> None:
        """Let nothing be bought before `until` (Unix seconds), a usage limit's reset; None: go on."""
        with self.transaction() as db:
            db.execute(
                "UPDATE run SET paused_until = ?, paused_why = ? WHERE id = ? AND state = 'open'", (until, why, run_id)
            )
            self.say_within(db, run_id, None, said)

    # -- tickets

    def tickets(self, run_id: str, wave: int | None = None) -> list[TicketState]:
        where, values = ("AND wave = ?", (run_id, wave)) if wave is not None else ("", (run_id,))
        return [
            ticket_of(row)
            for row in self.rows(f"SELECT * FROM ticket WHERE run = ? {where} ORDER BY wave, position", *values)
        ]

    def step_of(self, run_id: str, ticket_id: str) -> Step | None:
        """Where a ticket stands; None when it is not part of the run."""
        rows = self.rows("SELECT step FROM ticket WHERE run = ? AND id = ?", run_id, ticket_id)
        return Step(rows[0]["step"]) if rows else None

    def step_counts(self, run_id: str, wave: int | None = None) -> dict[Step, int]:
        """How many tickets stand at which step, in the whole run or in one wave of it."""
        where, values = ("AND wave = ?", (run_id, wave)) if wave is not None else ("", (run_id,))
        rows = self.rows(f"SELECT step, count(*) AS n FROM ticket WHERE run = ? {where} GROUP BY step", *values)
        return {Step(row["step"]): row["n"] for row in rows}

    def last_wave(self, run_id: str) -> int:
        """The number of the last planned wave; 0 before the waves are planned."""
        return int(self.rows("SELECT coalesce(max(wave), 0) FROM ticket WHERE run = ?", run_id)[0][0])

    def ticket(self, run_id: str, ticket_id: str) -> TicketState:
        rows = self.rows("SELECT * FROM ticket WHERE run = ? AND id = ?", run_id, ticket_id)
        if not rows:
            raise RunStateError(f"ticket {ticket_id}: not part of run {run_id}")
        return ticket_of(rows[0])

    def update_ticket(self, ticket: TicketState, **changes: Any) -> TicketState:
        """Write `changes` and return the new row. Values are those of TicketState's fields."""
        with self.transaction() as db:
            self.change_within(db, ticket, changes)
            if "step" in changes:
                journal.settled(db, ticket.run, ticket.id)
        return self.ticket(ticket.run, ticket.id)

    def settle(
        self,
        ticket: TicketState,
        said: str | None,
        *,
        closing: Sequence[Action] = (),
        verdict: Verdict | None = None,
        **changes: Any,
    ) -> TicketState:
        """What a gate found out, where the ticket stands now, what people are told and the end of the actions
        it came from (each with its `cause`, where it was worthless): all or nothing, so that a kill can neither judge
        twice nor skip a judgement. Raises OvertakenError when somebody else has moved the ticket meanwhile.
        """
        with self.transaction() as db:
            self.change_within(db, ticket, changes)
            if verdict is not None:
                db.execute(
                    "INSERT OR REPLACE INTO verdict (run, ticket, attempt, gate, tier, passed, tree, detail, at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(ticket.run, ticket.id, verdict.attempt, verdict.gate.value, verdict.tier.value),
                        *(int(verdict.passed), verdict.tree, printable(verdict.detail), self.clock()),
                    ),
                )
            for action in closing:
                db.execute(
                    "UPDATE action SET state = 'closed', cause = coalesce(?, cause) WHERE number = ?",
                    (printable(action.cause) if action.cause else None, action.number),
                )
            journal.settled(db, ticket.run, ticket.id)
            if said is not None:
                self.say_within(db, ticket.run, ticket.id, said)
        return self.ticket(ticket.run, ticket.id)

    @staticmethod
    def change_within(db: sqlite3.Connection, ticket: TicketState, changes: Mapping[str, Any]) -> None:
        """Write `changes` of a ticket that still stands where `ticket` says."""
        values = [printable(v) if isinstance(v, str) else getattr(v, "value", v) for v in changes.values()]
        columns = ", ".join(f"{key} = ?" for key in changes) or "step = step"
        done = db.execute(
            f"UPDATE ticket SET {columns} WHERE run = ? AND id = ? AND step = ?",
            (*values, ticket.run, ticket.id, ticket.step.value),
        )
        if done.rowcount != 1:
            raise OvertakenError(f"{ticket.id}: is no longer at {ticket.step}; somebody else has moved it")

    def begin_step(self, run: Run, step: str, ticket: TicketState | None = None) -> int:
        """The write-ahead record of a step; returns how often the engine has died in it."""
        with self.transaction() as db:
            if db.execute("SELECT 1 FROM run WHERE id = ? AND state = 'open'", (run.id,)).fetchone() is None:
                raise OvertakenError(f"run {run.id} was ended meanwhile")
            attempt = ticket.attempt if ticket else run.wave
            return journal.begin(db, run.id, ticket.id if ticket else None, step, attempt, self.clock())

    def stop_step(self, ticket: TicketState) -> None:
        """The step of a ticket was stopped in good order; the next engine does it again."""
        with self.transaction() as db:
            journal.stopped(db, ticket.run, ticket.id)

    # -- actions

    def add_action(
        self,
        ticket: TicketState,
        gate: Gate,
        attempt: int,
        tier: Tier,
        rule: str,
        *,
        reviewer: str | None = None,
        tree: str | None = None,
    ) -> Action:
        """Reserve an action's number; its brief is written next, then `open_actions` shows it to the driver."""
        with self.transaction() as db:
            cursor = db.execute(
                "INSERT INTO action (run, ticket, gate, attempt, tier, rule, reviewer, tree, brief, state, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', 'closed', ?)",
                (ticket.run, ticket.id, gate.value, attempt, tier.value, rule, reviewer, tree, self.clock()),
            )
        number = cursor.lastrowid
        return self.action(int(number or 0))

    def open_actions(
        self, ticket: TicketState, opening: Sequence[OpenAction], said: Sequence[str], **changes: Any
    ) -> None:
        """Show actions to drivers and guards, together with what that changes about their ticket."""
        with self.transaction() as db:
            self.change_within(db, ticket, changes)
            for new in opening:
                db.execute(
                    "UPDATE action SET state = 'open', brief = ?, hand_in = ?, host_model = ?, worktree = ?,"
                    " write_set = ? WHERE number = ?",
                    (
                        *(str(new.brief), str(new.hand_in) if new.hand_in else None, new.host_model),
                        *(str(new.worktree), json.dumps(list(new.write_set)), new.number),
                    ),
                )
            journal.settled(db, ticket.run, ticket.id)
            for line in said:
                self.say_within(db, ticket.run, ticket.id, line)

    def grant(self, action: Action, paths: Sequence[str], granted: Sequence[str], said: str) -> None:
        """Let an open action write `paths`; `granted` is all that its ticket was granted so far."""
        with self.transaction() as db:
            db.execute("UPDATE action SET write_set = ? WHERE number = ?", (json.dumps(list(paths)), action.number))
            db.execute(
                "UPDATE ticket SET granted = ? WHERE run = ? AND id = ?",
                (printable(json.dumps(list(granted))), action.run, action.ticket),
            )
            self.say_within(db, action.run, action.ticket, said)

    def action(self, number: int) -> Action:
        rows = self.rows("SELECT * FROM action WHERE number = ?", number)
        if not rows:
            raise RunStateError(f"action a{number}: unknown; `backlog-ops status` lists the open ones")
        return action_of(rows[0])

    def find_action(self, number: int, run_id: str) -> Action | None:
        """An action of this run."""
        rows = self.rows("SELECT * FROM action WHERE number = ? AND run = ?", number, run_id)
        return action_of(rows[0]) if rows else None

    def actions(self, run_id: str, state: str) -> list[Action]:
        return [
            action_of(row)
            for row in self.rows("SELECT * FROM action WHERE run = ? AND state = ? ORDER BY number", run_id, state)
        ]

    def current_actions(self, ticket: TicketState, gate: Gate) -> list[Action]:
        """The ticket's actions of this gate that are open or handed in: one, or one a reviewer."""
        rows = self.rows(
            "SELECT * FROM action WHERE run = ? AND ticket = ? AND gate = ? AND state <> 'closed' ORDER BY number",
            ticket.run,
            ticket.id,
            gate.value,
        )
        return [action_of(row) for row in rows]

    def current_action(self, ticket: TicketState, gate: Gate) -> Action | None:
        """The same for a gate that asks one agent at a time."""
        return next(iter(self.current_actions(ticket, gate)), None)

    def died(self, ticket: TicketState, gate: Gate, reviewer: str | None = None) -> int:
        """How many actions of this gate, in this attempt and since the last `retry`, ended without a usable hand-in."""
        rows = self.rows(
            "SELECT count(*) FROM action WHERE run = ? AND ticket = ? AND gate = ? AND attempt = ? AND number > ?"
            " AND reviewer IS ? AND state = 'closed' AND cause IS NOT NULL",
            ticket.run,
            ticket.id,
            gate.value,
            max(1, ticket.attempt),
            ticket.asked_again,
            reviewer,
        )
        return int(rows[0][0])

    def live_actions(self, ticket: TicketState) -> list[Action]:
        """All of the ticket that are open or handed in, of any gate."""
        sql = "SELECT * FROM action WHERE run = ? AND ticket = ? AND state <> 'closed' ORDER BY number"
        return [action_of(row) for row in self.rows(sql, ticket.run, ticket.id)]

    def newest_action(self) -> int:
        return int(self.rows("SELECT coalesce(max(number), 0) FROM action")[0][0])

    def actions_of(self, ticket: TicketState) -> list[Action]:
        """All actions that anybody was asked for, in order."""
        sql = "SELECT * FROM action WHERE run = ? AND ticket = ? AND brief <> '' ORDER BY number"
        return [action_of(row) for row in self.rows(sql, ticket.run, ticket.id)]

    def hand_in(self, action: Action, cause: str | None = None) -> None:
        """The sub-agent is done; `cause` says why its attempt is worthless, where it is."""
        with self.transaction() as db:
            db.execute(
                "UPDATE action SET state = 'handed-in', cause = ?, ended_at = ? WHERE number = ? AND state = 'open'",
                (cause, self.clock(), action.number),
            )

    # -- verdicts

    def verdicts(self, ticket: TicketState) -> list[Verdict]:
        return [
            Verdict(
                row["attempt"],
                Gate(row["gate"]),
                Tier(row["tier"]),
                bool(row["passed"]),
                row["tree"],
                row["detail"],
            )
            for row in self.rows(
                "SELECT * FROM verdict WHERE run = ? AND ticket = ? ORDER BY attempt, rowid",
                ticket.run,
                ticket.id,
            )
        ]

    def implement_tiers(self, ticket: TicketState) -> dict[int, Tier]:
        """attempt → the tier its IMPLEMENT ran on."""
        rows = self.rows(
            "SELECT attempt, tier FROM action WHERE run = ? AND ticket = ? AND gate = 'IMPLEMENT' AND brief <> ''"
            " ORDER BY number",
            ticket.run,
            ticket.id,
        )
        return {row["attempt"]: Tier(row["tier"]) for row in rows}

    # -- receipts

    def record(self, receipt: ledger.Receipt) -> None:
        with self.transaction() as db:
            ledger.record(db, receipt)

    def receipts(self, run_id: str, ticket: str | None = None) -> list[sqlite3.Row]:
        where, values = ("AND ticket = ?", (run_id, ticket)) if ticket is not None else ("", (run_id,))
        return self.rows(f"SELECT * FROM ledger WHERE run = ? {where} ORDER BY at, key", *values)

    def receipts_of(self, action: Action) -> list[sqlite3.Row]:
        """Receipts of one agent action: their keys begin with it, or a sub-agent of it made the call."""
        prefix = f"{action.run}/{action.id}"
        return self.rows(
            "SELECT * FROM ledger WHERE (key >= ? AND key < ?)"
            " OR (run = ? AND agent IN (SELECT agent_id FROM agent WHERE action = ?)) ORDER BY at, key",
            f"{prefix}/",
            f"{prefix}0",
            action.run,
            action.number,
        )

    def spent(self, run_id: str, ticket: str | None = None) -> ledger.Spent:
        return ledger.spent(self.connection, run_id, ticket)
