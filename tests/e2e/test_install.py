"""The plugin as a user gets it: cloned from git, copied by Claude Code, run from there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness.request import Json
from tests.e2e.harness.rules import script
from tests.e2e.harness.run_claude import ROOT, Lab


@pytest.fixture(scope="module")
def installed(claude_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Path]]:
    """(lab, folder of the installed plugin); what is installed is this work tree, committed or not."""
    checkout = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    with Lab() as lab:
        yield lab, lab.install_from_git(checkout, "backlog")


def test_the_installed_launcher_answers(installed: tuple[Lab, Path], wheels: Path) -> None:
    lab, plugin = installed
    environment = lab.environ() | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    environment |= {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}
    done = subprocess.run(
        [str(plugin / "bin/backlog-ops"), "--version"],
        cwd=lab.repo,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "backlog-ops"), done.stderr


@pytest.fixture(scope="module")
def session(installed: tuple[Lab, Path]) -> Json:
    """What Claude Code says of itself when it starts with the plugin installed."""
    run = installed[0].claude("go", scenario=script("done"))
    assert run.exit_code == 0, run.explain()
    return run.init


def test_claude_loads_the_installed_plugin_without_errors(installed: tuple[Lab, Path], session: Json) -> None:
    assert session.get("plugin_errors") is None
    assert {"name": "backlog", "path": str(installed[1])}.items() <= session["plugins"][0].items()


@pytest.mark.parametrize("agent", sorted(path.stem for path in (ROOT / "agents").glob("*.md")))
def test_claude_offers_each_agent_of_the_plugin(session: Json, agent: str) -> None:
    assert f"backlog:{agent}" in session["agents"]
