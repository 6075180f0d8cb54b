"""One git worktree per ticket, made from a recorded commit and checked against it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from backlog_ops.domain.paths import same_file_key
from backlog_ops.domain.write_set import outside
from backlog_ops.errors import BacklogError, FindingsError, RepositoryError, SurroundingsError
from backlog_ops.run.belonging import lost_worktree
from backlog_ops.run.commands import run_checks
from backlog_ops.run.context import Context
from backlog_ops.run.git import PLAIN_DIFF, GitError, is_beyond_link
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.stale_locks import clear_half_made, clear_stale_locks
from backlog_ops.run.steps import Step
from backlog_ops.storage.locations import find_repository


def create(ctx: Context, path: Path, commit: str) -> None:
    """Make (again, if a killed run left half of one) a worktree at exactly `commit`, set up as configured."""
    with ctx.merging:
        found = find_repository(ctx.top)
        if found is not None:
            clear_half_made(found[1])
        _forget(ctx, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Forced twice: an earlier `add` that was killed half-way has left this path locked ("initializing").
        ctx.git.run("worktree", "add", "--force", "--force", "--quiet", "--detach", str(path), commit)
    if ctx.git.at(path).commit_of("HEAD") != commit:
        raise RepositoryError(f"{path}: the worktree is not at {commit}; a checkout hook moved it?")
    _link(ctx, path)
    _set_up(ctx, path, commit)


def _link(ctx: Context, worktree: Path) -> None:
    for name in ctx.settings.worktree.link:
        source, target = ctx.top / name, worktree / name
        if not source.exists():
            raise RepositoryError(f"worktree.link: {name} does not exist in {ctx.top}; create it or take it out")
        if not target.exists() and not target.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(source, target)


def _set_up(ctx: Context, worktree: Path, commit: str) -> None:
    """Run worktree.setupCommand in a fresh worktree. Raises FindingsError when it fails or leaves new files that
    git does not ignore: they would be taken for the ticket's work. Tracked files it changed are put back.
    """
    command = ctx.settings.worktree.setup_command
    if not command:
        return
    seconds = ctx.settings.quality_gates.timeout_seconds
    checks = run_checks([("worktree.setupCommand", command)], worktree, ctx.top, seconds, ctx.environ, ctx.stopping)
    if not checks.passed:
        raise FindingsError(f"worktree.setupCommand failed: {checks.results[0].problem}: {checks.results[0].output}")
    git = ctx.git.at(worktree)
    tree = snapshot(ctx, worktree)
    left = git.paths_between(commit, tree, only="A")
    if left:
        raise FindingsError(f"worktree.setupCommand left {left[0]}, which git does not ignore; add it to .gitignore")
    git.restore(commit, git.paths_between(commit, tree))


def clear_locks(ctx: Context, ticket: TicketState) -> None:
    """Remove what a git that was killed in the ticket's worktree has left there: nobody else is at work in it."""
    worktree = ctx.worktree_path(ticket)
    if worktree.is_dir() and lost_worktree(worktree) is None:
        clear_stale_locks(ctx.git.at(worktree))


def bring_in(ctx: Context, ticket: TicketState, commit: str) -> str | None:
    """Lay the work of an earlier run (`ticket.carried`) over a fresh worktree at `commit`; where it does not fit the
    commit any more, say so and leave the worktree as it is.
    """
    git = ctx.git.at(ctx.worktree_path(ticket))
    kept = ticket.carried or ""
    if ctx.git.commit_of(kept) is None:
        return None
    # Without the move of the ticket's own file, which a commit that did not get through had made already.
    tickets = f":(top,exclude,literal){ctx.settings.backlog.data_dir}"
    patch = git.run("diff", "--binary", *PLAIN_DIFF, f"{kept}^", kept, "--", ":/", tickets).stdout
    if not patch:
        return None
    try:
        git.run("apply", "--3way", "--whitespace=nowarn", "-", stdin=patch)
    except GitError as error:
        git.run("reset", "--quiet", "--hard", commit)
        return f"Its work does not fit the code any more ({error.message}); the worktree is as the branch has it."
    git.run("reset", "--quiet", "--mixed", commit)
    return None


def snapshot(ctx: Context, worktree: Path) -> str:
    """The tree of the worktree as it is now, without what was linked into it."""
    return ctx.git.at(worktree).snapshot_tree(ctx.settings.worktree.link)


def unusable_paths(ctx: Context, ticket: TicketState, paths: Sequence[str]) -> list[tuple[str, str]]:
    """(path, why) for those that would not be committed: ignored, or behind a link, where they are the user's own."""
    worktree = ctx.worktree_path(ticket)
    links = [same_file_key(name) for name in ctx.settings.worktree.link]
    own, found = [], []
    for path in paths:
        if is_beyond_link(worktree, path) or not outside([same_file_key(path)], links):
            found.append((path, "lies behind a link out of the worktree"))
        else:
            own.append(path)
    ignored = ctx.git.at(worktree).ignored(own)
    return [*found, *((path, "is ignored by git and would not be committed") for path in ignored)]


def keep(ctx: Context, ticket: TicketState) -> str | None:
    """Put the worktree's state on a ref of its own, so that a parked ticket's work outlives its worktree. Returns
    why that could not be done, or None.
    """
    worktree = ctx.worktree_path(ticket)
    if ticket.base_commit is None or not worktree.is_dir():
        return None
    try:
        tree = snapshot(ctx, worktree)
        commit = ctx.git.text("commit-tree", tree, "-p", ticket.base_commit, "-m", f"{ticket.id}: parked work")
        ctx.git.run("update-ref", kept_ref(ticket), commit)
    except SurroundingsError:
        raise
    except (BacklogError, OSError) as error:
        return str(error)
    return None


def forget_kept(ctx: Context, ticket: TicketState) -> None:
    """What was kept of a ticket that is done now would only be in the way later."""
    ctx.git.run("update-ref", "-d", kept_ref(ticket), check=False)


def kept_ref(ticket: TicketState) -> str:
    return f"refs/backlog/{ticket.run}/{ticket.id}"


def remove(ctx: Context, ticket: TicketState) -> None:
    """Remove a worktree that is no longer needed. What cannot be removed is said and left to `clean`."""
    try:
        remove_at(ctx, ctx.worktree_path(ticket))
    except (BacklogError, OSError) as error:
        ctx.say(ticket, f"its worktree could not be removed: {error}")


def remove_at(ctx: Context, path: Path) -> None:
    """Remove one worktree."""
    with ctx.merging:
        _forget(ctx, path)


def remove_all(ctx: Context, run: Run) -> None:
    """Remove what is left of a run: its worktrees and their folder."""
    folder = ctx.work_folder / "worktrees" / run.id
    unkept = {
        ticket.id for ticket in ctx.store.tickets(run.id) if ticket.step is not Step.DONE and _is_unkept(ctx, ticket)
    }
    with ctx.merging:
        for path in list(folder.iterdir()) if folder.is_dir() else []:
            if path.name not in unkept:
                _forget(ctx, path)
        ctx.git.run("worktree", "prune")
    for empty in (folder, folder.parent):
        if empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()


def _is_unkept(ctx: Context, ticket: TicketState) -> bool:
    """Whether a worktree is all there is of a ticket's work, because that could not be kept elsewhere."""
    return ctx.git.commit_of(kept_ref(ticket)) is None and keep(ctx, ticket) is not None


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
