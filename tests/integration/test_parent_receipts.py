"""The calls of the session that drives a run are the run's; what the session does besides is not."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.pricing import Usage
from backlog_ops.run import agent_rows
from backlog_ops.run.steps import Step
from tests.support.hook_events import FABLE, HAIKU, OPUS, SONNET
from tests.support.paper_run import PRICES, PaperRun, Session, run, start

NOTIFICATION = "<task-notification>\n<task-id>{}</task-id>\n<status>completed</status>\n</task-notification>"
MESSAGE = 'Another Claude session sent a message:\n<agent-message from="{}">\ndone\n</agent-message>'
BY_CALL = "<task-notification>\n<tool-use-id>{}</tool-use-id>\n</task-notification>"


# -- whose a turn is


def test_a_turn_of_the_skill_is_the_runs(paper, session):
    session.prompt("/backlog:backlog-implementer", skill=True)
    calls = [session.says(OPUS, start("…")), session.says(OPUS)]
    assert paper.booked() == calls


@pytest.mark.parametrize("text", [NOTIFICATION, MESSAGE], ids=["notification", "message"])
def test_a_turn_that_an_agent_of_the_run_has_begun_is_the_runs(paper, session, text):
    session.agent("a1", "toolu_a1", paper.action())
    session.prompt(text.format("a1"), origin={"kind": "task-notification"})
    message = session.says(OPUS)
    assert paper.booked() == [message]


def test_an_agent_is_known_by_the_call_that_started_it_too(paper, session):
    session.agent("a1", "toolu_a1", paper.action())
    session.prompt(BY_CALL.format("toolu_a1"), origin={"kind": "task-notification"})
    message = session.says(OPUS)
    assert paper.booked() == [message]


@pytest.mark.parametrize(
    "command",
    [
        "/opt/plugin/bin/backlog-ops next",
        "backlog-ops start T-1 --max-usd 1",
        "cd repo && '/a b/bin/backlog-ops' resume",
        "'/opt/plugin/bin/backlog-ops' submit q1 --answer yes",
    ],
)
def test_a_turn_is_the_runs_once_it_drives_it(paper, session, command):
    session.prompt("Go on with the backlog.")
    before = session.says(OPUS, run("git status"))
    session.hears()
    drives = session.says(OPUS, run(command))
    session.hears()
    after = session.says(OPUS)
    assert paper.booked() == [drives, after]
    assert before not in paper.booked()


def test_a_turn_that_starts_one_of_the_runs_agents_is_the_runs(paper, session):
    action = paper.action()
    session.prompt("Do what it says.")
    message = session.says(OPUS, start(f"Read /brief.md. [backlog:{action.id}]"))
    assert paper.booked() == [message]


@pytest.mark.parametrize(
    "block",
    [
        run("backlog-ops status"),
        run("echo backlog-opsnext"),
        run("grep next README.md"),
        start("Read /brief.md. [backlog:a999]"),
        start("Find unused imports."),
        {"type": "tool_use", "id": "x", "name": "Bash", "input": None},
        {"type": "tool_use", "id": "x", "name": "Write", "input": {"command": 17}},
        {"type": "text", "text": "backlog-ops next"},
    ],
)
def test_a_turn_about_something_else_is_nobodys(paper, session, block):
    session.prompt("What is new?")
    session.says(OPUS, block, stop="end_turn")
    assert paper.booked() == []


def test_what_an_agent_of_somebody_else_reports_is_nobodys(paper, session):
    session.agent("a1", "toolu_a1", paper.action())
    session.prompt(NOTIFICATION.format("a9"), origin={"kind": "task-notification"})
    session.says(OPUS)
    assert paper.booked() == []


def test_what_a_tool_prints_begins_no_turn_and_shows_nothing(paper, session):
    session.agent("a1", "toolu_a1", paper.action())
    session.prompt("Show me the log.")
    session.says(OPUS, run("cat log"))
    session.hears(MESSAGE.format("a1"))
    session.says(OPUS)
    assert paper.booked() == []


def test_the_next_question_of_the_person_is_about_something_else_again(paper, session):
    session.prompt(skill=True)
    calls = [session.says(OPUS)]
    session.prompt("And what is the weather like?")
    session.says(OPUS)
    assert paper.booked() == calls


def test_a_turn_belongs_to_the_run_that_was_open_in_it(tmp_path):
    first = PaperRun.begin(tmp_path)
    session = Session.of(first)
    session.prompt(skill=True)
    one = session.says(OPUS)
    first.end()
    second = PaperRun.begin(tmp_path)
    session.prompt(skill=True)
    two = session.says(OPUS)
    assert (first.booked(), second.booked()) == ([one], [two])


def test_the_turn_that_opens_a_run_is_that_runs(tmp_path):
    paper = PaperRun.begin(tmp_path)
    session = Session.of(paper)
    session.at = time.time() - 60  # there was no run yet
    session.prompt("Start the backlog.")
    message = session.says(OPUS, run("backlog-ops start"))
    assert paper.booked() == [message]


def test_a_session_that_has_nothing_to_do_with_the_run_is_not_looked_at(paper, session):
    stranger = replace(session, id="5e55-stranger")
    stranger.prompt(skill=True)
    stranger.says(OPUS)
    assert paper.booked() == []


# -- what is booked


def test_a_call_of_the_parent_has_no_ticket_and_the_wave_that_was_at_work(tmp_path):
    paper = PaperRun.begin(tmp_path, "T-1", "T-2", waves=(("T-1",), ("T-2",)))
    session = Session.of(paper)
    session.prompt(skill=True)
    usage = Usage(input=3, cache_write_5m=400, cache_write_1h=50, cache_read=6000, output=70)
    message = session.says(OPUS, **vars(usage))
    (row,) = paper.receipts()
    assert (row["key"], row["source"], row["session"], row["agent"]) == (
        f"claude/{message}",
        "parent",
        session.id,
        None,
    )
    assert (row["run"], row["ticket"], row["gate"], row["attempt"]) == (paper.id, None, None, None)
    assert (row["asked_tier"], row["answered_model"], row["tags"]) == ("parent", OPUS, "{}")
    today = time.strftime("%Y-%m-%d", time.gmtime(row["at"]))
    assert row["cost_nanousd"] == PRICES.cost(OPUS, usage, today)


def test_a_call_counts_to_the_wave_of_the_newest_action_before_it(tmp_path):
    now = [1_795_521_600.0]
    paper = PaperRun.begin(tmp_path, "T-1", "T-2", waves=(("T-1",), ("T-2",)), clock=lambda: now[0])
    session = Session.of(paper)
    session.prompt(skill=True)
    for name in ("T-1", "T-2"):
        now[0] += 60
        paper.action(name)
        now[0] += 60
        session.says(OPUS, run("backlog-ops next"))
    assert [row["wave"] for row in paper.receipts()] == [1, 2]


def test_the_blocks_of_an_answer_are_one_call(paper, session):
    session.prompt(skill=True)
    calls = [session.says(OPUS, start("one"), start("two"), run("ls"), output=150)]
    assert paper.booked() == calls
    assert paper.receipts()[0]["output"] == 150


def test_a_model_that_nobody_knows_the_price_of_costs_an_unknown_amount(paper, session):
    session.prompt(skill=True)
    session.says("nobody-knows-1")
    (row,) = paper.receipts()
    assert (row["cost_nanousd"], row["price_date"], row["output"]) == (None, None, 20)


def test_each_call_is_booked_with_the_model_that_answered(paper, session):
    session.prompt(skill=True)
    for model in (OPUS, SONNET, FABLE):  # the person changes it with /model
        session.says(model, run("ls"))
    session.hears()
    assert [row["answered_model"] for row in paper.receipts()] == [OPUS, SONNET, FABLE]


# -- sub-agents without an action


def test_a_helper_that_the_parent_started_for_the_run_is_the_runs(paper, session):
    session.prompt(skill=True)
    session.says(OPUS, start("Look around.", "toolu_h1"))
    session.agent("h1", "toolu_h1")
    message = session.says(SONNET, agent="h1")
    assert message in paper.booked()
    (row,) = [row for row in paper.receipts() if row["agent"]]
    assert (row["source"], row["agent"], row["ticket"], row["run"]) == ("parent", "h1", None, paper.id)


def test_a_helper_of_a_turn_about_something_else_is_nobodys(paper, session):
    session.prompt("Look around.")
    session.says(OPUS, start("Look around.", "toolu_h1"), stop="end_turn")
    session.agent("h1", "toolu_h1")
    session.says(SONNET, agent="h1")
    assert paper.receipts() == []


def test_a_helper_of_a_helper_is_the_runs_too(paper, session):
    session.prompt(skill=True)
    calls = [session.says(OPUS, start("Look around.", "toolu_h1"))]
    session.agent("h1", "toolu_h1")
    calls.append(session.says(SONNET, start("Look there.", "toolu_h2"), agent="h1"))
    session.agent("h2", "toolu_h2")
    calls.append(session.says(HAIKU, agent="h2"))
    paper.receipts()
    assert sorted(paper.booked()) == sorted(calls)  # one level a reading, at the latest


def test_a_helper_of_one_of_the_runs_agents_is_for_what_that_one_was_for(paper, session):
    action = paper.action("T-1", Gate.IMPLEMENT, attempt=2, tier=Tier.BALANCED)
    session.agent("a1", "toolu_a1", action)
    session.says(SONNET, start("Look around.", "toolu_h1"), agent="a1")
    session.prompt("Something else?")
    session.says(OPUS)
    session.agent("h1", "toolu_h1")
    message = session.says(HAIKU, agent="h1")
    paper.receipts()
    (row,) = [row for row in paper.receipts() if row["key"] == f"claude/{message}"]
    assert (row["source"], row["ticket"], row["gate"], row["attempt"]) == ("session", "T-1", "IMPLEMENT", 2)
    assert (row["asked_tier"], row["agent"]) == ("balanced", "h1")


def test_a_helper_with_an_action_is_booked_once_and_for_that(paper, session):
    action = paper.action()
    session.prompt(skill=True)
    session.says(OPUS, start(f"[backlog:{action.id}]", "toolu_a1"))
    session.agent("a1", "toolu_a1", action)
    message = session.says(HAIKU, agent="a1")
    assert paper.booked("session") == [message]


# -- which sessions


def test_a_session_is_looked_at_after_its_run_has_ended(paper, session):
    session.prompt(skill=True)
    message = session.says(OPUS)
    paper.at("T-1", Step.PARKED)
    paper.end()
    assert paper.booked() == [message]


def test_sessions_without_end_are_looked_at_newest_first(tmp_path):
    now = [1_795_521_600.0]
    paper = PaperRun.begin(tmp_path, clock=lambda: now[0])
    for _ in range(60):
        now[0] += 1
        newest = Session.of(paper)
    newest.prompt(skill=True)
    message = newest.says(OPUS)
    assert paper.booked() == [message]
    assert len(agent_rows.agents_of_run(paper.ctx.store, paper.id)) == 0
