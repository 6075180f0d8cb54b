"""`make deps`: what the tests and the demo need, pinned, into .deps; a second call finds it all there.

    .deps/venv           tests/requirements-dev.lock, in an environment of its own
    .deps/wheels         config/requirements.lock as files, so that no test has to ask an index
    .deps/node_modules   tests/package-lock.json: Claude Code and bats, no package's install script run

Runs on Python 3.6 and later, like the bootstrap that it shares with the launcher. $CLAUDE_BIN names another
Claude Code to use instead of the pinned one.
"""

import os
import re
import shutil
import subprocess
import sys
from typing import Callable, Dict, Optional, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts", "ops", "launcher"))

import bootstrap  # noqa: E402

DEPS = os.path.join(ROOT, ".deps")
VENV = os.path.join(DEPS, "venv")
PYTHON = os.path.join(VENV, "bin", "python")
WHEELS = os.path.join(DEPS, "wheels")
NODE_MODULES = os.path.join(DEPS, "node_modules")
DEV_LOCK = os.path.join(ROOT, "tests", "requirements-dev.lock")
NPM_FILES = [os.path.join(ROOT, "tests", name) for name in ("package.json", "package-lock.json")]
CLAUDE_FOLDER = os.path.join(NODE_MODULES, "@anthropic-ai")


class MissingError(Exception):
    """A part of the machine that has to be installed first: one line, what and how."""


def main() -> None:
    try:
        need("git", "apt install git")
        once(VENV, [DEV_LOCK], make_environment, works=os.access(PYTHON, os.X_OK))
        once(WHEELS, [bootstrap.LOCK_FILE], fetch_wheels, variant=os.path.realpath(PYTHON))
        once(NODE_MODULES, NPM_FILES, install_npm_packages, variant=os.environ.get("CLAUDE_BIN", ""))
    except (MissingError, bootstrap.PreparationError) as problem:
        sys.exit(f"make deps: {problem}")


def once(folder: str, inputs: Sequence[str], make: Callable[[], None], works: bool = True, variant: str = "") -> None:
    """Makes `folder` anew unless it was completed from the same inputs; its stamp is written last."""
    stamp_path = os.path.join(folder, ".made-from")
    stamp = variant
    for path in inputs:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                stamp += f" {bootstrap.posix_checksum(file.read())}"
    if works and os.path.isfile(stamp_path):
        with open(stamp_path, encoding="utf-8") as file:
            if file.read() == stamp:
                return
    print(f"make deps: {os.path.relpath(folder, ROOT)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    make()
    with open(stamp_path, "w", encoding="utf-8") as file:
        file.write(stamp)


def make_environment() -> None:
    if shutil.which("uv") is None and not bootstrap.find_interpreter(pip_wanted=True).has_pip:
        provide_venv()
    bootstrap.build_environment(VENV, DEV_LOCK, bootstrap.find_builder())


def provide_venv() -> None:
    """For a Debian python3 without python3-venv: uv by way of pip, else the package itself, as root."""
    with open(DEV_LOCK, encoding="utf-8") as file:
        uv = re.search(r"^uv==\S+", file.read(), re.MULTILINE)
    folder = os.path.join(DEPS, "uv")
    install = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--target", folder]
    if uv and run([sys.executable, *install, uv.group()], quiet=True):
        os.environ["PATH"] = os.path.join(folder, "bin") + os.pathsep + os.environ["PATH"]
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("make deps: this Python has neither venv nor pip; installing Debian's python3-venv", flush=True)
        apt = {"DEBIAN_FRONTEND": "noninteractive"}
        if run(["apt-get", "update", "-qq"], apt) and run(["apt-get", "install", "-y", "-qq", "python3-venv"], apt):
            return
    raise MissingError("needs Python's venv module or uv (Debian: apt install python3-venv, as root)")


def fetch_wheels() -> None:
    pip = [PYTHON, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    if not run([*pip, "--only-binary", ":all:", "--dest", WHEELS, "--requirement", bootstrap.LOCK_FILE]):
        raise MissingError("cannot download the packages of config/requirements.lock (pip's words are above)")


def install_npm_packages() -> None:
    need("node", "apt install nodejs")
    need("npm", "apt install npm")
    for path in NPM_FILES:
        shutil.copy(path, DEPS)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict=false"]
    own_claude = os.environ.get("CLAUDE_BIN")
    # The programs of Claude Code, one a platform, are optional dependencies of its package.
    if not run(
        [*command, "--loglevel=error", "--update-notifier=false", *(["--omit=optional"] if own_claude else [])],
        cwd=DEPS,
    ):
        raise MissingError("cannot install the packages of tests/package-lock.json (npm's words are above)")
    if not own_claude and not any(runs(path) for path in claude_programs()):
        raise MissingError(
            f"no Claude Code under {CLAUDE_FOLDER} runs on this machine; CLAUDE_BIN may name one that does"
        )


def claude_programs() -> Sequence[str]:
    folders = sorted(os.listdir(CLAUDE_FOLDER))
    return [os.path.join(CLAUDE_FOLDER, name, "claude") for name in folders if name.startswith("claude-code-")]


def need(program: str, remedy: str) -> None:
    if not runs(program):
        raise MissingError(f"needs {program}, and none runs here (Debian: {remedy})")


def runs(program: str) -> bool:
    return run([program, "--version"], quiet=True)


def run(
    command: Sequence[str],
    extra: Optional[Dict[str, str]] = None,
    cwd: str = ROOT,
    quiet: bool = False,
) -> bool:
    """Whether `command` started and ended well; its output is shown unless `quiet`."""
    sink = subprocess.DEVNULL if quiet else None
    environment = {**os.environ, **(extra or {})}
    try:
        return (
            subprocess.run(
                command,
                check=False,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            ).returncode
            == 0
        )
    except OSError:
        return False


if __name__ == "__main__":
    main()
