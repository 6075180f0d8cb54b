"""Lock files of git: which are waited for, which are removed, and which only a person may remove.

refs/heads/backlog/<run>.lock, refs/backlog/<run>/…    nobody but the engine writes these: old ones are removed
anything else below the repository's git folder        may be the user's own git at work: waited for, then named
.git/worktrees/<ticket>/**                             removed by clear_stale_locks, when no agent is at work there
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backlog_ops.run.belonging import own_git_dir

if TYPE_CHECKING:
    from backlog_ops.run.git import Git

PATIENCE_SECONDS = 3.0
STALE_SECONDS = 2.0
POLL_SECONDS = 0.05

_IN_THE_WAY = re.compile(rb"^(?:fatal|error): .*Unable to create '(.+\.lock)': File exists", re.MULTILINE)
_OUR_REF = re.compile(r"/refs/(heads/)?backlog/\d{8}-\d{6}-[0-9a-f]{4}(/[^/]+)?\.lock$")
_OF_A_WORKTREE = re.compile(r"\.git/worktrees/[^/]+/")
_HALF_DONE = ("rebase-merge", "rebase-apply")


def lock_in_the_way(done: subprocess.CompletedProcess[bytes], folder: Path) -> Path | None:
    """The lock file that a git which failed in `folder` has found in its way, as it says itself."""
    found = _IN_THE_WAY.search(done.stderr) if done.returncode != 0 else None
    return folder / os.fsdecode(found[1]) if found else None


def freed(lock: Path) -> bool:
    """Whether the lock went away within a short time; one on a ref of ours that is old is taken away."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            age = time.time() - lock.stat().st_mtime
        except FileNotFoundError:
            return True
        if age >= STALE_SECONDS and _OUR_REF.search(str(lock)):
            lock.unlink(missing_ok=True)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)


def is_shared(lock: Path) -> bool:
    """Whether it stops the whole repository, and not one worktree."""
    return not _OF_A_WORKTREE.search(str(lock))


def still_locked(lock: Path) -> str:
    """One line for the person."""
    return f"{lock}: another git is at work, or was killed there; when none is, remove that file"


def clear_stale_locks(git: Git) -> list[Path]:
    """Make a ticket's worktree usable after a git was killed in it: remove its locks and its half-done rebase. Only
    where nobody is at work in it. Returns what was removed; nothing outside the worktree's own git folder ever is.
    """
    own = own_git_dir(git.folder)
    if own is None or not (own / "commondir").is_file():  # the repository's own folder: the user's git may be at work
        return []
    locks = [lock for lock in own.rglob("*.lock") if lock.is_file()]
    for lock in locks:
        lock.unlink(missing_ok=True)
    half_done = [own / name for name in _HALF_DONE if (own / name).is_dir()]
    for folder in half_done:
        shutil.rmtree(folder)
    return [*locks, *half_done]


def clear_half_made(common: Path) -> None:
    """Remove what `git worktree add` leaves below the repository's git folder when it is killed before it has noted
    whose it is: git takes that for a worktree in the making, for ever.
    """
    for folder in common.glob("worktrees/*"):
        lock = folder / "locked"
        if lock.is_file() and not (folder / "gitdir").exists() and time.time() - lock.stat().st_mtime >= STALE_SECONDS:
            shutil.rmtree(folder)
