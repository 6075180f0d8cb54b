"""The engine dies in a step again and again: a person's matter, after the fifth time. Being stopped is no death."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.errors import SurroundingsError
from backlog_ops.run import engine
from backlog_ops.run.engine import work
from backlog_ops.run.journal import MOST_CUTS
from backlog_ops.run.processes import StoppedError
from backlog_ops.run.steering import retry
from backlog_ops.run.steps import Step
from tests.support.hand_driven import HandDriven, several
from tests.support.lab import REJECTED


class Killed(BaseException):
    """What is on disk is what a SIGKILL leaves there."""


class Cut:
    """A run whose engine comes to its end in a step as often as the test says."""

    def __init__(self, driven: HandDriven, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driven, self.left, self.at = driven, 0, Step.LINT
        self.error: Callable[[], BaseException] = Killed
        self.before: Callable[[], None] = lambda: None
        self.steps = engine._STEPS
        monkeypatch.setattr(engine, "_STEPS", {step: self._dying(step) for step in self.steps})

    def _dying(self, step: Step) -> engine.GateStep:
        def die_or_go_on(ctx, run, ticket):
            if self.left and ticket.step is self.at and ticket.id == "T-1":
                self.left -= 1
                self.before()
                raise self.error()
            self.steps[step](ctx, run, ticket)

        return die_or_go_on

    def dies(self, times: int, at: Step) -> None:
        """So many engines, one after the other."""
        self.left, self.at = times, at
        for _ in range(times):
            with pytest.raises(Killed):
                work(self.driven.lab.context(), self.driven.run_id, 1, None)

    def rows(self) -> list[str]:
        sql = "SELECT outcome FROM journal WHERE ticket = 'T-1' AND step = ? ORDER BY number"
        return [row["outcome"] for row in self.driven.ctx.store.rows(sql, self.at.value)]


@pytest.fixture
def cut(tmp_path, monkeypatch) -> Cut:
    """T-1's implementer has handed in and nobody has looked yet; T-2 keeps the wave open."""
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2"))
    driven.hand_in(driven.play_until(Gate.IMPLEMENT))
    return Cut(driven, monkeypatch)


def test_a_step_that_is_cut_off_is_done_again(cut):
    cut.dies(MOST_CUTS - 1, Step.LINT)
    assert cut.driven.works().state().step is Step.REVIEW
    assert cut.rows() == ["cut"] * (MOST_CUTS - 1) + ["settled"]


def test_a_step_that_is_cut_off_five_times_parks_its_ticket_and_no_other(cut):
    cut.dies(MOST_CUTS, Step.LINT)
    cut.driven.works()
    reason = "the engine was killed 5 times at lint; does that need too much memory?"
    assert (cut.driven.state().step, cut.driven.state().reason) == (Step.PARKED, reason)
    assert cut.driven.play_all("T-2").state("T-2").step is Step.DONE


def test_retry_counts_anew_and_goes_on_with_that_step(cut):
    cut.dies(MOST_CUTS, Step.LINT)
    cut.driven.works()
    assert retry(cut.driven.ctx, ["T-1"]) == ["T-1: taken up again at lint"]
    cut.dies(MOST_CUTS - 1, Step.LINT)
    assert cut.driven.works().state().step is Step.REVIEW


def test_cuts_of_different_steps_are_not_added_up(cut):
    cut.dies(MOST_CUTS - 1, Step.IMPLEMENT)
    cut.dies(MOST_CUTS - 1, Step.LINT)
    assert cut.driven.works().state().step is Step.REVIEW


def test_cuts_of_different_attempts_are_not_added_up(cut):
    cut.dies(MOST_CUTS - 1, Step.IMPLEMENT)
    cut.driven.lab.agents.verdict = lambda *_: REJECTED
    cut.driven.works().play()
    cut.driven.hand_in(cut.driven.play_until(Gate.IMPLEMENT))
    cut.dies(MOST_CUTS - 1, Step.IMPLEMENT)
    assert cut.driven.works().state().step is Step.REVIEW


def test_a_step_that_was_stopped_in_good_order_is_no_cut(cut):
    times = 2 * MOST_CUTS
    cut.left, cut.at, cut.error = times, Step.LINT, lambda: StoppedError("Ctrl-C")
    for _ in range(times):
        ctx = cut.driven.lab.context()
        cut.before = ctx.stopping.set
        work(ctx, cut.driven.run_id, 1, None)
    assert cut.rows() == ["stopped"] * times
    assert cut.driven.works().state().step is Step.REVIEW


def test_a_machine_that_does_not_let_it_go_on_is_no_cut(cut):
    full = str(cut.driven.lab.top / ".git" / "objects")
    cut.left, cut.at, cut.error = 2 * MOST_CUTS, Step.LINT, lambda: OSError(errno.ENOSPC, "No space left", full)
    for _ in range(2 * MOST_CUTS):
        with pytest.raises(SurroundingsError, match="No space left"):
            work(cut.driven.lab.context(), cut.driven.run_id, 1, None)
    assert cut.driven.works().state().step is Step.REVIEW


def test_an_agents_work_that_was_handed_in_is_looked_at_after_the_retry(cut):
    cut.dies(MOST_CUTS, Step.IMPLEMENT)
    assert cut.driven.works().state().parked_at == "implement"
    retry(cut.driven.ctx, ["T-1"])
    assert cut.driven.works().state().step is Step.REVIEW
    assert cut.driven.lab.agents.tiers(Gate.IMPLEMENT) == ["cheap"]


def test_nothing_is_open_in_the_journal_after_a_run(cut):
    cut.dies(2, Step.LINT)
    assert cut.driven.works().play_all().run.state == "done"
    assert cut.driven.ctx.store.rows("SELECT * FROM journal WHERE outcome IS NULL") == []
