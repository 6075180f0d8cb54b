"""bin/backlog-ops and bootstrap.py: they find or build an interpreter, once, and say in one line why they cannot.

Environments are built for real, from the pinned packages as files: no index is asked.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.ops.launcher import bootstrap
from tests.support.plugin_copy import Outcome, PluginCopy, base_python, from_files

PREPARING = "backlog-ops: preparing its Python packages once"
UV = Path(sys.executable).parent / "uv"


# Needs no other; a build is over sooner than with all packages.
PACKAGE = "h11"


@pytest.fixture
def whole(tmp_path: Path) -> PluginCopy:
    """With every package of the plugin."""
    return PluginCopy(tmp_path)


@pytest.fixture
def plugin(tmp_path: Path) -> PluginCopy:
    return PluginCopy(tmp_path, [PACKAGE])


@pytest.fixture
def quick(plugin: PluginCopy) -> PluginCopy:
    """For tests that do not care who builds: uv, where there is one, is quicker than pip."""
    if UV.exists():
        plugin.provide("uv", UV)
    return plugin


@pytest.fixture
def uv_alone(plugin: PluginCopy) -> PluginCopy:
    """For builds that are to fail: pip, which takes over where it can, takes long to do so."""
    if not UV.exists():
        pytest.skip("needs uv: make deps")
    plugin.provide_disguised_python("python3", without_ensurepip=True)
    plugin.provide("uv", UV)
    return plugin


@pytest.fixture
def offline(wheels: Path, tmp_path: Path) -> dict[str, str]:
    return from_files(wheels, tmp_path / "uv-cache")


@pytest.fixture
def no_packages(tmp_path: Path) -> dict[str, str]:
    empty = tmp_path / "empty"
    empty.mkdir()
    return from_files(empty, tmp_path / "uv-cache")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Path:
    """A managed environment that was built once for all tests that only need one to be there."""
    first = PluginCopy(tmp_path_factory.mktemp("built"), [PACKAGE])
    first.provide_python()
    if UV.exists():
        first.provide("uv", UV)
    outcome = first.run(**from_files(wheels, tmp_path_factory.mktemp("uv-cache")))
    assert outcome.exit_code == 0, outcome.stderr
    return environment_of(first)


@pytest.fixture
def warm(plugin: PluginCopy, built: Path) -> PluginCopy:
    plugin.base.mkdir(parents=True)
    shutil.copytree(built, plugin.base / built.name, symlinks=True)
    return plugin


def environment_of(plugin: PluginCopy) -> Path:
    (environment,) = (path for path in plugin.base.glob("venv-*") if path.is_dir())
    return environment


def assert_one_clear_failure(outcome: Outcome, *words: str) -> None:
    """Exit 4, nothing on stdout, and one line on stderr beside the one that says it was tried."""
    told = [line for line in outcome.stderr_lines if not line.startswith(PREPARING)]
    assert (outcome.exit_code, outcome.stdout, len(told)) == (4, "", 1), outcome.stderr
    assert told[0].startswith("backlog-ops: ")
    for word in words:
        assert word in told[0]


# ── The warm path ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_prepared_environment_is_used_without_a_word(warm: PluginCopy) -> None:
    outcome = warm.run()
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert outcome.witnessed["prefix"] == str(environment_of(warm))


def test_no_other_python_is_needed_once_it_is_prepared(warm: PluginCopy) -> None:
    warm.provide_script("python3", "#!/bin/sh\nexit 9\n")
    assert warm.run().exit_code == 0


def test_arguments_and_standard_input_arrive_byte_for_byte(warm: PluginCopy) -> None:
    arguments = ["--flag", "two words", "a\nb", "$(touch x)", "`id`", "'\"", "", "*"]
    outcome = warm.run(*arguments, stdin="line\nwithout end")
    assert outcome.witnessed["argv"] == arguments
    assert outcome.witnessed["stdin"] == "line\nwithout end"


def test_the_caller_s_python_settings_stay_outside_but_reach_child_processes(warm: PluginCopy, tmp_path: Path) -> None:
    poison = tmp_path / "poison"
    poison.mkdir()
    for module in ("sitecustomize", "json", PACKAGE):
        (poison / f"{module}.py").write_text("raise SystemExit('poisoned')", encoding="utf-8")
    outcome = warm.run(PYTHONPATH=str(poison), PYTHONHOME="/nowhere", PYTHONSTARTUP="/nowhere")
    assert outcome.exit_code == 0, outcome.stderr
    assert str(poison) not in outcome.witnessed["path"]
    assert outcome.witnessed["environ"]["PYTHONPATH"] == str(poison)


def test_a_hook_finds_what_a_shell_s_call_has_built(warm: PluginCopy, tmp_path: Path) -> None:
    before = warm.run().witnessed["prefix"]
    assert warm.run(CLAUDE_PLUGIN_DATA=str(tmp_path / "data")).witnessed["prefix"] == before


@pytest.mark.parametrize("start", ["launcher", "own python"])
def test_relative_folders_in_the_environment_are_ignored(start: str, warm: PluginCopy) -> None:
    shutil.move(warm.base, warm.cache / ".cache/backlog-ops")
    outcome = warm.run_command(warm.way_in(start), XDG_CACHE_HOME="there")
    assert outcome.witnessed["prefix"].startswith(str(warm.cache / ".cache"))


def test_without_cksum_the_environment_is_found_all_the_same(warm: PluginCopy) -> None:
    warm.provide_python()
    (warm.path / "cksum").unlink()
    outcome = warm.run("x")
    assert (outcome.witnessed["argv"], outcome.stderr) == (["x"], "")


def test_a_link_to_the_folder_of_the_command_leads_to_the_plugin(
    quick: PluginCopy, offline: dict[str, str], tmp_path: Path
) -> None:
    quick.provide_python()
    (tmp_path / "linked").symlink_to(quick.command.parent)
    outcome = quick.run_command([tmp_path / "linked/backlog-ops", "x"], **offline)
    assert outcome.witnessed["argv"] == ["x"]


def test_an_own_python_without_the_packages_becomes_the_managed_one(warm: PluginCopy) -> None:
    script = warm.own_python_script(needs=[PACKAGE])
    outcome = warm.run_command([base_python(), "-I", script, "a b"], stdin="prompt")
    assert outcome.witnessed["prefix"] == str(environment_of(warm))
    assert (outcome.witnessed["argv"], outcome.witnessed["stdin"]) == (["a b"], "prompt")


def test_an_own_python_that_has_the_modules_is_kept(plugin: PluginCopy) -> None:
    script = plugin.own_python_script(needs=["json", "sqlite3"])
    outcome = plugin.run_command([base_python(), "-I", script])
    assert outcome.witnessed["prefix"] == outcome.witnessed["base"]
    assert not plugin.base.exists()


def test_an_environment_that_lost_a_package_is_named_instead_of_started_for_ever(warm: PluginCopy) -> None:
    script = warm.own_python_script(needs=["no_such_module"])
    outcome = warm.run_command([base_python(), "-I", script])
    assert_one_clear_failure(outcome, str(environment_of(warm)), "lacks no_such_module", "delete that folder")


def test_what_marks_a_restart_does_not_reach_child_processes(warm: PluginCopy) -> None:
    script = warm.own_python_script(needs=[PACKAGE])
    outcome = warm.run_command([base_python(), "-I", script])
    assert bootstrap.GUARD not in outcome.witnessed["environ"]


@given(st.binary(max_size=2000))
def test_the_folder_s_name_is_what_cksum_prints(data: bytes) -> None:
    printed = subprocess.run(["cksum"], input=data, capture_output=True, check=True).stdout
    assert bootstrap.posix_checksum(data) == int(printed.split()[0])


# ── Building ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_call_builds_with_pip_and_says_so_in_one_line(whole: PluginCopy, offline: dict[str, str]) -> None:
    whole.provide_python()
    outcome = whole.run("x", stdin="prompt", **offline)
    assert (outcome.exit_code, len(outcome.stderr_lines)) == (0, 1)
    assert outcome.stderr.startswith(PREPARING)
    assert (outcome.witnessed["argv"], outcome.witnessed["stdin"]) == (["x"], "prompt")
    assert outcome.witnessed["prefix"] == str(environment_of(whole))


def test_the_first_call_builds_with_uv_where_there_is_one(whole: PluginCopy, offline: dict[str, str]) -> None:
    if not UV.exists():
        pytest.skip("needs uv: make deps")
    whole.provide_disguised_python("python3", without_ensurepip=True)
    whole.provide("uv", UV)
    outcome = whole.run(**offline)
    assert (outcome.exit_code, len(outcome.stderr_lines)) == (0, 1), outcome.stderr
    assert "uv = " in (environment_of(whole) / "pyvenv.cfg").read_text(encoding="utf-8")


def test_pip_takes_over_where_uv_fails(plugin: PluginCopy, offline: dict[str, str]) -> None:
    plugin.provide_python()
    plugin.provide_script("uv", "#!/bin/sh\necho error: no luck >&2\nexit 2\n")
    outcome = plugin.run(**offline)
    assert (outcome.exit_code, len(outcome.stderr_lines)) == (0, 1), outcome.stderr


def test_settings_that_lead_elsewhere_do_not_divert_the_build(
    plugin: PluginCopy, offline: dict[str, str], tmp_path: Path
) -> None:
    plugin.provide_python()
    poison = tmp_path / "poison"
    poison.mkdir()
    (poison / "sitecustomize.py").write_text("raise SystemExit('poisoned')", encoding="utf-8")
    astray = {"PIP_TARGET": str(tmp_path / "astray"), "PIP_USER": "1"}
    outcome = plugin.run(**offline, **astray, PYTHONHOME="/nowhere", PYTHONPATH=str(poison))
    assert outcome.exit_code == 0, outcome.stderr
    assert not (tmp_path / "astray").exists()


def test_several_first_calls_at_once_build_once(quick: PluginCopy, offline: dict[str, str]) -> None:
    quick.provide_python()
    calls = [quick.start([quick.command, str(number)], quick.environment(**offline)) for number in range(4)]
    outcomes = [Outcome(0, *call.communicate("", timeout=120)) for call in calls]
    assert [outcome.witnessed["argv"] for outcome in outcomes] == [["0"], ["1"], ["2"], ["3"]]
    assert sum(outcome.stderr.count(PREPARING) for outcome in outcomes) == 1


def test_an_environment_whose_python_is_gone_is_built_anew(
    warm: PluginCopy, quick: PluginCopy, offline: dict[str, str]
) -> None:
    quick.provide_python()
    for link in (environment_of(warm) / "bin").glob("python*"):
        link.unlink()
        link.symlink_to("/nowhere/python")
    outcome = warm.run(**offline)
    assert outcome.stderr.startswith(PREPARING)
    assert outcome.exit_code == 0, outcome.stderr


def test_what_a_killed_build_left_behind_is_not_used(
    warm: PluginCopy, quick: PluginCopy, offline: dict[str, str]
) -> None:
    quick.provide_python()
    environment = environment_of(warm)
    partial = environment.rename(environment.with_name(environment.name + ".partial"))
    (partial / "left-behind").touch()
    outcome = warm.run(**offline)
    assert outcome.exit_code == 0, outcome.stderr
    assert [path.name for path in warm.base.iterdir() if path.is_dir()] == [environment.name]
    assert not (environment / "left-behind").exists()


def test_nothing_is_written_into_the_plugin_by_preparing(quick: PluginCopy, offline: dict[str, str]) -> None:
    quick.provide_python()
    before = sorted(quick.root.rglob("*"))
    for folder in [quick.root, *quick.root.rglob("*")]:
        folder.chmod(folder.stat().st_mode & ~0o222)
    outcome = quick.run(**offline)
    assert (outcome.exit_code, sorted(quick.root.rglob("*"))) == (0, before)


# ── A skill's preload ──────────────────────────────────────────────────────────────────────────────────────

# bootstrap.py's preload() for a host that waits no time at all.
HASTY = (
    "import sys; sys.path.insert(0, sys.argv[1]); import bootstrap; bootstrap.PRELOAD_SECONDS = 0; bootstrap.preload()"
)


@pytest.fixture
def gate(plugin: PluginCopy, tmp_path: Path) -> Iterator[Path]:
    """A fifo at which building waits. Every command that uv is given is a line in `uv.log` beside it."""
    if not UV.exists():
        pytest.skip("needs uv: make deps")
    plugin.provide_python()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    wait = f"echo \"$*\" >>'{tmp_path}/uv.log'\n[ ! -p '{gate}' ] || read -r _ <'{gate}'\n"
    plugin.provide_script("uv", f"#!/bin/sh\n{wait}exec '{UV}' \"$@\"\n")
    yield gate
    if gate.exists():  # the test has failed: nobody is to wait on
        with open(os.open(gate, os.O_RDWR), "w"):
            gate.unlink()


def open_once_waited_at(gate: Path) -> None:
    with gate.open("w"):
        gate.unlink()


def assert_only_told(outcome: Outcome, *words: str) -> None:
    """Exit 0, nothing was run, and one line on stdout, which is what a skill's reader gets."""
    assert (outcome.exit_code, outcome.stderr, outcome.stdout.count("\n")) == (0, "", 1), outcome
    assert outcome.stdout.startswith("backlog-ops: ")
    for word in words:
        assert word in outcome.stdout


