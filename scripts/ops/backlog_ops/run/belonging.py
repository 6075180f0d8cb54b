"""Whether a ticket's worktree is still one of the repository around it.

A ticket's tests may remove its `.git` or put a repository of their own in its place. Git would then find the user's
own checkout above, or the other repository, and change that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from backlog_ops.storage.locations import WORK_FOLDER_NAME, find_repository

_BEFORE = "gitdir: "


def is_ticket_worktree(folder: Path) -> bool:
    """By its name: <repository>/.backlog-ops/worktrees/<run>/<ticket>."""
    return folder.parts[-4:-2] == (WORK_FOLDER_NAME, "worktrees")


def lost_worktree(folder: Path) -> str | None:
    """One line where `folder` is a ticket's worktree and its `.git` does not lead to the repository around it."""
    if not is_ticket_worktree(folder) or not folder.is_dir() or _leads_home(folder):
        return None
    return (
        f"{folder / '.git'} is not the worktree's own any more; move it away, then `git worktree repair` puts it back"
    )


def own_git_dir(folder: Path) -> Path | None:
    """`.git/worktrees/<name>` of a linked worktree; None for the repository's own work tree. Without a process."""
    try:
        line = (folder / ".git").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return folder / line[len(_BEFORE) :].strip() if line.startswith(_BEFORE) else None


def _leads_home(folder: Path) -> bool:
    dot_git, around = folder / ".git", find_repository(folder.parents[3])
    try:
        line = "" if dot_git.is_symlink() else dot_git.read_text(encoding="utf-8")
        if around is None or not line.startswith(_BEFORE):
            return False
        own = folder / line[len(_BEFORE) :].strip()
        back = own / (own / "gitdir").read_text(encoding="utf-8").strip()
        return own.parent.samefile(around[1] / "worktrees") and back.samefile(dot_git)
    except (OSError, ValueError):  # not there, not to be read
        return False


def no_search_above(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that keep git from looking for a repository above a ticket's worktree, should its `.git` vanish now."""
    if not is_ticket_worktree(folder):
        return {}
    others = environ.get("GIT_CEILING_DIRECTORIES")
    return {"GIT_CEILING_DIRECTORIES": os.pathsep.join([*([others] if others else []), str(folder.parent)])}
