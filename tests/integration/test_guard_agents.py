"""The model guard: what hook.sh decides about a call of the Agent tool while a run is open."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run import agent_rows
from backlog_ops.run.actions import LAUNCHER
from backlog_ops.run.driver_lock import RUN, WORKER, driving
from tests.support.hook_events import FABLE, HAIKU, OPUS, SONNET, Host, apart, finish, go_on, open_wave
from tests.support.parent_session import Parent

NEXT = f"`{shlex.quote(str(LAUNCHER))} next`"
PRINTED = ("description", "prompt", "subagent_type", "model", "run_in_background")


@pytest.fixture
def parent(tmp_path):
    return Parent.of(tmp_path / "repo")


def printed(action):
    """The call that the parent is told to make."""
    return {key: action[key] for key in PRINTED if key in action}


# -- what is allowed


@pytest.mark.parametrize("gate", [Gate.PLAN, Gate.IMPLEMENT, Gate.REVIEW])
def test_a_marked_call_becomes_the_one_that_next_has_printed(parent, gate):
    action = parent.begin_at(gate)
    host = Host.of(parent.lab.top)
    wrong = {"model": "opus", "description": "x", "run_in_background": True, "isolation": "worktree", "effort": "max"}
    said = host.hook("agent", host.agent_call(f"Be quick. [backlog:{action['id']}] Thanks!", **wrong))
    assert said.decision == {"permissionDecision": "allow", "updatedInput": printed(action)}


def test_a_routed_model_is_set_where_the_call_names_none(parent):
    action = parent.begin_at(Gate.REVIEW)
    host = Host.of(parent.lab.top)
    said = host.hook("agent", host.agent_call(action["prompt"]))
    assert said.decision["updatedInput"]["model"] == "sonnet"


@pytest.mark.parametrize(
    ("answered", "configured", "named"),
    [
        (OPUS, OPUS, None),
        (SONNET, OPUS, None),
        (FABLE, OPUS, None),
        (None, OPUS, None),
        (HAIKU, OPUS, "opus"),
        (HAIKU, FABLE, "fable"),
    ],
)
def test_the_frontier_is_inherited_unless_the_parent_is_the_smallest_model(tmp_path, answered, configured, named):
    config = {"llmOps": {"ollama": {"baseURL": "http://127.0.0.1:9"}, "models": {"frontier": configured}}}
    parent = Parent.of(tmp_path / "repo", tags=["SECURITY"], config=config)
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top, answered)
    said = host.hook("agent", host.agent_call(action["prompt"], model="haiku"))
    assert said.decision["updatedInput"].get("model") == named


def test_an_answer_that_the_host_is_still_writing_down_is_waited_for(tmp_path):
    parent = Parent.of(tmp_path / "repo", tags=["SECURITY"])
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top, None)
    running = host.begin("agent", host.agent_call(action["prompt"]))
    time.sleep(0.5)  # longer than the guard takes where it need not wait
    host.answers(HAIKU)
    assert running.wait().decision["updatedInput"]["model"] == "opus"


def test_blanks_around_a_markers_name_do_not_hide_it(parent):
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    said = host.hook("agent", host.agent_call(f"[backlog: {action['id']} ]", model="opus"))
    assert said.decision["updatedInput"] == printed(action)


def test_the_parents_model_is_the_one_that_answered_last(tmp_path):
    parent = Parent.of(tmp_path / "repo", tags=["SECURITY"])
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top, HAIKU)
    host.answers(OPUS)
    host.answers("<synthetic>")  # the host's own words
    said = host.hook("agent", host.agent_call(action["prompt"]))
    assert "model" not in said.decision["updatedInput"]


def test_a_call_from_a_folder_below_the_repository_is_guarded(parent):
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    said = host.hook("agent", host.agent_call(action["prompt"]), cwd=parent.lab.top / "src")
    assert said.is_allowed


def test_a_call_from_elsewhere_is_guarded_by_the_sessions_own_repository(parent, tmp_path):
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    said = host.hook("agent", host.agent_call(action["prompt"]), cwd=tmp_path)
    assert said.is_allowed


def test_what_the_guard_saw_is_kept_for_the_receipts(parent):
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top, CLAUDE_CODE_SUBAGENT_MODEL="sonnet")
    event = host.agent_call(action["prompt"], model="opus")
    host.hook("agent", event)
    (row,) = agent_rows.agents_of_run(parent.ctx.store, parent.run.id)
    assert (row.tool_use_id, row.action, row.session) == (event["tool_use_id"], int(action["id"][1:]), host.session)
    assert (row.host_pid, row.transcripts, row.guarded) == (os.getpid(), str(host.subagents), True)
    assert (row.parent_model, row.asked_model, row.overrides) == (OPUS, "haiku", "CLAUDE_CODE_SUBAGENT_MODEL=sonnet")
    assert (row.ended_at, row.cause) == (None, None)


def test_the_same_call_asked_about_twice_is_answered_twice(parent):
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    event = host.agent_call(action["prompt"])
    first, second = host.hook("agent", event), host.hook("agent", event)
    assert first.is_allowed
    assert second.decision == first.decision


# -- what is left alone


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "Find all TODOs",
        "Do a1 of backlog:a1",
        "[backlog]",
        "see [backlog-ops:a1] and [docs](backlog:a1)",
        "the [backlog: of old]",
    ],
)
def test_a_call_without_a_marker_is_left_alone(busy_wave, prompt):
    host = busy_wave.host
    assert host.hook("agent", host.agent_call(prompt, model="opus")).is_silent


# -- what is denied


class BusyWave:
    """Actions in every state: `open`, `busy` (a sub-agent is at work), `handed_in`, `closed`, `aborted`."""

    def __init__(self, folder: Path) -> None:
        parent = Parent.of(folder / "repo", "T-1", "T-2", "T-3")
        self.aborted = open_wave(parent)[0]["id"]
        assert parent.lab.cli("abort").returncode == 0
        first, second, third = sorted(open_wave(parent), key=lambda action: str(action["ticket"]))
        finish(parent, first)
        (self.open,) = [action["id"] for action in go_on(parent) if action["gate"] == "IMPLEMENT"]
        self.host = Host.of(parent.lab.top)
        self.agent = self.host.launch(second)
        finish(parent, third)
        self.closed, self.busy, self.handed_in = first["id"], second["id"], third["id"]
        self.state_folder = parent.ctx.state_folder

    def agents(self) -> int:
        with closing(sqlite3.connect(self.state_folder / "state.db")) as database:
            return int(database.execute("SELECT count(*) FROM agent").fetchone()[0])


@pytest.fixture(scope="module")
def busy_wave(tmp_path_factory):
    folder = tmp_path_factory.mktemp("busy")
    with apart(folder / "home"):
        return BusyWave(folder)


def marked(name: str) -> Callable[[BusyWave], dict[str, Any]]:
    """A call for the action that `BusyWave` knows by that name, else with that text as its marker."""
    return lambda wave: wave.host.agent_call(f"Do it. [backlog:{getattr(wave, name, name)}]")


def twice(wave: BusyWave) -> dict[str, Any]:
    return wave.host.agent_call(f"[backlog:{wave.open}] [backlog:{wave.open}]")


def from_a_subagent(wave: BusyWave) -> dict[str, Any]:
    return {**wave.host.agent_call(f"[backlog:{wave.open}]"), "agent_id": wave.agent.id}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        pytest.param(marked("a999999"), "no action of the run that is open", id="unknown"),
        pytest.param(marked("aborted"), "no action of the run that is open", id="of an aborted run"),
        pytest.param(marked(""), "no action of the run that is open", id="empty"),
        pytest.param(marked("17"), "no action of the run that is open", id="a bare number"),
        pytest.param(marked("a1;rm"), "no action of the run that is open", id="more than a name"),
        pytest.param(marked("a" + "1" * 30), "no action of the run that is open", id="a number no run has"),
        pytest.param(marked("a\u0661"), "no action of the run that is open", id="digits of another script"),
        pytest.param(twice, "one marker a sub-agent", id="two markers"),
        pytest.param(marked("closed"), "it is closed", id="closed"),
        pytest.param(marked("handed_in"), "it is handed-in", id="handed in"),
        pytest.param(marked("busy"), "a sub-agent is at work on it", id="at work"),
        pytest.param(from_a_subagent, "for the main session to start", id="from inside a sub-agent"),
    ],
)
def test_a_marked_call_that_is_not_to_be_is_denied_with_what_to_do_instead(busy_wave, call, said):
    before = busy_wave.agents()
    reason = busy_wave.host.hook("agent", call(busy_wave)).denial
    assert reason.startswith("backlog: ")
    assert said in reason
    assert NEXT in reason
    assert busy_wave.agents() == before


def test_a_marked_call_is_denied_while_run_is_at_work(busy_wave):
    with driving(busy_wave.state_folder, RUN):
        reason = busy_wave.host.hook("agent", marked("open")(busy_wave)).denial
    assert f"`backlog-ops run` is at work on {busy_wave.open}'s run" in reason
    assert NEXT in reason


def test_the_engines_own_worker_keeps_no_call_away(parent):
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    with driving(parent.ctx.state_folder, WORKER):
        assert host.hook("agent", host.agent_call(action["prompt"])).is_allowed


def test_of_several_calls_at_once_for_one_action_exactly_one_is_allowed(parent):
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    running = [host.begin("agent", host.agent_call(action["prompt"])) for _ in range(4)]
    said = [hook.wait() for hook in running]
    assert sorted(each.decision["permissionDecision"] for each in said) == ["allow", "deny", "deny", "deny"]
    assert all("a sub-agent is at work on it" in each.denial for each in said if not each.is_allowed)
    assert len(agent_rows.agents_of_run(parent.ctx.store, parent.run.id)) == 1


def test_an_action_whose_sub_agent_was_taken_away_can_be_started_again(parent):
    action = parent.begin_at(Gate.IMPLEMENT)
    host = Host.of(parent.lab.top)
    host.launch(action)
    assert not host.hook("agent", host.agent_call(action["prompt"])).is_allowed
    assert parent.lab.cli("next", "--lost", **host.environment).returncode == 0
    assert host.hook("agent", host.agent_call(action["prompt"])).is_allowed


# -- where the state cannot be read


def missing(path: Path) -> None:
    path.unlink()


def corrupt(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)


def of_somebody_else(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE notes (text TEXT)")


def of_another_version(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE run (id TEXT, state TEXT)")
        database.execute("CREATE TABLE action (number INTEGER, run TEXT, state TEXT)")
        database.execute("INSERT INTO run VALUES ('r', 'open')")
        database.executemany("INSERT INTO action VALUES (?, 'r', 'open')", [(number,) for number in range(9)])
        database.commit()


def unwritable(path: Path) -> None:
    """Not even for root: where SQLite would put what it writes first, there are folders."""
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
        path.with_name(path.name + ending).mkdir()


SPOILED = [missing, corrupt, of_somebody_else, of_another_version, unwritable]


@pytest.fixture
def away(parent):
    """A session, an open action's prompt, and the database of its run."""
    action = parent.begin_at(Gate.IMPLEMENT)
    path = parent.ctx.store.path
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return Host.of(parent.lab.top), action["prompt"], path


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_marked_call_is_denied_where_the_runs_state_cannot_be_read(away, spoil):
    host, prompt, path = away
    spoil(path)
    reason = host.hook("agent", host.agent_call(prompt)).denial
    assert re.match(r"backlog: the run's state cannot be read \(.+\); call again, or run ", reason)
    assert NEXT in reason


def test_a_marked_call_is_denied_while_the_database_is_locked(away):
    host, prompt, path = away
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        said = host.hook("agent", host.agent_call(prompt))
    assert "the run's state cannot be read (database is locked)" in said.denial
    assert said.seconds < 8  # hooks.json gives it 10


@pytest.mark.parametrize("spoil", SPOILED)
def test_an_unmarked_call_is_left_alone_where_the_runs_state_cannot_be_read(away, spoil):
    host, _prompt, path = away
    spoil(path)
    assert host.hook("agent", host.agent_call("Find all TODOs")).is_silent


def test_a_missing_database_is_not_made(away):
    host, prompt, path = away
    path.unlink()
    host.hook("agent", host.agent_call(prompt))
    assert not path.exists()