@pytest.mark.parametrize("by", ["launch.sh", "bootstrap.py"])
def test_a_preload_goes_straight_through_where_all_is_prepared(by: str, warm: PluginCopy) -> None:
    warm.provide_python()
    if by == "bootstrap.py":
        (warm.path / "cksum").unlink()
    outcome = warm.run("status", "--exit-zero", stdin="prompt")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert (outcome.witnessed["argv"], outcome.witnessed["stdin"]) == (["status", "--exit-zero"], "prompt")


def test_a_preload_that_can_prepare_quickly_does_and_then_runs(quick: PluginCopy, offline: dict[str, str]) -> None:
    quick.provide_python()
    outcome = quick.run("status", "--exit-zero", stdin="prompt", **offline)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert (outcome.witnessed["argv"], outcome.witnessed["stdin"]) == (["status", "--exit-zero"], "prompt")
    assert outcome.witnessed["prefix"] == str(environment_of(quick))


def test_a_preload_that_is_slow_asks_to_wait_while_building_goes_on(
    plugin: PluginCopy, gate: Path, offline: dict[str, str], no_packages: dict[str, str]
) -> None:
    hasty = [base_python(), "-Ic", HASTY, plugin.root / "scripts/ops/launcher"]
    assert_only_told(plugin.run_command(hasty, **offline), "wait 20 s", "run the same command again")
    open_once_waited_at(gate)
    again = plugin.run(**no_packages)
    assert (again.exit_code, PREPARING in again.stderr) == (0, False), again.stderr
    assert again.witnessed["prefix"] == str(environment_of(plugin))


