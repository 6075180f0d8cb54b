"""`undo ID`: a ticket's commit is taken back by a commit of its own; the ticket is pending again.

Made in a worktree aside and checked by the project's own commands; the branch moves last, or not at all.
"""

from __future__ import annotations

from backlog_ops.errors import FindingsError, RepositoryError, RunStateError
from backlog_ops.run import worktrees
from backlog_ops.run.branches import checked_out_at, move_branch
from backlog_ops.run.commands import run_checks
from backlog_ops.run.context import Context
from backlog_ops.run.git import Git, GitError
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.steps import Step


def undo(ctx: Context, ticket_id: str) -> str:
    """Take back the commit of a ticket that is done, on the branch that holds it. Returns what to tell the person.

    Raises RunStateError where there is nothing to take back, FindingsError where later work needs the commit.
    """
    run, ticket = _done(ctx, ticket_id)
    current = ctx.store.open_run()
    if current is not None and current.id != run.id:
        raise RunStateError(f"run {current.id} is open and began before this: undo {ticket_id} when it has ended")
    commit = ticket.commit_id or ""
    ref, branch = _holder(ctx, run, ticket)
    tip, there = ctx.git.commit_of(ref) or "", checked_out_at(ctx.git, ref)
    if there is not None and not there.samefile(ctx.top):
        raise RepositoryError(f"{branch} is checked out in another worktree; run this there: {there}")
    path = ctx.make_work_folder() / "worktrees" / run.id / f"undo-{ticket.id}"
    try:
        worktrees.create(ctx, path, tip)
        reverted = _revert(ctx, ctx.git.at(path), ticket, commit)
        if reverted != tip:
            move_branch(ctx.git, ref, reverted, tip, "backlog: undo")
    finally:
        worktrees.remove_at(ctx, path)
    worktrees.forget_kept(ctx, ticket)
    reason = f"undone: {reverted[:9]} takes {commit[:9]} back"
    ctx.store.settle(ticket, reason, step=Step.PARKED, reason=reason, parked_at=Step.PREPARE)
    return f"{ticket.id}: {branch} is at {reverted[:9]}, which takes {commit[:9]} back; the ticket is pending again"


def _done(ctx: Context, ticket_id: str) -> tuple[Run, TicketState]:
    """The ticket in the newest run that has done it."""
    current = ctx.store.open_run()
    for run in [*([current] if current else []), *reversed(ctx.store.ended_runs())]:
        if ctx.store.step_of(run.id, ticket_id) is Step.DONE:
            return run, ctx.store.ticket(run.id, ticket_id)
    raise RunStateError(f"{ticket_id}: no run has done it, or it was undone already; `git log` has the rest")


def _holder(ctx: Context, run: Run, ticket: TicketState) -> tuple[str, str]:
    """(ref, branch) that holds the commit: the base branch once it is delivered, else the run's own."""
    for ref, branch in ((run.base_ref, run.base_branch), (run.ref, run.branch)):
        tip = ctx.git.commit_of(ref)
        if tip is not None and ctx.git.is_ancestor(ticket.commit_id or "", tip):
            return ref, branch
    raise RunStateError(
        f"{ticket.id}: its commit {(ticket.commit_id or '')[:9]} is neither on {run.base_branch} nor on {run.branch}; "
        f"`git revert` takes it back where it is"
    )


def _revert(ctx: Context, git: Git, ticket: TicketState, commit: str) -> str:
    """The new commit, through the user's own hooks, once the project's own commands have passed on it."""
    by_hand = f"`git revert {commit[:9]}` does it by hand"
    try:
        git.run("revert", "--no-commit", commit)
    except GitError:
        met = git.unmerged()
        where = f"{met[0]} was changed again since" if met else "later commits need it"
        raise FindingsError(f"{ticket.id}: cannot be taken back: {where}; {by_hand}") from None
    gates = ctx.settings.quality_gates
    tree = worktrees.snapshot(ctx, git.folder)
    checks = run_checks(gates.commands(), git.folder, ctx.top, gates.timeout_seconds, ctx.environ, ctx.stopping)
    if not checks.passed:
        failed = checks.results[-1]
        raise FindingsError(
            f"{ticket.id}: cannot be taken back: without it {failed.name} fails: {failed.problem}; {by_hand}",
            failed.output.splitlines()[-20:],
        )
    if tree == git.text("rev-parse", "HEAD^{tree}"):  # taken back already; whoever did so was killed before he said it
        return git.text("rev-parse", "HEAD")
    git.run("read-tree", tree)  # what the commands left behind is nobody's work
    subject = (ticket.message or ticket.id).splitlines()[0]
    message = f"revert: {subject}\n\nThis takes back commit {commit}.\n\nTicket: {ticket.id}\n"
    git.run(
        "commit", "--quiet", "--cleanup=whitespace", "-F", "-", stdin=message.encode(), timeout=gates.timeout_seconds
    )
    return git.text("rev-parse", "HEAD")
