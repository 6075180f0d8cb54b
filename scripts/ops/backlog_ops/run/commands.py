"""The configured commands of a repository, run in a worktree: the LINT gate and `backlog-ops check`.

A command passes by exit code 0 and nothing else. Not found, killed by a signal, over its time limit: failures.
An argv is run as it is, never through a shell; its whole process group ends with it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backlog_ops.run.processes import StoppedError, end_group, without_git_bindings

PROBE_FOLDER = Path(__file__).resolve().parent / "import_probe"
KEPT_HEAD_LINES = 60
KEPT_TAIL_LINES = 60
MAX_LINE = 400
STOP_CHECK_SECONDS = 0.2


@dataclass(frozen=True)
class CommandResult:
    """How one command ended. `problem` is one line, empty when it passed."""

    name: str  # the configuration key, such as testCommand
    argv: tuple[str, ...]
    problem: str
    output: str  # stdout and stderr together, shortened
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.problem


@dataclass(frozen=True)
class Checks:
    """All commands up to the first that failed: later ones would judge a tree that is already rejected."""

    results: tuple[CommandResult, ...]

    @property
    def passed(self) -> bool:
        return all(result.passed for result in self.results)

    def report(self) -> str:
        """What failed, short, or one line a command that passed: for an implementer's eyes."""
        lines = []
        for result in self.results:
            line = " ".join(result.argv)
            if result.passed:
                lines.append(f"{result.name}: passed ({line}, {result.seconds:.1f} s)")
            else:
                lines += [f"{result.name}: FAILED: {result.problem} ({line})", result.output]
        return "\n".join(lines)


def run_checks(
    commands: Sequence[tuple[str, Sequence[str]]],
    worktree: Path,
    base: Path,
    timeout: float,
    environ: Mapping[str, str],
    stopping: threading.Event | None = None,
) -> Checks:
    """Run (name, argv) in order in `worktree`; `base` is the checkout whose code must not be the one imported.

    Raises StoppedError when `stopping` is set meanwhile: a command that was cut off proves nothing.
    """
    results: list[CommandResult] = []
    for name, argv in commands:
        results.append(_run_one(name, tuple(argv), worktree, base, timeout, environ, stopping))
        if not results[-1].passed:
            break
    return Checks(tuple(results))


def _run_one(
    name: str,
    argv: tuple[str, ...],
    worktree: Path,
    base: Path,
    timeout: float,
    environ: Mapping[str, str],
    stopping: threading.Event | None,
) -> CommandResult:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="backlog-ops-") as scratch:
        imports = Path(scratch) / "imports"
        with open(Path(scratch) / "output", "w+b") as output:
            env = _checked_environment(environ, imports, base, worktree)
            problem = _execute(argv, worktree, timeout, env, output, stopping)
            text = _excerpt(output)
        problem = problem or _import_problem(argv, imports)
    return CommandResult(name, argv, problem, text, time.monotonic() - started)


def _checked_environment(environ: Mapping[str, str], report: Path, base: Path, worktree: Path) -> dict[str, str]:
    path = [str(PROBE_FOLDER), *filter(None, [environ.get("PYTHONPATH", "")])]
    return {
        **without_git_bindings(environ),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",  # caches are nobody's work and would show up as changed files
        "CI": "true",  # test runners that watch or ask would never end
        "BACKLOG_PROBE_REPORT": str(report),
        "BACKLOG_PROBE_BASE": str(base),
        "BACKLOG_PROBE_OWN": str(worktree),
    }


def _execute(
    argv: tuple[str, ...],
    cwd: Path,
    timeout: float,
    env: Mapping[str, str],
    output: IO[bytes],
    stopping: threading.Event | None,
) -> str:
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return f"cannot run {argv[0]}: {error.strerror or error}"
    try:
        code = _wait(process, timeout, stopping)
    finally:
        end_group(process)
    if code is None:
        return f"no end after {timeout:g} s (qualityGates.timeoutSeconds)"
    if code < 0:
        return f"killed by signal {-code}"
    return f"exit code {code}" if code else ""


def _wait(process: subprocess.Popen[bytes], timeout: float, stopping: threading.Event | None) -> int | None:
    """The exit code; None when the time is over. Raises StoppedError."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return process.wait(min(STOP_CHECK_SECONDS, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if stopping is not None and stopping.is_set():
                raise StoppedError("stopped before the command ended") from None
            if time.monotonic() >= deadline:
                return None


def _excerpt(output: IO[bytes]) -> str:
    """The first lines (first errors) and the last ones (the summary) of what was printed."""
    output.seek(0)
    head: list[str] = []
    tail: list[str] = []
    left_out = 0
    for raw in output:
        line = raw[: MAX_LINE * 4].decode("utf-8", "replace").rstrip()[:MAX_LINE]
        if len(head) < KEPT_HEAD_LINES:
            head.append(line)
            continue
        tail.append(line)
        if len(tail) > KEPT_TAIL_LINES:
            tail.pop(0)
            left_out += 1
    middle = [f"… {left_out} lines left out …"] if left_out else []
    return "\n".join([*head, *middle, *tail])


def _import_problem(argv: tuple[str, ...], report: Path) -> str:
    """Why the checks did not judge the worktree's own code, or "": every Python process reports what it imported.

    A Python command without any report proves nothing. Other languages are not looked at.
    """
    if not report.is_file():
        blind = "nothing says which code was imported: run Python without -E, -I and with PYTHONPATH kept"
        return blind if _is_python(argv[0]) else ""
    for line in report.read_text(encoding="utf-8", errors="replace").splitlines():
        for name, path in json.loads(line):
            return (
                f"the checks imported {name} from {path}, not from this worktree: set worktree.setupCommand so that "
                "the worktree has an environment of its own"
            )
    return ""


def _is_python(program: str) -> bool:
    """Whether a command is a Python interpreter, or a script that one runs."""
    if re.fullmatch(r"python[\d.]*", Path(program).name):
        return True
    found = shutil.which(program)
    if found is None:
        return False
    with open(found, "rb") as file:
        first = file.readline(200)
    return first.startswith(b"#!") and b"python" in first
