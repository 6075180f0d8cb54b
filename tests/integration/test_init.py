"""`init` as a process: what it writes, what it keeps, and where it refuses."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest

from backlog_ops.errors import RepositoryError
from backlog_ops.run.git import Git
from backlog_ops.run.setting_up import NewFile, write
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.lab import CONFIG, Lab
from tests.support.refusals import refused
from tests.support.setting_up import UNITTEST, filled_in, project

NODE = {"package.json": json.dumps({"name": "web", "scripts": {"test": "node --test", "lint": "eslint ."}})}
PYTHON = {"shop/__init__.py": "", "tests/test_shop.py": UNITTEST}
NEW = ["backlog.config.json", "tickets/pending/.gitkeep", "tickets/completed/.gitkeep", "tickets/TEMPLATE.md"]


@pytest.fixture
def node(tmp_path) -> Lab:
    return project(tmp_path / "repo", NODE)


def files(lab: Lab) -> dict[str, str]:
    """Every file of the work tree."""
    return {
        path.relative_to(lab.top).as_posix(): path.read_text()
        for path in lab.top.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(lab.top).parts
    }


def init_json(lab: Lab, *args: str) -> dict:
    done = lab.cli("init", "--format", "json", *args)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


# -- what it writes


def test_it_writes_a_configuration_the_ticket_folders_and_a_template(node):
    done = node.cli("init")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "Node: npm run test",
        *(f"wrote {path}" for path in NEW),
        "next: fill in a copy of tickets/TEMPLATE.md in tickets/pending for each ticket; `backlog-ops validate` checks",
        "next: commit them: git add backlog.config.json tickets && git commit",
        "next: /backlog:backlog-implementer in Claude Code, or `backlog-ops run` in a shell",
    ]
    assert sorted(files(node)) == sorted([*NODE, *NEW])


def test_the_configuration_is_what_was_detected_and_valid(node):
    node.cli("init")
    assert json.loads((node.top / "backlog.config.json").read_text()) == {
        "version": "1.0",
        "project": {"name": "web"},
        "qualityGates": {"typeCheckCommand": "", "lintCommand": "npm run lint", "testCommand": "npm run test"},
    }
    assert node.cli("validate").stdout == "ok\n"


def test_its_template_is_not_taken_for_a_ticket(node):
    node.cli("init")
    assert node.cli("validate", "tickets").returncode == 0


def test_in_a_folder_below_it_writes_at_the_top_of_the_repository(node):
    below = Lab(node.top / "src", node.git)
    below.top.mkdir()
    assert below.cli("init").returncode == 0
    assert (node.top / "backlog.config.json").is_file()


def test_folders_that_git_ignores_are_linked_into_worktrees(tmp_path):
    python = "#!/bin/sh\n"
    lab = project(tmp_path / "repo", {**PYTHON, ".gitignore": ".venv/\n", ".venv/bin/python": python})
    assert init_json(lab)["config"]["worktree"] == {"link": [".venv"]}


def test_an_environment_that_ignores_itself_is_linked_too(tmp_path):
    lab = project(tmp_path / "repo", {**PYTHON, ".venv/.gitignore": "*\n", ".venv/bin/python": ""})
    assert init_json(lab)["config"]["worktree"] == {"link": [".venv"]}


def test_an_environment_with_an_editable_install_of_the_repository_is_not(tmp_path):
    site = ".venv/lib/python3.11/site-packages/shop-0.1.dist-info/direct_url.json"
    top = tmp_path / "repo"
    direct_url = json.dumps({"url": f"file://{top}", "dir_info": {"editable": True}})
    lab = project(top, {**PYTHON, ".gitignore": ".venv/\n", ".venv/bin/python": "", site: direct_url})
    answer = init_json(lab)
    assert list(answer["config"]["worktree"]) == ["setupCommand"]
    assert answer["notes"][0].startswith(".venv has this repository installed as editable: ")


def test_a_file_that_was_deleted_but_not_committed_decides_nothing(node):
    node.write("uv.lock", "")
    node.commit("start")
    (node.top / "uv.lock").unlink()
    assert init_json(node)["stack"] == "Node"


def test_tickets_that_git_would_ignore_are_pointed_out(node):
    node.write(".gitignore", "tickets/\n")
    assert init_json(node)["notes"] == [
        "tickets/pending is ignored by git: tickets must be committed, change .gitignore"
    ]


def test_what_it_set_up_runs_a_ticket_to_its_commit(tmp_path):
    lab = project(tmp_path / "repo", PYTHON)
    tests = f"{sys.executable} -m unittest discover -s tests -t ."
    assert lab.cli("init", "--test-command", tests).returncode == 0
    config = json.loads((lab.top / "backlog.config.json").read_text())
    lab.write("backlog.config.json", json.dumps({**CONFIG, **config}))  # no local model of this machine answers
    template = (lab.top / "tickets/TEMPLATE.md").read_text()
    lab.write("tests/__init__.py", "")
    lab.write("tickets/pending/T-1.md", filled_in(template, "T-1", "src/T-1.txt"))
    lab.commit("start")
    lab.run()
    assert lab.log() == ["feat(src): implement T-1", "start"]


# -- what it keeps


def test_a_second_time_everything_is_kept(node):
    node.cli("init")
    before = files(node)
    assert init_json(node) | {"next": []} == {
        "dry_run": False,
        "stack": None,
        "config": None,
        "new": [],
        "kept": NEW,
        "notes": [],
        "next": [],
    }
    assert files(node) == before


def test_a_configuration_that_is_there_is_kept_and_its_ticket_folder_used(node):
    text = json.dumps({**CONFIG, "backlog": {"dataDir": "docs/work"}})
    node.write("backlog.config.json", text)
    answer = init_json(node)
    assert (answer["kept"], answer["new"][0]) == (["backlog.config.json"], "docs/work/pending/.gitkeep")
    assert (node.top / "backlog.config.json").read_text() == text
    assert (node.top / "docs/work/TEMPLATE.md").is_file()


def test_a_folder_that_holds_something_needs_no_gitkeep(node):
    node.write("tickets/pending/a.md", "mine\n")
    answer = init_json(node)
    assert answer["kept"] == ["tickets/pending/"]
    assert not (node.top / "tickets/pending/.gitkeep").exists()


def test_a_template_of_the_persons_own_is_kept(node):
    node.write("tickets/TEMPLATE.md", "mine\n")
    assert init_json(node)["kept"] == ["tickets/TEMPLATE.md"]
    assert (node.top / "tickets/TEMPLATE.md").read_text() == "mine\n"


def test_a_broken_package_json_does_not_matter_where_nothing_is_detected(node):
    node.cli("init")
    node.write("package.json", "{")
    assert node.cli("init").returncode == 0


# -- --dry-run


def test_a_dry_run_writes_nothing(node):
    before = files(node)
    done = node.cli("init", "--dry-run")
    assert (done.returncode, files(node)) == (0, before)
    assert done.stdout.endswith("nothing was written: this was --dry-run\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_its_diff_is_what_init_writes(node, tmp_path, form):
    shown = node.cli("init", "--dry-run", "--format", form).stdout
    patch = json.loads(shown)["diff"] if form == "json" else shown
    other = project(tmp_path / "other", NODE)
    other.git.run("apply", stdin=patch.encode())
    node.cli("init")
    assert files(other) == files(node)


# -- --test-command


def test_the_persons_own_test_command_overrides_the_detected_one(node):
    assert init_json(node, "--test-command", "make test")["config"]["qualityGates"] == {
        "typeCheckCommand": "",
        "lintCommand": "npm run lint",
        "testCommand": "make test",
    }


def test_it_is_enough_where_nothing_is_detected(tmp_path):
    lab = project(tmp_path / "repo", {"main.rs": ""})
    done = lab.cli("init", "--test-command", "cargo test")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "tests: cargo test")
    assert lab.cli("validate").stdout == "ok\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("make lint && make test", '"&&" is shell syntax, but no shell runs this: put it in a script or a make target'),
        ("", "must not be empty"),
        ("make 'test", "a quote is not closed, or the last character is a backslash"),
    ],
)
def test_one_that_the_configuration_would_not_take_is_refused(node, command, message):
    said = refused(node, "init", "--test-command", command, code=2)
    assert said == f"--test-command: {message}; nothing was written"


def test_one_for_a_configuration_that_is_there_is_refused_unless_it_says_the_same(node):
    node.cli("init", "--test-command", "make test")
    assert node.cli("init", "--test-command", "make  test").returncode == 0
    said = refused(node, "init", "--test-command", "make check", code=2)
    assert said == "--test-command: backlog.config.json is there and never overwritten; set its testCommand"


# -- where it refuses


def test_without_a_test_command_nothing_is_written(tmp_path):
    lab = project(tmp_path / "repo", {"main.rs": ""})
    assert refused(lab, "init", code=2) == (
        "no test command found and no Python or Node project at the top of the repository: "
        "--test-command 'CMD' says what runs them all; nothing was written"
    )


def test_two_stacks_with_tests_ask_for_the_command_of_both(tmp_path):
    lab = project(tmp_path / "repo", {**NODE, **PYTHON})
    assert refused(lab, "init", code=2) == (
        "Python (`python3 -m unittest discover -s tests`) and Node (`npm run test`) both have tests: "
        "--test-command 'CMD' says what runs them all; nothing was written"
    )


def test_a_package_json_that_is_no_json_is_named_with_its_line(node):
    node.write("package.json", '{\n  "scripts": {,}\n}')
    assert refused(node, "init", code=2).startswith("package.json:2: not valid JSON at column 15: ")


def test_outside_a_repository(tmp_path):
    lab = Lab(tmp_path, Git(tmp_path))
    assert refused(lab, "init") == f"{tmp_path}: not inside a git repository; run `git init` and commit, or cd into one"


def test_a_configuration_that_is_there_and_invalid(node):
    node.write("backlog.config.json", "{}")
    details = [
        f'{node.top}/backlog.config.json:1: version: is required and missing, for example "1.0"',
        f'{node.top}/backlog.config.json:1: qualityGates.testCommand: is required and missing, for example "make test"',
    ]
    said = refused(node, "init", code=3, details=details)
    assert said == f"{node.top}/backlog.config.json: the configuration is invalid"


@pytest.mark.parametrize("name", ["backlog.config.json", "tickets", "tickets/TEMPLATE.md"])
@pytest.mark.parametrize("target", ["elsewhere", "package.json"])
def test_a_symbolic_link_in_place_of_a_file_or_folder(node, name, target):
    (node.top / name).parent.mkdir(exist_ok=True)
    (node.top / name).symlink_to(node.top / target)
    assert refused(node, "init") == (
        f"{node.top}/{name}: is a symbolic link; put a file or folder of the repository in its place"
    )


def test_a_file_in_place_of_a_folder(node):
    node.write("tickets", "notes\n")
    assert refused(node, "init") == f"{node.top}/tickets: is there and is no folder; move it away"


def test_a_folder_in_place_of_a_file(node):
    node.write("tickets/TEMPLATE.md/x", "")
    assert refused(node, "init") == f"{node.top}/tickets/TEMPLATE.md: is there and is no file; move it away"


def test_a_disk_that_takes_no_more_leaves_nothing_behind(node):
    before = files(node)
    main = PLUGIN_ROOT / "scripts" / "ops" / "backlog_ops" / "__main__.py"
    done = subprocess.run(
        [sys.executable, str(main), "init"],
        cwd=node.top,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"backlog-ops: {node.top}")
    assert "nothing was written" in done.stderr
    assert files(node) == before
    assert not (node.top / "tickets").exists()


def test_a_folder_that_may_not_be_written_to(node, monkeypatch):
    def denied(path, *_args, **_options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.mkdir", denied)
    files = [NewFile("backlog.config.json", "{}\n"), NewFile("tickets/pending/.gitkeep", "")]
    with pytest.raises(RepositoryError) as raised:
        write(node.git, files)
    assert raised.value.message == (
        f"{node.top}/tickets: cannot be written (Permission denied); nothing was written, "
        "give yourself the right to write there"
    )
    assert not (node.top / "backlog.config.json").exists()


def test_a_file_that_appeared_meanwhile_is_not_overwritten(node):
    node.write("backlog.config.json", "mine\n")
    with pytest.raises(RepositoryError, match=r"cannot be written \(File exists\)"):
        write(node.git, [NewFile("backlog.config.json", "{}\n")])
    assert (node.top / "backlog.config.json").read_text() == "mine\n"
