"""One git worktree per ticket, made from a recorded commit and checked against it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from backlog_ops.errors import RepositoryError
from backlog_ops.run.commands import Checks, run_checks
from backlog_ops.run.context import Context
from backlog_ops.run.store import Run, TicketState


def create(ctx: Context, ticket: TicketState, commit: str) -> Path:
    """Make (again, if a killed run left half of one) the ticket's worktree at exactly `commit`."""
    path = ctx.worktree_path(ticket)
    with ctx.merging:
        _forget(ctx, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        ctx.git.run("worktree", "add", "--quiet", "--detach", str(path), commit)
    if ctx.git.at(path).commit_of("HEAD") != commit:
        raise RepositoryError(f"{path}: the worktree is not at {commit}; a checkout hook moved it?")
    _link(ctx, path)
    return path


def _link(ctx: Context, worktree: Path) -> None:
    for name in ctx.settings.worktree.link:
        source, target = ctx.top / name, worktree / name
        if not source.exists():
            raise RepositoryError(f"worktree.link: {name} does not exist in {ctx.top}; create it or take it out")
        if not target.exists() and not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(source, target)


def set_up(ctx: Context, worktree: Path) -> Checks:
    """Run worktree.setupCommand in a fresh worktree; without one, nothing ran and nothing failed."""
    command = ctx.settings.worktree.setup_command
    commands = [("worktree.setupCommand", command)] if command else []
    return run_checks(
        commands, worktree, ctx.top, ctx.settings.quality_gates.timeout_seconds, ctx.environ, ctx.stopping
    )


def snapshot(ctx: Context, worktree: Path) -> str:
    """The tree of the worktree as it is now, without what was linked into it."""
    return ctx.git.at(worktree).snapshot_tree(ctx.settings.worktree.link)


def restore_path(ctx: Context, worktree: Path, tree: str, path: str) -> None:
    """Put one path back to what it is in `tree`, which may mean: not there."""
    if ctx.git.at(worktree).file_at(tree, path) is not None:
        ctx.git.at(worktree).run("checkout", tree, "--", f":(top,literal){path}")
        ctx.git.at(worktree).run("reset", "--quiet", "--", f":(top,literal){path}")
        return
    target = worktree / path
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def remove(ctx: Context, ticket: TicketState) -> None:
    with ctx.merging:
        _forget(ctx, ctx.worktree_path(ticket))


def remove_all(ctx: Context, run: Run) -> None:
    """Remove what is left of a run: its worktrees and their folder."""
    folder = ctx.work_folder / "worktrees" / run.id
    with ctx.merging:
        for path in list(folder.iterdir()) if folder.is_dir() else []:
            _forget(ctx, path)
        shutil.rmtree(folder, ignore_errors=True)
        ctx.git.run("worktree", "prune")
    parent = folder.parent
    if parent.is_dir() and not any(parent.iterdir()):
        parent.rmdir()


def _forget(ctx: Context, path: Path) -> None:
    # Links first: `git worktree remove --force` must never be tempted to follow one into the user's checkout.
    for name in ctx.settings.worktree.link:
        if (path / name).is_symlink():
            (path / name).unlink()
    if path.exists():
        ctx.git.run("worktree", "remove", "--force", "--force", str(path), check=False)
    if path.exists():
        shutil.rmtree(path)
    ctx.git.run("worktree", "prune")
