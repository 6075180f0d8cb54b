"""Hooks that are called with nonsense, or in broken surroundings: the session goes on as if there were none."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.storage.open_runs import mark_path, set_mark
from tests.support.hook_events import HOOKS, Host, Stage, apart, open_wave
from tests.support.parent_session import Parent, Workers

GUARDS = ("agent", "write", "bash")
HAND_OVERS = tuple(name for name in HOOKS if name not in GUARDS)
EVENT_OF = {
    "agent": "PreToolUse",
    "write": "PreToolUse",
    "bash": "PreToolUse",
    "returned": "PostToolUse",
    "stopped": "SubagentStop",
    "woken": "UserPromptSubmit",
    "session": "SessionStart",
    "settle": "Stop",
}
MARKER = "[backlog:a1]"


# -- an event that is none


class NoRun:
    """A repository in which no run is open."""

    def __init__(self, folder: Path) -> None:
        self.host = Host.of(Parent.of(folder / "repo").lab.top)


@pytest.fixture(scope="module", params=["no run", "an open run"])
def place(request, tmp_path_factory):
    """What the tests do here changes nothing, so they share it; hooks find the engine's environment."""
    folder = tmp_path_factory.mktemp("place")
    with apart(folder / "home"):
        workers = Workers.install(folder / "home")
        yield NoRun(folder) if request.param == "no run" else Stage.set(folder, Gate.IMPLEMENT)
        workers.wait_until_ended()
        workers.close()


def cut(host: Host) -> bytes:
    return json.dumps(host.agent_call(MARKER)).encode()[:-20]


def padded(host: Host) -> bytes:
    """Ten megabytes of an event."""
    return json.dumps(host.event("PreToolUse", padding="x" * 10_000_000)).encode()


def deep(_host: Host) -> bytes:
    return b'{"tool_input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


NONSENSE: list[tuple[str, Callable[[Host], bytes]]] = [
    ("nothing", lambda host: b""),
    ("a line", lambda host: b"\n"),
    ("cut", cut),
    ("prose", lambda host: b"Go on."),
    ("an array", lambda host: json.dumps([host.agent_call(MARKER)]).encode()),
    ("a number", lambda host: b"17"),
    ("null", lambda host: b"null"),
    ("null bytes", lambda host: b"\0" * 1000),
    ("no UTF-8", lambda host: b'{"prompt": "\xff\xfe"}'),
    ("deep", deep),
    ("more than anybody reads", lambda host: b"[" + b" " * 17_000_000 + b"]"),
]


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("make", [make for _, make in NONSENSE], ids=[name for name, _ in NONSENSE])
def test_what_is_no_event_is_nothing_to_a_hook(place, name, make):
    assert place.host.hook(name, make(place.host)).is_silent


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("tool_input", [None, [], "[backlog:a1]", 17, {}], ids=repr)
def test_a_tools_input_that_is_no_object_or_empty_is_nothing_to_a_guard(place, name, tool_input):
    event = {**place.host.tool("Agent"), "tool_input": tool_input}
    assert place.host.hook(name, event).is_silent


@pytest.mark.parametrize("name", [name for name in HOOKS if name != "session"])  # which says its lines in any case
@pytest.mark.parametrize(
    "fields",
    [
        {"hook_event_name": "NobodyKnows"},
        {"hook_event_name": None},
        {"tool_use_id": ["a"], "agent_id": {"a": 1}, "prompt": 17, "session_id": None, "tool_response": "done"},
        {"agent_id": "a\0b", "prompt": "\0", "tool_use_id": "\0", "transcript_path": "\0"},
        {"agent_id": "\ud800", "tool_use_id": "\ud800", "transcript_path": "/\ud800", "prompt": "<task-notification>"},
    ],
    ids=["an unknown name", "no name", "other types", "null bytes", "no characters"],
)
def test_an_event_that_nobody_knows_is_nothing_to_a_hook(place, name, fields):
    event = {**place.host.tool("Nothing", command=["a"], file_path=17, prompt={}), **fields}
    assert place.host.hook(name, event).is_silent


@pytest.mark.parametrize("name", HOOKS)
def test_ten_megabytes_are_read_or_left_but_never_complained_about(place, name):
    said = place.host.hook(name, padded(place.host))
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout == "" or name == "session"


@pytest.mark.parametrize("name", ["", "nonsense", "agent write", "../agent", "-x"])
def test_a_hook_that_there_is_not_does_nothing(place, name):
    assert place.host.hook(name, place.host.agent_call(MARKER)).is_silent


# -- surroundings that are broken; each spoils a run of its own


