"""A usage limit pauses the run between gates: nobody's attempt is used up, and nothing that is at work is lost."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from backlog_ops.cli.main import main
from backlog_ops.domain.gates import Gate
from backlog_ops.domain.usage_limits import UsageLimit
from backlog_ops.run import closing
from backlog_ops.run.context import Context
from backlog_ops.run.engine import work
from backlog_ops.run.hand_over import hand_over
from backlog_ops.run.opening import open_run
from backlog_ops.run.pauses import UNKNOWN_RESET_SECONDS, LimitReachedError, clock_time, pause
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.steering import park_ticket, retry
from backlog_ops.run.steps import Step
from tests.support.fake_claude import fake_claude, result
from tests.support.hand_driven import several
from tests.support.lab import Lab
from tests.support.parent_session import LIMIT_SECONDS, until

NOW = 1_790_000_000.0
HOUR = 3_600.0
WHY = "You've hit your session limit"


class Clock:
    """Unix seconds; a test moves them."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Limited:
    """A run whose agents meet a usage limit where the test says so, until it is reset."""

    def __init__(self, lab: Lab, resets_at: float | None = NOW + HOUR) -> None:
        self.lab, self.clock, self.resets_at = lab, Clock(), resets_at
        self.ctx: Context = replace(lab.context(), clock=self.clock)
        self.run_id = open_run(self.ctx, [], None).id
        self.meets: Callable[[Action], bool] = lambda _action: False
        self.met: list[Action] = []

    @property
    def run(self) -> Run:
        return self.ctx.store.run(self.run_id)

    @property
    def told(self) -> list[str]:
        return [event.text for event in self.ctx.store.events(self.run_id)]

    def agents(self, ctx: Context, action: Action) -> str | None:
        if self.meets(action) and self.clock.now < (self.resets_at or NOW + UNKNOWN_RESET_SECONDS):
            self.met.append(action)
            raise LimitReachedError(UsageLimit(WHY, self.resets_at))
        return self.lab.agents(ctx, action)

    def works(self, jobs: int = 1) -> Limited:
        work(self.ctx, self.run_id, jobs, self.agents)
        return self


@pytest.fixture
def limited(tmp_path) -> Limited:
    """T-1's implementer meets a limit that is reset in an hour."""
    run = Limited(several(tmp_path))
    run.meets = lambda action: action.gate is Gate.IMPLEMENT
    return run.works()


def state(limited: Limited, ticket: str = "T-1") -> TicketState:
    return limited.ctx.store.ticket(limited.run_id, ticket)


# -- the run waits


def test_the_run_pauses_until_the_reset_and_says_so_once(limited):
    assert (limited.run.state, limited.run.paused_until, limited.run.paused_why) == ("open", NOW + HOUR, WHY)
    assert limited.told[-1] == f"paused until {clock_time(NOW + HOUR)}: {WHY}"


def test_nothing_is_asked_for_while_the_limit_lasts(limited):
    before = limited.ctx.store.newest_action(), len(limited.met)
    limited.clock.now += HOUR - 1
    limited.works()
    assert (limited.ctx.store.newest_action(), len(limited.met)) == before


def test_after_the_reset_the_same_action_goes_on_and_no_attempt_was_used(limited):
    (waiting,) = limited.met
    limited.clock.now += HOUR
    limited.works()
    done = next(action for action in limited.lab.agents.seen if action.gate is Gate.IMPLEMENT)
    assert (done.number, done.attempt) == (waiting.number, 1)
    assert (state(limited).step, state(limited).attempt, state(limited).fails) == (Step.DONE, 1, 0)
    assert "going on: the usage limit should be reset by now" in limited.told
    assert limited.run.paused_until is None


def test_a_limit_whose_reset_nobody_knows_is_tried_again_after_a_while(tmp_path):
    limited = Limited(several(tmp_path), resets_at=None)
    limited.meets = lambda action: action.gate is Gate.IMPLEMENT
    limited.works()
    assert limited.run.paused_until == NOW + UNKNOWN_RESET_SECONDS
    assert limited.told[-1].endswith(f"{WHY}, the time of its reset is not known")
    limited.clock.now += UNKNOWN_RESET_SECONDS
    assert limited.works().run.state == "done"


def test_a_limit_that_is_not_reset_in_time_pauses_again(limited):
    limited.resets_at = NOW + 3 * HOUR
    limited.clock.now += HOUR
    limited.works()
    assert (limited.run.paused_until, len(limited.met), state(limited).attempt) == (NOW + 3 * HOUR, 2, 1)


def test_a_second_limit_with_an_earlier_reset_does_not_shorten_the_pause(limited):
    pause(limited.ctx, limited.run_id, UsageLimit("another", NOW + 60))
    assert (limited.run.paused_until, limited.run.paused_why) == (NOW + HOUR, WHY)


def test_the_step_that_a_limit_meets_is_not_counted_as_a_death(tmp_path):
    limited = Limited(several(tmp_path))
    limited.meets = lambda action: action.gate is Gate.REVIEW
    for _ in range(3):  # more than a reviewer may die
        limited.works()
        limited.clock.now, limited.resets_at = limited.run.paused_until, limited.run.paused_until + HOUR
    limited.meets = lambda action: False
    assert limited.works().run.state == "done"
    assert len(limited.met) == 3


