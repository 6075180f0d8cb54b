"""`doctor`: what it finds in a place, each with its remedy; it writes nothing and waits for nobody."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from backlog_ops.domain.health import Diagnosis, Level
from backlog_ops.run.doctor.examination import examine
from backlog_ops.run.doctor.host import hooks, host
from backlog_ops.run.doctor.machine import folders, interpreter, path
from backlog_ops.run.doctor.place import Place
from backlog_ops.run.doctor.project import project
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.lab import Lab, one, ticket_text
from tests.support.price_maps import own_prices

VERSION = "2.1.330 (Claude Code)"
KEY = "sk-not-to-be-shown"


def program(file: Path, body: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def lab(tmp_path) -> Lab:
    return one(tmp_path)


@pytest.fixture
def place(lab, tmp_path, own_environment) -> Place:
    """A machine with all that a run needs: `claude` says its version, a key is set."""
    claude = program(tmp_path / "claude-bin" / "claude", f'[ "$BACKLOG_CHILD" = 1 ] && echo "{VERSION}"')
    plugin = tmp_path / "plugin"
    script = program(plugin / "scripts" / "hook.sh", "exit 0")
    command = {"type": "command", "command": f'sh "${{CLAUDE_PLUGIN_ROOT}}/scripts/{script.name}" write'}
    set_hooks(plugin, command)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(own_environment),
        "CLAUDE_BIN": str(claude),
        "ANTHROPIC_API_KEY": KEY,
    }
    own_prices(datetime.now(timezone.utc).date().isoformat())  # whenever this test runs, they are young
    return Place(lab.top, environ, plugin)


def set_hooks(plugin: Path, *commands: dict[str, object]) -> None:
    (plugin / "hooks").mkdir(exist_ok=True)
    groups = [{"matcher": "Bash", "hooks": list(commands)}]
    (plugin / "hooks" / "hooks.json").write_text(json.dumps({"hooks": {"PreToolUse": groups}}))


def with_environment(place: Place, **environ: str) -> Place:
    return replace(place, environ={**place.environ, **environ})


def said(found: Iterator[Diagnosis]) -> list[str]:
    return [f"{diagnosis.level}: {diagnosis}" for diagnosis in found]


# -- the whole


def test_where_nothing_is_missing_everything_is_ok(place):
    found = examine(place)
    assert {diagnosis.level for diagnosis in found} == {Level.OK}
    subjects = ["Python", "git", "repository", "configuration", "tickets", "claude", "login", "hooks", "state folder"]
    assert [diagnosis.subject for diagnosis in found] == [*subjects, "work folder"]


def test_a_check_that_hangs_hides_nothing_that_was_found(place):
    released = threading.Event()

    def hanging(_place: Place) -> Iterator[Diagnosis]:
        yield Diagnosis("disk", Level.OK, "there")
        released.wait()

    found = examine(place, 0.2, (hanging, path, interpreter))
    released.set()
    assert [(diagnosis.subject, diagnosis.level.value) for diagnosis in found] == [
        ("disk", "ok"),
        ("hanging", "warning"),
        ("Python", "ok"),
    ]


def test_a_mistake_of_our_own_is_not_taken_for_a_finding(place):
    def broken(_place: Place) -> Iterator[Diagnosis]:
        raise KeyError("ours")
        yield

    with pytest.raises(KeyError):
        examine(place, 5, (broken,))


def test_what_the_system_refuses_is_a_finding(place):
    def refused(_place: Place) -> Iterator[Diagnosis]:
        raise PermissionError(13, "Permission denied", "/there")
        yield

    assert said(iter(examine(place, 5, (refused,)))) == ["error: refused: /there: Permission denied"]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(file): (file.lstat().st_mtime_ns, file.lstat().st_size) for file in folder.rglob("*")}


def test_it_writes_nothing(lab, own_environment):
    before = tree(lab.top), tree(own_environment)
    lab.cli("doctor")
    assert (tree(lab.top), tree(own_environment)) == before


# -- as a command


@pytest.fixture
def claude(tmp_path) -> str:
    return str(program(tmp_path / "claude", f"echo '{VERSION}'"))


def test_it_prints_one_line_each_and_counts_what_is_wrong(lab, claude):
    done = lab.cli("doctor", CLAUDE_BIN=claude, ANTHROPIC_API_KEY=KEY)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok      Python: ")
    assert f"ok      claude: 2.1.330 at {claude}" in lines
    assert lines[-1].endswith(" warning(s)")
    assert done.stderr == ""


def test_a_key_is_said_to_be_set_and_never_shown(lab, claude):
    done = lab.cli("doctor", CLAUDE_BIN=claude, ANTHROPIC_API_KEY=KEY)
    assert "ok      login: ANTHROPIC_API_KEY is set" in done.stdout
    assert KEY not in done.stdout + done.stderr


def test_an_error_ends_it_with_1(lab, claude):
    lab.git.run("checkout", "-q", "--detach")
    done = lab.cli("doctor", CLAUDE_BIN=claude)
    assert done.returncode == 1
    assert "error   repository: HEAD is detached: check out the branch the commits should land on" in done.stdout


def test_an_invalid_configuration_ends_it_with_3(lab, claude):
    lab.write("backlog.config.json", '{"version": "1.0", "qualityGates": {}}')
    done = lab.cli("doctor", CLAUDE_BIN=claude)
    assert done.returncode == 3
    assert "error   configuration: backlog.config.json:1: qualityGates.testCommand: is required" in done.stdout


def test_as_json_each_finding_is_an_object(lab, claude):
    done = lab.cli("doctor", "--format", "json", CLAUDE_BIN=claude)
    found = json.loads(done.stdout)
    version = next(entry for entry in found if entry["subject"] == "claude")
    assert version == {"level": "ok", "subject": "claude", "message": f"2.1.330 at {claude}", "remedy": ""}


def test_outside_a_repository_it_still_looks_at_the_machine(tmp_path, claude):
    (tmp_path / "nowhere").mkdir()
    done = Lab(tmp_path / "nowhere", None).cli("doctor", CLAUDE_BIN=claude)
    assert done.returncode == 1
    assert f"error   repository: {tmp_path}/nowhere: not inside a git repository; run `git init`" in done.stdout
    assert "ok      claude: 2.1.330" in done.stdout


def test_a_claude_that_hangs_costs_less_than_five_seconds(lab, tmp_path):
    hanging = program(tmp_path / "hanging" / "claude", "exec tail -f /dev/null")
    began = time.monotonic()
    done = lab.cli("doctor", CLAUDE_BIN=str(hanging))
    assert time.monotonic() - began < 5
    assert f"error   claude: {hanging} gives no answer within 3 s; install it again, or set CLAUDE_BIN" in done.stdout


# -- the machine


def test_the_interpreter_in_use_is_named(place):
    assert said(interpreter(place)) == [f"ok: Python: {'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"]


def test_an_interpreter_without_our_packages_is_an_error(place, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "yaml" else object())
    (line,) = said(interpreter(place))
    assert line.endswith(f" lacks PyYAML; start {place.plugin_root}/bin/backlog-ops, which brings its own")


def test_another_program_of_our_name_on_the_path_is_a_note(place, tmp_path):
    other = program(tmp_path / "other" / "backlog-ops", "exit 0")
    (line,) = said(path(with_environment(place, PATH=f"{other.parent}:{place.environ['PATH']}")))
    ours = f"{place.plugin_root}/bin/backlog-ops"
    assert line == (
        f"note: PATH: another backlog-ops comes first: {other}; "
        f"sessions call ours by its full path, in a shell type {ours}"
    )


def test_our_own_program_on_the_path_by_a_link_is_none(place, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "backlog-ops").symlink_to(PLUGIN_ROOT / "bin" / "backlog-ops")
    at_home = replace(place, plugin_root=PLUGIN_ROOT)
    assert said(path(with_environment(at_home, PATH=f"{tmp_path}/links:{PLUGIN_ROOT}/bin"))) == []


def test_a_file_in_place_of_the_state_folder_is_an_error(place, tmp_path):
    (tmp_path / "state").write_text("")
    assert said(folders(with_environment(place, XDG_STATE_HOME=f"{tmp_path}/state")))[0] == (
        f"error: state folder: {tmp_path}/state is not a folder; set XDG_STATE_HOME to a folder that you may write to"
    )


def test_a_work_folder_that_cannot_be_made_is_an_error(place, monkeypatch):
    top = str(place.folder)
    monkeypatch.setattr("os.access", lambda folder, _mode: str(folder) != top)
    assert said(folders(place))[1] == (
        f"error: work folder: {top} cannot be written to; move away what is there, or give yourself the right to write"
    )


# -- the project


def test_without_git_nothing_else_is_said_about_the_project(place, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert said(project(with_environment(place, PATH=str(empty)))) == [
        "error: git: git does not start (No such file or directory); install git 2.25 or newer"
    ]


@pytest.mark.parametrize(
    ("answer", "level"),
    [("git version 2.24.4", "error"), ("git version 2.25.0", "ok"), ("git version 2.39.3 (Apple Git-145)", "ok")],
)
def test_git_must_be_new_enough(place, tmp_path, answer, level):
    program(tmp_path / "git-bin" / "git", f"echo '{answer}'")
    first = next(project(with_environment(place, PATH=f"{tmp_path}/git-bin")))
    assert (first.subject, first.level.value, first.message) == ("git", level, f"version {answer.split()[2]}")


def test_a_repository_without_an_identity_is_an_error(place, own_environment):
    (own_environment / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    assert "error: repository: git does not know who commits: set user.name and user.email" in said(project(place))


def test_changes_that_are_not_committed_are_only_a_note(place, lab):
    lab.write("src/readme.txt", "changed\n")
    lines = said(project(place))
    assert lines[1].startswith(f"ok: repository: {lab.top}, a run can begin on main at ")
    assert lines[2] == "note: repository: src/readme.txt: changed; commit before a run, it starts there"


def test_a_missing_configuration_has_a_remedy_and_its_tickets_are_looked_at(place, lab):
    (lab.top / "backlog.config.json").unlink()
    lines = said(project(place))
    missing = f"there is no backlog.config.json in {lab.top}"
    assert f"error: configuration: {missing}; `backlog-ops init` writes one" in lines
    assert lines[-1] == "ok: tickets: 1 valid in tickets/pending"


def test_two_tickets_of_one_id_are_an_error(place, lab):
    lab.write("tickets/pending/b.md", ticket_text("T-1"))
    assert said(project(place))[-1] == (
        "error: tickets: tickets/pending/b.md:2: id T-1 is already used in tickets/pending/a.md"
    )


def test_of_many_problems_the_first_ten_are_named_and_the_others_counted(place, lab):
    for number in range(12):
        lab.write(f"tickets/pending/bad-{number}.md", ticket_text(f"B-{number}", priority="urgent"))
    lines = said(project(place))
    assert lines[-1] == "error: tickets: 2 more problems; `backlog-ops validate tickets` names all"
    assert sum(line.startswith("error: tickets: ") for line in lines) == 11


def test_a_folder_without_tickets_is_a_note(place, lab):
    shutil.rmtree(lab.top / "tickets")
    assert said(project(place))[-1] == (
        "note: tickets: none in tickets/pending; fill in a copy of tickets/TEMPLATE.md and commit it"
    )


# -- the host


def test_an_older_claude_is_a_warning(place, tmp_path):
    old = program(tmp_path / "old" / "claude", "echo '2.1.100 (Claude Code)'")
    assert said(host(with_environment(place, CLAUDE_BIN=str(old))))[0] == (
        f"warning: claude: 2.1.100 at {old} is older than 2.1.197; update it: `claude update`"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [("exit 7", "ends with exit code 7"), ("exec tail -f /dev/null", "gives no answer within 0.2 s")],
)
def test_a_claude_that_does_not_work_is_an_error(place, tmp_path, body, message):
    broken = program(tmp_path / "broken" / "claude", body)
    impatient = replace(with_environment(place, CLAUDE_BIN=str(broken)), answer_seconds=0.2 if "tail" in body else 5)
    assert said(host(impatient))[0] == f"error: claude: {broken} {message}; install it again, or set CLAUDE_BIN"


@pytest.mark.parametrize(("in_a_session", "level"), [("", "error"), ("1", "warning")])
def test_without_claude_a_run_cannot_start_its_agents(place, in_a_session, level):
    nowhere = with_environment(place, CLAUDE_BIN="/nonexistent/claude", CLAUDECODE=in_a_session)
    assert said(host(nowhere))[0].startswith(f"{level}: claude: not found, `backlog-ops run` needs it; ")


def test_without_a_key_and_a_login_there_is_a_warning(place):
    assert said(host(with_environment(place, ANTHROPIC_API_KEY=" ")))[1] == (
        "warning: login: no key is set and no login found (a keychain is not looked into); "
        "log in (`claude`, then /login) or set ANTHROPIC_API_KEY"
    )


def test_a_stored_login_is_enough(place, own_environment):
    stored = own_environment / ".claude" / ".credentials.json"
    stored.parent.mkdir()
    stored.write_text("{}")
    assert said(host(with_environment(place, ANTHROPIC_API_KEY="")))[1] == f"ok: login: stored in {stored}"


@pytest.mark.parametrize("where", ["home", "configured", "project", "local"])
def test_every_settings_file_of_the_host_is_looked_at(place, lab, own_environment, tmp_path, where):
    file = {
        "home": own_environment / ".claude" / "settings.json",
        "configured": tmp_path / "config" / "settings.json",
        "project": lab.top / ".claude" / "settings.json",
        "local": lab.top / ".claude" / "settings.local.json",
    }[where]
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"env": {"CLAUDE_CODE_FORK_SUBAGENT": 1}, "disableAllHooks": True}))
    if where == "configured":
        place = with_environment(place, CLAUDE_CONFIG_DIR=str(file.parent))
    assert [diagnosis.subject for diagnosis in host(place)][2:] == ["CLAUDE_CODE_FORK_SUBAGENT", "disableAllHooks"]
    assert f"set in {file}: " in said(host(place))[-1]


@pytest.mark.parametrize("text", ["{", "[]", "\ud800"])
def test_a_settings_file_that_cannot_be_read_is_a_warning(place, lab, text):
    file = lab.top / ".claude" / "settings.json"
    file.parent.mkdir()
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert said(host(place))[2:] == [
        f"warning: settings: {file}: cannot be read as a JSON object; mend it, Claude Code ignores it"
    ]


# -- the hooks


def test_a_hook_whose_script_is_missing_is_an_error(place):
    (place.plugin_root / "scripts" / "hook.sh").unlink()
    assert said(hooks(place)) == [
        f"error: hooks: {place.plugin_root}/scripts/hook.sh: is missing; install the plugin again"
    ]


def test_a_hook_may_name_its_script_among_its_arguments(place):
    arguments = ["${CLAUDE_PLUGIN_ROOT}/scripts/gone.sh", "write"]
    set_hooks(place.plugin_root, {"type": "command", "command": "sh", "args": arguments})
    assert said(hooks(place)) == [
        f"error: hooks: {place.plugin_root}/scripts/gone.sh: is missing; install the plugin again"
    ]


def test_a_hook_that_is_no_command_starts_nothing(place):
    set_hooks(place.plugin_root, {"type": "prompt", "prompt": "sh"})
    assert said(hooks(place)) == ["ok: hooks: 0 can start"]


def test_a_shell_that_does_not_run_is_an_error(place, tmp_path):
    broken = program(tmp_path / "sh-bin" / "sh", "exit 9")
    assert said(hooks(with_environment(place, PATH=str(broken.parent)))) == [
        f"error: hooks: {broken} ends with exit code 9; install the plugin again"
    ]


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_without_readable_hooks_there_is_an_error(place, text):
    file = place.plugin_root / "hooks" / "hooks.json"
    file.write_text(text) if text else file.unlink()
    assert said(hooks(place)) == [f"error: hooks: {file}: is missing or no JSON object; install the plugin again"]


def test_the_plugins_own_hooks_can_start(place):
    (found,) = hooks(replace(place, plugin_root=PLUGIN_ROOT))
    assert found.level is Level.OK, found.message
