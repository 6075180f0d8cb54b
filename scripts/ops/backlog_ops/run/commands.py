"""The configured commands of a repository, run in a worktree: the LINT gate and `backlog-ops check`.

A command passes by exit code 0 and nothing else. Not found, killed by a signal, over its time limit, printing
without end: failures. So is a test command whose runner says that no test ran. An argv is run as it is, never
through a shell; its whole process group ends with it. What it prints is looked at as it comes and never stored.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from backlog_ops.domain.ran_tests import RanTests, plain
from backlog_ops.domain.text import UNSAFE
from backlog_ops.errors import SurroundingsError
from backlog_ops.run.processes import StoppedError, end_group, own_group, without_git_bindings
from backlog_ops.run.redaction import Redaction, environment_secrets
from backlog_ops.run.surroundings import unwritable

PROBE_FOLDER = Path(__file__).resolve().parent / "import_probe"
KEPT_HEAD_LINES = 60
KEPT_ERROR_LINES = 30  # with the marks of what is left out, an excerpt has about 160 lines at most
KEPT_TAIL_LINES = 60
MAX_LINE = 400
MAX_OUTPUT = 64 * 1024 * 1024  # bytes
STOP_CHECK_SECONDS = 0.2
TEST_COMMAND = "testCommand"  # the one that has to run a test

_CHUNK = 64 * 1024
_PIPE_CHUNKS = 16  # a pipe holds 1 MB at most
_LINE_BYTES = MAX_LINE * 4
_BEFORE_ERROR, _AFTER_ERROR = 2, 4

# Words first: most lines have none, and looking for them is far cheaper than the pattern.
_ERROR_WORDS = ("error", "fail", "fatal", "panic", "exception", "traceback", "not ok", "e  ", "✖", "✗", "✘", "×", "●")
_ERROR = re.compile(
    r"(?<![\w/.-])(?i:errors?|fatal|fail(?:ed|ures?|s)?|panic(?:ked)?|traceback|exception)(?![\w/-]|\.\w)"
    r"|[a-z](?:Error|Exception)\b|^\s*(?:not ok\b|[✖✗✘×●]|E {2,}\S)"
)
_NO_ERROR = re.compile(
    r"(?i:\b(?:0|no|zero) (?:errors?|fail\w*|exceptions?)\b|\b(?:errors|failures|failed)[:=] *0\b)"
    r"|^\s*(?:[✓✔√]|ok \d|PASS\b)|\b(?:PASSED|passed|ok)\b[ \[\d%\]]*$"
)


@dataclass(frozen=True)
class CommandResult:
    """How one command ended. `problem` is one line, empty when it passed."""

    name: str  # the configuration key, such as testCommand
    argv: tuple[str, ...]
    problem: str
    output: str  # stdout and stderr together, shortened, without the secrets of the environment
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

    Raises StoppedError when `stopping` is set meanwhile: a command that was cut off proves nothing. So does one that
    failed where nothing can be written: SurroundingsError.
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
    tests = RanTests()
    output = _Output(tests)
    with tempfile.TemporaryDirectory(prefix="backlog-ops-") as scratch:
        imports = Path(scratch) / "imports"
        env = _checked_environment(environ, imports, base, worktree)
        problem = _execute(argv, worktree, timeout, env, output, stopping) or _import_problem(argv, imports)
    if name == TEST_COMMAND:
        problem = problem or tests.problem
    trouble = unwritable([worktree, Path(tempfile.gettempdir())]) if problem else None
    if trouble:  # a test that could not write has said nothing about the code
        raise SurroundingsError(trouble)
    shown = output.excerpt.text(Redaction(environment_secrets(environ)))
    return CommandResult(name, argv, problem, shown, time.monotonic() - started)


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
    output: _Output,
    stopping: threading.Event | None,
) -> str:
    with ExitStack() as stack:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        try:
            process = stack.enter_context(own_group(argv, minded=True, cwd=cwd, env=env, **pipes))
        except OSError as error:
            return f"cannot run {argv[0]}: {error.strerror or error}"
        assert process.stdout is not None
        pipe = stack.enter_context(process.stdout)
        os.set_blocking(pipe.fileno(), False)
        try:
            code = _follow(process, pipe.fileno(), output, timeout, stopping)
        finally:
            end_group(process)
        output.read_what_is_left(pipe.fileno())
    if code:
        return f"exit code {code}" if code > 0 else f"killed by signal {-code}"
    if output.size > MAX_OUTPUT:
        return f"printed more than {MAX_OUTPUT // 1024**2} MB"
    return f"no end after {timeout:g} s (qualityGates.timeoutSeconds)" if code is None else ""


def _follow(
    process: subprocess.Popen[bytes], pipe: int, output: _Output, timeout: float, stopping: threading.Event | None
) -> int | None:
    """The exit code; None when the time is over or too much was printed. Raises StoppedError."""
    deadline = time.monotonic() + timeout
    is_open = True
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (code := process.poll()) is None:
            if stopping is not None and stopping.is_set():
                raise StoppedError("stopped before the command ended")
            left = deadline - time.monotonic()
            if left <= 0 or output.size > MAX_OUTPUT:
                break
            pause = min(STOP_CHECK_SECONDS, left)
            if not is_open:  # it closed its output and goes on
                with suppress(subprocess.TimeoutExpired):
                    process.wait(pause)
            elif selector.select(pause):
                is_open = output.read(pipe)
    return code


class _Output:
    """What a command prints, line by line, in bounded memory: of a long line only the beginning is kept."""

    def __init__(self, tests: RanTests) -> None:
        self.size = 0  # bytes
        self.excerpt = _Excerpt()
        self._tests = tests
        self._begun = b""
        self._raw: bytes | None = None
        self._line = ""

    def read(self, pipe: int) -> bool:
        """Take what waits in `pipe`, which does not block. False at its end."""
        try:
            chunk = os.read(pipe, _CHUNK)
        except BlockingIOError:
            return True
        self.size += len(chunk)
        *lines, begun = (self._begun + chunk).split(b"\n")
        for line in lines:
            self._take(line)
        self._begun = begun[begun.rfind(b"\r", 0, -1) + 1 :][:_LINE_BYTES]
        return bool(chunk)

    def read_what_is_left(self, pipe: int) -> None:
        """Bounded: a process that left the group may hold the pipe and go on writing."""
        for _ in range(_PIPE_CHUNKS):
            if not self.read(pipe):
                break
        if self._begun:
            self._take(self._begun)

    def _take(self, raw: bytes) -> None:
        if raw != self._raw:  # a command that never ends prints one line over and over
            self._raw = raw
            shown = raw.rstrip(b"\r").rpartition(b"\r")[2]  # a progress bar overwrites its line
            self._line = plain(shown[:_LINE_BYTES].decode("utf-8", "replace"))
            self._tests.add(self._line)
        self.excerpt.add(self._line)


class _Excerpt:
    """The first lines, the first errors with the lines around them, and the last lines (the summary)."""

    def __init__(self) -> None:
        self._count = 0
        self._kept: dict[int, str] = {}
        self._last: deque[str] = deque(maxlen=KEPT_TAIL_LINES)
        self._errors: set[str] = set()
        self._error_ends = 0  # the number of the last line that belongs to an error

    def add(self, line: str) -> None:
        number = self._count
        self._count += 1
        self._last.append(line)
        if number < KEPT_HEAD_LINES:
            self._kept[number] = line
        elif len(self._kept) < KEPT_HEAD_LINES + KEPT_ERROR_LINES:
            if self._is_new_error(line):
                self._error_ends = number + _AFTER_ERROR
                for back in range(_BEFORE_ERROR, 0, -1):
                    self._kept.setdefault(number - back, self._last[-1 - back])
            if number <= self._error_ends:
                self._kept[number] = line

    def _is_new_error(self, line: str) -> bool:
        if not _looks_like_error(line):
            return False
        without_numbers = re.sub(r"\d+", "", line)  # times and counters make one message many
        known = without_numbers in self._errors
        self._errors.add(without_numbers)
        return not known

    def text(self, redaction: Redaction) -> str:
        lines = {**self._kept, **dict(enumerate(self._last, self._count - len(self._last)))}
        shown: list[str] = []
        following = 0
        for number in sorted(lines):
            if number > following:
                shown.append(f"… {number - following} lines left out …".replace(" 1 lines", " 1 line"))
            shown.append(_readable(redaction.of_beginning(lines[number], MAX_LINE)))
            following = number + 1
        return "\n".join(shown)


def _looks_like_error(line: str) -> bool:
    lowered = line.lower()
    if not any(word in lowered for word in _ERROR_WORDS):
        return False
    return bool(_ERROR.search(line)) and not _NO_ERROR.search(line)


def _readable(line: str) -> str:
    """The line without what a terminal or a text file cannot hold."""
    return UNSAFE.sub(lambda found: found.group() if found.group() == "\t" else "\ufffd", line)


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