# -- what is at work


def test_the_agent_of_another_ticket_that_is_at_work_is_not_lost(tmp_path):
    limited = Limited(several(tmp_path, "T-1", "T-2"))
    limited.meets = lambda action: (action.ticket, action.gate) == ("T-1", Gate.PLAN)
    at_work = threading.Event()

    def agents(ctx: Context, action: Action) -> str | None:
        """T-2's first agent begins before the limit is met, and ends after it."""
        if action.ticket == "T-2" and not at_work.is_set():
            at_work.set()
            until(lambda: limited.run.paused_until is not None)
        assert at_work.wait(LIMIT_SECONDS)
        return limited.agents(ctx, action)

    work(limited.ctx, limited.run_id, 2, agents)
    handed_in = limited.ctx.store.actions(limited.run_id, "handed-in")
    assert [(action.ticket, action.gate) for action in handed_in] == [("T-2", Gate.PLAN)]
    limited.clock.now += HOUR
    limited.works()
    assert {state(limited, ticket).step for ticket in ("T-1", "T-2")} == {Step.DONE}
    plans = [action.ticket for action in limited.lab.agents.seen if action.gate is Gate.PLAN]
    assert plans == ["T-2", "T-1"]


def test_one_of_two_reviewers_meets_a_limit_and_the_other_one_is_not_asked_again(tmp_path):
    reviewers = {"reviewPipeline": {"reviewers": [{"name": "a"}, {"name": "b"}]}}
    limited = Limited(several(tmp_path, config=reviewers))
    limited.meets = lambda action: action.reviewer == "a"
    limited.works()
    limited.clock.now += HOUR
    assert limited.works().run.state == "done"
    reviews = [action.reviewer for action in limited.lab.agents.seen if action.gate is Gate.REVIEW]
    assert reviews == ["b", "a"]


# -- the clock


def test_a_clock_that_is_put_back_waits_no_longer_than_the_reset(limited):
    limited.clock.now -= 24 * HOUR
    assert limited.works().run.paused_until == NOW + HOUR
    limited.clock.now = NOW + HOUR
    assert limited.works().run.state == "done"


def test_a_clock_that_is_put_forward_tries_at_once(limited):
    limited.clock.now += 365 * 24 * HOUR
    assert limited.works().run.state == "done"


# -- what a person and a parent session are told


def test_a_parent_is_told_until_when_to_wait_and_no_worker_is_started(limited):
    answer = hand_over(limited.ctx, limited.run, 60, patient=True)
    at = clock_time(NOW + HOUR)
    waiting = {"do": "wait", "seconds": 3600, "why": f"usage limit until {at}: {WHY}", "until": at}
    assert answer["actions"] == [waiting]
    assert not (limited.ctx.state_folder / "worker.log").exists()


def test_a_parent_gets_the_action_again_after_the_reset(limited):
    limited.clock.now += HOUR
    (action,) = hand_over(limited.ctx, limited.run, 60)["actions"]
    assert (action["do"], action["gate"], action["attempt"]) == ("agent", "IMPLEMENT", 1)


def test_status_shows_the_pause_and_how_to_go_on(tmp_path, monkeypatch, capsys):
    lab = several(tmp_path)
    ctx = lab.context()
    run = open_run(ctx, [], None)
    reset = ctx.clock() + HOUR
    pause(ctx, run.id, UsageLimit(WHY, reset))
    monkeypatch.chdir(lab.top)
    main(["status"])
    line = f"paused until {clock_time(reset)}: {WHY}; `backlog-ops run --wait` goes on by itself"
    assert line in capsys.readouterr().out.splitlines()
    main(["status", "--format", "json"])
    assert f'"paused_until": {reset!r}' in capsys.readouterr().out


def test_a_run_without_a_session_ends_with_exit_code_4_and_goes_on_later(tmp_path, monkeypatch, capsys):
    lab = several(tmp_path)
    claude = fake_claude(tmp_path / "bin", result(f"{WHY} · resets 3am (UTC)", is_error=True), exit_code=1)
    monkeypatch.setenv("CLAUDE_BIN", str(claude.path))
    monkeypatch.chdir(lab.top)
    assert main(["run"]) == 4
    said = capsys.readouterr()
    assert re.search(rf"paused until \d{{4}}-\d\d-\d\d \d\d:\d\d: {WHY}", said.out)
    assert lab.states()["T-1"].step is Step.PLAN


# -- beside the pause


def test_a_paused_run_can_be_steered(limited):
    park_ticket(limited.ctx, "T-1", "later")
    assert retry(limited.ctx, ["T-1"]) == ["T-1: taken up again at implement"]
    limited.clock.now += HOUR
    assert (limited.works().run.state, state(limited).step) == ("done", Step.DONE)


def test_an_aborted_run_is_not_paused_any_more(limited):
    closing.abort(limited.ctx)
    assert (limited.run.state, limited.run.paused_until) == ("aborted", None)
