"""Sub-agents of a session by the host's own files: their receipts, the model that answered, their ends."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.pricing import Usage
from backlog_ops.run import agent_rows
from backlog_ops.run.model_check import wrong_model
from backlog_ops.run.session_agents import QUIET_SECONDS, note_end, turn_limit, watch
from backlog_ops.run.session_receipts import GIVE_UP_SECONDS, book
from backlog_ops.run.steps import Step
from backlog_ops.storage.config_file import load_prices
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.hook_events import HAIKU, OPUS, SONNET, Host, Stage, answer, append, finish, go_on, timestamp
from tests.support.parent_session import Parent

USAGE = {"input": 3, "cache_write_5m": 400, "cache_write_1h": 50, "cache_read": 6000, "output": 70}


pytestmark = pytest.mark.usefixtures("workers")  # no worker, and no hook, outlives its test


@pytest.fixture
def stage(tmp_path):
    """A sub-agent at work on the IMPLEMENT action of T-1."""
    return Stage.set(tmp_path, Gate.IMPLEMENT)


def booked(parent, clock=time.time):
    """The ledger's rows of the run's sub-agents, once everything that is there has been booked."""
    book(replace(parent.ctx, clock=clock))
    return [row for row in parent.ctx.store.receipts(parent.run.id) if row["source"] == "session"]


def much_later():
    return time.time() + GIVE_UP_SECONDS + 1


# -- receipts


def test_each_answer_of_a_transcript_is_a_receipt_with_its_tokens_and_its_price(stage):
    stage.agent.answers(HAIKU, **USAGE)
    (row,) = booked(stage.parent)
    buckets = ("input", "cache_write_5m", "cache_write_1h", "cache_read", "output")
    assert {name: row[name] for name in buckets} == USAGE
    today = time.strftime("%Y-%m-%d", time.gmtime(row["at"]))
    assert row["cost_nanousd"] == load_prices().cost(HAIKU, Usage(**USAGE), today)
    assert row["price_date"] == load_prices().date


def test_a_receipt_says_what_it_was_for_and_who_made_the_call(stage):
    message = stage.agent.answers(HAIKU)
    (row,) = booked(stage.parent)
    assert (row["key"], row["source"], row["provider"]) == (f"claude/{message}", "session", "claude-code")
    assert (row["session"], row["agent"]) == (stage.host.session, stage.agent.id)
    assert (row["run"], row["wave"], row["ticket"]) == (stage.parent.run.id, 1, "T-1")
    assert (row["gate"], row["attempt"], row["escalation_rule"]) == ("IMPLEMENT", 1, "entry")
    assert (row["asked_tier"], row["asked_model"], row["answered_model"]) == ("cheap", HAIKU, HAIKU)
    assert (row["outcome"], json.loads(row["tags"])) == ("answered", {"asked": "haiku"})


def test_an_answer_of_several_blocks_is_one_receipt(stage):
    stage.agent.answers(HAIKU, blocks=3, **USAGE)
    (row,) = booked(stage.parent)
    assert row["output"] == USAGE["output"]


@pytest.mark.parametrize("counts", [(1, 70), (70, 1), (1, 70, 33)])
def test_the_largest_count_of_an_answers_output_is_the_right_one(stage, counts):
    """An early count is written before the answer's end; which line comes first on disk is the host's matter."""
    message = answer(HAIKU, "tool_use", output=1)
    for count in counts:
        usage = {**message["usage"], "output_tokens": count}
        stage.agent.write({"type": "assistant", "message": {**message, "usage": usage}})
    (row,) = booked(stage.parent)
    assert row["output"] == 70


def test_a_transcript_that_is_read_twice_adds_nothing(stage):
    stage.agent.answers(HAIKU)
    once = booked(stage.parent)
    assert booked(stage.parent) == once
    stage.agent.answers(HAIKU)
    assert len(booked(stage.parent)) == 2


def test_the_time_of_an_answer_is_that_since_what_it_answers(stage):
    now = time.time()
    stage.agent.write({"type": "user", "message": {"role": "user", "content": "result"}, "timestamp": timestamp(now)})
    stage.agent.answers(HAIKU, at=now + 1.5)
    (row,) = booked(stage.parent)
    assert row["latency_ms"] == 1500
    assert row["at"] == pytest.approx(now + 1.5, abs=0.01)


def test_the_hosts_own_words_are_no_models_answer(stage):
    stage.agent.answers("<synthetic>", "stop_sequence")
    assert booked(stage.parent) == []


def test_other_lines_of_a_transcript_are_nobodys_answer(stage):
    blob = {"message": answer(OPUS)}
    for kind in ("api-request", "api-request-blob", "summary", "user", None):
        append(stage.agent.transcript, {**blob, "type": kind})
    assert booked(stage.parent) == []


def test_a_model_without_a_price_is_booked_at_an_unknown_cost(stage):
    stage.agent.answers("nobody-knows-1")
    (row,) = booked(stage.parent)
    assert (row["cost_nanousd"], row["price_date"]) == (None, None)


def test_calls_count_against_the_budget(stage):
    stage.agent.answers(HAIKU, output=1_000_000)
    booked(stage.parent)
    assert stage.parent.ctx.store.spent(stage.parent.run.id, "T-1").nanousd > 10**8


@pytest.fixture
def older(tmp_path):
    """The same of a host that writes an early count, with no reason to stop, and does not say who has finished."""
    parent = Parent.of(tmp_path / "repo")
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    agent = host.launch(action, older=True)
    return Stage(parent, host, action, agent, parent.lab.top)


def test_an_early_count_is_not_booked_while_the_right_one_may_still_come(older):
    message = answer(HAIKU, None, output=1)
    older.agent.write({"type": "assistant", "message": message})
    assert booked(older.parent) == []
    rest = {**message, "stop_reason": "tool_use", "usage": {**message["usage"], "output_tokens": 29}}
    older.agent.write({"type": "assistant", "message": rest})
    assert [row["output"] for row in booked(older.parent)] == [29]


def test_an_early_count_is_booked_when_its_sub_agent_is_over(older):
    older.agent.answers(HAIKU, None, output=1)
    older.host.hook("returned", older.agent.returned())
    assert booked(older.parent) == []
    older.agent.answers(HAIKU, "end_turn", output=5)
    assert sorted(row["output"] for row in booked(older.parent)) == [1, 5]


def test_an_early_count_that_never_became_right_is_booked_in_the_end(older):
    older.agent.answers(HAIKU, None, output=1)
    older.host.hook("returned", older.agent.returned())
    assert [row["output"] for row in booked(older.parent, clock=much_later)] == [1]
    assert agent_rows.unbooked(older.parent.ctx.store) == []


def test_the_last_words_that_are_written_after_the_end_are_booked_then(stage):
    stage.agent.answers(HAIKU)
    stage.host.hook("stopped", stage.agent.stopped())
    assert len(booked(stage.parent)) == 1
    stage.agent.ends(HAIKU)
    assert len(booked(stage.parent)) == 2
    assert agent_rows.unbooked(stage.parent.ctx.store) == []


# -- transcripts that are not as they should be


def test_a_transcript_that_is_not_there_is_waited_for_and_then_given_up(stage):
    stage.agent.transcript.unlink()
    stage.host.hook("returned", stage.agent.returned())
    assert booked(stage.parent) == []
    assert len(agent_rows.unbooked(stage.parent.ctx.store)) == 1
    assert booked(stage.parent, clock=much_later) == []
    assert agent_rows.unbooked(stage.parent.ctx.store) == []


def test_a_folder_that_is_gone_costs_the_receipts_and_nothing_else(stage):
    stage.agent.answers(HAIKU)
    for path in (stage.agent.meta, stage.agent.transcript):
        path.unlink()
    stage.host.subagents.rmdir()
    stage.host.hook("returned", stage.agent.returned())
    assert booked(stage.parent, clock=much_later) == []


def test_a_line_that_is_cut_is_left_for_the_next_time(stage):
    stage.agent.answers(HAIKU)
    whole = json.dumps({"type": "assistant", "message": answer(HAIKU, output=44)}).encode() + b"\n"
    append(stage.agent.transcript, whole[:100])
    assert len(booked(stage.parent)) == 1
    append(stage.agent.transcript, whole[100:])
    assert [row["output"] for row in booked(stage.parent)] == [20, 44]


GARBAGE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"assistant"',
    b'{"type": "assistant"}',
    b'{"type": "assistant", "message": null}',
    b'{"type": "assistant", "message": "assistant"}',
    b'{"type": "assistant", "message": {"id": 1, "model": 2, "usage": 3}}',
    b'{"type": "assistant", "message": {"id": "m", "model": "x", "usage": {"output_tokens": -5}, "stop_reason": []}}',
    b'{"type": "assistant", "message": {"id": "n", "model": "x", "stop_reason": {}}, "timestamp": 17}',
    b'{"type": "assistant", "message": {"id": "o", "model": "x", "content": 17}, "timestamp": "yesterday"}',
    b'{"type": "user", "message": {"content": [1, {"text": 2}]}}',
    b'{"type": "user", "message": "assistant", "timestamp": "0001-01-01T00:00:00"}',
    b'\xff\xfe"assistant"\x00',
    b'"assistant"' + b"[" * 100_000,
]


def test_lines_that_make_no_sense_cost_nobody_anything(stage):
    stage.agent.answers(HAIKU)
    for line in GARBAGE:
        append(stage.agent.transcript, line + b"\n")
    stage.agent.answers(HAIKU, output=44)
    rows = [row for row in booked(stage.parent) if row["answered_model"] == HAIKU]
    assert [row["output"] for row in rows] == [20, 44]


def test_an_agents_entry_that_makes_no_sense_is_nobodys(stage):
    for number, content in enumerate((b"", b"{", b"[]", b'{"toolUseId": 17}', b"\xff", b'{"finished": "yes"}')):
        (stage.host.subagents / f"agent-x{number}.meta.json").write_bytes(content)
    stage.parent.command("start")
    assert len(agent_rows.agents_of_run(stage.parent.ctx.store, stage.parent.run.id)) == 1


# -- which model answered


def judged(stage, *models, gate=Gate.IMPLEMENT):
    """The ticket once its action is handed in, after these models have answered."""
    for model in models:
        stage.agent.answers(model)
    finish(stage.parent, stage.action)
    go_on(stage.parent)
    return stage.parent.lab.states()["T-1"]


def why(stage, ticket):
    cause, remedy = ticket.reason.split("; mend that")
    assert remedy == ", or set llmOps.onModelMismatch to warn"
    return cause


def test_work_of_the_routed_model_goes_on(stage):
    assert judged(stage, HAIKU, HAIKU).step is Step.REVIEW


def test_work_of_another_model_parks_the_ticket_with_the_cause(stage):
    ticket = judged(stage, HAIKU, SONNET)
    assert ticket.step is Step.PARKED
    assert why(stage, ticket) == (
        f"asked for haiku, {SONNET} answered (the host did not obey: availableModels, a policy or a gateway)"
    )


def test_the_receipt_of_another_model_says_so_too(stage):
    stage.agent.answers(SONNET)
    (row,) = booked(stage.parent)
    assert (row["asked_model"], row["answered_model"]) == (HAIKU, SONNET)
    assert "not_obeyed" in json.loads(row["tags"])


def test_work_of_another_model_goes_on_with_a_warning_where_that_is_wished(tmp_path):
    config = {"llmOps": {"ollama": {"baseURL": "http://127.0.0.1:9"}, "onModelMismatch": "warn"}}
    stage = Stage.set(tmp_path, Gate.IMPLEMENT, config=config)
    assert judged(stage, SONNET).step is Step.REVIEW
    events = [event.text for event in stage.parent.ctx.store.events(stage.parent.run.id)]
    warnings = [text for text in events if text.startswith("warning: ")]
    assert warnings == [
        f"warning: asked for haiku, {SONNET} answered (the host did not obey: availableModels, a policy or a gateway)"
    ]


def test_a_setting_that_overrides_the_guard_is_named_as_the_cause(tmp_path):
    parent = Parent.of(tmp_path / "repo")
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    forced = {"CLAUDE_CODE_SUBAGENT_MODEL_FORCE": "1", "CLAUDE_CODE_SUBAGENT_MODEL": "sonnet"}
    stage = Stage(parent, host, action, host.launch(action, **forced), parent.lab.top)
    assert why(stage, judged(stage, SONNET)) == (
        f"asked for haiku, {SONNET} answered"
        " (CLAUDE_CODE_SUBAGENT_MODEL_FORCE=1, CLAUDE_CODE_SUBAGENT_MODEL=sonnet is set)"
    )


def test_what_the_host_made_of_the_model_is_known_before_any_answer(stage):
    stage.host.hook("returned", stage.agent.launched(resolved=OPUS))
    assert why(stage, judged(stage)).startswith(f"asked for haiku, the host chose {OPUS} (")


def test_what_nobody_knows_parks_nothing(stage):
    assert judged(stage).step is Step.REVIEW


def test_a_review_of_another_model_is_not_even_read(tmp_path):
    stage = Stage.set(tmp_path, Gate.REVIEW)
    ticket = judged(stage, HAIKU)
    assert why(stage, ticket).startswith(f"asked for sonnet, {HAIKU} answered (")
    assert ticket.approved_tree is None


@pytest.mark.parametrize(
    ("parents", "answered", "goes_on"),
    [
        (OPUS, OPUS, True),
        (OPUS, f"{OPUS}[1m]", True),
        (SONNET, SONNET, True),
        (OPUS, HAIKU, False),
        (OPUS, SONNET, False),
        (HAIKU, OPUS, True),  # which the guard has named
        (HAIKU, HAIKU, False),
        (None, SONNET, True),  # whatever the parent is
        (None, HAIKU, False),
    ],
)
def test_an_inheriting_sub_agent_is_to_answer_on_its_parents_model(tmp_path, parents, answered, goes_on):
    parent = Parent.of(tmp_path / "repo", tags=["SECURITY"])
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top, parents)
    stage = Stage(parent, host, action, host.launch(action), parent.lab.top)
    stage.agent.answers(answered)
    book(parent.ctx)
    wrong = wrong_model(parent.ctx, parent.ctx.store.action(int(action["id"][1:])))
    assert (wrong is None) == goes_on


# -- sub-agents that came past no guard


@pytest.fixture
def unguarded(tmp_path):
    """Hooks are off: the parent was told of an action by its command, and has started a sub-agent for it."""
    parent = Parent.of(tmp_path / "repo")
    parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    (action,) = asked(parent, host)["actions"]
    return Stage(parent, host, action, host.sub_agent(action["prompt"]), parent.lab.top)


def asked(parent, host, *args):
    """What a session is told that asks, in a shell of its own; `next` itself would wait for who is at work."""
    done = parent.lab.cli("next" if args else "start", *args, **host.environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(parent):
    return agent_rows.agents_of_run(parent.ctx.store, parent.run.id)


def test_next_finds_a_sub_agent_at_work_that_no_guard_saw_and_waits_for_it(unguarded):
    (waiting,) = asked(unguarded.parent, unguarded.host)["actions"]
    assert waiting["do"] == "wait"
    assert f"sub-agents at work on {unguarded.action['id']}" in waiting["why"]
    assert "bin/backlog-ops next --lost" in waiting["why"]
    (row,) = rows(unguarded.parent)
    assert (row.tool_use_id, row.agent_id, row.guarded) == (unguarded.agent.call, unguarded.agent.id, False)
    assert (row.session, row.parent_model, row.asked_model) == (unguarded.host.session, OPUS, "haiku")


def test_next_finds_that_it_has_ended_books_its_calls_and_goes_on(unguarded):
    unguarded.parent.play(unguarded.action)
    unguarded.agent.ends(HAIKU)
    (action,) = asked(unguarded.parent, unguarded.host)["actions"]
    assert action["gate"] == "REVIEW"
    (row,) = booked(unguarded.parent)
    assert json.loads(row["tags"]) == {"asked": "haiku", "guard": "none"}


def test_the_wrong_model_of_one_that_no_guard_saw_is_told_with_that_cause(unguarded):
    unguarded.parent.play(unguarded.action)
    unguarded.agent.ends(OPUS)
    assert asked(unguarded.parent, unguarded.host)["actions"][0]["do"] == "done"
    ticket = unguarded.parent.lab.states()["T-1"]
    assert why(unguarded, ticket) == (
        f"asked for haiku, {OPUS} answered (no guard saw its call: hooks are off, or it is a fork or a Workflow agent)"
    )


def test_next_finds_them_where_the_configuration_of_claude_lies_elsewhere(tmp_path):
    parent = Parent.of(tmp_path / "repo")
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top, CLAUDE_CONFIG_DIR=str(tmp_path / "claude"))
    agent = host.sub_agent(action["prompt"])
    assert agent.transcript.is_relative_to(tmp_path / "claude" / "projects")
    assert asked(parent, host)["actions"][0]["do"] == "wait"


def test_an_api_error_as_its_last_word_makes_its_attempt_a_failed_one(unguarded):
    unguarded.agent.breaks_off("API Error: 529 overloaded")
    (action,) = asked(unguarded.parent, unguarded.host)["actions"]
    assert (action["gate"], action["attempt"]) == ("IMPLEMENT", 2)
    events = [event.text for event in unguarded.parent.ctx.store.events(unguarded.parent.run.id)]
    assert "IMPLEMENT attempt 1 died: API Error: 529 overloaded" in events


@pytest.mark.parametrize(
    "prompt",
    ["Find all unused imports.", "[backlog:a999]", "Do a1. [backlog]", "[backlog:aa]", ""],
    ids=lambda prompt: prompt,
)
def test_a_sub_agent_without_an_actions_marker_is_nobody(unguarded, prompt):
    unguarded.agent.meta.unlink()
    unguarded.host.sub_agent(prompt)
    assert asked(unguarded.parent, unguarded.host)["actions"] == [unguarded.action]
    assert rows(unguarded.parent) == []


def test_only_the_session_that_asks_is_looked_at(unguarded):
    other = Host.of(unguarded.parent.lab.top)
    assert asked(unguarded.parent, other)["actions"] == [unguarded.action]


@pytest.mark.parametrize("session", ["", "../..", ".", "*", "a/b"])
def test_a_session_that_can_be_none_has_no_sub_agents(unguarded, session):
    other = replace(unguarded.host, session=session)
    assert asked(unguarded.parent, other)["actions"] == [unguarded.action]


def test_a_sub_agent_from_before_the_run_is_nobody(unguarded):
    before = unguarded.parent.run.created_at - 3600
    os.utime(unguarded.agent.meta, (before, before))
    assert asked(unguarded.parent, unguarded.host)["actions"] == [unguarded.action]


# -- sub-agents whose end nobody has told


def test_one_of_an_older_host_has_ended_when_its_last_word_has_rested(older):
    older.agent.answers(HAIKU, "end_turn")
    said_at = older.agent.transcript.stat().st_mtime
    young, old = [
        replace(older.parent.ctx, clock=lambda at=at: said_at + at) for at in (QUIET_SECONDS - 1, QUIET_SECONDS)
    ]
    assert len(watch(young, older.parent.run)) == 1
    assert watch(old, older.parent.run) == []


def test_one_of_an_older_host_that_has_more_to_do_is_at_work_however_long_it_rests(older):
    older.agent.answers(HAIKU, "tool_use")
    assert len(watch(replace(older.parent.ctx, clock=much_later), older.parent.run)) == 1


def test_one_that_the_host_calls_unfinished_is_at_work_whatever_it_has_said(stage):
    stage.agent.answers(HAIKU, "end_turn")  # it may be asked to go on
    assert len(watch(replace(stage.parent.ctx, clock=much_later), stage.parent.run)) == 1
    stage.agent.write_meta(finished=True)
    assert watch(stage.parent.ctx, stage.parent.run) == []


def test_what_was_taken_away_with_its_session_is_handed_out_again_under_the_same_id(tmp_path):
    parent = Parent.of(tmp_path / "repo")
    action = parent.begin_at(Gate.IMPLEMENT)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as claude:
        host = replace(Host.of(parent.lab.top), pid=claude.pid)
        agent = host.launch(action)
        later = Host.of(parent.lab.top)
        (waiting,) = asked(parent, later)["actions"]
        assert waiting["do"] == "wait"
    assert asked(parent, later)["actions"] == [action]
    (row,) = rows(parent)
    assert (row.tool_use_id, row.cause) == (agent.call, "its session ended")
    assert later.launch(action).call != agent.call


def test_what_is_lost_is_handed_out_again_when_the_person_says_so(stage):
    assert asked(stage.parent, stage.host)["actions"][0]["do"] == "wait"
    assert asked(stage.parent, stage.host, "--lost")["actions"] == [stage.action]
    (row,) = rows(stage.parent)
    assert row.cause == "given up"


def test_nobody_says_that_the_sub_agents_of_another_living_session_are_lost(stage):
    other = Host.of(stage.host.top)
    assert asked(stage.parent, other, "--lost")["actions"][0]["do"] == "wait"
    (row,) = rows(stage.parent)
    assert row.ended_at is None


def test_a_sub_agent_that_goes_on_after_its_end_is_booked_to_the_last_call(stage):
    stage.agent.answers(HAIKU)
    asked(stage.parent, stage.host, "--lost")
    assert len(booked(stage.parent)) == 1
    stage.agent.answers(HAIKU)
    assert len(booked(stage.parent)) == 2


def test_the_calls_of_one_that_was_taken_away_are_booked_all_the_same(stage):
    stage.agent.answers(HAIKU)
    asked(stage.parent, stage.host, "--lost")
    assert len(booked(stage.parent)) == 1


def test_a_file_that_one_at_work_has_written_is_not_picked_up_before_its_end(tmp_path):
    stage = Stage.set(tmp_path, Gate.REVIEW)
    stage.parent.play(stage.action)
    assert asked(stage.parent, stage.host)["actions"][0]["do"] == "wait"
    stage.agent.ends(SONNET)
    assert asked(stage.parent, stage.host)["actions"][0]["do"] == "done"
    assert Path(stage.parent.lab.top / "src" / "T-1.txt").is_file()


# -- turn limits


AGENTS = sorted(file.stem for file in (PLUGIN_ROOT / "agents").glob("*.md"))
MOST = {Gate.PLAN: turn_limit("scribe"), Gate.IMPLEMENT: turn_limit("implementer"), Gate.REVIEW: turn_limit("reviewer")}


def cause(gate):
    return f"its limit of {MOST[gate]} turns was reached"


def takes_a_turn(agent, model=HAIKU, done=True):
    """It asks for a tool, and has its result when that is `done`."""
    call = {"type": "tool_use", "id": f"toolu_of_{time.monotonic_ns()}", "name": "Read", "input": {}}
    agent.write({"type": "assistant", "message": {**answer(model, "tool_use"), "content": [call]}})
    if done:
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "there"}
        agent.write({"type": "user", "message": {"role": "user", "content": [result]}})


def goes_on(agent, gate, but=0):
    """It uses up its turns, `but` for some."""
    for _ in range(MOST[gate] - but):
        takes_a_turn(agent, SONNET if gate is Gate.REVIEW else HAIKU)


def first_action(stage):
    return stage.parent.ctx.store.action(int(stage.action["id"][1:]))


def in_the_foreground(stage):
    stage.host.hook("returned", stage.agent.returned())


def in_the_background(stage):
    stage.host.hook("woken", stage.host.prompt(stage.agent.notification()))


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_has_a_turn_limit_whatever_its_tier(name):
    assert turn_limit(name) == turn_limit(name.removesuffix("-frontier"))
    assert turn_limit(name) is not None


@pytest.mark.parametrize("ends", [in_the_foreground, in_the_background])
def test_an_implementer_that_its_turn_limit_has_cut_off_has_failed(stage, ends):
    goes_on(stage.agent, Gate.IMPLEMENT)
    ends(stage)
    assert first_action(stage).cause == cause(Gate.IMPLEMENT)
    (action,) = asked(stage.parent, stage.host)["actions"]
    assert (action["gate"], action["attempt"]) == ("IMPLEMENT", 2)


def test_a_file_of_one_that_its_turn_limit_has_cut_off_is_not_taken(tmp_path):
    """It was complete, but its author had not said so."""
    stage = Stage.set(tmp_path, Gate.REVIEW)
    stage.parent.play(stage.action)
    goes_on(stage.agent, Gate.REVIEW)
    in_the_background(stage)
    assert first_action(stage).cause == cause(Gate.REVIEW)
    (action,) = asked(stage.parent, stage.host)["actions"]
    assert (action["gate"], action["id"] != stage.action["id"]) == ("REVIEW", True)


def test_a_plan_that_its_turn_limit_has_cut_off_parks_the_ticket_with_the_cause(tmp_path):
    stage = Stage.set(tmp_path, Gate.PLAN)
    goes_on(stage.agent, Gate.PLAN)
    in_the_foreground(stage)
    assert stage.parent.lab.states()["T-1"].reason == f"no usable plan: {cause(Gate.PLAN)}"


def test_one_that_had_handed_in_before_its_limit_has_not_failed(stage):
    finish(stage.parent, stage.action)
    goes_on(stage.agent, Gate.IMPLEMENT)
    in_the_foreground(stage)
    assert first_action(stage).cause is None
    assert stage.parent.lab.states()["T-1"].step is Step.REVIEW


def test_one_that_says_its_last_word_in_its_last_turn_has_not_failed(stage):
    goes_on(stage.agent, Gate.IMPLEMENT, but=1)
    stage.agent.ends()
    in_the_foreground(stage)
    assert first_action(stage).cause is None


@pytest.mark.parametrize("event", ["stopped", "handed_back"])
def test_one_whose_end_is_told_as_its_own_was_not_cut_off(stage, event):
    """Hosts tell it of those alone that end by themselves."""
    goes_on(stage.agent, Gate.IMPLEMENT)
    stage.host.hook("stopped", getattr(stage.agent, event)())
    assert first_action(stage).cause is None


def test_the_last_lines_of_a_transcript_may_come_after_the_word_of_its_end(stage):
    goes_on(stage.agent, Gate.IMPLEMENT, but=1)
    late = threading.Timer(0.1, takes_a_turn, [stage.agent])
    late.start()
    (row,) = rows(stage.parent)
    note_end(stage.parent.ctx, row)
    assert first_action(stage).cause == cause(Gate.IMPLEMENT)
    late.join()


def test_a_limit_is_seen_in_the_files_where_no_hook_tells_of_it(unguarded):
    goes_on(unguarded.agent, Gate.IMPLEMENT)
    unguarded.agent.ends(None)
    (action,) = asked(unguarded.parent, unguarded.host)["actions"]
    assert (action["gate"], action["attempt"]) == ("IMPLEMENT", 2)


def test_one_of_an_older_host_is_cut_off_when_its_last_turn_has_rested(older):
    goes_on(older.agent, Gate.IMPLEMENT, but=1)
    late = replace(older.parent.ctx, clock=much_later)
    takes_a_turn(older.agent, done=False)
    assert len(watch(late, older.parent.run)) == 1
    goes_on(older.agent, Gate.IMPLEMENT, but=MOST[Gate.IMPLEMENT] - 1)
    assert watch(late, older.parent.run) == []
    assert first_action(older).cause == cause(Gate.IMPLEMENT)
