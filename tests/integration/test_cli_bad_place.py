"""A repository or a machine that a run cannot begin on: one clear line, the right exit code, nothing changed."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from backlog_ops.run.git import Git
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.lab import CONFIG, Lab, ticket_text
from tests.support.parent_session import Parent
from tests.support.refusals import databases, refused


@pytest.fixture
def lab(tmp_path):
    return Parent.of(tmp_path / "repo").lab


# -- the repository


def test_a_folder_outside_any_repository(tmp_path):
    lab = Lab(tmp_path, Git(tmp_path))
    for command in ("start", "next", "validate"):
        assert refused(lab, command) == (
            f"{tmp_path}: not inside a git repository; run `git init` and commit, or cd into one"
        )


@pytest.mark.parametrize("args", [["start"], ["start", "--dry-run"]])
def test_a_repository_without_commits(tmp_path, args):
    lab = Lab(tmp_path, Git(tmp_path))
    lab.git.run("init", "-q", "-b", "main")
    lab.write("backlog.config.json", json.dumps(CONFIG))
    lab.write("tickets/pending/a.md", ticket_text("T-1"))
    assert refused(lab, *args) == f"{tmp_path}: the repository has no commit yet; commit the tickets first"


def test_a_bare_repository(tmp_path):
    Git(tmp_path).run("init", "-q", "--bare", "bare")
    lab = Lab(tmp_path / "bare", Git(tmp_path / "bare"))
    assert refused(lab, "start") == f"{lab.top}: git: fatal: this operation must be run in a work tree"


def test_a_repository_of_another_owner_is_refused_in_gits_own_words(lab):
    said = refused(lab, "start", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert said == f"{lab.top}: git: fatal: detected dubious ownership in repository at '{lab.top}'"


def test_a_base_with_uncommitted_changes(lab):
    lab.write("src/readme.txt", "changed\n")
    assert refused(lab, "start") == (
        "src/readme.txt: changed but not committed; commit or stash first, tickets start from commits"
    )


def test_a_base_with_several_staged_changes_counts_them(lab):
    lab.write("src/a.txt", "new\n")
    lab.write("src/b.txt", "new\n")
    lab.git.run("add", "-A")
    assert refused(lab, "start").startswith("src/a.txt and 1 more: changed but not committed")


def test_a_ticket_that_is_not_committed(lab):
    lab.write("tickets/pending/b.md", ticket_text("T-2"))
    assert refused(lab, "start") == "tickets/pending/b.md: not committed; `git add` and commit the tickets first"


def test_a_detached_head(lab):
    lab.git.run("checkout", "-q", "--detach")
    assert refused(lab, "start") == "HEAD is detached: check out the branch the commits should land on"


def test_a_branch_in_the_way_of_the_runs_branch(lab):
    lab.git.run("branch", "backlog")
    assert refused(lab, "start") == "backlog: a branch of this name is in the way; `git branch -m backlog …` renames it"


def test_git_without_an_identity(lab, own_environment):
    (own_environment / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    assert refused(lab, "start") == "git does not know who commits: set user.name and user.email"


def test_a_file_in_place_of_the_work_folder(lab):
    lab.write(".backlog-ops", "not a folder\n")
    lab.commit("in the way")
    assert refused(lab, "start") == (f"{lab.top}/.backlog-ops: cannot be made (File exists); move away what is there")


def test_a_current_folder_that_was_removed(tmp_path):
    script = 'mkdir "$1" && cd "$1" && rmdir "$1" && exec "$2" "$3" status'
    main = PLUGIN_ROOT / "scripts" / "ops" / "backlog_ops" / "__main__.py"
    argv = ["sh", "-c", script, "sh", str(tmp_path / "gone"), sys.executable, str(main)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "backlog-ops: the current folder no longer exists; cd into the repository\n",
    )


# -- the machine


def path_with(folder: Path, *programs: str) -> str:
    folder.mkdir()
    for name in programs:
        (folder / name).symlink_to(shutil.which(name) or name)
    return str(folder)


def test_run_without_claude(lab, tmp_path):
    assert refused(lab, "run", code=4, PATH=path_with(tmp_path / "bin", "git"), CLAUDE_BIN="") == (
        "claude: not found; install Claude Code (npm install -g @anthropic-ai/claude-code) or set CLAUDE_BIN"
    )


def test_every_command_without_git(lab, tmp_path):
    path = path_with(tmp_path / "bin")
    for command in ("start", "next", "validate", "clean"):
        said = refused(lab, command, code=4, PATH=path)
        assert said == "git: not found on the PATH; install git 2.25 or newer"


def test_a_file_in_place_of_the_state_folder(lab, tmp_path):
    (tmp_path / "state").write_text("")
    said = refused(lab, "start", XDG_STATE_HOME=str(tmp_path / "state"))
    assert said.startswith(f"{tmp_path}/state/backlog-ops/repo-")
    assert said.endswith(": cannot be made (Not a directory); set XDG_STATE_HOME to a folder that you may write to")


@pytest.fixture
def database(lab):
    """The file of a repository's runs, closed."""
    lab.cli("status")
    (path,) = databases()
    return path


def test_a_database_of_a_newer_version_is_not_altered(lab, database):
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = database.read_bytes()
    for command in ("start", "next", "status"):
        said = refused(lab, command)
        assert said.startswith(f"{database}: written by a newer version of this plugin (schema 99, this one knows ")
        assert said.endswith("): update the plugin")
    assert database.read_bytes() == before


@pytest.mark.parametrize("harm", [lambda data: data[: len(data) // 2], lambda data: b"x" * len(data)])
def test_a_database_that_is_cut_or_none_at_all(lab, database, harm):
    database.write_bytes(harm(database.read_bytes()))
    before = database.read_bytes()
    for command in ("start", "status"):
        said = refused(lab, command)
        assert said.startswith(f"{database}: cannot open the run database (")
        assert said.endswith("); move the file away to start afresh")
    assert database.read_bytes() == before
