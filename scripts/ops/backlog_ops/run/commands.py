"""The configured commands of a repository, run in a worktree: the LINT gate and `backlog-ops check`.

A command passes by exit code 0 and nothing else. Not found, killed by a signal, over its time limit: failures.
An argv is run as it is, never through a shell; its whole process group ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from backlog_ops.errors import BacklogError

PROBE_FOLDER = Path(__file__).resolve().parent / "import_probe"
KEPT_HEAD_LINES = 60
KEPT_TAIL_LINES = 60
MAX_LINE = 400
KILL_GRACE_SECONDS = 3.0
STOP_CHECK_SECONDS = 0.2


class StoppedError(BacklogError):
    """The person stopped the run while a command was at work."""


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
        foreign = _foreign_imports(imports)
    if foreign:
        problem = (
            f"the checks imported {foreign[0][0]} from {foreign[0][1]}, not from this worktree: "
            "set worktree.setupCommand so that the worktree has an environment of its own"
        )
    return CommandResult(name, argv, problem, text, time.monotonic() - started)


def _checked_environment(environ: Mapping[str, str], report: Path, base: Path, worktree: Path) -> dict[str, str]:
    path = [str(PROBE_FOLDER), *filter(None, [environ.get("PYTHONPATH", "")])]
    return {
        **environ,
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


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process started with its own session, and whatever it left behind in its group."""
    for number, grace in ((signal.SIGTERM, KILL_GRACE_SECONDS), (signal.SIGKILL, KILL_GRACE_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        except PermissionError:  # macOS answers so for a group of zombies
            break
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            continue
    process.poll()


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


def _foreign_imports(report: Path) -> list[tuple[str, str]]:
    if not report.is_file():
        return []
    found = []
    for line in report.read_text(encoding="utf-8", errors="replace").splitlines():
        found += [(str(name), str(path)) for name, path in json.loads(line)]
    return found
