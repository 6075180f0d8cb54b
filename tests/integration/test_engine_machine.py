"""The engine under random events: agents that lie, die and delete, kills, limits, people who park, retry and undo.

After each event the rules of routing and gates must hold (design rules; docs/reliability.md), whatever came before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.usage_limits import UsageLimit
from backlog_ops.errors import FindingsError, RunStateError
from backlog_ops.run import closing, engine
from backlog_ops.run.context import Context
from backlog_ops.run.git import Git
from backlog_ops.run.opening import open_run
from backlog_ops.run.pauses import pause
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.stats import local_model_stats
from backlog_ops.run.steering import park_ticket, retry
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Store
from backlog_ops.run.undoing import undo
from tests.support.lab import Lab, ticket_text

IDS = ("T-1", "T-2", "T-3")
LEAST_STEPS = 2_000  # of the engine; events are not counted
CONFIG = {"backlog": {"maxSlots": 2}}
CITED = {"severity": "low", "file": "src/readme.txt", "line": 1, "quote": "hello", "confidence": 90, "text": "so"}
ANSWER = {"question": "?", "answer": "!", "evidence": [{"file": "src/readme.txt", "line": 1, "quote": "hello"}]}

EVENTS = ["hand in"] * 14 + ["kill"] * 3 + ["retry"] * 2 + ["park", "undo", "limit", "clock"]
HAND_INS = {
    Gate.PLAN: ("good", "good", "good", "deletes", "question", "garbage", "died"),
    Gate.INVESTIGATE: ("answered", "answered", "open", "invented", "garbage", "died"),
    Gate.IMPLEMENT: ("good", "good", "good", "broken", "nothing", "strays", "deletes", "empties", "died"),
    Gate.REVIEW: (
        "approves",
        "approves",
        "approves",
        "rejects",
        "prose",
        "other tree",
        "invents",
        "contradicts",
        "died",
    ),
}
counted = {"events": 0, "engine steps": 0}


class Killed(BaseException):
    pass


class Clock:
    """Unix seconds that tests move; each look at it takes a while."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@contextmanager
def killed_after(ticks: int | None) -> Iterator[None]:
    """The engine dies at the `ticks`-th git call or transaction: what is on disk is what a SIGKILL leaves there."""
    run, transaction = Git.run, Store.transaction
    left = [ticks if ticks is not None else -1]

    def tick() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    def counted_run(self: Git, *args: Any, **options: Any) -> Any:
        tick()
        done = run(self, *args, **options)
        tick()
        return done

    @contextmanager
    def counted_transaction(self: Store) -> Iterator[Any]:
        tick()
        with transaction(self) as connection:
            yield connection
        tick()

    if ticks is not None:
        Git.run, Store.transaction = counted_run, counted_transaction  # type: ignore[method-assign,assignment]
    try:
        yield
    except Killed:
        pass
    finally:
        Git.run, Store.transaction = run, transaction  # type: ignore[method-assign]


