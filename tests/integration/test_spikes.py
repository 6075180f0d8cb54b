"""An attempt that took far more than the ticket's earlier ones: a person is asked before the ticket goes on."""

from __future__ import annotations

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.pricing import Usage
from backlog_ops.errors import RunStateError
from backlog_ops.run.hand_over import describe
from backlog_ops.run.questions import answer, question
from backlog_ops.run.rows import Action
from backlog_ops.run.steering import park_ticket, retry
from backlog_ops.run.steps import Step
from tests.support.fake_claude import fake_claude, result
from tests.support.hand_driven import HandDriven
from tests.support.lab import write_own_file
from tests.support.paid_agents import CENT, PaidAgents, lab_with

HELD = "IMPLEMENT #2 cost $0.4000: 4.0 times the work of its earlier ones"


def implementers(*outputs: int, cents: int = 40, dear: tuple[str, ...] = ("T-1",)) -> PaidAgents:
    """The first attempt fails its check; attempt by attempt they write so many tokens, those that are not `dear` as
    many each time.
    """

    def write(worktree, ticket, attempt):
        write_own_file(worktree, ticket, attempt)
        if attempt == 1:
            (worktree / "src" / f"{ticket}.txt").write_text("BROKEN\n")

    def tokens(action: Action) -> Usage:
        if action.gate is not Gate.IMPLEMENT:
            return Usage()
        attempt = action.attempt if action.ticket in dear else 1
        return Usage(cache_read=10 * outputs[attempt - 1], output=outputs[attempt - 1])

    def price(_ctx, action: Action) -> int:
        return cents * CENT if (action.gate, action.attempt) == (Gate.IMPLEMENT, 2) and action.ticket in dear else 0

    return PaidAgents(implement=write, tokens=tokens, price=price)


def judged(tmp_path, *ids: str, agents: PaidAgents | None = None, **budget: float) -> HandDriven:
    """Two attempts of each are judged, or wait to be; the second one of T-1 took four times as much."""
    lab = lab_with(tmp_path, *ids, agents=agents or implementers(10_000, 40_000), **budget)
    driven = HandDriven.begin(lab)
    for ticket in ids or ("T-1",):
        driven.play_until(Gate.IMPLEMENT, ticket)
        driven.play(ticket).play(ticket)
    return driven


def say(driven: HandDriven, said: str) -> HandDriven:
    answer(driven.ctx.store, question(driven.ctx.store, 1), said)
    return driven.works()


# -- asking


def test_a_person_is_asked_about_an_attempt_that_took_far_more(tmp_path):
    driven = judged(tmp_path)
    assert driven.state().held == 1
    assert driven.told[-1] == f"waits for you: {HELD}; q1"
    (asked,) = describe(driven.ctx, driven.run)["actions"]
    assert (asked["id"], asked["do"]) == ("q1", "ask")
    assert asked["question"] == f"T-1: {HELD}; go on with it?"
    assert asked["answers"]["yes"].endswith(" submit q1 --answer yes")


def test_meanwhile_the_others_of_its_wave_go_on(tmp_path):
    driven = judged(tmp_path, "T-1", "T-2")
    assert [action["ticket"] for action in describe(driven.ctx, driven.run)["actions"]] == ["T-2"]
    driven.play_all("T-2")
    assert driven.state("T-2").step is Step.DONE
    assert [action["do"] for action in describe(driven.ctx, driven.run)["actions"]] == ["ask"]


def test_a_ticket_that_waits_for_a_person_holds_nobodys_money(tmp_path):
    """There is enough for one attempt on balanced at a time, and T-1 had it."""
    lab = lab_with(tmp_path, "T-1", "T-2", agents=implementers(300, 1_200, cents=1), perRunUsd=0.31)
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.IMPLEMENT, "T-1")
    driven.play_until(Gate.IMPLEMENT, "T-2")
    driven.play("T-2").play("T-1")  # whose checks fail: T-2 waits until T-1 has settled
    assert [action.attempt for action in driven.waiting("T-1")] == [2]
    assert not driven.waiting("T-2")
    driven.play("T-1")
    assert driven.state("T-1").held == 1
    assert [action.attempt for action in driven.waiting("T-2")] == [2]


def test_without_a_terminal_a_run_names_the_question_and_ends_with_exit_code_1(tmp_path):
    driven = judged(tmp_path)
    claude = fake_claude(tmp_path / "bin", result())
    ran = driven.lab.cli("run", CLAUDE_BIN=str(claude.path))
    assert ran.returncode == 1
    assert "q1 waits for an answer; `backlog-ops submit q1 --answer yes`, or no, then `run`" in ran.stderr
    assert driven.state().held == 1


# -- what is answered


def test_with_yes_the_ticket_goes_on_from_the_very_attempt(tmp_path):
    driven = say(judged(tmp_path), "yes").play_all()
    assert driven.state().step is Step.DONE
    assert [action.attempt for action in driven.asked(Gate.IMPLEMENT)] == [1, 2]


def test_with_no_it_is_parked_and_its_work_is_kept(tmp_path):
    driven = say(judged(tmp_path), "no")
    assert driven.state().step is Step.PARKED
    assert driven.state().reason == f"budget: {HELD}; you said no"
    assert driven.run.state == "done"


def test_a_ticket_that_was_parked_with_no_can_be_taken_up_again(tmp_path):
    driven = say(judged(tmp_path), "no")
    retry(driven.lab.context(), ["T-1"])
    assert HandDriven.going_on(driven.lab).play_all().state().step is Step.DONE


def test_one_that_is_parked_and_taken_up_again_waits_for_no_answer_any_more(tmp_path):
    driven = judged(tmp_path, "T-1", "T-2")
    park_ticket(driven.ctx, "T-1", "not now")
    retry(driven.ctx, ["T-1"])
    assert driven.state().held is None
    with pytest.raises(RunStateError, match="q1: T-1 no longer waits for it"):
        answer(driven.ctx.store, question(driven.ctx.store, 1), "yes")
    assert driven.works().play_all().state().step is Step.DONE


# -- what is no spike


@pytest.mark.parametrize(
    ("agents", "budget"),
    [
        pytest.param(implementers(10_000, 40_000), {"spikeFactor": 0}, id="nobody-is-ever-to-be-asked"),
        pytest.param(implementers(10_000, 40_000), {"spikeFactor": 4}, id="as-much-as-the-factor-allows"),
        pytest.param(implementers(10_000, 10_000), {}, id="the-same-tokens-on-a-dearer-model"),
        pytest.param(implementers(10_000, 40_000, cents=0), {}, id="less-than-a-cent"),
    ],
)
def test_nobody_is_asked(tmp_path, agents, budget):
    driven = judged(tmp_path, agents=agents, **budget)
    assert driven.state().held is None
    assert driven.play_all().state().step is Step.DONE


def test_a_first_attempt_has_nothing_to_be_compared_with(tmp_path):
    lab = lab_with(tmp_path, agents=PaidAgents(tokens=lambda _action: Usage(output=90_000), price=lambda *_: 40 * CENT))
    assert HandDriven.begin(lab).play_all().state().step is Step.DONE


def test_an_attempt_that_died_is_no_measure_of_the_others(tmp_path):
    agents = implementers(1_000, 40_000)
    agents.cause = lambda action: "it died" if (action.gate, action.attempt) == (Gate.IMPLEMENT, 1) else None
    driven = judged(tmp_path, agents=agents)
    assert driven.state().held is None
    assert driven.play_all().state().step is Step.DONE
    assert [action.attempt for action in driven.asked(Gate.IMPLEMENT)] == [1, 2]
