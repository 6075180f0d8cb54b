"""What every test gets: a home of its own, nothing of the caller's accounts or settings, real parts or a skip.

With BACKLOG_REQUIRE_ALL=1 (`make test`) a skipped test is a failed one: every part is there.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.e2e.harness.run_claude import find_claude, find_older_claude

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell; what tests start would inherit it and could not be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
REQUIRE_ALL = os.environ.get("BACKLOG_REQUIRE_ALL") == "1"
FOREIGN_PREFIXES = ("ANTHROPIC_", "BACKLOG_", "CLAUDE", "GIT_", "OLLAMA_", "PIP_", "PYTHON", "UV_", "XDG_")
FOREIGN_NAMES = {
    "NO_COLOR",
    "FORCE_COLOR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "VIRTUAL_ENV",
}
OURS = {"CLAUDE_BIN"}

GIT_CONFIG = "[user]\n\tname = Test\n\temail = test@example.invalid\n[init]\n\tdefaultBranch = main\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of end-to-end and integration tests in turns, unit tests last: the former wait half of their time, and the
    latter can have the processor meanwhile. Long ones come early.
    """
    files = list(dict.fromkeys(item.path for item in items))
    turn: dict[Path, float] = {}
    for folder, share in (("e2e", 0.7), ("integration", 0.9)):
        own = [file for file in files if file.parent.name == folder]
        turn |= {file: share * place / len(own) for place, file in enumerate(own)}
    items.sort(key=lambda item: turn.get(item.path, 1.0))


def pytest_collection_finish() -> None:
    """Thousands of collected tests are no garbage: nobody need look through them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's home: empty but for a git identity. Nothing of the caller's accounts or settings is left."""
    for name in set(os.environ) - OURS:
        if name.startswith(FOREIGN_PREFIXES) or name.upper() in FOREIGN_NAMES:
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text(GIT_CONFIG, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


@pytest.fixture(scope="session")
def claude_bin() -> Path:
    """The real Claude Code."""
    found = find_claude()
    if found is None:
        pytest.skip("needs the real Claude Code: make deps, or set CLAUDE_BIN")
    return found


@pytest.fixture(scope="session")
def older_claude() -> Path:
    """An older Claude Code, for what must not need the newest."""
    found = find_older_claude()
    if found is None:
        pytest.skip("needs an older Claude Code: scripts/dev/deps.py test")
    return found


@pytest.fixture(scope="session")
def tmux() -> Path:
    """The terminal that Claude Code is shown in."""
    found = shutil.which("tmux")
    if found is None:
        pytest.skip("needs tmux: apt install tmux")
    return Path(found)


@pytest.fixture(scope="session")
def wheels() -> Path:
    """A folder with the packages of config/requirements.lock: building an environment needs no index."""
    folder = ROOT / ".deps" / "wheels"
    if not any(folder.glob("*.whl")):
        pytest.skip("needs the runtime packages as files: make deps")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _failed_if_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _failed_if_skipped(report)


def _failed_if_skipped(report):
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"{reason} (a skip is a failure here: BACKLOG_REQUIRE_ALL=1)"
    return report
