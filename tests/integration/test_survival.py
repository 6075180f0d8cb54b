"""An engine that is killed outright: what it had in flight ends, what git left half done stands in nobody's way."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backlog_ops.errors import SurroundingsError
from backlog_ops.run import processes, stale_locks
from backlog_ops.run.driver_lock import RUN, driving, holder
from backlog_ops.run.git import Git, GitError
from backlog_ops.run.stale_locks import clear_half_made, clear_stale_locks
from tests.support.killed_engine import Engine, Fifo

RUN_REF = "refs/heads/backlog/20260101-120000-abcd"
NEVER = "0" * 40
CHECK = """
top, command = Path(sys.argv[1]), sys.argv[2]
run_checks([("testCommand", ["sh", "-c", command])], top, top, 60, os.environ)
"""
GIT = "Git(Path(sys.argv[1])).run(*sys.argv[2:])"


@pytest.fixture
def fifo(tmp_path):
    with Fifo.at(tmp_path / "at-work") as fifo:
        yield fifo


@pytest.fixture
def repository(tmp_path) -> Git:
    git = Git(tmp_path / "repo")
    git.folder.mkdir()
    git.run("init", "-q", "-b", "main")
    for number in (1, 2):
        (git.folder / "file.txt").write_text(f"{number}\n")
        git.run("add", "-A")
        git.run("commit", "-q", "-m", str(number))
    return git


@pytest.fixture
def worktree(repository) -> Git:
    """git in a worktree at the first commit, with a commit of its own."""
    git = repository.at(repository.folder.parent / "worktree")
    repository.run("worktree", "add", "-q", "--detach", str(git.folder), "HEAD~1")
    (git.folder / "own.txt").write_text("own\n")
    git.run("add", "-A")
    git.run("commit", "-q", "-m", "own")
    return git


def hook(git: Git, name: str, script: str) -> Path:
    path = git.folder / ".git" / "hooks" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# -- what was in flight


@pytest.mark.parametrize("then", ["sleep 60", "trap '' TERM; sleep 60", "sh -c 'sleep 60' & sh -c 'sleep 60' & wait"])
def test_the_test_command_of_a_killed_engine_is_gone_within_a_second(tmp_path, fifo, then):
    with Engine.running(CHECK, tmp_path, fifo.holding(then)) as engine:
        fifo.line()
        engine.kill()
        assert fifo.is_free_within(1.0)


def test_the_commit_of_a_killed_engine_is_gone_and_its_worktree_is_free(repository, worktree, fifo):
    slow = hook(repository, "pre-commit", fifo.holding())
    with Engine.running(GIT, worktree.folder, "commit", "--allow-empty", "-q", "-m", "x") as engine:
        fifo.line()
        engine.kill()
        assert fifo.is_free_within(1.0)
    slow.unlink()
    worktree.run("commit", "--allow-empty", "-q", "-m", "y")
    assert worktree.text("log", "-1", "--format=%s") == "y"


def test_the_rebase_of_a_killed_engine_is_gone_and_can_be_made_again(repository, worktree, fifo):
    slow = hook(repository, "post-rewrite", fifo.holding())
    with Engine.running(GIT, worktree.folder, "rebase", "-q", "--onto", "main", "HEAD~1", "HEAD") as engine:
        fifo.line()
        engine.kill()
        assert fifo.is_free_within(1.0)
    slow.unlink()
    clear_stale_locks(worktree)
    worktree.run("rebase", "-q", "--onto", "main", "HEAD~1", "HEAD")
    assert worktree.text("log", "--format=%s").splitlines() == ["own", "2", "1"]


def test_a_command_of_a_fork_ends_with_the_fork(tmp_path, fifo):
    """The minder is of one process: that the parent lives on does not matter."""
    code = f"""
with own_group(["true"], minded=True) as child: child.wait()
if os.fork() == 0:
    {CHECK.strip().replace(chr(10), chr(10) + "    ")}
    os._exit(0)
signal.pause()
"""
    script = fifo.holding().replace("echo $$", "echo $PPID")
    with Engine.running(code, tmp_path, script):
        os.kill(int(fifo.line()), signal.SIGKILL)
        assert fifo.is_free_within(1.0)


def test_a_minder_that_somebody_ended_is_replaced_by_one_that_knows_all(fifo):
    code = """
command = ["sh", "-c", sys.argv[1]]
with own_group(command, minded=True):
    processes._minder._process.kill()
    processes._minder._process.wait()
    with own_group(command, minded=True):
        signal.pause()
