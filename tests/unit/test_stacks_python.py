"""A Python project as `init` sees it: what runs its tests, and what a worktree needs for that."""

from __future__ import annotations

import json

import pytest

from backlog_ops.domain.stacks.checkout import Checkout, Stack
from backlog_ops.domain.stacks.python import DETECTOR
from tests.support.setting_up import UNITTEST

TOP = "/repo"
VENV = {".venv/bin/python": ""}
PYTEST = {"tests/test_cart.py": "def test_it():\n    pass\n"}


def checkout(*files: dict[str, str], present: tuple[str, ...] = (), ignored: tuple[str, ...] = ()) -> Checkout:
    texts = {path: text for part in files for path, text in part.items()}
    return Checkout(TOP, frozenset(texts), texts, frozenset(present), frozenset(ignored))


def detected(*files: dict[str, str], **local: tuple[str, ...]) -> Stack:
    stack = DETECTOR.detect(checkout(*files, **local))
    assert stack is not None
    return stack


def linked(*files: dict[str, str]) -> Stack:
    """With a virtual environment that git ignores."""
    return detected(VENV, *files, present=(".venv",), ignored=(".venv",))


def installed(name: str, text: str) -> dict[str, str]:
    return {f".venv/lib/python3.11/site-packages/{name}": text}


def editable(url: str) -> dict[str, str]:
    direct_url = json.dumps({"url": url, "dir_info": {"editable": True}})
    return installed("shop-0.1.dist-info/direct_url.json", direct_url)


# -- what is a Python project


@pytest.mark.parametrize("path", ["pyproject.toml", "setup.cfg", "tox.ini", "requirements-dev.txt", "uv.lock"])
def test_a_file_of_the_stack_makes_a_project(path):
    assert detected({path: ""}).name == "Python"


@pytest.mark.parametrize("path", ["README.md", "docs/requirements.txt", "package.json", "tools/test_x.py"])
def test_other_files_make_none(path):
    assert DETECTOR.detect(checkout({path: ""})) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('[project]\nname = "shop"\n', "shop"),
        ("[tool.poetry]\nname = 'shop'\n", "shop"),
        ('project.name = "shop"\n', "shop"),
        ('[tool.other]\nname = "not this"\n', ""),
        ('[project]\ndescription = """\nname = "not this"\n"""\nname = "shop"\n', "shop"),
    ],
)
def test_the_projects_name_is_that_of_its_table(text, name):
    assert detected({"pyproject.toml": text}).project_name == name


# -- its tests


@pytest.mark.parametrize(
    "files",
    [
        {"pytest.ini": ""},
        {"pyproject.toml": "[tool.pytest.ini_options]\n"},
        {"setup.cfg": "[tool:pytest]\n"},
        {"tox.ini": "[testenv]\ncommands = pytest\n"},
        {"requirements.txt": "pytest>=8\n"},
        {"setup.py": "", "tests/conftest.py": ""},
        {"tests/test_cart.py": "def test_it():\n    pass\n"},
        {"cart_test.py": "def test_it():\n    pass\n"},
    ],
)
def test_pytest_runs_the_tests_wherever_something_speaks_of_it(files):
    assert detected(files).test == "python3 -m pytest"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"tests/test_a.py": UNITTEST}, "discover -s tests"),
        ({"tests/__init__.py": "", "tests/test_a.py": UNITTEST}, "discover -s tests -t ."),
        ({"test/test_a.py": UNITTEST}, "discover -s test"),
        ({"test_a.py": UNITTEST}, "discover"),
    ],
)
def test_unittest_runs_tests_that_use_nothing_else(files, words):
    assert detected(files).test == f"python3 -m unittest {words}"


def test_one_test_that_needs_pytest_makes_it_pytest():
    files = {"tests/test_a.py": UNITTEST, "tests/test_b.py": "import pytest\n"}
    assert detected(files).test == "python3 -m pytest"


def test_the_extras_of_a_dependency_in_a_lock_file_say_nothing_about_the_project():
    lock = {"poetry.lock": '[package.extras]\ntests = ["pytest"]\n'}
    assert detected(lock, {"tests/test_a.py": UNITTEST}).test == "poetry run python -m unittest discover -s tests"


def test_tests_of_installed_packages_are_not_the_projects():
    files = {"venv/lib/python3.11/site-packages/x/test_x.py": "", "node_modules/gyp/test_gyp.py": ""}
    assert detected({"setup.py": ""}, files).test == ""


# -- its linter and type checker


@pytest.mark.parametrize(
    ("files", "lint"),
    [
        ({"pyproject.toml": "[tool.ruff]\n"}, "ruff check"),
        ({"pyproject.toml": "[tool.ruff.lint]\nselect = ['E']\n"}, "ruff check"),
        ({"setup.py": "", "ruff.toml": ""}, "ruff check"),
        ({"requirements.txt": "ruff==0.9\n"}, "ruff check"),
        ({"pyproject.toml": '[dependency-groups]\nlint = [\n  "ruff>=0.9",\n]\n'}, "ruff check"),
        ({"tox.ini": "[flake8]\nmax-line-length = 100\n"}, "flake8"),
        ({"requirements.txt": "ruff-lsp==0.9\n"}, ""),
    ],
)
def test_the_linter_is_the_one_that_is_configured(files, lint):
    assert detected(files).lint == lint


