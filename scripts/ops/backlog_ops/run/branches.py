"""Moving a branch: by compare-and-swap, together with the work tree where somebody has it checked out."""

from __future__ import annotations

from pathlib import Path

from backlog_ops.run.git import Git, GitError


def checked_out_at(git: Git, ref: str) -> Path | None:
    """The work tree that has a branch checked out."""
    folder: Path | None = None
    for line in git.text("worktree", "list", "--porcelain").splitlines():
        if line.startswith("worktree "):
            folder = Path(line[len("worktree ") :])
        elif line == f"branch {ref}":
            return folder
    return None


def move_branch(git: Git, ref: str, new: str, old: str, why: str) -> None:
    """Move the branch from `old` to its descendant `new`. Raises GitError where it is no longer at `old`, and where
    changes in the work tree that has it checked out are in the way.
    """
    there = checked_out_at(git, ref)
    if there is None:
        git.move_ref(ref, new, old, why)
    elif git.commit_of(ref) != old:
        raise GitError(f"{ref} was moved by somebody else")
    else:
        git.at(there).run("merge", "--ff-only", "--quiet", new)
