"""What an investigator hands in counts when it speaks to every question and its citations hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from backlog_ops.domain.investigations import INVESTIGATION_SCHEMA, investigation_problem

FILES = {"src/a.py": ["RATE = 19", "", "def net(gross):", "    return gross / (1 + RATE / 100)"]}
QUESTIONS = ["Which rate?", "Which currency?"]


def cited(**changes):
    return {"file": "src/a.py", "line": 1, "quote": "RATE = 19", **changes}


def answer(question="Which rate?", *evidence):
    return {"question": question, "answer": "19 percent", "evidence": list(evidence or [cited()])}


def left_open(question="Which currency?"):
    return {"question": question, "why": "no file says"}


def found(answers=(), still_open=()):
    return {"answers": list(answers), "open": list(still_open)}


def problem(hand_in, questions=QUESTIONS):
    return investigation_problem(hand_in, questions, FILES.get)


def is_valid(hand_in):
    return Draft7Validator(INVESTIGATION_SCHEMA).is_valid(hand_in)


def test_answers_to_all_questions_that_cite_what_is_there_count():
    assert problem(found([answer(), answer("Which currency?")])) is None


def test_a_question_that_is_named_as_open_is_spoken_to():
    assert problem(found([answer()], [left_open()])) is None


def test_nothing_but_open_questions_counts_too():
    assert problem(found(still_open=[left_open(question) for question in QUESTIONS])) is None


def test_an_answer_to_what_nobody_asked_does_no_harm():
    assert problem(found([answer(), answer("Which country?")]), ["Which rate?"]) is None


def test_a_question_that_is_left_out_voids_the_hand_in():
    assert problem(found([answer()])) == "2 questions were asked, not all are answered or named as open"


@pytest.mark.parametrize("questions", [[], QUESTIONS])
def test_a_hand_in_that_says_nothing_is_none(questions):
    assert problem(found(), questions) == "it says nothing"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"file": "src/b.py"}, "src/b.py is not in the tree"),
        ({"line": 9}, "src/a.py:9 does not exist (4 lines)"),
        ({"quote": "RATE = 7"}, "src/a.py:1 does not say 'RATE = 7'"),
        ({"line": 3}, "src/a.py:3 does not say 'RATE = 19'"),
    ],
)
def test_a_citation_that_does_not_hold_voids_the_hand_in(wrong, why):
    hand_in = found([answer(), answer("Which currency?", cited(), cited(**wrong))])
    assert problem(hand_in) == f"citation does not hold: {why}"


def test_a_quote_may_span_lines_and_differ_in_white_space():
    assert problem(found([answer("Which rate?", cited(line=3, quote="def net(gross): return  gross"))]), ["?"]) is None


def test_its_two_lists_are_required_and_may_be_empty():
    assert is_valid(found())
    assert not is_valid({"answers": []})
    assert not is_valid({"open": []})


@pytest.mark.parametrize("key", ["question", "answer", "evidence"])
def test_an_answer_is_nothing_without_each_of_its_parts(key):
    whole = answer()
    assert is_valid(found([whole]))
    assert not is_valid(found([{name: value for name, value in whole.items() if name != key}]))


def test_an_answer_without_any_evidence_is_a_guess():
    assert not is_valid(found([{**answer(), "evidence": []}]))


@pytest.mark.parametrize("key", ["question", "why"])
def test_an_open_question_is_nothing_without_its_reason(key):
    assert is_valid(found(still_open=[left_open()]))
    assert not is_valid(found(still_open=[{**left_open(), key: ""}]))


@pytest.mark.parametrize("line", [0, -1, 1.5, "1", None])
def test_a_line_counts_from_1(line):
    assert not is_valid(found([answer("?", cited(line=line))]))


def test_the_same_question_answered_twice_is_one():
    assert problem(found([answer(), answer()])) is not None


def test_it_holds_nothing_else():
    assert not is_valid({**found(), "note": "hello"})


@given(st.integers(0, 5), st.integers(0, 5), st.lists(st.text(min_size=1), max_size=12))
def test_fewer_answers_than_questions_never_count(answered, named_open, questions):
    answers = [answer(f"question {number}") for number in range(answered)]
    hand_in = found(answers, [left_open(f"question {number}") for number in range(answered, answered + named_open)])
    counts = answered + named_open >= max(1, len(questions))
    assert (problem(hand_in, questions) is None) is counts
