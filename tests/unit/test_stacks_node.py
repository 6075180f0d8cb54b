"""A Node project as `init` sees it: its scripts, its package manager, and where a worktree gets node_modules from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backlog_ops.domain.stacks.checkout import Checkout, Stack
from backlog_ops.domain.stacks.node import DETECTOR

DEPENDENT = {"dependencies": {"left-pad": "1.3.0"}}


def detected(
    package: dict[str, Any], *paths: str, present: tuple[str, ...] = (), ignored: tuple[str, ...] = ()
) -> Stack:
    texts = {"package.json": json.dumps(package), **dict.fromkeys(paths, "")}
    stack = DETECTOR.detect(Checkout("/repo", frozenset(texts), texts, frozenset(present), frozenset(ignored)))
    assert stack is not None
    return stack


def scripts(**lines: str) -> dict[str, Any]:
    return {"name": "shop", "scripts": {name.replace("_", "-"): line for name, line in lines.items()}}


def test_without_package_json_there_is_no_project():
    assert DETECTOR.detect(Checkout("/repo", frozenset(["web/package.json"]), {})) is None


def test_the_scripts_are_the_commands():
    stack = detected(scripts(test="vitest run", lint="eslint .", typecheck="tsc --noEmit"))
    assert (stack.test, stack.lint, stack.type_check) == ("npm run test", "npm run lint", "npm run typecheck")
    assert (stack.name, stack.project_name) == ("Node", "shop")


@pytest.mark.parametrize(
    "line",
    ['echo "Error: no test specified" && exit 1', "jest --watch", "jest --watchAll", " "],
)
def test_a_script_that_tests_nothing_or_never_ends_is_no_test_command(line):
    assert detected(scripts(test=line)).test == ""


@pytest.mark.parametrize("line", ["jest --watchAll=false", "jest --watch=false", "node --test --watch-path=x"])
def test_a_script_that_ends_is_one(line):
    assert detected(scripts(test=line)).test == "npm run test"


def test_the_script_that_ends_is_taken_beside_one_that_does_not():
    package = {"scripts": {"test": "jest --watch", "test:ci": "jest"}}
    assert detected(package).test == "npm run test:ci"


@pytest.mark.parametrize("line", ["eslint . --fix", "prettier --write ."])
def test_a_linter_that_changes_what_it_judges_is_none(line):
    assert detected(scripts(lint=line)).lint == ""


def test_the_compiler_checks_types_where_no_script_does():
    package = {"devDependencies": {"typescript": "5"}}
    assert detected(package, "tsconfig.json").type_check == "npx --no -- tsc --noEmit"
    assert detected(package, "tsconfig.json", "pnpm-lock.yaml").type_check == "pnpm exec tsc --noEmit"
    assert detected(package).type_check == ""


@pytest.mark.parametrize(
    ("lock_file", "run"),
    [
        ("package-lock.json", "npm run"),
        ("pnpm-lock.yaml", "pnpm run"),
        ("yarn.lock", "yarn run"),
        ("bun.lock", "bun run"),
        ("bun.lockb", "bun run"),
    ],
)
def test_the_lock_file_tells_the_package_manager(lock_file, run):
    assert detected(scripts(test="x"), lock_file).test == f"{run} test"


def test_package_manager_in_the_file_wins_over_the_lock_file():
    package = {**scripts(test="x"), "packageManager": "pnpm@9.1.0+sha512.abc"}
    assert detected(package, "package-lock.json").test == "pnpm run test"


@pytest.mark.parametrize("package_manager", ["cargo@1", 7, None])
def test_an_unknown_package_manager_is_npm(package_manager):
    assert detected({**scripts(test="x"), "packageManager": package_manager}).test == "npm run test"


# -- node_modules


def test_node_modules_that_git_ignores_are_linked():
    stack = detected(DEPENDENT, "package-lock.json", present=("node_modules",), ignored=("node_modules",))
    assert (stack.link, stack.setup, stack.notes) == (("node_modules",), "", ())


@pytest.mark.parametrize(
    ("paths", "setup"),
    [
        (["package-lock.json"], "npm ci --prefer-offline"),
        ([], "npm install --no-package-lock --prefer-offline"),
        (["pnpm-lock.yaml"], "pnpm install --frozen-lockfile --prefer-offline"),
        (["yarn.lock"], "yarn install --frozen-lockfile --prefer-offline"),
        (["yarn.lock", ".yarnrc.yml"], "yarn install --immutable"),
        (["bun.lock"], "bun install --frozen-lockfile"),
    ],
)
def test_where_none_are_there_each_worktree_installs_its_own(paths, setup):
    stack = detected(DEPENDENT, *paths, ignored=("node_modules",))
    assert (stack.setup, stack.link, stack.notes) == (setup, (), ())


@pytest.mark.parametrize(("version", "install"), [("yarn@4.1.0", "--immutable"), ("yarn@1.22.22", "--frozen-lockfile")])
def test_yarn_is_asked_in_the_words_of_its_version(version, install):
    stack = detected({**DEPENDENT, "packageManager": version}, "yarn.lock", ignored=("node_modules",))
    assert stack.setup.startswith(f"yarn install {install}")


@pytest.mark.parametrize(
    ("package", "paths"),
    [
        ({**DEPENDENT, "workspaces": ["packages/*"]}, []),
        (DEPENDENT, ["pnpm-workspace.yaml"]),
        ({"dependencies": {"ours": "file:packages/ours"}}, []),
        ({"devDependencies": {"ours": "workspace:*"}}, []),
    ],
)
def test_node_modules_that_link_back_into_the_repository_are_not_linked(package, paths):
    stack = detected(package, *paths, present=("node_modules",), ignored=("node_modules",))
    assert (stack.link, bool(stack.setup)) == ((), True)
    assert stack.notes[0].startswith("node_modules holds links into this repository: ")


def test_node_modules_that_git_does_not_ignore_are_pointed_out():
    stack = detected(DEPENDENT, present=("node_modules",))
    assert stack.link == ()
    assert stack.notes == ("node_modules is not ignored by git: add it to .gitignore, or setupCommand fails",)


def test_without_dependencies_a_worktree_needs_nothing():
    stack = detected(scripts(test="node --test"))
    assert (stack.setup, stack.link, stack.notes) == ("", (), ())


# -- a package.json that is none


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n"name": }', "package.json:2: not valid JSON at column 9: Expecting value; mend it first"),
        ("[]", "package.json:1: must be a JSON object {…}; mend it first"),
        ("[" * 100_000, "package.json:1: must be a JSON object {…}; mend it first"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named_with_its_line(text, message):
    with pytest.raises(ValueError) as raised:
        DETECTOR.detect(Checkout("/repo", frozenset(["package.json"]), {"package.json": text}))
    assert str(raised.value) == message


@pytest.mark.parametrize("package", [{"scripts": []}, {"scripts": {"test": 1}}, {"name": 3, "dependencies": "x"}])
def test_values_of_the_wrong_kind_are_passed_over(package):
    stack = detected(package)
    assert (stack.test, stack.setup, stack.project_name) == ("", "", "")
