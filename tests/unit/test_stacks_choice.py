"""Which stack a repository is configured for, and the configuration that is written for it."""

from __future__ import annotations

import json

import pytest

from backlog_ops.domain.stacks.checkout import Stack
from backlog_ops.domain.stacks.choice import choose, configuration
from backlog_ops.storage.config_file import check

PYTHON = Stack("Python", "shop", type_check="mypy .", lint="ruff check", test="pytest", link=(".venv",))
NODE = Stack("Node", "web", lint="npm run lint", test="npm run test", setup="npm ci", link=("node_modules",))
UNTESTED = Stack("Node", "web", lint="npm run lint")


def test_the_only_stack_is_chosen():
    assert choose([PYTHON], None) is PYTHON


def test_of_two_stacks_the_one_with_tests_is_chosen():
    assert choose([PYTHON, UNTESTED], None) is PYTHON


@pytest.mark.parametrize(
    ("stacks", "message"),
    [
        (
            [PYTHON, NODE],
            "Python (`pytest`) and Node (`npm run test`) both have tests: --test-command 'CMD' says what runs them all",
        ),
        (
            [UNTESTED],
            "no test command found in this Node project: --test-command 'CMD' says what runs them all",
        ),
        (
            [],
            "no test command found and no Python or Node project at the top of the repository: "
            "--test-command 'CMD' says what runs them all",
        ),
    ],
)
def test_where_the_tests_cannot_be_told_the_remedy_is_said(stacks, message):
    with pytest.raises(ValueError) as raised:
        choose(stacks, None)
    assert str(raised.value) == message


def test_the_persons_own_test_command_replaces_the_detected_one():
    chosen = choose([PYTHON], "make test")
    assert (chosen.test, chosen.lint, chosen.link) == ("make test", "ruff check", (".venv",))


def test_with_it_two_stacks_give_what_they_do_not_disagree_on():
    chosen = choose([PYTHON, NODE], "make test")
    assert (chosen.name, chosen.project_name) == ("Python and Node", "shop")
    assert (chosen.type_check, chosen.lint, chosen.setup) == ("mypy .", "", "npm ci")
    assert chosen.link == (".venv", "node_modules")
    assert chosen.notes == (
        "qualityGates.lintCommand is left empty, Python and Node each have one: set what runs both",
    )


def test_it_is_enough_without_any_stack():
    assert choose([], "make test").test == "make test"


def test_the_configuration_says_what_was_found_and_nothing_else():
    assert configuration(PYTHON, "repo") == {
        "version": "1.0",
        "project": {"name": "shop"},
        "qualityGates": {"typeCheckCommand": "mypy .", "lintCommand": "ruff check", "testCommand": "pytest"},
        "worktree": {"link": [".venv"]},
    }


def test_it_is_valid_with_a_command_that_calls_a_shell_itself():
    stack = Stack("Python", test="pytest", setup=("sh", "-c", "python3 -m venv .venv && echo '*' >.venv/.gitignore"))
    assert check(json.dumps(configuration(stack, "repo")).encode()) == []


@pytest.mark.parametrize(
    ("project_name", "folder", "name"),
    [
        ("", "repo", "repo"),
        ("", "re\npo", ""),
        ("", "x" * 201, ""),
        ("\ud800", "repo", ""),
        ("ünïcode", "repo", "ünïcode"),
    ],
)
def test_the_name_is_the_projects_else_the_folders_where_it_can_be_written(project_name, folder, name):
    assert configuration(Stack("Python", project_name, test="pytest"), folder)["project"] == {"name": name}
