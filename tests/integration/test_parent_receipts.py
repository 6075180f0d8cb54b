"""The calls of the session that drives a run are the run's; what the session does besides is not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.pricing import Usage
from backlog_ops.money.conversations import Mark, read_on
from backlog_ops.money.host_files import find_conversation, subagents_in
from backlog_ops.run import agent_rows
from backlog_ops.run.session_receipts import GIVE_UP_SECONDS, book
from backlog_ops.run.steps import Step
from tests.support.hook_events import FABLE, HAIKU, OPUS, SONNET, append
from tests.support.paper_run import PRICES, PaperRun, Session, run, start

NOTIFICATION = "<task-notification>\n<task-id>{}</task-id>\n<status>completed</status>\n</task-notification>"
MESSAGE = 'Another Claude session sent a message:\n<agent-message from="{}">\ndone\n</agent-message>'
BY_CALL = "<task-notification>\n<tool-use-id>{}</tool-use-id>\n</task-notification>"


@pytest.fixture
def paper(tmp_path: Path) -> PaperRun:
    return PaperRun.begin(tmp_path, "T-1")


@pytest.fixture
def session(paper: PaperRun) -> Session:
    return Session.of(paper)


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


# -- read again, and files that are not as they should be


def whole_conversation(session: Session) -> list[str]:
    """Of several turns, two of them the run's; the run's calls."""
    session.prompt(skill=True)
    calls = [session.says(OPUS, start("…"), start("…"))]
    session.hears()
    calls.append(session.says(OPUS))
    session.prompt("Something else?")
    session.says(SONNET, run("ls"))
    session.hears()
    session.says(SONNET)
    session.prompt("Go on.")
    session.says(OPUS, run("git status"))
    session.hears()
    calls.append(session.says(OPUS, run("ls"), run("backlog-ops next")))
    session.hears()
    calls.append(session.says(OPUS))
    return calls


def test_a_conversation_that_is_read_three_times_adds_nothing(paper, session):
    calls = whole_conversation(session)
    assert paper.booked() == calls
    once = paper.receipts()
    assert paper.receipts() == once


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_a_conversation_that_is_booked_in_pieces_is_booked_whole(tmp_path_factory, cuts):
    paper = PaperRun.begin(tmp_path_factory.mktemp("pieces"))
    session = Session.of(paper)
    calls = whole_conversation(session)
    content = session.transcript.read_bytes()
    for cut in sorted(cuts):
        session.transcript.write_bytes(content[: round(cut * len(content))])
        book(paper.ctx)
    session.transcript.write_bytes(content)
    assert paper.booked() == calls


def test_what_is_added_later_is_booked_later(paper, session):
    session.prompt(skill=True)
    calls = [session.says(OPUS, run("ls"))]
    assert paper.booked() == calls
    session.hears()
    calls.append(session.says(OPUS))
    assert paper.booked() == calls


def test_a_file_that_was_cut_takes_no_receipt_away_and_grows_on(paper, session):
    calls = whole_conversation(session)
    assert paper.booked() == calls
    content = session.transcript.read_bytes()
    session.transcript.write_bytes(content[: len(content) // 3])
    assert paper.booked() == calls
    session.transcript.write_bytes(content)
    session.prompt(skill=True)
    calls.append(session.says(OPUS))
    assert paper.booked() == calls


def test_a_file_that_was_replaced_by_a_longer_one_is_read_from_its_beginning(paper, session):
    session.prompt(skill=True)
    calls = [session.says(OPUS)]
    assert paper.booked() == calls
    session.transcript.unlink()
    calls += whole_conversation(session)
    assert paper.booked() == calls


def test_a_copy_under_another_sessions_name_adds_nothing(paper, session):
    """As after a resume that made a new file."""
    calls = whole_conversation(session)
    assert paper.booked() == calls
    copy = Session.of(paper)
    copy.transcript.write_bytes(session.transcript.read_bytes())
    assert paper.booked() == calls
    copy.prompt(skill=True)
    calls.append(copy.says(OPUS))
    assert paper.booked() == calls


@pytest.mark.parametrize("back", [3_600.0, 86_400.0 * 400])
def test_a_clock_that_was_set_back_loses_no_call(paper, session, back):
    session.prompt(skill=True)
    calls = [session.says(OPUS, run("ls"))]
    session.at = time.time() - back
    session.hears()
    calls.append(session.says(OPUS))
    assert sorted(paper.booked()) == sorted(calls)
    assert all(row["latency_ms"] >= 0 for row in paper.receipts())


@pytest.mark.parametrize("stamp", [None, "", "yesterday", 17, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_call_without_a_time_of_its_own_is_booked_all_the_same(paper, session, stamp):
    session.prompt(skill=True)
    message = session.says(OPUS)
    line = json.loads(session.transcript.read_bytes().splitlines()[-1])
    append(session.transcript, {**line, "timestamp": stamp, "message": {**line["message"], "id": "msg_timeless"}})
    assert set(paper.booked()) == {message, "msg_timeless"}


@pytest.mark.parametrize("count", [-5, 10**30, 1.5, "7", None, True, [], {}])
def test_a_count_that_cannot_be_one_counts_as_none(paper, session, count):
    session.prompt(skill=True)
    session.says(OPUS, output=count)
    (row,) = paper.receipts()
    assert (row["input"], row["output"]) == (10, 0)


def test_a_huge_count_is_booked_as_it_is(paper, session):
    session.prompt(skill=True)
    session.says(OPUS, input=10**12, output=10**12)
    (row,) = paper.receipts()
    assert (row["input"], row["output"]) == (10**12, 10**12)
    assert row["cost_nanousd"] > 10**15


def test_lines_that_are_cut_or_joined_cost_no_other_line(paper, session):
    session.prompt(skill=True)
    calls = [session.says(OPUS, run("ls")), session.says(OPUS, run("ls")), session.says(OPUS)]
    prompt, one, two, three = session.transcript.read_bytes().splitlines()
    session.transcript.write_bytes(b"\n".join([prompt, one[:200] + two, b"\xff\x00{", b"{" * 3_000, three + one, b""]))
    assert sorted(paper.booked()) == sorted(calls)


@pytest.mark.parametrize("line", [[], 17, None, {"type": "assistant"}, {"type": "user", "message": []}, {"type": []}])
def test_lines_that_make_no_sense_are_passed_over(paper, session, line):
    session.prompt(skill=True)
    append(session.transcript, json.dumps(line).encode() + b"\n")
    message = session.says(OPUS)
    assert paper.booked() == [message]


def test_a_folder_that_is_not_there_is_no_trouble(paper, session):
    assert paper.receipts() == []


def test_a_folder_in_place_of_the_conversation_is_no_trouble(paper, session):
    session.transcript.mkdir(parents=True)
    assert paper.receipts() == []


@contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    """Nobody may look into it; root may always, so for that long it is somebody else."""
    folder.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if me == 0:
            os.seteuid(0)
        folder.chmod(0o700)


def test_a_folder_that_may_not_be_read_is_an_empty_one(tmp_path):
    folder = tmp_path / "projects" / "-project" / "5e55" / "subagents"
    folder.mkdir(parents=True)
    (folder / "agent-a1.meta.json").write_text("{}")
    with forbidden(tmp_path / "projects"):
        assert list(subagents_in(folder)) == []
        assert find_conversation({"CLAUDE_CONFIG_DIR": str(tmp_path)}, "5e55") is None
        assert read_on(folder.parent.with_suffix(".jsonl"), Mark()).calls == ()


def test_a_link_that_leads_nowhere_is_no_trouble(paper, session):
    session.transcript.parent.mkdir(parents=True)
    session.transcript.symlink_to("nowhere")
    assert paper.receipts() == []


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


# -- counts of older hosts, and what the host counts


def test_an_early_count_is_an_estimate_until_a_later_line_tells(paper, session):
    session.prompt(skill=True)
    session.says(OPUS, run("ls"), early=1)
    session.hears()
    (row,) = paper.receipts()
    assert (row["output"], json.loads(row["tags"])) == (1, {"estimate": "output"})
    lines = session.transcript.read_bytes().splitlines()
    late = json.loads(lines[1])
    late["message"] |= {"stop_reason": "tool_use", "usage": {**late["message"]["usage"], "output_tokens": 70}}
    session.write(late)
    session.hears()
    call, repair = sorted(paper.receipts(), key=lambda row: row["key"])
    assert (repair["source"], call["output"] + repair["output"]) == ("correction", 70)
    right = PRICES.cost(OPUS, Usage(input=10, output=70), time.strftime("%Y-%m-%d", time.gmtime(call["at"])))
    assert call["cost_nanousd"] + repair["cost_nanousd"] == right


def much_later() -> float:
    return time.time() + GIVE_UP_SECONDS + 1


def test_an_early_count_at_the_end_of_a_session_is_booked_in_the_end(paper, session):
    session.prompt(skill=True)
    session.says(OPUS, early=1)
    assert paper.receipts() == []
    assert [row["output"] for row in paper.receipts(much_later)] == [1]


def test_an_early_count_at_the_end_of_a_helper_is_booked_in_the_end(paper, session):
    """Older hosts do not say whether it has finished."""
    session.prompt(skill=True)
    session.says(OPUS, start("Look around.", "toolu_h1"))
    session.agent("h1", "toolu_h1")
    session.says(HAIKU, agent="h1", early=1)
    assert [row["agent"] for row in paper.receipts()] == [None]
    assert [row["agent"] for row in paper.receipts(much_later)] == [None, "h1"]


def counted(cost: float, tokens_in: int = 0, tokens_out: int = 0) -> dict[str, Any]:
    return {"inputTokens": tokens_in, "outputTokens": tokens_out, "costUSD": cost}


def account(paper: PaperRun) -> dict[str, Any]:
    (row,) = paper.ctx.store.rows("SELECT * FROM session_cost")
    return dict(row)


def priced(model: str, **usage: int) -> int:
    cost = PRICES.cost(model, Usage(**usage), time.strftime("%Y-%m-%d", time.gmtime()))
    assert cost is not None
    return cost


def test_estimates_are_put_right_by_what_the_host_counts(paper, session):
    session.prompt(skill=True)
    for _ in range(3):
        session.says(OPUS, run("ls"), early=1)
    session.hears()
    assert [row["output"] for row in paper.receipts()] == [1, 1, 1]
    session.ends(claude_opus_5_5=counted(priced(OPUS, input=30, output=200) / 1e9, 30, 200))
    rows = paper.receipts()
    assert sum(row["output"] for row in rows) == 200
    assert sum(row["cost_nanousd"] for row in rows) == priced(OPUS, input=30, output=200)
    assert account(paper)["unattributed_nanousd"] == 0


def test_what_the_host_counts_beyond_the_transcripts_is_kept_apart(paper, session):
    """Such as auto mode's safety checks."""
    session.prompt(skill=True)
    session.says(OPUS, output=20)
    checks = counted(priced(SONNET, input=4_000, output=12) / 1e9, 4_000, 12)
    session.ends(claude_opus_5_5=counted(priced(OPUS, input=10, output=20) / 1e9, 10, 20), claude_sonnet_5_5=checks)
    assert sum(row["cost_nanousd"] for row in paper.receipts()) == priced(OPUS, input=10, output=20)
    found = account(paper)
    assert (found["session"], found["unattributed_nanousd"]) == (session.id, priced(SONNET, input=4_000, output=12))
    assert found["repriced_nanousd"] == 0
    assert found["host_nanousd"] == found["transcripts_nanousd"] + found["unattributed_nanousd"]


def test_the_newest_count_of_the_host_is_the_one_that_is_kept(paper, session):
    session.prompt(skill=True)
    session.says(OPUS)
    for more in (0.0, 0.5):
        session.ends(claude_opus_5_5=counted(priced(OPUS, input=10, output=20) / 1e9 + more, 10, 20))
        paper.receipts()
    assert account(paper)["repriced_nanousd"] == 500_000_000


@pytest.mark.parametrize("usage", [None, [], "x", {"claude-opus-5-5": None}, {"claude-opus-5-5": {"costUSD": "x"}}])
def test_a_count_of_the_host_that_makes_no_sense_costs_no_receipt(paper, session, usage):
    session.prompt(skill=True)
    message = session.says(OPUS)
    session.write({"type": "cost-state", "modelUsage": usage})
    assert paper.booked() == [message]


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
