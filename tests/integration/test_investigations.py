"""An open question goes to an agent that reads; then the ticket is planned with the answers, or waits for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backlog_ops.cli.main import main
from backlog_ops.domain.gates import Gate
from backlog_ops.run.steering import retry
from backlog_ops.run.steps import Step
from tests.support.hand_driven import HandDriven, brief_of, several, worktree_of

QUESTION = "Which words?"
CITED = {"file": "src/readme.txt", "line": 1, "quote": "hello"}
ANSWER = {"question": QUESTION, "answer": "Those of the readme.", "evidence": [CITED]}
ANSWERED: dict[str, Any] = {"answers": [ANSWER], "open": []}
OPEN: dict[str, Any] = {"answers": [], "open": [{"question": QUESTION, "why": "only the owner knows"}]}
BY_STATUS = "What has to be known before this ticket can be planned? Its status is needs-investigation."


def asking(folder: Path, *questions: str) -> HandDriven:
    """T-1, whose first plan leaves these questions open, when the investigator is asked."""
    driven = HandDriven.begin(several(folder))
    driven.lab.agents.questions = lambda _ticket: questions or (QUESTION,)
    driven.play_until(Gate.INVESTIGATE)
    driven.lab.agents.questions = lambda _ticket: ()
    return driven


def finds(driven: HandDriven, found: Any, cause: str | None = None) -> None:
    """The investigator hands in."""
    driven.lab.agents.investigate = lambda _ticket: found
    driven.lab.agents.cause = lambda _action: cause
    (action,) = driven.waiting()
    assert action.gate is Gate.INVESTIGATE
    driven.hand_in(action)
    driven.lab.agents.cause = lambda _action: None
    driven.works()


def gates(driven: HandDriven) -> list[Gate]:
    return [action.gate for action in driven.lab.agents.seen]


# -- answered


def test_a_question_is_answered_and_the_ticket_is_planned_again_with_the_answer(tmp_path):
    driven = asking(tmp_path)
    (action,) = driven.waiting()
    assert (action.tier.value, QUESTION in brief_of(action)) == ("cheap", True)
    finds(driven, ANSWERED)
    (plan,) = driven.waiting()
    assert (plan.gate, "Those of the readme." in brief_of(plan)) == (Gate.PLAN, True)
    assert driven.play_all().state().step is Step.DONE
    assert gates(driven) == [Gate.PLAN, Gate.INVESTIGATE, Gate.PLAN, Gate.IMPLEMENT, Gate.REVIEW]


def test_an_investigation_uses_no_attempt_and_is_no_failure(tmp_path):
    driven = asking(tmp_path)
    finds(driven, ANSWERED)
    driven.play_until(Gate.REVIEW)
    assert (driven.state().attempt, driven.state().fails) == (1, 0)


def test_a_plan_that_still_asks_something_is_a_persons_matter(tmp_path):
    driven = asking(tmp_path)
    finds(driven, ANSWERED)
    driven.lab.agents.questions = lambda _ticket: ("And in which order?",)
    driven.play()
    assert driven.state().reason == "needs-investigation: And in which order?"


def test_a_ticket_whose_status_asks_for_it_is_investigated_before_it_is_planned(tmp_path):
    driven = HandDriven.begin(several(tmp_path, status="needs-investigation"))
    (action,) = driven.waiting()
    assert (action.gate, BY_STATUS in brief_of(action)) == (Gate.INVESTIGATE, True)
    finds(driven, ANSWERED)
    assert driven.play_all().state().step is Step.DONE
    assert gates(driven) == [Gate.INVESTIGATE, Gate.PLAN, Gate.IMPLEMENT, Gate.REVIEW]


def test_what_an_investigator_changes_in_the_worktree_is_put_back(tmp_path):
    driven = asking(tmp_path)
    (worktree_of(driven) / "src" / "readme.txt").write_text("hello, changed\n")
    finds(driven, ANSWERED)
    assert driven.play_all().state().step is Step.DONE
    assert driven.lab.git.file_at("main", "src/readme.txt") == b"hello\n"


# -- open


def test_what_nobody_but_a_person_can_answer_parks_the_ticket_with_the_question(tmp_path):
    driven = asking(tmp_path)
    finds(driven, OPEN)
    assert driven.state().step is Step.PARKED
    assert driven.state().reason == f"needs-investigation: {QUESTION} (only the owner knows)"


def test_one_open_question_among_answered_ones_parks_too(tmp_path):
    driven = asking(tmp_path, QUESTION, "How many?")
    finds(driven, {**ANSWERED, "open": [{"question": "How many?", "why": "nowhere said"}]})
    assert driven.state().reason == "needs-investigation: How many? (nowhere said)"


def test_status_says_that_a_person_is_asked(tmp_path, monkeypatch, capsys):
    driven = asking(tmp_path)
    finds(driven, OPEN)
    monkeypatch.chdir(driven.lab.top)
    main(["status"])
    assert f"needs-investigation: {QUESTION} (only the owner knows)" in capsys.readouterr().out


def test_after_the_person_has_answered_in_the_ticket_it_is_planned_anew(tmp_path):
    driven = asking(tmp_path)
    finds(driven, OPEN)
    path = driven.lab.top / "tickets/pending/T-1.md"
    path.write_text(path.read_text().replace("## Description", "## Description\nThe words are: hello."))
    driven.lab.commit("answered")
    retry(driven.ctx, ["T-1"])
    new = HandDriven.going_on(driven.lab)
    (plan,) = new.waiting()
    assert (plan.gate, "The words are: hello." in brief_of(plan)) == (Gate.PLAN, True)
    assert new.play_all().state().step is Step.DONE


# -- worthless


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {**ANSWERED, "answers": [{**ANSWER, "evidence": [{**CITED, "quote": "goodbye"}]}]},
            "citation does not hold: src/readme.txt:1 does not say 'goodbye'",
        ),
        (
            {**ANSWERED, "answers": [{**ANSWER, "evidence": [{**CITED, "file": "../secret"}]}]},
            "citation does not hold: ../secret is not in the tree",
        ),
        ({"answers": [], "open": []}, "it says nothing"),
        ({"answers": [{**ANSWER, "evidence": []}], "open": []}, "answer.json: answers.0.evidence: "),
    ],
    ids=["invented", "outside", "nothing", "without evidence"],
)
def test_an_answer_that_does_not_hold_is_asked_for_once_more(tmp_path, found, said):
    driven = asking(tmp_path)
    finds(driven, found)
    assert driven.told[-1].startswith(f"INVESTIGATE: no usable answer: {said}")
    finds(driven, ANSWERED)
    assert driven.waiting()[0].gate is Gate.PLAN


def test_a_question_that_was_left_out_is_asked_again(tmp_path):
    driven = asking(tmp_path, QUESTION, "How many?")
    finds(driven, ANSWERED)
    said = "2 questions were asked, not all are answered or named as open"
    assert driven.told[-1] == f"INVESTIGATE: no usable answer: {said}"


def test_two_investigators_that_die_park_the_ticket(tmp_path):
    driven = asking(tmp_path)
    finds(driven, ANSWERED, cause="api_error: 529")
    finds(driven, ANSWERED, cause="max_turns: 20")
    assert driven.state().reason == "needs-investigation: no usable answer: max_turns: 20"
    assert (driven.state().step, driven.state().attempt) == (Step.PARKED, 0)


def test_retry_asks_two_more_investigators(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2"))
    driven.lab.agents.questions = lambda _ticket: (QUESTION,)
    driven.play_until(Gate.INVESTIGATE)
    driven.lab.agents.questions = lambda _ticket: ()
    for cause in ("dead", "dead"):
        finds(driven, ANSWERED, cause)
    assert retry(driven.ctx, ["T-1"]) == ["T-1: taken up again at investigate"]
    driven.works()
    finds(driven, ANSWERED, "dead")
    finds(driven, ANSWERED)
    assert driven.play_all("T-1").state().step is Step.DONE


def test_answers_are_carried_into_a_new_run(tmp_path):
    driven = HandDriven.begin(several(tmp_path, status="needs-investigation"))
    finds(driven, ANSWERED)
    driven.lab.agents.cause = lambda _action: "dead"
    assert driven.play_all().run.state == "done"
    driven.lab.agents.cause = lambda _action: None
    retry(driven.ctx, ["T-1"])
    (plan,) = HandDriven.going_on(driven.lab).waiting()
    assert (plan.gate, "Those of the readme." in brief_of(plan)) == (Gate.PLAN, True)