class Runs(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="backlog-machine-")
        self.clock = Clock()
        self.serial = 0
        self.seen: Any = ("", ())

    @initialize(
        fields=st.lists(
            st.sampled_from([{}, {}, {"tags": ["ARCH"]}, {"complexity": "high"}, {"status": "needs-investigation"}]),
            min_size=3,
            max_size=3,
        ),
        chained=st.booleans(),
    )
    def begin(self, fields: list[dict[str, Any]], chained: bool) -> None:
        after = {"depends_on": ["T-1"]} if chained else {}
        files = {
            f"{name}.md": ticket_text(name, ("src",), **more, **(after if name == "T-3" else {}))
            for name, more in zip(IDS, fields, strict=True)
        }
        self.lab = Lab.make(Path(self.folder.name) / "repo", files, CONFIG)
        self.ctx = self.context()
        self.run_id = open_run(self.ctx, [], None).id
        self.base = self.main()
        self.works()

    def context(self) -> Context:
        ctx = self.lab.context()
        return replace(ctx, store=Store(ctx.store.path, self.clock), clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "ctx"):
            assert self.lab.git.text("status", "--porcelain") == ""
            counted["engine steps"] += self.ctx.store.rows("SELECT count(*) FROM journal")[0][0]
        self.folder.cleanup()

    # -- what happens

    @property
    def run(self) -> Run:
        return self.ctx.store.run(self.run_id)

    def states(self) -> dict[str, TicketState]:
        return {state.id: state for state in self.ctx.store.tickets(self.run_id)}

    def main(self) -> str:
        """The commit of the base branch, read without a process."""
        branch = self.lab.top / ".git" / "refs" / "heads" / "main" if hasattr(self, "lab") else None
        return branch.read_text().strip() if branch else ""

    def is_open(self) -> bool:
        return self.run.state == "open"

    @rule(event=st.sampled_from(EVENTS), pick=st.integers(0, 11), how=st.integers(0, 999), ticks=st.integers(1, 80))
    def something_happens(self, event: str, pick: int, how: int, ticks: int) -> None:
        """All is drawn at once: what a kill leaves depends on the instant, so later draws must not."""
        counted["events"] += 1
        name = sorted(self.states())[pick % len(self.states())]
        if not self.is_open():
            event = "undo" if event == "undo" else "next run"
        if event in ("hand in", "kill"):
            self.agent_hands_in(pick, how, ticks if event == "kill" else None)
        elif event == "limit":
            self.limit_is_reached([60, 7_200][pick % 2])
        elif event == "clock":
            self.clock.now += [-3_600, 3_600][pick % 2]
        elif event == "next run":
            self.next_run()
        else:
            {"park": self.person_parks, "retry": self.person_retries, "undo": self.person_undoes}[event](name)
        self.works()

    def works(self) -> None:
        """As `next` does."""
        engine.work(self.ctx, self.run_id, 1, None)
        closing.tidy(self.ctx)

    def agent_hands_in(self, pick: int, how: int, killed_at: int | None = None) -> None:
        waiting = self.ctx.store.actions(self.run_id, "open")
        if waiting:
            action = waiting[pick % len(waiting)]
            self.hand_in(action, HAND_INS[action.gate][how % len(HAND_INS[action.gate])])
        if killed_at is not None:
            with killed_after(killed_at):
                self.works()
            self.ctx = self.context()  # whoever goes on is another process

    def hand_in(self, action: Action, how: str) -> None:
        self.serial += 1
        if how == "died":
            self.ctx.store.hand_in(action, "max_turns: reached")
            return
        write = {
            Gate.PLAN: self._plan,
            Gate.INVESTIGATE: self._investigate,
            Gate.IMPLEMENT: self._implement,
            Gate.REVIEW: self._review,
        }
        write[action.gate](action, how)
        self.ctx.store.hand_in(action)

    def _plan(self, action: Action, how: str) -> None:
        files = [{"path": f"src/{action.ticket}.txt", "action": "create", "purpose": "it"}]
        if how == "deletes":
            files.append({"path": "src/readme.txt", "action": "delete", "purpose": "gone"})
        plan = {"files": files, "interfaces": [], "tests": [], "steps": [], "open_questions": []}
        if how == "question":
            plan["open_questions"] = ["Why?"]  # type: ignore[list-item]
        self._write(action, "{" if how == "garbage" else json.dumps(plan))

    def _investigate(self, action: Action, how: str) -> None:
        found: dict[str, Any] = {"answers": [ANSWER], "open": []}
        if how == "open":
            found = {"answers": [], "open": [{"question": "?", "why": "!"}]}
        if how == "invented":
            evidence = [{"file": "src/readme.txt", "line": 9, "quote": "hello"}]
            found["answers"] = [{**ANSWER, "evidence": evidence}]
        self._write(action, "no" if how == "garbage" else json.dumps(found))

    def _implement(self, action: Action, how: str) -> None:
        worktree = Path(self.ctx.store.rows("SELECT worktree FROM action WHERE number = ?", action.number)[0][0])
        own, readme = worktree / "src" / f"{action.ticket}.txt", worktree / "src" / "readme.txt"
        own.parent.mkdir(exist_ok=True)
        if how in ("good", "broken"):
            own.write_text(f"{'BROKEN' if how == 'broken' else action.ticket} {self.serial}\n")
        elif how == "strays":
            (worktree / "stray.txt").write_text("stray\n")
        elif how == "deletes":
            readme.unlink(missing_ok=True)
        elif how == "empties":
            readme.write_text("")

    def _review(self, action: Action, how: str) -> None:
        verdict: dict[str, Any] = {"verdict": "APPROVED", "tree": action.tree, "findings": []}
        if how == "rejects":
            verdict["verdict"] = "CHANGES_REQUESTED"
        elif how == "other tree":
            verdict["tree"] = "0" * 40
        elif how == "invents":
            verdict["findings"] = [{**CITED, "quote": "invented"}]
        elif how == "contradicts":
            verdict["findings"] = [{**CITED, "severity": "high"}]
        self._write(action, "NOT APPROVED" if how == "prose" else json.dumps(verdict))

    @staticmethod
    def _write(action: Action, text: str) -> None:
        assert action.hand_in is not None
        Path(action.hand_in).write_text(text, encoding="utf-8")

    def person_parks(self, name: str) -> None:
        try:
            park_ticket(self.ctx, name, "by hand")
        except RunStateError:
            assert self.states()[name].step is Step.DONE

    def person_retries(self, name: str) -> None:
        before = self.states()[name]
        try:
            retry(self.ctx, [name])
        except RunStateError:
            assert before.step is not Step.PARKED

    def person_undoes(self, name: str) -> None:
        before = self.states()[name].step
        try:
            undo(self.ctx, name)
        except RunStateError:
            pass  # not done, or undone already
        except FindingsError:
            assert before is Step.DONE  # later work needs it: it stays

    def limit_is_reached(self, seconds: int) -> None:
        pause(self.ctx, self.run_id, UsageLimit("limit", self.clock.now + seconds))
        before = self.ctx.store.newest_action()
        engine.work(self.ctx, self.run_id, 1, None)
        assert self.ctx.store.newest_action() == before, "nothing is asked for while the limit lasts"
        self.clock.now += seconds + 1

    def next_run(self) -> None:
        closing.clean(self.ctx)
        self.base = self.main()
        with suppress(FindingsError):  # nothing is left to do
            self.run_id = open_run(self.ctx, [], None).id

    # -- what must always hold

    @invariant()
    def the_base_branch_moves_at_the_end_only(self) -> None:
        if hasattr(self, "ctx") and self.is_open():
            assert self.main() == self.base

    @invariant()
    def what_is_done_was_checked_and_approved_and_is_committed_once(self) -> None:
        tickets = tuple((state.id, state.step) for state in self.states().values()) if hasattr(self, "ctx") else ()
        if (self.main(), tickets) == self.seen:
            return
        self.seen = (self.main(), tickets)
        tip = self.run.ref if self.lab.git.commit_of(self.run.ref) else "main"
        subjects = self.lab.git.text("log", "--format=%s", f"{self.run.base_commit}..{tip}").splitlines()
        for name, state in self.states().items():
            landed = sum(
                subject.endswith(f"implement {name}") and not subject.startswith("revert") for subject in subjects
            )
            taken_back = sum(
                subject.startswith("revert") and subject.endswith(f"implement {name}") for subject in subjects
            )
            if state.step is Step.DONE:
                passed = {
                    v.gate: v.tree for v in self.ctx.store.verdicts(state) if v.passed and v.attempt == state.attempt
                }
                assert passed[Gate.REVIEW] == passed[Gate.LINT] == state.approved_tree
                assert landed - taken_back == 1
            elif state.step is not Step.MERGE:
                assert landed == taken_back

    @invariant()
    def attempts_and_escalations_are_bounded_and_tiers_only_rise(self) -> None:
        if not hasattr(self, "ctx"):
            return
        routing = self.ctx.settings.llm_ops.routing
        told = [event.text for event in self.ctx.store.events(self.run_id)]
        for name, state in self.states().items():
            assert 0 <= state.attempt - state.forgiven <= routing.max_attempts
            tiers = [
                tier for attempt, tier in self.ctx.store.implement_tiers(state).items() if attempt > state.forgiven
            ]
            assert tiers == sorted(tiers) and all(tier >= Tier.CHEAP for tier in tiers)
            assert sum(text.startswith(f"Haiku failed on {name} at ") for text in told) <= 1
            assert (state.reason is not None) == (state.step is Step.PARKED)
        stats = local_model_stats(self.ctx.store, self.run_id)
        assert stats["escalatedToCloud"] <= stats["totalAttempts"]
        assert sum(stats["failuresByType"].values()) == stats["escalatedToCloud"]

    @invariant()
    def nobody_is_asked_twice_at_once(self) -> None:
        if not hasattr(self, "ctx"):
            return
        live = self.ctx.store.rows(
            "SELECT count(*) AS n FROM action WHERE state <> 'closed' GROUP BY run, ticket, gate, reviewer"
        )
        assert all(row["n"] == 1 for row in live)
        open_records = self.ctx.store.rows(
            "SELECT count(*) AS n FROM journal WHERE outcome IS NULL GROUP BY run, ticket"
        )
        assert all(row["n"] == 1 for row in open_records)
        if not self.is_open():
            assert not live and self.lab.git.worktrees() == [self.lab.top]


@pytest.mark.parametrize("number", [1, 2])
def test_whatever_happens_the_rules_hold(number: int) -> None:
    counted.update(dict.fromkeys(counted, 0))
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        seed(number)(type("Runs", (Runs,), {})),
        settings=settings(
            max_examples=14,
            stateful_step_count=40,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert counted["engine steps"] >= LEAST_STEPS / 2, counted
