"""The plugin as a user gets it: cloned from git, copied by Claude Code, run from there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.demo.stage import offline
from tests.e2e.harness.parent_session import Parent, models
from tests.e2e.harness.request import Json
from tests.e2e.harness.rules import script
from tests.e2e.harness.run_claude import ROOT, Lab


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What would be in a clone of this work tree, committed or not."""
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
    return checkout


@pytest.fixture(scope="module")
def installed(claude_bin: Path, checkout: Path) -> Iterator[tuple[Lab, Path]]:
    """(lab, folder of the installed plugin)."""
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


def test_the_installed_plugin_turns_a_backlog_into_commits(make_lab: MakeLab, checkout: Path) -> None:
    parent = Parent(models())
    lab = make_lab(parent.models, ("T-1", "T-2"))
    lab.extra.pop("ANTHROPIC_BASE_URL")
    plugin = lab.install_from_git(checkout, "backlog")
    run = lab.session("/backlog:backlog-implementer", scenario=parent)
    assert (run.exit_code, run.stub_errors, run.leftovers) == (0, [], []), run.explain()
    assert sorted(lab.commits()) == ["feat(src): implement T-1", "feat(src): implement T-2"]
    assert len(parent.calls) <= 3
    checks = {result.input["command"] for job in parent.models.jobs for result in job.results if result.name == "Bash"}
    assert checks and all(command.startswith(f"{plugin}/bin/backlog-ops ") for command in checks), checks


@pytest.mark.parametrize("skill", ["init", "doctor", "report"])
def test_the_small_skills_run_their_command(installed: tuple[Lab, Path], wheels: Path, skill: str) -> None:
    lab, _ = installed
    lab.extra.update(offline())
    run = lab.claude(f"/backlog:{skill}", scenario=script("Seen."))
    assert (run.exit_code, run.result["result"], run.stub_errors) == (0, "Seen.", []), run.explain()
    assert "backlog-ops" in run.calls[0].all_text