def test_a_preload_that_cannot_prepare_says_why(uv_alone: PluginCopy, no_packages: dict[str, str]) -> None:
    outcome = uv_alone.run("--exit-zero", **no_packages)
    assert_only_told(outcome, "cannot prepare its Python packages: uv: ", "check the network")


def test_a_preload_by_a_python_that_is_too_old_says_so(plugin: PluginCopy) -> None:
    plugin.provide_disguised_python("python3", (3, 9, 18))
    assert_only_told(plugin.run("--exit-zero"), "needs Python 3.10 or newer", "python3 (3.9.18)")


def test_two_preloads_at_once_build_once(plugin: PluginCopy, gate: Path, offline: dict[str, str]) -> None:
    command = [plugin.command, "--exit-zero"]
    calls = [plugin.start(command, plugin.environment(**offline)) for _ in range(2)]
    open_once_waited_at(gate)
    outcomes = [Outcome(0, *call.communicate("", timeout=120)) for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    assert [(outcome.witnessed["argv"], outcome.stderr) for outcome in outcomes] == [(["--exit-zero"], "")] * 2
    made = [
        line for line in gate.with_name("uv.log").read_text(encoding="utf-8").splitlines() if line.startswith("venv ")
    ]
    assert len(made) == 1


# ── Which interpreter ──────────────────────────────────────────────────────────────────────────────────────


def test_interpreters_that_do_not_run_or_are_too_old_are_passed_over(
    quick: PluginCopy, offline: dict[str, str]
) -> None:
    quick.provide_script("python3", "#!/bin/sh\necho 'Python was not found' >&2\nexit 49\n")
    quick.provide_disguised_python("python3.13", (3, 9, 18))
    quick.provide_python("python")
    outcome = quick.run(**offline)
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize("start", ["launcher", "own python"])
def test_the_interpreter_that_backlog_python_names_goes_first(
    start: str, quick: PluginCopy, offline: dict[str, str], tmp_path: Path
) -> None:
    quick.provide_script("python3", f"#!/bin/sh\n: >'{tmp_path}/used'\nexit 1\n")
    outcome = quick.run_command(quick.way_in(start), BACKLOG_PYTHON=str(base_python()), **offline)
    assert (outcome.exit_code, (tmp_path / "used").exists()) == (0, False)


@pytest.mark.parametrize("start", ["launcher", "own python"])
def test_looking_for_an_interpreter_leaves_standard_input_alone(
    start: str, quick: PluginCopy, offline: dict[str, str]
) -> None:
    quick.provide_script("python3", "#!/bin/sh\nwhile read -r line; do :; done\nexit 1\n")
    quick.provide_python("python")
    outcome = quick.run_command(quick.way_in(start), stdin="prompt\n", **offline)
    assert outcome.witnessed["stdin"] == "prompt\n"


def test_an_own_python_that_is_too_old_becomes_the_managed_one(warm: PluginCopy) -> None:
    old = warm.provide_disguised_python("python3", (3, 9, 18))
    outcome = warm.run_command([old, warm.own_python_script(needs=[])])
    assert outcome.witnessed["prefix"] == str(environment_of(warm))


def test_only_old_interpreters_are_named_with_their_versions(plugin: PluginCopy) -> None:
    plugin.provide_disguised_python("python3", (3, 9, 18))
    assert_one_clear_failure(plugin.run(), "needs Python 3.10 or newer", "python3 (3.9.18)", "BACKLOG_PYTHON")


def test_a_python_without_venv_has_its_remedy_named(plugin: PluginCopy) -> None:
    plugin.provide_disguised_python("python3", without_ensurepip=True)
    assert_one_clear_failure(plugin.run(), "cannot make virtual environments", "apt install python3-venv", "uv")


def test_a_python_with_venv_is_preferred_where_there_is_no_uv(plugin: PluginCopy, offline: dict[str, str]) -> None:
    plugin.provide_disguised_python("python3", without_ensurepip=True)
    plugin.provide_python("python3.12")
    outcome = plugin.run(**offline)
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize("start", ["launcher", "own python"])
def test_programs_of_the_current_folder_are_not_run(start: str, plugin: PluginCopy, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("python3", "uv"):
        trap = here / name
        trap.write_text("#!/bin/sh\n: >sprung\n", encoding="utf-8")
        trap.chmod(0o755)
    outcome = plugin.run_command(plugin.way_in(start), cwd=here, PATH=f":{plugin.path}")
    assert (outcome.exit_code, (here / "sprung").exists()) == (4, False)


# ── When it cannot ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_build_says_what_failed_and_leaves_nothing(plugin: PluginCopy, no_packages: dict[str, str]) -> None:
    plugin.provide_python()
    outcome = plugin.run(**no_packages)
    assert_one_clear_failure(outcome, "cannot prepare its Python packages: pip: ERROR", "check the network")
    assert [path for path in plugin.base.iterdir() if path.is_dir()] == []


def test_an_unreachable_index_is_called_that(plugin: PluginCopy, offline: dict[str, str]) -> None:
    plugin.provide_python()
    del offline["PIP_NO_INDEX"], offline["PIP_FIND_LINKS"]
    refusing = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_CACHE_DIR": "1"}
    assert_one_clear_failure(plugin.run(**offline, **refusing), "pip: no connection to the package index")


@pytest.mark.parametrize(
    ("pinned", "instead", "complaint"),
    [
        (r"(?<=sha256:)[0-9a-f]{64}", "0" * 64, "THESE PACKAGES DO NOT MATCH THE HASHES"),
        (r" *\\\n *--hash=\S+", "", "Hashes are required"),
    ],
)
def test_a_package_without_its_pinned_hash_is_refused(
    pinned: str, instead: str, complaint: str, plugin: PluginCopy, offline: dict[str, str]
) -> None:
    plugin.provide_python()
    text = plugin.lock_file.read_text(encoding="utf-8")
    plugin.lock_file.write_text(re.sub(pinned, instead, text), encoding="utf-8")
    assert_one_clear_failure(plugin.run(**offline), complaint)


def test_a_folder_that_cannot_be_written_is_named(plugin: PluginCopy) -> None:
    plugin.provide_python()
    plugin.cache.write_text("a file", encoding="utf-8")
    assert_one_clear_failure(plugin.run(), str(plugin.base), "XDG_CACHE_HOME")


def test_those_who_waited_for_a_build_that_failed_do_not_try_again(
    uv_alone: PluginCopy, no_packages: dict[str, str]
) -> None:
    lock_name = f"venv-{bootstrap.posix_checksum(uv_alone.lock_file.read_bytes())}.lock"
    uv_alone.base.mkdir(parents=True)
    with (uv_alone.base / lock_name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        calls = [uv_alone.start([uv_alone.command], uv_alone.environment(**no_packages)) for _ in range(3)]
        waiting = [call.stderr.readline() for call in calls if call.stderr]
        fcntl.flock(lock, fcntl.LOCK_UN)
    told = [call.communicate("", timeout=120)[1] for call in calls]
    assert all("waiting for another process" in line for line in waiting)
    assert [call.returncode for call in calls] == [4, 4, 4]
    assert sum(text.count(PREPARING) for text in told) == 1


def test_a_caller_that_can_do_without_goes_on_after_one_line(uv_alone: PluginCopy, no_packages: dict[str, str]) -> None:
    script = uv_alone.own_python_script(needs=["no_such_module"], optional=True)
    command = [base_python(), "-I", script]
    no_pip = {**no_packages, "BACKLOG_PYTHON": str(uv_alone.path / "python3")}
    first, second = (uv_alone.run_command(command, **no_pip) for _ in range(2))
    assert (first.exit_code, first.witnessed["prefix"]) == (0, first.witnessed["base"])
    assert [line.startswith(PREPARING) for line in first.stderr_lines] == [True, False]
    assert second.stderr_lines == first.stderr_lines[1:], "the failure is remembered for a while"


def test_a_caller_that_can_do_without_still_needs_a_new_enough_python(plugin: PluginCopy) -> None:
    old = plugin.provide_disguised_python("python3", (3, 9, 18))
    script = plugin.own_python_script(needs=[], optional=True)
    assert_one_clear_failure(plugin.run_command([old, script]), "needs Python 3.10 or newer")
