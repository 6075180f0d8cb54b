"""A run that dies at any point goes on from there: same commits, judged once, nothing left over.

Here the engine dies inside the process, before or after every git call and every transaction: what is on disk is what
a SIGKILL at that point leaves behind. Every thirty-second point is tried; the numbers shift as the engine changes.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from backlog_ops.run import closing, engine
from backlog_ops.run.git import Git
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Store
from tests.support.lab import APPROVED, Lab, ticket_text


class Killed(BaseException):
    pass


class Countdown:
    """Raises Killed at its `at`-th tick, once."""

    def __init__(self, at: int) -> None:
        self.left = at

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.fixture
def dies_at(monkeypatch):
    def arm(at: int) -> Countdown:
        countdown = Countdown(at)
        run, transaction = Git.run, Store.transaction

        def counted_run(self, *args, **options):
            countdown.tick()
            done = run(self, *args, **options)
            countdown.tick()
            return done

        @contextmanager
        def counted_transaction(self):
            countdown.tick()
            with transaction(self) as connection:
                yield connection
            countdown.tick()

        monkeypatch.setattr(Git, "run", counted_run)
        monkeypatch.setattr(Store, "transaction", counted_transaction)
        return countdown

    return arm


def lab_with_one_rejection(tmp_path) -> Lab:
    lab = Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2")})
    rejected = {"verdict": "CHANGES_REQUESTED", "findings": []}
    lab.agents.verdict = lambda ticket, attempt: rejected if (ticket, attempt) == ("T-1", 1) else APPROVED
    return lab


@pytest.mark.parametrize("at", range(5, 386, 32))
def test_a_run_killed_anywhere_ends_as_if_nothing_had_happened(tmp_path, dies_at, at):
    lab = lab_with_one_rejection(tmp_path)
    countdown = dies_at(at)
    try:
        lab.run(jobs=1)
    except Killed:
        ctx = lab.context()
        run = ctx.store.open_run()
        if run is not None:
            engine.work(ctx, run.id, 1, lab.agents)
        elif ctx.store.last_run() is None:
            lab.run(jobs=1)
    assert countdown.left <= 0, "the run was over before the point that this test is about"
    closing.clean(lab.context())
    states = lab.states()
    assert {state.step for state in states.values()} == {Step.DONE}
    assert {state.id: state.fails for state in states.values()} == {"T-1": 1, "T-2": 0}
    assert sorted(lab.log()) == ["feat(src): implement T-1", "feat(src): implement T-2", "start"]
    assert lab.git.text("status", "--porcelain") == ""
    assert lab.git.worktrees() == [lab.top]
    assert lab.git.text("branch", "--format=%(refname:short)") == "main"
