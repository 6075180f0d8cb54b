"""`backlog-ops run`, interrupted or killed while an agent is at work: nothing is lost, nothing happens twice."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.demo.bill import billed, booked
from tests.e2e.harness.agents import Models, turns, write
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.reply import Answer, Fault, Reply
from tests.e2e.harness.request import Req

ONE_COMMIT = ["feat(src): implement T-1"]


class HangingOnce(Models):
    """The first implementer's second call hangs; whoever comes later works."""

    def __call__(self, request: Req) -> Answer:
        answer = super().__call__(request)
        return Fault("hang") if len(self.jobs) == 1 and self.jobs[0].request is request else answer


def begun(lab: BacklogLab) -> bool:
    return bool(lab.models.begun("IMPLEMENT"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_books_its_agents_ends_them_and_goes_on_later(make_lab: MakeLab, number: int) -> None:
    lab = make_lab(HangingOnce())
    process = lab.begin("run")
    lab.wait_until(lambda: begun(lab))
    process.send_signal(number)
    first = lab.end(process)
    assert (first.exit_code, first.stdout, first.leftovers) == (130, "", []), first.explain()
    assert first.stderr.splitlines()[-1].startswith("interrupted: "), first.explain()
    assert booked(lab) == billed(lab.api.calls)
    # Its answer was under way; an agent that a busy machine lets no time to say so has no bill at all.
    (unbilled,) = [row for row in lab.agent_receipts() if row["cost_nanousd"] is None]
    assert (unbilled["input"], unbilled["answered_model"]) == (None, None)
    second = lab.run()
    assert (second.exit_code, lab.commits()) == (0, ONE_COMMIT), second.explain()
    assert booked(lab) == billed(lab.api.calls)


def test_a_second_interrupt_leaves_at_once(make_lab: MakeLab) -> None:
    class Silent(Models):
        def __call__(self, request: Req) -> Answer:
            return Fault("hang")

    lab = make_lab(Silent())
    process = lab.begin("run")
    lab.wait_until(lambda: lab.api.calls)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    lab.wait_until(lambda: process.stderr.readline().startswith("interrupted: "))
    process.send_signal(signal.SIGINT)
    ran = lab.end(process, 5)
    assert (ran.exit_code, ran.stderr) == (130, ""), ran.explain()


def test_an_agent_that_outlives_a_killed_run_is_waited_for_and_not_bought_again(make_lab: MakeLab) -> None:
    slowly = turns(lambda job: Reply([write(job.own_file, "T-1\n")], delay=2.5))
    lab = make_lab(Models(implement=slowly))
    process = lab.begin("run")
    lab.wait_until(lambda: begun(lab))
    process.kill()
    process.wait()
    assert len(lab.claudes()) == 1
    second = lab.run()
    assert (second.exit_code, lab.commits(), second.leftovers) == (0, ONE_COMMIT, []), second.explain()
    assert len(lab.models.begun("IMPLEMENT")) == 1
    assert booked(lab) == billed(lab.api.calls)


def test_what_an_agent_did_after_its_run_was_killed_is_not_bought_again(make_lab: MakeLab) -> None:
    lab = make_lab()
    process = lab.begin("run")
    lab.wait_until(lambda: begun(lab))
    process.kill()
    process.wait()
    lab.wait_until(lambda: not lab.claudes())
    second = lab.run()
    assert (second.exit_code, lab.commits()) == (0, ONE_COMMIT), second.explain()
    assert len(lab.models.begun("IMPLEMENT")) == 1
    assert booked(lab) == billed(lab.api.calls)


def test_an_agent_that_died_with_its_run_is_started_again(make_lab: MakeLab) -> None:
    lab = make_lab(HangingOnce())
    process = lab.begin("run")
    lab.wait_until(lambda: begun(lab))
    (claude,) = lab.claudes()
    process.kill()
    process.wait()
    os.kill(claude, signal.SIGKILL)
    lab.wait_until(lambda: not lab.claudes())
    second = lab.run()
    assert (second.exit_code, lab.commits()) == (0, ONE_COMMIT), second.explain()
    told = [(row["gate"], row["attempt"], row["cost_nanousd"] is None) for row in lab.agent_receipts()]
    assert told == [("IMPLEMENT", 1, True), ("IMPLEMENT", 1, False), ("REVIEW", 1, False)]


def test_an_aborted_run_leaves_no_agent_of_a_killed_one_and_has_its_bill(make_lab: MakeLab) -> None:
    lab = make_lab(HangingOnce())
    process = lab.begin("run")
    lab.wait_until(lambda: begun(lab))
    process.kill()
    process.wait()
    ran = lab.end(lab.begin("abort"))
    assert (ran.exit_code, ran.leftovers) == (0, []), ran.explain()
    assert booked(lab) == billed(lab.api.calls)