@pytest.fixture
def parent(tmp_path, workers):
    parent = Parent.of(tmp_path / "repo")
    open_wave(parent)
    with closing(sqlite3.connect(parent.ctx.store.path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return parent


def everyday(host: Host, name: str) -> dict[str, object]:
    """An event that this hook may get while a run is open, and of which it has nothing to say."""
    agent = host.sub_agent("Find all unused imports.")
    return {
        "agent": host.agent_call("Find all unused imports."),
        "write": agent.tool("Write", file_path="/tmp/x"),
        "bash": agent.tool("Bash", command="ls"),
        "returned": agent.returned(),
        "stopped": agent.stopped(),
        "woken": host.prompt("Go on."),
        "session": host.event("SessionStart", source="startup"),
        "settle": host.event("Stop", stop_hook_active=False),
    }[name]


def all_silent(host: Host, cwd: Path | None = None, **environ: str | None) -> None:
    running = {name: host.begin(name, everyday(host, name), cwd, **environ) for name in HOOKS}
    said = {name: hook.wait() for name, hook in running.items()}
    assert {name: each for name, each in said.items() if not each.is_silent} == {}


def test_the_everyday_events_have_something_to_be_silent_about(parent):
    """In sound surroundings the one hook that speaks of any event does."""
    host = Host.of(parent.lab.top)
    assert "A backlog run is open" in host.hook("session", everyday(host, "session")).stdout


def test_without_a_home_there_is_no_run_to_look_for(parent):
    all_silent(Host.of(parent.lab.top), HOME=None)


def test_an_empty_home_is_none(parent):
    all_silent(Host.of(parent.lab.top), HOME="")


def test_a_relative_state_folder_is_none_as_the_specification_says(parent, tmp_path):
    host = Host.of(parent.lab.top)
    assert "A backlog run is open" in host.hook("session", everyday(host, "session"), XDG_STATE_HOME="state").stdout


def test_a_state_folder_elsewhere_has_no_run(parent, tmp_path):
    all_silent(Host.of(parent.lab.top), XDG_STATE_HOME=str(tmp_path / "state"))


def test_the_engines_own_claude_is_left_alone(parent):
    host = Host.of(parent.lab.top)
    all_silent(host, BACKLOG_CHILD="1")
    marked = host.agent_call(MARKER)
    assert host.hook("agent", marked, BACKLOG_CHILD="1").is_silent


def spoiled(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)


def gone(path: Path) -> None:
    path.unlink()


def unwritable(path: Path) -> None:
    """Not even for root: where SQLite would put what it writes first, there are folders."""
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
        path.with_name(path.name + ending).mkdir()


@pytest.mark.parametrize("spoil", [spoiled, gone, unwritable])
def test_a_database_that_cannot_be_used_is_not_the_sessions_problem(parent, spoil):
    spoil(parent.ctx.store.path)
    all_silent(Host.of(parent.lab.top))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_database_that_another_one_holds_is_not_the_sessions_problem(parent):
    host = Host.of(parent.lab.top)
    with locked(parent.ctx.store.path):
        running = {name: host.begin(name, everyday(host, name)) for name in HOOKS if name != "session"}
        said = {name: hook.wait() for name, hook in running.items()}
        session = host.hook("session", everyday(host, "session"))
    assert {name: each for name, each in said.items() if not each.is_silent} == {}
    assert len(session.stdout.splitlines()) == 3  # reading needs no lock
    assert session.seconds < 10  # hooks.json gives it 15


def test_a_state_folder_that_is_a_file_is_none(parent):
    base = Path(os.environ["HOME"]) / ".local" / "state" / "backlog-ops"
    shutil.rmtree(base)
    base.write_text("not a folder\n")
    all_silent(Host.of(parent.lab.top))


def test_a_mark_that_is_cut_is_nothing_to_a_guard(parent):
    mark = mark_path(os.environ, parent.lab.top)
    host = Host.of(parent.lab.top)
    for content in ("", "\n", f"{sys.executable}\n", f"{sys.executable}\n/half/a/li"):
        mark.write_text(content)
        assert host.hook("agent", host.agent_call(MARKER)).is_silent


@pytest.mark.parametrize("python", ["/nowhere/bin/python", "", ".", "{folder}", "{program}", "{file}"])
def test_a_python_that_is_not_there_any_more_guards_nothing(parent, python, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/nowhere/interpreter\n")
    program.chmod(0o755)
    file = tmp_path / "file"
    file.write_text("")
    named = python.format(folder=tmp_path, program=program, file=file)
    set_mark(os.environ, parent.lab.top, named, parent.ctx.store.path)
    host = Host.of(parent.lab.top)
    for name in GUARDS:
        assert host.hook(name, host.agent_call(MARKER)).is_silent


def test_a_mark_whose_repository_is_gone_is_nothing(parent, tmp_path):
    host = Host.of(parent.lab.top)
    shutil.rmtree(parent.lab.top)
    all_silent(host, cwd=tmp_path)


def test_a_mark_whose_folder_is_no_repository_any_more_is_nothing_to_a_hand_over(parent):
    host = Host.of(parent.lab.top)
    shutil.rmtree(parent.lab.top / ".git")
    all_silent(host)


def test_a_mark_without_its_configuration_is_nothing_to_a_hand_over(parent):
    host = Host.of(parent.lab.top)
    (parent.lab.top / "backlog.config.json").unlink()
    all_silent(host)


def test_a_configuration_that_is_broken_is_nothing_to_a_hand_over(parent):
    host = Host.of(parent.lab.top)
    (parent.lab.top / "backlog.config.json").write_text("{")
    all_silent(host)


@pytest.mark.parametrize("name", HOOKS)
def test_outside_any_repository_there_is_nothing_to_do(parent, name, tmp_path):
    host = Host.of(parent.lab.top)
    event = everyday(host, name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert host.hook(name, event, cwd=elsewhere, CLAUDE_PROJECT_DIR=None).is_silent
    assert host.hook(name, event, cwd=elsewhere, CLAUDE_PROJECT_DIR="/nowhere").is_silent


@pytest.mark.parametrize("pid", [None, "", "x", "²"])
def test_a_marked_call_is_guarded_without_the_hosts_process_id(parent, pid):
    host = Host.of(parent.lab.top)
    assert host.hook("agent", host.agent_call(MARKER), CLAUDE_PID=pid).is_allowed
