"""What every child process of the engine has in common: its environment, how it is started, and how it is ended."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backlog_ops.errors import BacklogError, SurroundingsError
from backlog_ops.run.surroundings import NO_PROCESS, surroundings_problem

KILL_GRACE_SECONDS = 3.0
MINDER = Path(__file__).with_name("minder.py")
MINDED = Path(__file__).with_name("minded.py")

# What binds git to one repository or index (`git rev-parse --local-env-vars`) or changes what a pathspec means.
# A user's git hook exports some of them; inherited, they would redirect every git call below it.
_GIT_BINDINGS = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GLOB_PATHSPECS",
        "GIT_GRAFT_FILE",
        "GIT_ICASE_PATHSPECS",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_LITERAL_PATHSPECS",
        "GIT_NAMESPACE",
        "GIT_NOGLOB_PATHSPECS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)


class StoppedError(BacklogError):
    """The person stopped the run while something was at work: nothing was proven."""


def without_git_bindings(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment, fit for children that work in a worktree of their own."""
    return {key: value for key, value in environ.items() if key not in _GIT_BINDINGS}


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


class _Minder:
    """This process's line to its minder (minder.py), which is started when the first group is to be minded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._held: tuple[int, ...] = ()

    def hold(self, descriptor: int | None) -> None:
        with self._lock:
            self._held = () if descriptor is None else (descriptor,)
            if self._process is not None:  # one that runs already would not have it
                self._give_up()
                self._tell("")

    def line(self) -> int:
        """A descriptor for a child that tells the minder of itself; the caller closes it."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._give_up()
                self._start()
            assert self._pipe is not None
            return os.dup(self._pipe)

    def add(self, group: int) -> None:
        with self._lock:
            self._at_work.add(group)
            self._tell(f"+{group}\n")

    def remove(self, group: int) -> None:
        with self._lock:
            self._at_work.discard(group)
            self._tell(f"-{group}\n")

    def begin_anew(self) -> None:
        """In a fork of this process: the minder is the parent's, and so is what it minds."""
        if self._pipe is not None:
            os.close(self._pipe)
        self.__init__()  # type: ignore[misc]

    def _tell(self, line: str) -> None:
        if self._pipe is not None:
            try:
                os.write(self._pipe, line.encode())
                return
            except OSError:  # somebody ended it, or it does not read: one that is not told all would end the wrong ones
                self._give_up()
        if self._at_work:
            self._start()

    def _start(self) -> None:
        ours, self._pipe = os.pipe()  # neither is inherited by what else is started
        os.set_blocking(self._pipe, False)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-ISE", str(MINDER)],
                stdin=ours,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=os.sep,
                start_new_session=True,
                pass_fds=self._held,
            )
            os.write(self._pipe, "".join(f"+{group}\n" for group in self._at_work).encode())
        finally:
            os.close(ours)

    def _give_up(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._pipe is not None:
            os.close(self._pipe)
        self._process = self._pipe = None


_minder = _Minder()
os.register_at_fork(after_in_child=_minder.begin_anew)


def minder_holds(descriptor: int | None) -> None:
    """Let the minder have a descriptor too: a lock on it then lasts until what a killed engine had in flight is over.
    Who goes on living lets go of such a lock by name (LOCK_UN), and then calls this with None.
    """
    _minder.hold(descriptor)


@contextmanager
def own_group(argv: Sequence[str], minded: bool, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own: Ctrl-C in the terminal stops the engine, which then ends the child.

    Left with the child at work, the block ends it and its group. `minded`: so does the minder when this process is
    killed, at whatever instant; such a start takes some 15 ms. Raises OSError when it does not start,
    SurroundingsError where no process would.
    """
    try:
        process = (_start_minded if minded else _start)(argv, **options)
    except OSError as error:
        if error.errno in NO_PROCESS:
            raise SurroundingsError(surroundings_problem(error) or str(error)) from None
        raise
    try:
        if minded:
            _minder.add(process.pid)
        yield process
    finally:
        if process.returncode is None:
            end_group(process)
        if minded:
            _minder.remove(process.pid)


def _start(argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, start_new_session=True, **options)


def _start_minded(argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    line = _minder.line()
    try:
        report, theirs = os.pipe()
        try:
            locale = "kept" if "LC_CTYPE" in (options.get("env") or os.environ) else "unset"
            itself = [sys.executable, "-ISE", str(MINDED), str(line), str(theirs), locale]
            process = _start([*itself, *argv], pass_fds=(line, theirs), **options)
        finally:
            os.close(theirs)
            with open(report, "rb") as pipe:
                said = pipe.read()  # ends when the program has begun, or could not
    finally:
        os.close(line)
    if said != b"+":
        with process:
            _minder.remove(process.pid)
            number = int(said[1:] or errno.ENOEXEC)
            raise OSError(number, os.strerror(number), argv[0])
    return process
