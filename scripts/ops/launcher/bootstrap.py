"""Finds or builds a Python that can run our commands: 3.10 or newer, with the packages of the lock file.

A user's `python3` may be too old or lack the packages. Then a managed environment is used, built once from
the hash-pinned config/requirements.lock, with `uv` if there is one, else with `venv` and `pip`:

    <base>/venv-<checksum of the lock file>/   complete: it was renamed into place, and its Python is there
    <base>/venv-<checksum>.partial/            being built, or left behind by a build that was killed
    <base>/venv-<checksum>.lock                held while building; its text is why the last build failed

<base> is $XDG_CACHE_HOME/backlog-ops, else ~/.cache/backlog-ops, as in launch.sh.

Two ways in: `ensure()` for scripts that people start with their own `python3`, and `bootstrap.py SCRIPT
ARGS…` for launch.sh. With --exit-zero among the arguments (a skill's preload: the host cuts it off, and drops the
skill where it fails) building goes on in the background after a few seconds, and whatever is wrong is printed as
text. This file runs on Python 3.6 and later with nothing installed: it says what is missing.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zlib
from typing import Iterator, List, NamedTuple, Optional, Sequence, TextIO, Tuple

MINIMUM_VERSION = (3, 10)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
LOCK_FILE = os.path.join(ROOT, "config", "requirements.lock")
EXIT_UNREACHABLE = 4  # as in backlog_ops.errors, which an old Python cannot import
EXIT_INTERRUPTED = 130

# Set to our process id before we become another Python: exec keeps the id, children have their own.
GUARD = "BACKLOG_BOOTSTRAPPED"
# A caller that can do without the packages does not wait for the network again within this time.
RETRY_OPTIONAL_AFTER_SECONDS = 600.0
PROBE_SECONDS = 30
PRELOAD = "--exit-zero"
PRELOAD_SECONDS = 15.0
PREPARE = "--prepare"  # bootstrap.py's own: build, and start nothing
BUILD_SECONDS = 600

# Settings that would change what is installed, or where.
OVERRIDES = {
    *("PIP_CONSTRAINT", "PIP_PREFIX", "PIP_ROOT", "PIP_TARGET", "PIP_USER"),
    *("UV_CONSTRAINT", "UV_OVERRIDE", "UV_SYSTEM_PYTHON"),
}

# What pip and uv say when the package index cannot be reached; their other words for it name no cause.
NO_CONNECTION = ("connection broken by", "Failed to fetch")

PROBE = """
import os, sys
print("%d.%d.%d" % sys.version_info[:3])
if sys.version_info >= (3, 10):
    import sqlite3, ssl, venv
    try:
        from ensurepip import version
        print(1, flush=True)
    except ImportError:
        print(0, flush=True)
    # The real file behind all links: it vanishes with its version, where /usr/bin/python3 changes silently.
    base = getattr(sys, "_base_executable", None) or sys.executable
    sys.stdout.buffer.write(os.fsencode(os.path.realpath(base)))
"""


class PreparationError(Exception):
    """No suitable Python, or its packages cannot be installed: one line, what failed and the remedy."""


class Interpreter(NamedTuple):
    """A Python that ran and is new enough."""

    path: str
    has_pip: bool  # can make an environment with pip in it; Debian splits that off into python3-venv


class Builder(NamedTuple):
    """At least one of uv and the interpreter's own pip is there."""

    python: Interpreter
    uv: Optional[str]


def ensure(argv: Sequence[str], needs: Sequence[str], optional: bool = False) -> None:
    """Returns if this Python is new enough and finds every module in `needs`; else becomes one that does.

    `argv` is started again in the managed environment, standard input unread. Where there can be none, exits
    4 with one line on stderr; with `optional`, and if this Python is new enough, prints it and returns.
    """
    became = os.environ.pop(GUARD, None) == str(os.getpid())
    new_enough = sys.version_info >= MINIMUM_VERSION
    missing = [module for module in needs if importlib.util.find_spec(module) is None]
    if new_enough and not missing:
        return
    restart(argv, optional and new_enough, lacking=missing if became else ())


