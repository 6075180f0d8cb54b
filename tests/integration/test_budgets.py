"""What a run may cost: tickets side by side share what there is, and who cannot go on is parked with the reason.

Set aside is at the least, for an IMPLEMENT on cheap, 1.6 cents; for a REVIEW on balanced 5.9.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.money.ledger import record
from backlog_ops.money.reservations import held_by_tickets
from backlog_ops.run import closing
from backlog_ops.run.budget import agents_limit
from backlog_ops.run.context import Context
from backlog_ops.run.engine import work
from backlog_ops.run.hand_over import describe
from backlog_ops.run.opening import open_run
from backlog_ops.run.progress import has_work, waits_for_others
from backlog_ops.run.rows import Action
from backlog_ops.run.steering import park_ticket
from backlog_ops.run.steps import Step
from tests.support.hand_driven import HandDriven
from tests.support.lab import Lab
from tests.support.paid_agents import CENT, DOLLAR, PaidAgents, call, lab_with, spent


def at_a_price(nanousd: int, gate: Gate | None = None) -> PaidAgents:
    """Agents that cost so much each, or only those of one gate."""
    return PaidAgents(price=lambda _ctx, action: nanousd if gate in (None, action.gate) else 0)


def as_much_as_the_host_allows(ctx: Context, action: Action) -> int:
    return agents_limit(ctx, ctx.store.ticket(action.run, action.ticket), action)


def holders(lab: Lab) -> list[str]:
    """The tickets for which something is set aside."""
    rows = lab.context().store.rows("SELECT ticket FROM reservation WHERE nanousd > 0 AND run IS NOT NULL ORDER BY 1")
    return [row["ticket"] for row in rows]


def a_call_is_under_way(lab: Lab, nanousd: int, pid: int) -> None:
    sql = "INSERT INTO reservation (holder, nanousd, pid, at) VALUES ('llm_call/1', ?, ?, ?)"
    lab.context().store.connection.execute(sql, (nanousd, pid, time.time()))


# -- tickets side by side


def test_tickets_that_spend_all_they_are_given_do_not_pass_the_limit_together(tmp_path):
    limit = 12 * CENT  # for about one and a half of the three
    lab = lab_with(tmp_path, "T-1", "T-2", "T-3", perRunUsd=0.12)

    def price(ctx: Context, action: Action) -> int:
        assert spent(lab) + held_by_tickets(ctx.store.connection) <= limit
        return as_much_as_the_host_allows(ctx, action)

    lab.agents = PaidAgents(price=price)
    driven = HandDriven.begin(lab)
    assert holders(lab) == ["T-1", "T-2", "T-3"]  # all are at work at once
    driven.play_all()
    assert limit / 2 < spent(lab) <= limit
    assert driven.run.state == "done"


def test_neither_do_they_when_each_is_driven_by_a_thread_of_its_own(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2", "T-3", agents=PaidAgents(price=as_much_as_the_host_allows))
    run = lab.run(max_nanousd=12 * CENT)
    assert 6 * CENT < spent(lab) <= 12 * CENT
    assert run.state == "done"
    assert {state.step for state in lab.states().values()} <= {Step.DONE, Step.PARKED}


def test_a_ticket_whose_money_others_hold_waits_and_goes_on_when_they_have_settled(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2", perRunUsd=0.1)  # for one reviewer at a time
    driven = HandDriven.begin(lab)
    driven.play("T-1").play("T-1")
    assert driven.state("T-1").step is Step.REVIEW
    assert waits_for_others(driven.ctx.store, driven.run) == {"T-1"}
    assert not has_work(driven.ctx, driven.run)  # nobody asks the engine again before an agent has handed in
    assert [action["ticket"] for action in describe(driven.ctx, driven.run)["actions"]] == ["T-2"]
    driven.play_all("T-2")
    assert driven.state("T-2").step is Step.DONE
    assert [action.gate for action in driven.waiting("T-1")] == [Gate.REVIEW]
    assert driven.play_all().state("T-1").step is Step.DONE


def test_threads_wait_for_each_others_money_too(tmp_path):
    reviewers: list[int] = []

    def price(ctx: Context, action: Action) -> int:
        reviewers.append(sum(other.gate is Gate.REVIEW for other in ctx.store.actions(action.run, "open")))
        return 0

    lab = lab_with(tmp_path, "T-1", "T-2", agents=PaidAgents(price=price), perRunUsd=0.1)
    lab.run()
    assert [state.step for state in lab.states().values()] == [Step.DONE, Step.DONE]
    assert max(reviewers) == 1


class UntilOneWaits(threading.Event):
    """What others hold is let go as soon as the engine waits."""

    def __init__(self, let_go: Callable[[], object]) -> None:
        super().__init__()
        self._let_go = let_go
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.waits += 1
        self._let_go()
        return self.is_set()


def test_a_ticket_waits_for_what_a_call_beside_the_run_may_cost(tmp_path):
    lab = lab_with(tmp_path, perDayUsd=1)
    a_call_is_under_way(lab, DOLLAR, os.getpid())
    let_go = UntilOneWaits(lambda: lab.context().store.connection.execute("DELETE FROM reservation"))
    ctx = replace(lab.context(), stopping=let_go)
    run = open_run(ctx, (), None)
    work(ctx, run.id, 1, None)
    assert let_go.waits == 1
    assert [action.ticket for action in ctx.store.actions(run.id, "open")] == ["T-1"]


# -- at the limit


@pytest.mark.parametrize("budget", ["perTicketUsd", "perRunUsd", "perDayUsd"])
def test_a_ticket_that_cannot_go_on_is_parked_with_the_limit_and_what_it_has_cost(tmp_path, budget):
    lab = lab_with(tmp_path, agents=at_a_price(CENT // 10), **{budget: 0.05})
    run = lab.run()
    state = lab.states()["T-1"]
    assert (run.state, state.step, state.parked_at) == ("done", Step.PARKED, "review")
    assert (state.reason or "").startswith("budget: REVIEW on balanced may take $0.0")
    assert f"(llmOps.budget.{budget}); the ticket has cost $0.0020" in (state.reason or "")


def test_the_limit_that_was_given_with_the_run_is_named_by_its_flag(tmp_path):
    lab = lab_with(tmp_path)
    lab.run(max_nanousd=CENT // 10)
    assert "$0.0010 is left of the run's $0.0010 (--max-usd)" in (lab.states()["T-1"].reason or "")


def test_one_that_is_parked_leaves_what_it_held_to_the_others(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2", perRunUsd=0.1)  # for one reviewer at a time
    driven = HandDriven.begin(lab)
    driven.play("T-1").play("T-1")
    park_ticket(driven.ctx, "T-2", "not now")
    assert [action.gate for action in driven.works().waiting("T-1")] == [Gate.REVIEW]


# -- the warning


def test_a_share_of_a_budget_that_is_spent_is_told_once(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2", agents=at_a_price(40 * CENT, Gate.PLAN), perRunUsd=1)
    driven = HandDriven.begin(lab).play_all()
    assert [line for line in driven.told if "warning: " in line] == [
        "warning: 80 % of the run's $1.00 (llmOps.budget.perRunUsd) is spent"
    ]
    assert {state.step for state in lab.states().values()} == {Step.DONE}


def test_below_the_share_nothing_is_told(tmp_path):
    lab = lab_with(tmp_path, agents=at_a_price(80 * CENT, Gate.PLAN), perRunUsd=1, warnAtPercent=81)
    assert not [line for line in HandDriven.begin(lab).play_all().told if "warning: " in line]


def test_the_ticket_whose_own_budget_is_nearly_spent_is_named(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2", agents=at_a_price(90 * CENT, Gate.PLAN), perTicketUsd=1)
    driven = HandDriven.begin(lab).play_all()
    told = [event for event in driven.ctx.store.events(driven.run_id) if "warning: " in event.text]
    assert sorted(event.ticket or "" for event in told) == ["T-1", "T-2"]


def test_the_day_is_warned_about_once_and_not_by_every_run(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2", perDayUsd=1)
    record(lab.context().store.connection, call(85 * CENT, source="llm_call"))
    lab.run("T-1")
    lab.run("T-2")
    rows = lab.context().store.rows("SELECT text FROM event WHERE text LIKE 'warning: %'")
    assert [row["text"] for row in rows] == ["warning: 85 % of today's $1.00 (llmOps.budget.perDayUsd) is spent"]


# -- the day


def test_what_was_asked_beside_the_runs_counts_for_the_day(tmp_path):
    lab = lab_with(tmp_path, perDayUsd=1)
    record(lab.context().store.connection, call(DOLLAR, source="llm_call"))
    lab.run()
    assert "nothing is left of today's $1.00 (llmOps.budget.perDayUsd)" in (lab.states()["T-1"].reason or "")


def test_what_was_spent_yesterday_does_not(tmp_path):
    lab = lab_with(tmp_path, perDayUsd=1)
    midnight = datetime.combine(date.today(), datetime.min.time()).timestamp()
    record(lab.context().store.connection, call(DOLLAR, source="llm_call", at=midnight - 1))
    lab.run()
    assert lab.states()["T-1"].step is Step.DONE


# -- what is set aside does not outlive its reason


def test_a_ticket_that_is_done_holds_nothing(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2")
    driven = HandDriven.begin(lab).play_all("T-1")
    assert driven.state("T-1").step is Step.DONE
    assert holders(lab) == ["T-2"]


def test_a_ticket_that_is_parked_holds_nothing(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2")
    park_ticket(HandDriven.begin(lab).ctx, "T-1", "not now")
    assert holders(lab) == ["T-2"]


def test_a_run_that_was_aborted_holds_nothing(tmp_path):
    lab = lab_with(tmp_path, "T-1", "T-2")
    closing.abort(HandDriven.begin(lab).ctx)
    assert holders(lab) == []


def test_after_a_kill_a_ticket_holds_its_money_once_and_goes_on_with_it(tmp_path):
    """A kill leaves what it held, and the step that it held it for."""
    lab = lab_with(tmp_path, perRunUsd=0.06)  # for one reviewer
    driven = HandDriven.begin(lab)
    review = driven.play_until(Gate.REVIEW)
    with driven.ctx.store.transaction() as db:
        db.execute("UPDATE action SET state = 'closed' WHERE number = ?", (review.number,))  # it was not shown yet
    again = HandDriven.going_on(lab)
    assert holders(lab) == ["T-1"]
    assert again.play_all().state().step is Step.DONE


def test_a_call_whose_process_was_killed_holds_nothing(tmp_path):
    lab = lab_with(tmp_path, perDayUsd=1)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    a_call_is_under_way(lab, DOLLAR, ended.pid)
    assert HandDriven.begin(lab).waiting()
