"""What hooks do about a session as a whole: its shells know the plugin, a run that is open is named, a mark says so."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run import agent_rows
from backlog_ops.run.actions import LAUNCHER
from backlog_ops.run.engine import work
from backlog_ops.run.marks import LINGER_SECONDS
from backlog_ops.run.opening import open_run
from backlog_ops.storage.locations import PLUGIN_ROOT
from backlog_ops.storage.open_runs import clear_mark, mark_path, set_mark
from tests.support.hook_events import HOOK, SONNET, Host, Running, Stage, open_wave
from tests.support.parent_session import Parent

pytestmark = pytest.mark.usefixtures("workers")  # no worker, and no hook, outlives its test


@pytest.fixture
def parent(tmp_path):
    return Parent.of(tmp_path / "repo")


def begins(host: Host) -> dict[str, object]:
    return host.event("SessionStart", source="startup")


# -- a session that begins


def test_a_session_that_finds_a_run_open_is_told_so_in_three_lines(parent):
    open_wave(parent)
    host = Host.of(parent.lab.top)
    said = host.hook("session", begins(host))
    assert (said.exit_code, said.stderr) == (0, "")
    first, second, third = said.stdout.splitlines()
    assert first.startswith(f"A backlog run is open in this repository: {parent.run.id} · wave 1 of 1 · 1 planning · ")
    assert f"`{LAUNCHER} next`" in second
    assert f"`{LAUNCHER} abort`" in third


def test_a_session_in_a_folder_of_the_repository_is_told_so_too(parent):
    open_wave(parent)
    host = Host.of(parent.lab.top)
    said = host.hook("session", begins(host), cwd=parent.lab.top / "src", CLAUDE_PROJECT_DIR=None)
    assert len(said.stdout.splitlines()) == 3


def test_a_session_in_a_repository_inside_this_one_is_told_nothing(parent):
    open_wave(parent)
    host = Host.of(parent.lab.top)
    inner = parent.lab.top / "inner"
    inner.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=inner, check=True)
    assert host.hook("session", {**begins(host), "cwd": str(inner)}).is_silent


def test_a_session_without_a_run_is_told_nothing(parent):
    host = Host.of(parent.lab.top)
    assert host.hook("session", begins(host)).is_silent


def test_a_session_after_the_run_is_told_nothing(parent):
    open_wave(parent)
    parent.lab.cli("abort")
    host = Host.of(parent.lab.top)
    assert host.hook("session", begins(host)).is_silent


# -- BACKLOG_ROOT


def exported(env_file: Path, shell: str = "sh") -> str:
    """BACKLOG_ROOT as a shell of the session has it."""
    script = '. "$1"; printf %s "$BACKLOG_ROOT"'
    done = subprocess.run([shell, "-c", script, shell, str(env_file)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_sessions_shells_know_the_plugin(parent, shell, tmp_path):
    env_file = tmp_path / "env.sh"
    host = Host.of(parent.lab.top, CLAUDE_ENV_FILE=str(env_file))
    assert host.hook("session", begins(host)).is_silent
    assert exported(env_file, shell) == str(PLUGIN_ROOT)


@pytest.mark.parametrize(
    "folder", ["two words", "it's", "''", 'a"b', "$HOME `x` $(touch y)", "back\\slash", "two\nlines", "tail ' ", "é 漢"]
)
def test_the_plugins_path_is_quoted_for_any_shell(parent, folder, tmp_path):
    plugin = tmp_path / folder
    hook = plugin / "scripts" / "ops" / "hooks" / "hook.sh"
    hook.parent.mkdir(parents=True)
    shutil.copy(HOOK, hook)
    env_file = tmp_path / "env.sh"
    host = Host.of(parent.lab.top, CLAUDE_ENV_FILE=str(env_file))
    said = Running.start("session", b"{}", host.environment, parent.lab.top, hook).wait()
    assert said.is_silent
    assert exported(env_file) == str(plugin)


def test_what_other_hooks_have_exported_stays(parent, tmp_path):
    env_file = tmp_path / "env.sh"
    env_file.write_text("export OTHER=1\n")
    host = Host.of(parent.lab.top, CLAUDE_ENV_FILE=str(env_file))
    host.hook("session", begins(host))
    assert env_file.read_text().startswith("export OTHER=1\nexport BACKLOG_ROOT=")


@pytest.mark.parametrize("env_file", ["/nowhere/at/all", "/", ""])
def test_an_env_file_that_cannot_be_written_is_not_the_sessions_problem(parent, env_file):
    host = Host.of(parent.lab.top, CLAUDE_ENV_FILE=env_file)
    assert host.hook("session", begins(host)).is_silent


def test_only_the_beginning_of_a_session_exports(parent, tmp_path):
    env_file = tmp_path / "env.sh"
    host = Host.of(parent.lab.top, CLAUDE_ENV_FILE=str(env_file))
    for name in ("agent", "write", "bash", "returned", "stopped", "woken", "settle"):
        host.hook(name, begins(host))
    assert not env_file.exists()


def test_outside_a_run_nothing_but_that_is_left_behind(parent, tmp_path, own_environment):
    env_file = tmp_path / "env.sh"
    host = Host.of(parent.lab.top, CLAUDE_ENV_FILE=str(env_file))
    before = files_of(own_environment) | files_of(parent.lab.top)
    for name in ("session", "agent", "write", "bash", "returned", "stopped", "woken", "settle"):
        assert host.hook(name, begins(host)).is_silent
    assert files_of(own_environment) | files_of(parent.lab.top) == before
    assert env_file.read_text().count("\n") == 1


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.name != "workers"}


# -- the mark


def marked(parent: Parent) -> bool:
    return mark_path(os.environ, parent.lab.top).is_file()


def test_a_run_that_is_opened_has_a_mark_with_its_python_and_its_database(parent):
    open_run(parent.ctx, [], None)
    mark = mark_path(os.environ, parent.lab.top)
    assert mark == Path(f"{os.environ['HOME']}/.local/state/backlog-ops/open{parent.lab.top}/run")
    assert mark.read_text() == f"{sys.executable}\n{parent.ctx.store.path}\n"


def test_the_mark_of_an_aborted_run_is_gone_and_the_folders_that_it_needed(parent):
    open_wave(parent)
    assert marked(parent)
    parent.lab.cli("abort")
    assert not (Path(os.environ["HOME"]) / ".local" / "state" / "backlog-ops" / "open").exists()


def test_the_mark_of_a_headless_run_is_gone_at_its_end(parent):
    open_run(parent.ctx, [], None)
    assert marked(parent)
    work(parent.ctx, parent.run.id, 1, parent.lab.agents)
    assert not marked(parent)


@pytest.fixture
def ended(tmp_path):
    """A session's run whose end it has been told, every receipt in the ledger."""
    stage = Stage.set(tmp_path, Gate.REVIEW)
    stage.parent.play(stage.action)
    stage.agent.ends(SONNET)
    assert stage.host.hook("returned", stage.agent.returned(SONNET)).handed_over["actions"][0]["do"] == "done"
    assert agent_rows.unbooked(stage.parent.ctx.store) == []
    return stage