def restart(argv: Sequence[str], optional: bool = False, lacking: Sequence[str] = ()) -> None:
    """Becomes the managed Python, running `argv`; returns only if it cannot and `optional`.

    `lacking` are the modules that this process, if it is the managed Python already, could not find.
    """
    try:
        if lacking:
            raise PreparationError(f"{sys.prefix} lacks {', '.join(lacking)}; delete that folder and try again")
        python = managed_python(time.time() - RETRY_OPTIONAL_AFTER_SECONDS if optional else None)
        os.environ[GUARD] = str(os.getpid())
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(python, [python, "-Es", *argv])
    except PreparationError as problem:
        _say(problem)
        if not optional:
            sys.exit(EXIT_UNREACHABLE)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def preload() -> None:
    """Has the environment built by a process of its own; returns once it is there.

    Exits 0 with one line on stdout where it takes longer than a few seconds, or cannot be built.
    """
    started = time.time()
    try:
        if not _is_complete(_environment_folder()):
            builder = subprocess.Popen(
                [sys.executable, "-Es", os.path.realpath(__file__), PREPARE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            builder.wait(PRELOAD_SECONDS)
            managed_python(since=started)
    except subprocess.TimeoutExpired:
        print("backlog-ops: preparing its Python packages, once; wait 20 s, then run the same command again")
    except PreparationError as problem:
        print(f"backlog-ops: {problem}")
    else:
        return
    sys.exit(0)


def managed_python(since: Optional[float] = None) -> str:
    """The path of the managed environment's Python; builds the environment if it is not there.

    A failure at or after `since` (seconds since the epoch) counts as this call's. Raises PreparationError.
    """
    base = _base_folder()
    try:
        folder = _environment_folder()
        if not _is_complete(folder):
            os.makedirs(base, mode=0o700, exist_ok=True)
            _build_once(folder, time.time() if since is None else since)
        return _python_of(folder)
    except OSError as problem:
        raise PreparationError(
            f"cannot prepare its Python packages: {problem.filename or base}: {problem.strerror or problem}; "
            "XDG_CACHE_HOME may name a folder that can be written"
        ) from problem


def find_builder() -> Builder:
    """What an environment can be made with on this machine. Raises PreparationError."""
    uv = _on_path("uv")
    python = find_interpreter(pip_wanted=uv is None)
    if uv is None and not python.has_pip:
        raise PreparationError(
            f"{python.path} cannot make virtual environments; install its venv package "
            "(Debian: apt install python3-venv) or uv"
        )
    return Builder(python, uv)


def build_environment(folder: str, lock_file: str, builder: Builder) -> None:
    """Makes a virtual environment with the packages of `lock_file` in `folder`. Raises PreparationError."""
    failure = None
    if builder.uv is not None:
        failure = _build_with_uv(builder.uv, builder.python.path, folder, lock_file)
        if failure is None:
            return
        shutil.rmtree(folder, ignore_errors=True)
    if builder.python.has_pip:
        failure = _build_with_pip(builder.python.path, folder, lock_file)
    if failure is not None:
        raise PreparationError(
            f"cannot prepare its Python packages: {failure}; "
            "check the network, and the proxy and index settings of pip or uv"
        )


def posix_checksum(data: bytes) -> int:
    """What the POSIX `cksum` command prints: zlib's CRC, bits mirrored, over the data and its length."""
    length = len(data)
    suffix = length.to_bytes((length.bit_length() + 7) // 8, "little")
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    crc = zlib.crc32((data + suffix).translate(mirrored), 0xFFFFFFFF)
    return int(f"{crc:032b}"[::-1], 2)


def _base_folder() -> str:
    folder = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(folder):  # the XDG specification: a relative path is invalid and must be ignored
        return os.path.join(folder, "backlog-ops")
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        raise PreparationError("no home folder to keep its Python packages in; set HOME or XDG_CACHE_HOME")
    return os.path.join(home, ".cache", "backlog-ops")


def _environment_folder() -> str:
    with open(LOCK_FILE, "rb") as lock_file:
        return os.path.join(_base_folder(), f"venv-{posix_checksum(lock_file.read())}")


def _python_of(folder: str) -> str:
    return os.path.join(folder, "bin", "python")


def _is_complete(folder: str) -> bool:
    return os.access(_python_of(folder), os.X_OK)  # follows links: false once the base Python is gone


def _build_once(folder: str, since: float) -> None:
    """Builds, unless another process just did, or failed to at or after `since` (seconds since the epoch)."""
    partial = folder + ".partial"
    with _locked(folder + ".lock") as record:
        if _is_complete(folder):
            return
        earlier_failure = record.read()
        if earlier_failure and os.fstat(record.fileno()).st_mtime >= since:
            raise PreparationError(earlier_failure)
        builder = find_builder()
        _say(f"preparing its Python packages once (about 40 MB in {os.path.dirname(folder)})")
        record.truncate(0)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            build_environment(partial, LOCK_FILE, builder)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(partial, folder)
        except PreparationError as problem:
            record.write(str(problem))
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[TextIO]:
    try:
        import fcntl
    except ImportError:
        raise PreparationError(
            f"cannot prepare its Python packages on this system; install those of {LOCK_FILE} yourself"
        ) from None
    with open(path, "a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for another process that is preparing its Python packages")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        yield file


def find_interpreter(pip_wanted: bool) -> Interpreter:
    """The first that runs and is new enough; with `pip_wanted` rather one that can install pip."""
    minors = [f"python3.{minor}" for minor in range(14, MINIMUM_VERSION[1] - 1, -1)]
    fallback = None
    too_old = []  # type: List[str]
    for name in [os.environ.get("BACKLOG_PYTHON", ""), sys.executable, "python3", *minors, "python"]:
        path = _on_path(name)
        if path is None:
            continue
        version, python = _probe(path)
        if python is None:
            too_old += [f"{path} ({version})"] if version else []
        elif python.has_pip or not pip_wanted:
            return python
        else:
            fallback = fallback or python
    if fallback is None:
        found = ", ".join(sorted(set(too_old))) or "none that runs"
        raise PreparationError(f"needs Python 3.10 or newer, found {found}; install one or name it in BACKLOG_PYTHON")
    return fallback


def _probe(path: str) -> Tuple[str, Optional[Interpreter]]:
    """Runs a supposed Python: what it says its version is, and itself if it will do."""
    try:
        answer = subprocess.run(
            [path, "-I", "-c", PROBE],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", None
    version, has_pip, real_path = [*answer.stdout.split(b"\n", 2), b"", b""][:3]
    will_do = answer.returncode == 0 and real_path
    return (
        version.decode("ascii", "replace"),
        Interpreter(os.fsdecode(real_path), has_pip == b"1") if will_do else None,
    )


def _on_path(name: str) -> Optional[str]:
    path = shutil.which(name) if name else None
    return path if path and os.path.isabs(path) else None  # never a program out of the current folder


def _build_with_uv(uv: str, python: str, folder: str, lock_file: str) -> Optional[str]:
    """None, or why it failed."""
    create = [uv, "venv", "--quiet", "--no-project", "--python", python, folder]
    install = [uv, "pip", "install", "--quiet", "--python", _python_of(folder), *_pinned(lock_file)]
    return _run("uv", create, folder) or _run("uv", install, folder)


def _build_with_pip(python: str, folder: str, lock_file: str) -> Optional[str]:
    """None, or why it failed."""
    create = [python, "-I", "-m", "venv", folder]
    install = [_python_of(folder), "-I", "-m", "pip", "install", "--quiet", "--no-user", "--no-input"]
    limits = ["--disable-pip-version-check", "--retries", "2"]
    return _run("venv", create, folder) or _run("pip", [*install, *limits, *_pinned(lock_file)], folder)


def _pinned(lock_file: str) -> List[str]:
    return ["--require-hashes", "--only-binary", ":all:", "-r", lock_file]


def _run(tool: str, command: Sequence[str], folder: str) -> Optional[str]:
    """None, or why `command` failed. It runs beside `folder`: uv would obey the settings of a project."""
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BUILD_SECONDS,
            cwd=os.path.dirname(folder),
            env={name: value for name, value in os.environ.items() if name not in OVERRIDES},
        )
    except subprocess.TimeoutExpired:
        return f"{tool} took more than {BUILD_SECONDS} s"
    except OSError as problem:
        return f"{tool} does not start: {problem.strerror}"
    if done.returncode == 0:
        return None
    output = done.stdout.decode("utf-8", "replace")
    if any(sign in output for sign in NO_CONNECTION):
        return f"{tool}: no connection to the package index"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return f"{tool}: {(errors or lines[-1:] or ['no word of why'])[0]}"


def _say(message: object) -> None:
    print(f"backlog-ops: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == [PREPARE]:
        try:
            managed_python()
        except PreparationError as refused:
            sys.exit(f"backlog-ops: {refused}")
    else:
        if PRELOAD in sys.argv:
            preload()
        restart(sys.argv[1:])
