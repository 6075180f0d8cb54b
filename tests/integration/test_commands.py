"""Configured commands: judged by exit code, never through a shell, and only on the worktree's own code."""

from __future__ import annotations

import os
import resource
import select
import shutil
import sys
import threading
import time
import venv
from pathlib import Path

import pytest

from backlog_ops.run.commands import (
    KEPT_ERROR_LINES,
    KEPT_HEAD_LINES,
    KEPT_TAIL_LINES,
    MAX_LINE,
    StoppedError,
    run_checks,
)

ROOT = Path(__file__).resolve().parents[2]
BATS = ROOT / ".deps" / "node_modules" / "bats" / "bin" / "bats"


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


def test_the_excerpt_keeps_the_first_lines_and_the_summary(worktree):
    checks = python(worktree, "for i in range(10_000): print('line', i)")
    lines = checks.results[0].output.splitlines()
    assert lines[0] == "line 0"
    assert lines[-1] == "line 9999"
    assert len(lines) == KEPT_HEAD_LINES + KEPT_TAIL_LINES + 1
    assert lines[KEPT_HEAD_LINES] == f"… {10_000 - KEPT_HEAD_LINES - KEPT_TAIL_LINES} lines left out …"


ERRORS_IN_THE_MIDDLE = """
for i in range(5000):
    print('line', i)
    if i == 2000:
        print('src/login.py:7: error: no such name')
        print('    login(name)')
    if i in (3000, 3500):
        print('E       AssertionError: got', i)
    if i % 100 == 0:
        print('tests/test_errors.py::test_error PASSED', i)
print('0 errors')
"""


def test_the_excerpt_keeps_the_first_errors_of_the_middle_with_what_is_around_them(worktree):
    lines = python(worktree, ERRORS_IN_THE_MIDDLE).results[0].output.splitlines()
    at = lines.index("src/login.py:7: error: no such name")
    assert lines[at - 1 : at + 5] == [
        "line 2000",
        "src/login.py:7: error: no such name",
        "    login(name)",
        "tests/test_errors.py::test_error PASSED 2000",
        "line 2001",
        "line 2002",
    ]
    assert lines[at - 3].endswith(" lines left out …")
    assert lines[at + 5].endswith(" lines left out …")


def test_an_error_that_comes_again_with_other_numbers_is_kept_once(worktree):
    lines = python(worktree, ERRORS_IN_THE_MIDDLE).results[0].output.splitlines()
    assert [line for line in lines if "AssertionError" in line] == ["E       AssertionError: got 3000"]


def test_what_only_sounds_like_an_error_is_not_kept(worktree):
    code = "for i in range(999): print(f'✓ shows error {i}\\nsrc/error.ts {i}\\n{i} ok, 0 failed\\ntest_error_{i} ok')"
    lines = python(worktree, code).results[0].output.splitlines()
    assert len(lines) == KEPT_HEAD_LINES + 1 + KEPT_TAIL_LINES


def test_an_excerpt_of_nothing_but_errors_is_bounded(worktree):
    code = "for i in range(10_000): print('error:', chr(97 + i % 26) * (1 + i // 26))"
    lines = python(worktree, code).results[0].output.splitlines()
    assert len(lines) <= KEPT_HEAD_LINES + KEPT_ERROR_LINES + KEPT_TAIL_LINES + 10
    assert max(map(len, lines)) <= MAX_LINE


def test_what_a_terminal_would_obey_is_not_in_the_excerpt(worktree):
    code = r"print('\x1b[31mred\x1b[0m\x1b]0;title\x07 10%\r 99%\rdone\tand\x00\x08 \u202e')"
    assert python(worktree, code).results[0].output == "done\tand\ufffd\ufffd \ufffd"


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe ok \\xc3')", "\ufffd\ufffd ok \ufffd"),
        ("import sys; sys.stdout.buffer.write(b'a\\r\\nb')", "a\nb"),
        ("import sys; sys.stdout.write('a' * 1_000_000 + chr(10) + 'end')", "a" * MAX_LINE + "\nend"),
        ("import sys; print('out', flush=True); print('err', file=sys.stderr)", "out\nerr"),
        ("import os; os.close(1); os.close(2)", ""),
    ],
    ids=["not UTF-8", "line ends", "a long line", "both streams", "none"],
)
def test_any_output_is_survived(worktree, code, output):
    checks = python(worktree, code)
    assert checks.passed
    assert checks.results[0].output == output


