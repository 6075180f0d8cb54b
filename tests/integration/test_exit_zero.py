"""`--exit-zero` and the skills whose preload lines need it: the host drops a skill whose line fails."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from backlog_ops.run.git import Git
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.lab import Lab, one
from tests.support.parent_session import Workers

SKILLS = {path.parent.name: path for path in sorted((PLUGIN_ROOT / "skills").glob("*/SKILL.md"))}
THIN = ("doctor", "init", "report")
LAUNCHER = "${CLAUDE_PLUGIN_ROOT}/bin/backlog-ops"


@pytest.fixture
def nowhere(tmp_path) -> Lab:
    """A folder that is no repository."""
    folder = tmp_path / "no repository"
    folder.mkdir()
    return Lab(folder, Git(folder))


# -- the option


def test_a_problem_is_text_on_stdout_and_the_end_is_0(nowhere):
    done = nowhere.cli("status", "--exit-zero")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"backlog-ops: {nowhere.top}: not inside a git repository; run `git init` and commit, or cd into one\n"
    )


def test_without_it_the_same_problem_is_a_failure(nowhere):
    done = nowhere.cli("status")
    assert (done.returncode, done.stdout) == (1, "")


def test_findings_of_the_command_itself_end_with_0_too(nowhere):
    assert nowhere.cli("doctor").returncode == 1
    done = nowhere.cli("doctor", "--exit-zero")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["--exit-zero", "--nope"], ["--nope", "--exit-zero"]])
def test_a_word_that_the_command_does_not_know_is_text_too(nowhere, words):
    done = nowhere.cli("status", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("backlog-ops: unrecognized arguments: --nope; ")


def test_a_value_that_is_wrong_is_text_too(nowhere):
    done = nowhere.cli("status", "--format", "xml", "--exit-zero")
    assert (done.returncode, done.stderr) == (0, "")
    assert "invalid choice" in done.stdout


def test_what_went_well_is_printed_as_ever(tmp_path):
    lab = one(tmp_path)
    lab.run()
    assert lab.cli("status", "--exit-zero").stdout == lab.cli("status").stdout


@pytest.mark.parametrize("words", [["run"], ["abort"], ["nope"], []])
def test_a_command_that_is_not_made_for_it_refuses_it(nowhere, words):
    done = nowhere.cli(*words, "--exit-zero")
    assert (done.returncode, done.stdout) == (2, "")


# -- the skills


@pytest.fixture
def launcher(own_environment) -> Iterator[None]:
    """The launcher finds its environment: this interpreter."""
    workers = Workers.install(own_environment)
    yield
    workers.close()


def preloads(skill: Path) -> list[str]:
    return re.findall(r"^!`(.+)`$", skill.read_text(encoding="utf-8"), re.MULTILINE)


def frontmatter(skill: Path) -> dict[str, object]:
    return dict(yaml.safe_load(skill.read_text(encoding="utf-8").split("---\n")[1]))


@pytest.mark.parametrize("name", SKILLS)
@pytest.mark.usefixtures("launcher")
def test_the_preload_of_a_skill_ends_with_0_in_a_folder_that_is_no_repository(name, nowhere):
    lines = preloads(SKILLS[name])
    assert lines
    for line in lines:
        command = line.replace("${CLAUDE_PLUGIN_ROOT}", str(PLUGIN_ROOT)).replace("$ARGUMENTS", "")
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=nowhere.top,
            env={**os.environ, "CLAUDE_BIN": "/nonexistent/claude"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "not inside a git repository" in done.stdout


@pytest.mark.parametrize("name", THIN)
def test_a_skill_is_thin_and_only_the_person_calls_it(name):
    assert len(SKILLS[name].read_bytes()) < 1_200
    matter = frontmatter(SKILLS[name])
    assert matter["disable-model-invocation"] is True
    assert str(matter["description"]).startswith("Use ")


@pytest.mark.parametrize("name", THIN)
def test_a_skill_is_granted_each_command_it_names_whether_its_path_is_quoted_or_not(name):
    # The host matches a rule with the command as it is written: with a space in the path it must be quoted.
    text = SKILLS[name].read_text(encoding="utf-8")
    named = set(re.findall(re.escape(f'"{LAUNCHER}" ') + r"([a-z]+)", text.split("---\n", 2)[2]))
    granted = str(frontmatter(SKILLS[name])["allowed-tools"]).split(", ")
    assert sorted(granted) == sorted(
        rule for word in named for rule in (f'Bash("{LAUNCHER}" {word} *)', f"Bash({LAUNCHER} {word} *)")
    )
