"""MERGE: tickets come onto the run's branch one at a time, each checked again where the branch has moved.

On any failure the branch is what it was: it moves last, by compare-and-swap, to a commit that has passed every guard.
"""

from __future__ import annotations

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.write_set import deletable, outside
from backlog_ops.errors import RepositoryError
from backlog_ops.run import worktrees
from backlog_ops.run.branches import move_branch
from backlog_ops.run.context import Context
from backlog_ops.run.gates.commit import completed_path, uncommit
from backlog_ops.run.gates.implement import allowed_paths
from backlog_ops.run.gates.lint import run_in_worktree
from backlog_ops.run.gates.outcome import fail, park
from backlog_ops.run.git import GitError
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.steps import Step

CONFLICT = "merge conflict with what was merged before it"


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    """Put the ticket's commit on the run's branch."""
    with ctx.merging:
        tip = ctx.git.commit_of(run.ref)
        if tip is None:
            raise RepositoryError(
                f"{run.branch} is gone; `git reflog` may know where it was: make it again, then retry"
            )
        if not ctx.git.is_ancestor(ticket.commit_id or "", tip):
            commit: str | None = ticket.commit_id or ""
            if tip != ticket.base_commit:
                commit = _rebased(ctx, ticket, tip)
            if commit is None or not _may_land(ctx, ticket, tip, commit):
                return
            # Recorded before the branch moves: a kill in between finds its commit on the branch.
            ticket = ctx.store.update_ticket(ticket, commit_id=commit, base_commit=tip)
            move_branch(ctx.git, run.ref, commit, tip, f"backlog: {ticket.id}")
    subject = (ticket.message or "").splitlines()[0]
    ctx.store.settle(ticket, f"COMMIT · {(ticket.commit_id or '')[:9]} · {subject}", step=Step.DONE)
    worktrees.forget_kept(ctx, ticket)
    worktrees.remove(ctx, ticket)


def _rebased(ctx: Context, ticket: TicketState, tip: str) -> str | None:
    """The ticket's commit on top of `tip`, checked again there; None when it did not get that far."""
    git = ctx.git.at(ctx.worktree_path(ticket))
    git.run("rebase", "--abort", check=False)  # of a rebase that was killed
    git.run("reset", "--quiet", "--hard", ticket.commit_id or "")
    seconds = ctx.settings.quality_gates.timeout_seconds
    try:
        git.run("rebase", "--quiet", "--onto", tip, ticket.base_commit or "", "HEAD", timeout=seconds)
    except GitError as error:
        met = git.unmerged()
        git.run("rebase", "--abort", check=False)
        if not met:
            park(ctx, ticket, f"could not be rebased on what was merged before it: {error.message}")
            return None
        reason = f"{CONFLICT} in {', '.join(met[:3])}"
        # It cannot come through as it is: `retry` lets it begin again on the branch as it is then.
        park(ctx, ticket, reason, resume_at=Step.PREPARE)
        return None
    commit = git.commit_of("HEAD") or ""
    if not _may_land(ctx, ticket, tip, commit):  # whatever a hook has added is nobody's work
        return None
    if ctx.git.changed_lines(ticket.base_commit or "", ticket.commit_id or "") != ctx.git.changed_lines(tip, commit):
        _judge_again(ctx, ticket, tip)
        return None
    checks, _tree = run_in_worktree(ctx, ticket, git.text("rev-parse", "HEAD^{tree}"))
    if checks.passed:
        return commit
    uncommit(ctx, git, ticket, tip)
    failed = checks.results[-1]
    headline = f"on the merged base: {failed.name}: {failed.problem}"
    tree = worktrees.snapshot(ctx, git.folder)
    fail(ctx, ticket, Gate.LINT, checks.report(), headline, base_commit=tip, work_tree=tree)
    return None


def _judge_again(ctx: Context, ticket: TicketState, tip: str) -> None:
    """Git merged without a conflict, but not what was approved: LINT and REVIEW look at what came out."""
    git = ctx.git.at(ctx.worktree_path(ticket))
    uncommit(ctx, git, ticket, tip)
    ctx.store.settle(
        ticket,
        "COMMIT: on the merged base it is another change than the approved one; checked and reviewed again",
        step=Step.LINT,
        base_commit=tip,
        work_tree=worktrees.snapshot(ctx, git.folder),
        approved_tree=None,
        message=None,
    )


def _may_land(ctx: Context, ticket: TicketState, tip: str, commit: str) -> bool:
    """Whether the commit changes the ticket's own files only, and removes only what the ticket names for that."""
    own = allowed_paths(ctx, ticket) | {ticket.path, completed_path(ctx, ticket)}
    strays = outside(ctx.git.paths_between(tip, commit), own)
    if strays:
        reason = f"refused to merge: it would change {strays[0]}, which is not among the ticket's files"
        park(ctx, ticket, reason, resume_at=Step.IMPLEMENT)
        return False
    deleted = ctx.git.paths_between(tip, commit, only="D")
    unnamed = outside(deleted, deletable(ctx.parsed(ticket)) | {ticket.path})
    if unnamed:
        reason = f"refused to merge: it would delete {unnamed[0]}, which the ticket does not name for that"
        park(ctx, ticket, reason, resume_at=Step.IMPLEMENT)
    return not unnamed
