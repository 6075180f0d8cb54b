"""Configured commands: judged by exit code, never through a shell, and only on the worktree's own code."""

from __future__ import annotations

import os
import select
import sys
import threading
import venv
from pathlib import Path

import pytest

from backlog_ops.run.commands import KEPT_HEAD_LINES, KEPT_TAIL_LINES, StoppedError, run_checks


@pytest.fixture
def worktree(tmp_path):
    base = tmp_path / "repo"
    tree = base / ".backlog-ops" / "worktrees" / "r" / "T-1"
    tree.mkdir(parents=True)
    return tree


def check(worktree: Path, *argv: str, timeout: float = 20.0, stopping: threading.Event | None = None, **environ: str):
    base = worktree.parents[3]
    env = {"PATH": os.environ["PATH"], **environ}
    return run_checks([("testCommand", argv)], worktree, base, timeout, env, stopping)


def python(worktree: Path, code: str, **options):
    return check(worktree, sys.executable, "-c", code, **options)


def test_exit_code_zero_passes(worktree):
    assert python(worktree, "print('fine')").passed


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9"),
        ("import signal; signal.pause()", "no end after 0.5 s"),
    ],
)
def test_everything_else_fails_with_its_reason(worktree, code, problem):
    checks = python(worktree, code, timeout=0.5 if "pause" in code else 20.0)
    assert not checks.passed
    assert problem in checks.results[0].problem


def test_a_command_that_does_not_exist_is_a_failure(worktree):
    checks = check(worktree, "no-such-linter")
    assert "cannot run no-such-linter" in checks.results[0].problem


def test_later_commands_do_not_run_after_a_failure(worktree):
    commands = [("lintCommand", [sys.executable, "-c", "raise SystemExit(1)"]), ("testCommand", ["touch", "ran"])]
    checks = run_checks(commands, worktree, worktree.parents[3], 20, {"PATH": os.environ["PATH"]})
    assert [result.name for result in checks.results] == ["lintCommand"]
    assert not (worktree / "ran").exists()


def test_arguments_reach_the_command_as_they_are(worktree):
    text = "$(touch pwned) `x` ; | && 'q'"
    checks = check(worktree, sys.executable, "-c", "import sys; print(sys.argv[1])", text)
    assert checks.results[0].output == text
    assert not (worktree / "pwned").exists()


def test_a_process_that_the_command_leaves_behind_is_ended(worktree):
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
        "open('pid', 'w').write(str(p.pid))"
    )
    assert python(worktree, code).passed
    pid = int((worktree / "pid").read_text())
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([descriptor], [], [], 5)
    os.close(descriptor)
    assert ended


def test_the_excerpt_keeps_the_first_errors_and_the_summary(worktree):
    checks = python(worktree, "for i in range(10_000): print('line', i)")
    lines = checks.results[0].output.splitlines()
    assert lines[0] == "line 0"
    assert lines[-1] == "line 9999"
    assert len(lines) == KEPT_HEAD_LINES + KEPT_TAIL_LINES + 1
    assert lines[KEPT_HEAD_LINES] == f"… {10_000 - KEPT_HEAD_LINES - KEPT_TAIL_LINES} lines left out …"


def test_stopping_cuts_a_command_off_without_a_verdict(worktree):
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(StoppedError):
        python(worktree, "import signal; signal.pause()", stopping=stopping)


def test_code_imported_from_the_base_checkout_is_a_failure(worktree):
    base = worktree.parents[3]
    (base / "only_in_base.py").write_text("")
    checks = python(worktree, "import only_in_base", PYTHONPATH=str(base))
    assert f"imported only_in_base from {base / 'only_in_base.py'}" in checks.results[0].problem


def test_an_editable_install_of_the_base_checkout_is_noticed(worktree):
    """What a linked .venv does: its site-packages point at the base checkout."""
    base = worktree.parents[3]
    environment = base / ".venv"
    venv.create(environment, with_pip=False, symlinks=True)
    site = next((environment / "lib").glob("python*/site-packages"))
    (base / "src").mkdir()
    (base / "src" / "shop.py").write_text("PRICE = 1\n")
    (site / "__editable__.shop.pth").write_text(f"{base / 'src'}\n")
    (site / "helper.py").write_text("")
    (worktree / "src").mkdir()
    (worktree / "src" / "shop.py").write_text("PRICE = 2\n")
    interpreter = str(environment / "bin" / "python")
    wrong = check(worktree, interpreter, "-c", "import helper, shop")
    assert not wrong.passed
    assert f"imported shop from {base / 'src' / 'shop.py'}" in wrong.results[0].problem
    own = check(worktree, interpreter, "-c", "import helper, shop", PYTHONPATH=str(worktree / "src"))
    assert own.passed


@pytest.mark.parametrize("argv", [("-E", "-c", "pass"), ("-I", "-c", "pass"), ("-c", "import os; os._exit(0)")])
def test_a_python_command_that_reports_no_imports_proves_nothing(worktree, argv):
    checks = check(worktree, sys.executable, *argv)
    assert "nothing says which code was imported" in checks.results[0].problem


def test_another_sitecustomize_still_runs(worktree, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text("import builtins; builtins.customised = True\n")
    assert python(worktree, "assert customised", PYTHONPATH=str(tmp_path / "mine")).passed
