"""A disk that is full, a place that nothing can be written to: one line that says so, and everything as it was.

Real ones (tests/support/hardship.py): what git, SQLite and Python answer there is nobody's invention.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from backlog_ops.errors import BacklogError, SurroundingsError
from backlog_ops.run.commands import run_checks
from backlog_ops.run.engine import work
from backlog_ops.run.git import Git
from backlog_ops.run.steps import Step
from backlog_ops.run.surroundings import surroundings_problem, unwritable
from backlog_ops.storage.database import connect, transaction
from tests.support.hardship import FULL, UNWRITABLE, FileSizeLimit, endure
from tests.support.lab import one, write_own_file
from tests.support.refusals import refused

EVENT = "INSERT INTO event (run, at, text) VALUES ('r', 1.0, ?)"
RUN = "INSERT INTO run (id, state, created_at, top, base_branch, base_commit, branch) VALUES ('r','open',1,'','','','')"


def trouble(action) -> str:
    """The one line that is made of what `action` raises."""
    with pytest.raises(Exception) as raised:
        action()
    line = surroundings_problem(raised.value)
    assert line is not None, f"taken for a ticket's trouble: {raised.value!r}"
    assert "\n" not in line
    return line


def repository(folder: Path) -> tuple[Git, Git, str]:
    """(git at its top, git in a worktree of it, the first commit): two commits, some changes in the worktree."""
    git = Git(folder / "repo")
    git.folder.mkdir()
    git.run("init", "-q", "-b", "main")
    for number in (1, 2):
        (git.folder / "file.txt").write_text(f"{number}\n" * 1000)
        git.run("add", "-A")
        git.run("commit", "-q", "-m", str(number))
    worktree = git.at(folder / "worktree")
    git.run("worktree", "add", "-q", "--detach", str(worktree.folder))
    (worktree.folder / "new.txt").write_text("new\n")
    first = git.commit_of("HEAD~1")
    assert first is not None
    return git, worktree, first


CALLS = {
    "snapshot": lambda git, worktree, first: worktree.snapshot_tree(),
    "commit": lambda git, worktree, first: worktree.run("commit", "--allow-empty", "-q", "-m", "x"),
    "add": lambda git, worktree, first: worktree.run("add", "-A"),
    "reset": lambda git, worktree, first: worktree.run("reset", "-q", "--hard", first),
    "rebase": lambda git, worktree, first: worktree.run("rebase", "-q", "--onto", first, "HEAD", "HEAD"),
    "worktree": lambda git, worktree, first: git.run("worktree", "add", "-q", "--detach", str(git.folder.parent / "w")),
    "branch": lambda git, worktree, first: git.move_ref("refs/heads/backlog/r", first, "0" * 40, "test"),
    "object": lambda git, worktree, first: git.run("hash-object", "-w", "--stdin", stdin=b"words\n"),
    "merge": lambda git, worktree, first: git.run("merge", "-q", "--ff-only", "later"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", [*FULL, *UNWRITABLE])
def test_a_git_that_cannot_write_is_the_machines_trouble_and_works_once_that_is_over(tmp_path, kind, name):
    def body(hardship):
        git, worktree, first = repository(hardship.folder)
        git.run("branch", "later", git.text("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "later"))
        with hardship:
            line = trouble(lambda: CALLS[name](git, worktree, first))
        assert line.endswith(", then the same command goes on")
        if kind is FileSizeLimit:  # unlike a full disk it kills git outright, which then leaves its locks
            for lock in (git.folder / ".git").rglob("*.lock"):
                lock.unlink()
        CALLS[name](git, worktree, first)

    endure(kind(tmp_path / "disk"), body)


@pytest.mark.parametrize("kind", FULL)
def test_a_commit_on_a_full_disk_is_not_taken_for_a_refusal_of_the_hooks(tmp_path, kind):
    """git says "empty commit message" there: it could not store the message."""

    def body(hardship):
        _git, worktree, _first = repository(hardship.folder)
        with hardship, pytest.raises(SurroundingsError):
            worktree.run("commit", "--allow-empty", "-q", "-F", "-", stdin=b"feat: x\n")

    endure(kind(tmp_path / "disk"), body)


def test_a_hook_that_refuses_is_still_a_refusal(tmp_path):
    _git, worktree, _first = repository(tmp_path)
    hook = tmp_path / "repo/.git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho 'No space left on device, says my test'\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(BacklogError) as refused:
        worktree.run("commit", "--allow-empty", "-q", "-m", "x")
    assert surroundings_problem(refused.value) is None


@pytest.mark.parametrize("kind", [*FULL, *UNWRITABLE])
def test_a_transaction_that_cannot_be_written_leaves_what_was_committed(tmp_path, kind):
    def body(hardship):
        database = connect(hardship.folder / "state" / "state.db")
        with transaction(database):
            database.execute(RUN)
            database.execute(EVENT, ("before",))
        database.close()
        with hardship:
            line = trouble(lambda: write_much(hardship.folder / "state" / "state.db"))
        assert line.startswith(str(hardship.folder)) or "the run database" in line
        database = connect(hardship.folder / "state" / "state.db")
        assert [row["text"] for row in database.execute("SELECT text FROM event")] == ["before"]
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        with transaction(database):
            database.execute(EVENT, ("after",))

    endure(kind(tmp_path / "disk"), body)


def write_much(path: Path) -> None:
    with contextlib.closing(connect(path)) as database, transaction(database):
        database.execute(EVENT, ("x" * 100_000,))


@pytest.mark.parametrize("kind", FULL)
def test_an_open_connection_goes_on_once_the_trouble_is_over(tmp_path, kind):
    def body(hardship):
        database = connect(hardship.folder / "state.db")
        database.execute(RUN)

        def write():
            for _ in range(50):
                with transaction(database):
                    database.execute(EVENT, ("x" * 20_000,))

        with hardship:
            trouble(write)
            assert not database.in_transaction
        write()
        assert database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"

    endure(kind(tmp_path / "disk"), body)


@pytest.mark.parametrize("kind", [*FULL, *UNWRITABLE])
def test_a_database_that_cannot_be_made_leaves_no_half_of_one(tmp_path, kind):
    def body(hardship):
        state = hardship.folder / "state"
        state.mkdir()
        with hardship:
            line = trouble(lambda: connect(state / "state.db"))
        assert str(state) in line
        assert list(state.iterdir()) == []
        connect(state / "state.db").close()

    endure(kind(tmp_path / "disk"), body)


@pytest.mark.parametrize("kind", [*FULL, *UNWRITABLE])
def test_a_place_that_nothing_can_be_written_to_is_found_by_trying(tmp_path, kind):
    def body(hardship):
        folder = hardship.folder / "state"
        folder.mkdir()
        assert unwritable([folder]) is None
        with hardship:
            assert (unwritable([folder]) or "").startswith(f"{folder}: nothing can be written there (")
            assert (unwritable([folder / "not" / "there"]) or "").startswith(
                f"{folder}: nothing can be written there ("
            )
        assert list(folder.iterdir()) == []

    endure(kind(tmp_path / "disk"), body)


def test_what_a_ticket_has_forbidden_in_its_own_worktree_is_its_own_trouble():
    path = "/home/u/repo/.backlog-ops/worktrees/r/T-1/locked/file"
    assert surroundings_problem(PermissionError(errno.EACCES, "Permission denied", path)) is None
    assert surroundings_problem(OSError(errno.ENOSPC, "No space left on device", path)) is not None


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x"),
        sqlite3.IntegrityError("UNIQUE constraint failed: run.state"),
        sqlite3.OperationalError("no such column: stepp"),
        ValueError("x"),
        RuntimeError("x"),
        BacklogError("x"),
    ],
)
def test_other_errors_are_not_the_machines(error):
    assert surroundings_problem(error) is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error", "/x"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.EMFILE, "Too many open files"),
        MemoryError(),
        RuntimeError("can't start new thread"),
        sqlite3.OperationalError("disk I/O error"),
        sqlite3.DatabaseError("database disk image is malformed"),
    ],
)
def test_errors_of_the_machine_are_told_in_one_line_with_a_remedy(error):
    line = surroundings_problem(error)
    assert line is not None
    assert line.count("\n") == 0
    assert line.endswith(", then the same command goes on")


def test_a_machine_without_processes_left_is_not_a_failed_test_command(tmp_path):
    git = Git(tmp_path)
    with pytest.raises(SurroundingsError, match=r"Too many open files; .*ulimit -n"), no_more_files():
        git.run("version")


@contextlib.contextmanager
def no_more_files():
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(open("/dev/null"))  # noqa: SIM115
        yield
    finally:
        for file in held:
            file.close()


@pytest.mark.parametrize("kind", FULL)
def test_a_test_command_that_cannot_write_has_not_judged_the_code(tmp_path, kind):
    def body(hardship):
        command = [("testCommand", ["sh", "-c", "echo a report > report.txt"])]
        folder = hardship.folder
        with hardship, pytest.raises(SurroundingsError):
            run_checks(command, folder, tmp_path, 20, os.environ)
        assert run_checks(command, folder, tmp_path, 20, os.environ).passed

    endure(kind(tmp_path / "disk"), body)


# -- whole commands


@pytest.mark.parametrize("kind", FULL)
def test_a_run_on_a_disk_that_fills_up_stops_parks_nothing_and_goes_on_later(tmp_path, monkeypatch, kind):
    def body(hardship):
        monkeypatch.setenv("XDG_STATE_HOME", str(hardship.folder / "state"))
        lab = one(hardship.folder)
        until_the_end = contextlib.ExitStack()

        def implement(worktree, ticket, attempt):
            write_own_file(worktree, ticket, attempt)
            until_the_end.enter_context(hardship)

        lab.agents.implement = implement
        with until_the_end, pytest.raises(SurroundingsError):
            lab.run()
        assert lab.states()["T-1"].step is Step.IMPLEMENT
        lab.agents.implement = write_own_file
        ctx = lab.context()
        run = ctx.store.open_run()
        assert run is not None
        work(ctx, run.id, 1, lab.agents)
        assert lab.states()["T-1"].step is Step.DONE
        assert lab.log() == ["feat(src): implement T-1", "start"]

    endure(kind(tmp_path / "disk"), body)


@pytest.mark.parametrize("where", ["repo/.git", "repo", "state"])
@pytest.mark.parametrize("kind", UNWRITABLE)
def test_a_run_does_not_begin_where_nothing_can_be_written(tmp_path, monkeypatch, kind, where):
    def body(hardship):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        lab = one(tmp_path)
        lab.cli("status")
        with hardship:
            assert str(hardship.folder) in refused(lab, "start")
            for command in ("next", "status"):
                assert refused(lab, command)
        assert lab.context().store.last_run() is None

    endure(kind(tmp_path / where), body)
