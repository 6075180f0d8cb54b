"""`make deps`: what the tests and the demo need, pinned, into .deps; a second call finds it all there.

    .deps/venv           tests/requirements-dev.lock, in an environment of its own
    .deps/wheels         config/requirements.lock as files, so that no test has to ask an index
    .deps/node_modules   tests/package-lock.json: Claude Code, bats and Chart.js, no package's install script run

`deps.py demo` and `deps.py test` see to tmux besides, as root by way of Debian's package; `deps.py test` also to
Chromium, in the same way, and to

    .deps/older          tests/older/package-lock.json: the older Claude Code of a smoke test

Runs on Python 3.6 and later, like the bootstrap that it shares with the launcher. $CLAUDE_BIN names another
Claude Code to use instead of the pinned one, $CHROMIUM another Chromium or Chrome.
"""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from typing import Callable, Dict, Optional, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "scripts", "ops", "launcher"))

import bootstrap  # noqa: E402

DEPS = os.path.join(ROOT, ".deps")
VENV = os.path.join(DEPS, "venv")
PYTHON = os.path.join(VENV, "bin", "python")
WHEELS = os.path.join(DEPS, "wheels")
OLDER = os.path.join(DEPS, "older")
CHROMIUMS = (  # as tests/support/browser.py looks for them
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
DEV_LOCK = os.path.join(ROOT, "tests", "requirements-dev.lock")


class MissingError(Exception):
    """A part of the machine that has to be installed first: one line, what and how."""


def main(words: Sequence[str]) -> None:
    if words not in ([], ["demo"], ["test"]):
        sys.exit("usage: deps.py [demo|test]")
    try:
        need("git", "apt install git")
        if words:
            provide_tmux()
        if words == ["test"]:
            provide_chromium()
        once(VENV, [DEV_LOCK], make_environment, works=os.access(PYTHON, os.X_OK))
        once(WHEELS, [bootstrap.LOCK_FILE], fetch_wheels, variant=os.path.realpath(PYTHON))
        provide_npm_packages("tests", DEPS, own_claude=os.environ.get("CLAUDE_BIN", ""))
        if words == ["test"]:
            provide_npm_packages(os.path.join("tests", "older"), OLDER)
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
    if not install_from_debian("python3-venv", "this Python has neither venv nor pip"):
        raise MissingError("needs Python's venv module or uv (Debian: apt install python3-venv, as root)")


def provide_tmux() -> None:
    if not runs("tmux", "-V"):
        install_from_debian("tmux", "no tmux runs here")
        need("tmux", "apt install tmux, as root", "-V")


def provide_chromium() -> None:
    """Playwright's own download of a browser is not asked for: it drives the one that is there."""
    named = os.environ.get("CHROMIUM")
    if named and not runs(named):
        raise MissingError(f"CHROMIUM is {named}, which does not run here")
    if not named and not any(runs(name) for name in CHROMIUMS):
        install_from_debian("chromium", "no Chromium runs here")
        need("chromium", "apt install chromium, as root; CHROMIUM may name another one")


def install_from_debian(package: str, why: str) -> bool:
    """Whether it was installed: only root can, where there is apt-get."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    print(f"make deps: {why}; installing Debian's {package}", flush=True)
    apt = {"DEBIAN_FRONTEND": "noninteractive"}
    return run(["apt-get", "update", "-qq"], apt) and run(["apt-get", "install", "-y", "-qq", package], apt)


def fetch_wheels() -> None:
    pip = [PYTHON, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    if not run([*pip, "--only-binary", ":all:", "--dest", WHEELS, "--requirement", bootstrap.LOCK_FILE]):
        raise MissingError("cannot download the packages of config/requirements.lock (pip's words are above)")


def provide_npm_packages(source: str, folder: str, own_claude: str = "") -> None:
    """The packages that `source` locks, as `folder`/node_modules; `own_claude` instead of Claude Code's programs."""
    files = [os.path.join(ROOT, source, name) for name in ("package.json", "package-lock.json")]
    install = partial(install_npm_packages, files, folder, own_claude)
    once(os.path.join(folder, "node_modules"), files, install, variant=own_claude)


def install_npm_packages(files: Sequence[str], folder: str, own_claude: str) -> None:
    need("node", "apt install nodejs")
    need("npm", "apt install npm")
    for path in files:
        shutil.copy(path, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--engine-strict=false"]
    # The programs of Claude Code, one a platform, are optional dependencies of its package.
    if not run(
        [*command, "--loglevel=error", "--update-notifier=false", *(["--omit=optional"] if own_claude else [])],
        cwd=folder,
    ):
        lock_file = os.path.relpath(files[-1], ROOT)
        raise MissingError(f"cannot install the packages of {lock_file} (npm's words are above)")
    if not own_claude and not any(runs(path) for path in claude_programs(folder)):
        remedy = "; CLAUDE_BIN may name one that does" if folder == DEPS else ""
        raise MissingError(f"no Claude Code under {folder} runs on this machine{remedy}")


def claude_programs(folder: str) -> Sequence[str]:
    packages = os.path.join(folder, "node_modules", "@anthropic-ai")
    names = sorted(os.listdir(packages))
    return [os.path.join(packages, name, "claude") for name in names if name.startswith("claude-code-")]


def need(program: str, remedy: str, question: str = "--version") -> None:
    if not runs(program, question):
        raise MissingError(f"needs {program}, and none runs here (Debian: {remedy})")


def runs(program: str, question: str = "--version") -> bool:
    return run([program, question], quiet=True)


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
    main(sys.argv[1:])
