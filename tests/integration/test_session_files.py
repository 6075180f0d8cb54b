"""A conversation is read again and again, while it grows, and may not be as it should be."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backlog_ops.money.conversations import Mark, read_on
from backlog_ops.money.host_files import find_conversation, subagents_in
from backlog_ops.run.session_receipts import book
from tests.support.hook_events import OPUS, SONNET, append
from tests.support.paper_run import PaperRun, Session, run, start


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