@pytest.mark.parametrize(
    ("files", "type_check"),
    [
        ({"pyproject.toml": "[tool.mypy]\nstrict = true\n"}, "mypy ."),
        ({"pyproject.toml": '[tool.mypy]\nfiles = ["shop"]\n'}, "mypy"),
        ({"setup.cfg": "[mypy]\nstrict = True\n[options]\npackages = find:\n"}, "mypy ."),
        ({"setup.py": "", "mypy.ini": "[mypy]\nfiles = shop\n"}, "mypy"),
        ({"pyproject.toml": "[tool.pyright]\n"}, "pyright"),
        ({"setup.cfg": "no section\n"}, ""),
    ],
)
def test_the_type_checker_is_the_one_that_is_configured_on_what_it_says(files, type_check):
    assert detected(files).type_check == type_check


# -- where it runs


def test_without_an_environment_the_tests_use_the_python_of_the_path_and_that_is_said():
    stack = detected(PYTEST)
    assert (stack.test, stack.setup, stack.link) == ("python3 -m pytest", "", ())
    assert stack.notes == ("no .venv here: the tests use the python3 of your PATH",)


def test_an_environment_that_git_ignores_is_linked_and_used():
    stack = linked(PYTEST)
    assert (stack.test, stack.link, stack.setup) == (".venv/bin/python -m pytest", (".venv",), "")


def test_a_tool_that_the_environment_lacks_is_the_one_on_the_path():
    stack = linked({"pyproject.toml": "[tool.ruff]\n[tool.mypy]\n", ".venv/bin/mypy": ""})
    assert (stack.lint, stack.type_check) == ("ruff check", ".venv/bin/python -m mypy .")


def test_an_environment_that_git_does_not_ignore_is_not_linked():
    stack = detected(VENV, PYTEST, present=(".venv",))
    assert (stack.test, stack.link) == ("python3 -m pytest", ())
    assert stack.notes == (".venv is not ignored by git: ignore it, then link it (worktree.link)",)


@pytest.mark.parametrize(
    "trap",
    [
        editable("file:///repo"),
        editable("file:///repo/packages/shop"),
        installed("__editable__.shop-0.1.pth", "/repo/src\n"),
        installed("easy-install.pth", "/elsewhere\n/repo\n"),
    ],
)
def test_an_editable_install_of_the_repository_gives_each_worktree_an_environment_of_its_own(trap):
    stack = linked(PYTEST, trap)
    assert stack.link == ()
    shell, option, line = stack.setup
    assert (shell, option) == ("sh", "-c")
    assert line == (
        "python3 -m venv .venv && echo '*' >.venv/.gitignore && .venv/bin/python -m pip install --quiet -e . pytest"
    )
    assert stack.notes[0].startswith(".venv has this repository installed as editable: ")


@pytest.mark.parametrize(
    "harmless",
    [
        editable("file:///repository"),
        installed("shop-0.1.dist-info/direct_url.json", '{"url": "file:///repo", "dir_info": {}}'),
        installed("shop-0.1.dist-info/direct_url.json", "no JSON"),
        installed("distutils-precedence.pth", "import os\n"),
    ],
)
def test_other_installs_are_no_trap(harmless):
    assert linked(PYTEST, harmless).link == (".venv",)


def test_a_path_with_a_space_is_recognised_in_a_url():
    files = {**VENV, **PYTEST, **editable("file:///my%20repo")}
    found = Checkout("/my repo", frozenset(files), files, frozenset([".venv"]), frozenset([".venv"]))
    stack = DETECTOR.detect(found)
    assert stack is not None
    assert stack.link == ()


def test_an_own_environment_gets_the_requirements_and_the_extra_that_has_the_tools():
    pyproject = {"pyproject.toml": '[project.optional-dependencies]\ntest = ["pytest>=8", "pytest-cov"]\n'}
    stack = linked(pyproject, {"requirements.txt": "", "requirements-dev.txt": ""}, editable("file:///repo"))
    install = stack.setup[2].rpartition(" && ")[2]
    assert install.endswith("--quiet -e '.[test]' -r requirements-dev.txt -r requirements.txt pytest")


def test_uv_syncs_each_worktree_and_runs_everything():
    stack = detected({"uv.lock": "", "pyproject.toml": "[tool.ruff]\n"}, PYTEST)
    assert (stack.setup, stack.link) == ("uv sync --frozen", ())
    assert (stack.test, stack.lint) == ("uv run python -m pytest", "uv run ruff check")


@pytest.mark.parametrize(
    ("lists", "flags"),
    [
        ('[project]\ndependencies = ["pytest"]\n', ""),
        ('[dependency-groups]\ndev = ["pytest>=8"]\n', ""),
        ('[dependency-groups]\ntest = ["pytest>=8"]\n', " --group test"),
        ('[project.optional-dependencies]\ntest = ["pytest[x]>=8"]\n', " --extra test"),
        ('[project]\noptional-dependencies.test = [\n  "pytest",  # [really]\n]\n', " --extra test"),
        ('[project.optional-dependencies]\nother = ["pytest-cov"]\n', ""),
    ],
)
def test_uv_is_told_of_the_extra_or_group_that_the_tests_come_from(lists, flags):
    stack = detected({"uv.lock": "", "pyproject.toml": lists})
    assert (stack.setup, stack.test) == (f"uv sync --frozen{flags}", f"uv run{flags} python -m pytest")


def test_poetry_installs_each_worktree():
    pyproject = {"pyproject.toml": '[tool.poetry.group.dev.dependencies]\npytest = "^8"\n', "poetry.lock": ""}
    stack = detected(pyproject)
    assert (stack.setup, stack.test) == ("poetry install --no-interaction", "poetry run python -m pytest")