def test_the_mark_of_a_sessions_run_stays_for_notifications_that_may_still_come(ended):
    assert marked(ended.parent)
    assert ended.host.hook("settle", ended.host.event("Stop")).is_silent
    assert marked(ended.parent)


def test_the_mark_of_a_sessions_run_is_gone_when_the_session_is(ended):
    assert ended.host.hook("settle", ended.host.event("SessionEnd", reason="other")).is_silent
    assert not marked(ended.parent)


def test_the_mark_of_a_sessions_run_is_gone_when_nothing_more_will_come(ended):
    with ended.parent.ctx.store.transaction() as db:
        db.execute("UPDATE run SET ended_at = ended_at - ?", (LINGER_SECONDS + 1,))
    assert ended.host.hook("settle", ended.host.event("Stop")).is_silent
    assert not marked(ended.parent)


def test_the_mark_stays_while_receipts_are_to_come(tmp_path):
    stage = Stage.set(tmp_path, Gate.IMPLEMENT)
    stage.agent.answers(SONNET)  # and no last word
    stage.parent.lab.cli("abort")
    stage.host.hook("settle", stage.host.event("SessionEnd", reason="other"))
    assert marked(stage.parent)


def test_the_mark_goes_though_nobody_saw_the_end_of_a_sub_agent_whose_session_is_gone(ended):
    """Its ticket was parked under it, then Claude Code was killed."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    with ended.parent.ctx.store.transaction() as db:
        db.execute("UPDATE agent SET ended_at = NULL, booked = 0, host_pid = ?", (gone.pid,))
    later = Host.of(ended.host.top)
    later.hook("settle", later.event("SessionEnd", reason="other"))
    assert not marked(ended.parent)


def test_a_mark_that_was_lost_comes_back_with_the_next_command(parent):
    open_wave(parent)
    clear_mark(os.environ, parent.lab.top)
    assert parent.lab.cli("next").returncode == 0
    assert marked(parent)


def test_two_repositories_have_each_their_own_mark(tmp_path):
    one, two = Parent.of(tmp_path / "one"), Parent.of(tmp_path / "two")
    open_wave(one)
    open_wave(two)
    one.lab.cli("abort")
    assert not marked(one)
    assert marked(two)


def test_a_repository_inside_another_one_has_a_mark_of_its_own(tmp_path):
    outer = Parent.of(tmp_path / "repo")
    inner = Parent.of(tmp_path / "repo" / "vendor" / "inner")
    open_wave(inner)
    host = Host.of(outer.lab.top)
    assert host.hook("session", begins(host)).is_silent
    host = Host.of(inner.lab.top)
    assert f"open in this repository: {inner.run.id}" in host.hook("session", begins(host)).stdout


def test_a_path_with_a_line_break_stays_unmarked(parent, tmp_path):
    set_mark(os.environ, tmp_path / "a\nb", sys.executable, tmp_path / "state.db")
    set_mark(os.environ, tmp_path, sys.executable, tmp_path / "a\nb.db")
    assert not mark_path(os.environ, tmp_path).exists()


def test_a_mark_below_another_one_keeps_that_ones_folders(tmp_path):
    set_mark(os.environ, tmp_path, sys.executable, tmp_path / "state.db")
    set_mark(os.environ, tmp_path / "below", sys.executable, tmp_path / "state.db")
    clear_mark(os.environ, tmp_path / "below")
    assert mark_path(os.environ, tmp_path).is_file()
    with contextlib.suppress(FileNotFoundError):
        clear_mark(os.environ, tmp_path / "below")
    clear_mark(os.environ, tmp_path)
    assert not mark_path(os.environ, tmp_path).exists()