ENDLESS = {
    "lines": "while True: print('line ' * 20)",
    "one line": "import sys\nwhile True: sys.stdout.write('x' * 1_000_000)",
    "nulls": "import sys\nwhile True: sys.stdout.buffer.write(bytes(1_000_000))",
    "bar": "import sys\nwhile True: sys.stdout.write('50 % of it' * 1000 + chr(13))",
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_command_that_prints_without_end_is_ended(worktree, what):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    checks = python(worktree, ENDLESS[what], timeout=60.0)
    assert checks.results[0].problem == "printed more than 64 MB"
    kilobytes = 1024 if sys.platform == "darwin" else 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_000 * kilobytes


def test_a_command_that_prints_much_and_ends_passes(worktree):
    assert python(worktree, "import sys\nfor _ in range(60): sys.stdout.write('x' * 1_000_000)").passed


def test_the_exit_code_is_the_reason_that_is_named(worktree):
    code = "print('Ran 0 tests in 0.000s'); raise SystemExit(3)"
    assert python(worktree, code).results[0].problem == "exit code 3"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("print('3 passed in 0.1s', flush=True); import signal; signal.pause()", "no end after 0.5 s"),
        ("print('3 passed in 0.1s', flush=True); import os; os.kill(os.getpid(), 15)", "killed by signal 15"),
        ("import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); print('3 passed', flush=True)", "exit code 1"),
    ],
    ids=["time-out", "killed", "broken pipe"],
)
def test_output_that_was_cut_off_is_never_a_pass(worktree, code, problem):
    checks = python(worktree, code, timeout=0.5 if "pause" in code else 20.0)
    assert problem in checks.results[0].problem


def test_a_process_that_left_the_group_does_not_hold_the_result_up(worktree):
    code = "import subprocess, sys; subprocess.Popen(['sleep', '5'], start_new_session=True); print('done')"
    started = time.monotonic()
    checks = python(worktree, code)
    assert (checks.passed, checks.results[0].output) == (True, "done")
    assert time.monotonic() - started < 4


# -- a test command has to run a test


def run_named(worktree: Path, name: str, *argv: str):
    return run_checks([(name, argv)], worktree, worktree.parents[3], 60.0, {"PATH": os.environ["PATH"]}).results[0]


NO_TEST = (sys.executable, "-c", "print('Ran 0 tests in 0.000s')")


def test_a_test_command_that_ran_no_test_fails(worktree):
    result = run_named(worktree, "testCommand", *NO_TEST)
    assert result.problem == 'no test ran (unittest says "Ran 0 tests in 0.000s")'


@pytest.mark.parametrize("name", ["lintCommand", "buildCommand", "worktree.setupCommand"])
def test_other_commands_need_no_test(worktree, name):
    assert run_named(worktree, name, *NO_TEST).passed


def test_a_script_that_names_no_count_is_believed(worktree):
    assert run_named(worktree, "testCommand", sys.executable, "-c", "print('all fine')").passed


def test_a_count_in_the_middle_of_a_long_output_is_seen(worktree):
    code = "for i in range(9999): print('ok 1 - a' if i == 5000 else f'line {i}')\nprint('1..0')"
    assert run_named(worktree, "testCommand", sys.executable, "-c", code).passed


SKIPPED = {
    "pytest": ("test_a.py", "import pytest\n@pytest.mark.skip\ndef test_a(): pass\n", "def test_a(): pass\n"),
    "unittest": (
        "test_a.py",
        "",
        "import unittest\nclass TestA(unittest.TestCase):\n    def test_a(self): pass\n",
    ),
    "node": ("a.test.js", "require('node:test').test.skip('a', () => {})", "require('node:test').test('a', () => {})"),
    "TAP": ("a.bats", '@test "a" { skip; }\n', '@test "a" { true; }\n'),
}
RUNNERS = {
    "pytest": (sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
    "unittest": (sys.executable, "-m", "unittest", "discover"),
    "node": ("node", "--test"),
    "TAP": (str(BATS), "--tap", "a.bats"),
}


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_real_runner_without_a_test_fails_and_with_one_passes(worktree, runner):
    if shutil.which(RUNNERS[runner][0]) is None:
        pytest.skip(f"needs {RUNNERS[runner][0]}: make deps")
    name, skipped, real = SKIPPED[runner]
    (worktree / name).write_text(skipped)
    problem = run_named(worktree, "testCommand", *RUNNERS[runner]).problem
    fails_by_itself = runner == "unittest" and sys.version_info >= (3, 12)
    assert problem.startswith("exit code 5" if fails_by_itself else f"no test ran ({runner} says ")
    (worktree / name).write_text(real)
    assert run_named(worktree, "testCommand", *RUNNERS[runner]).passed


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