"""
    with Engine.running(code, fifo.holding()) as engine:
        fifo.line()
        fifo.line()
        engine.kill()
        assert fifo.is_free_within(1.0)


def test_the_next_driver_begins_when_what_the_killed_one_had_in_flight_is_over(tmp_path, fifo):
    code = f"with driving(Path(sys.argv[1]), RUN):{CHECK.replace(chr(10), chr(10) + '    ')}"
    with Engine.running(code, tmp_path, fifo.holding("trap '' TERM; sleep 60")) as engine:
        fifo.line()
        assert f"(pid {engine.process.pid})" in (holder(tmp_path) or "")
        engine.kill()
        assert holder(tmp_path) is None
        started = time.monotonic()
        with driving(tmp_path, RUN):
            assert fifo.is_free_within(0.0)
        assert time.monotonic() - started < 1.0


def test_a_driver_that_lives_on_lets_go_of_the_lock_at_once(tmp_path):
    for _ in range(2):
        with driving(tmp_path, RUN), processes.own_group(["true"], minded=True) as child:
            child.wait()
    assert holder(tmp_path) is None


# -- the minder


def group() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "60"], start_new_session=True)


@pytest.fixture
def minder():
    process = subprocess.Popen([sys.executable, "-ISE", str(processes.MINDER)], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def test_a_minder_ends_what_is_at_work_and_nothing_that_is_over(minder):
    at_work, over = group(), group()
    try:
        minder.communicate(f"+{at_work.pid}\n+{over.pid}\n-{over.pid}\n".encode(), 10)
        assert at_work.wait(1) == -signal.SIGTERM
        assert over.poll() is None
    finally:
        for process in (at_work, over):
            process.kill()
            process.wait()


def test_a_minder_is_not_ended_by_what_ends_other_processes(minder):
    minder.stdin.write(b"-1\n" * 100_000)  # more than a pipe holds: it has begun to read
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        minder.send_signal(number)
    at_work = group()
    minder.communicate(f"+{at_work.pid}\n".encode(), 10)
    assert at_work.wait(1) == -signal.SIGTERM
    assert minder.returncode == 0


@pytest.mark.parametrize("show", [["ls", "/dev/fd"], ["env"], ["pwd"]], ids=" ".join)
@pytest.mark.parametrize("variables", [{}, {"LANG": "C"}, {"LC_CTYPE": "C.UTF-8"}, {"not-a-name": "\udcff"}])
def test_a_child_that_is_minded_finds_what_every_other_one_finds(tmp_path, show, variables):
    env = {"PATH": os.environ["PATH"], **variables}

    def found(minded: bool) -> bytes:
        with processes.own_group(show, minded, cwd=tmp_path, env=env, stdout=subprocess.PIPE) as child:
            said: bytes = child.communicate()[0]
            return said

    assert found(minded=True) == found(minded=True) == found(minded=False)


def test_a_child_that_is_minded_is_ended_by_a_closed_pipe_like_every_other_one():
    with processes.own_group(["sh", "-c", "kill -PIPE $$"], minded=True) as child:
        assert child.wait() == -signal.SIGPIPE


def test_a_program_that_cannot_be_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-such-program"), processes.own_group(["no-such-program"], True):
        pass


# -- what git left


def test_locks_and_a_half_done_rebase_of_a_worktree_are_cleared(worktree):
    own = Path(worktree.text("rev-parse", "--absolute-git-dir"))
    for name in ("index.lock", "HEAD.lock", "logs/HEAD.lock"):
        (own / name).touch()
    (own / "rebase-merge").mkdir()  # without a file in it: killed as it began; `git rebase --abort` fails here
    assert len(clear_stale_locks(worktree)) == 4
    worktree.run("rebase", "-q", "--onto", "main", "HEAD~1", "HEAD")
    worktree.run("commit", "--allow-empty", "-q", "-m", "y")


@pytest.mark.parametrize(
    "args", [("commit", "--allow-empty", "-q", "-m", "x"), ("rebase", "-q", "--onto", "main", "HEAD~1")]
)
def test_a_worktree_in_which_git_was_killed_at_any_moment_can_be_used(worktree, args):
    own, chance = worktree.commit_of("HEAD") or "", random.Random(3)
    for _ in range(12):
        git = subprocess.Popen(["git", "-C", str(worktree.folder), *args], start_new_session=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            git.wait(chance.random() * 0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(git.pid, signal.SIGKILL)
        git.wait()
        clear_stale_locks(worktree)
        worktree.run("reset", "-q", "--hard", own)
        worktree.run("rebase", "-q", "--onto", "main", "HEAD~1", "HEAD")
        worktree.run("reset", "-q", "--hard", own)
        assert worktree.text("status", "--porcelain") == ""


def test_locks_of_the_users_own_checkout_are_never_cleared(repository, worktree):
    lock = repository.folder / ".git" / "index.lock"
    lock.touch()
    assert clear_stale_locks(repository) == []
    assert clear_stale_locks(worktree) == []
    assert lock.exists()


def test_a_worktree_that_was_half_made_is_made_again(repository, fifo):
    """Killed during the checkout; then somebody removed the folder."""
    repository.run("config", "filter.slow.smudge", fifo.holding())
    (repository.folder / ".git" / "info" / "attributes").write_text("file.txt filter=slow\n")
    path = repository.folder.parent / "half"
    add = ("worktree", "add", "--force", "--force", "-q", "--detach", str(path))
    git = subprocess.Popen(["git", "-C", str(repository.folder), *add], start_new_session=True)
    fifo.line()
    os.killpg(git.pid, signal.SIGKILL)
    git.wait()
    assert (repository.folder / ".git" / "worktrees" / "half" / "locked").read_text() == "initializing\n"
    subprocess.run(["rm", "-rf", str(path)], check=True)
    repository.run("config", "--unset", "filter.slow.smudge")
    repository.run(*add)
    assert (path / "file.txt").read_text() == "2\n"
    assert [folder.name for folder in (repository.folder / ".git" / "worktrees").iterdir()] == ["half"]


def test_a_worktree_that_was_hardly_begun_leaves_nothing(repository, worktree):
    folder = repository.folder / ".git" / "worktrees" / "begun"
    folder.mkdir()
    (folder / "locked").write_text("initializing")
    clear_half_made(repository.folder / ".git")
    assert folder.exists(), "one that is just being made is left alone"
    age(folder / "locked")
    clear_half_made(repository.folder / ".git")
    assert [path.name for path in folder.parent.iterdir()] == ["worktree"]


def age(path: Path, seconds: float = 60.0) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def lock_of(git: Git, ref: str) -> Path:
    path = git.folder / ".git" / f"{ref}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("ref", [RUN_REF, "refs/backlog/20260101-120000-abcd/T-1"])
def test_an_old_lock_on_a_ref_of_ours_is_taken_away(repository, ref):
    age(lock_of(repository, ref))
    tip = repository.commit_of("HEAD")
    repository.move_ref(ref, tip, NEVER, "test")
    assert repository.commit_of(ref) == tip


def test_a_young_lock_on_a_ref_of_ours_is_waited_for_until_it_is_old(repository):
    age(lock_of(repository, RUN_REF), stale_locks.STALE_SECONDS - 0.3)
    started = time.monotonic()
    repository.move_ref(RUN_REF, repository.commit_of("HEAD"), NEVER, "test")
    assert time.monotonic() - started >= 0.2


def test_a_lock_of_the_users_git_is_waited_for(repository):
    lock = lock_of(repository, "refs/heads/other")
    timer = threading.Timer(0.3, lock.unlink)
    timer.start()
    repository.move_ref("refs/heads/other", repository.commit_of("HEAD"), NEVER, "test")
    timer.join()


@pytest.mark.parametrize("ref", ["refs/heads/other", "refs/heads/backlog/my-own"])
def test_a_lock_of_the_users_git_that_stays_is_named_and_kept(repository, monkeypatch, ref):
    monkeypatch.setattr(stale_locks, "PATIENCE_SECONDS", 0.1)
    lock = lock_of(repository, ref)
    age(lock)
    with pytest.raises(SurroundingsError) as stopped:
        repository.move_ref(ref, repository.commit_of("HEAD"), NEVER, "test")
    assert stopped.value.message == (
        f"{lock}: another git is at work, or was killed there; when none is, remove that file"
    )
    assert lock.exists()


def test_a_lock_in_a_worktree_is_that_tickets_trouble(worktree, monkeypatch):
    monkeypatch.setattr(stale_locks, "PATIENCE_SECONDS", 0.1)
    lock = Path(worktree.text("rev-parse", "--absolute-git-dir")) / "index.lock"
    lock.touch()
    with pytest.raises(GitError, match=f"{lock}: another git is at work"):
        worktree.run("add", "-A")
    assert lock.exists()


def test_a_git_that_something_ended_has_not_answered_no(repository):
    """Such as `is this commit on the branch?`: a killed git must not be taken for a no."""
    with pytest.raises(SurroundingsError, match="was ended, perhaps for want of memory"):
        repository.run("-c", "alias.die=!kill -9 $PPID", "die", check=False)
