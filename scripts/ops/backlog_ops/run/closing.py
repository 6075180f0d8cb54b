"""Ending a run: the base branch fast-forwards to the run's branch, or stays exactly what it was."""

from __future__ import annotations

from backlog_ops.errors import BacklogError
from backlog_ops.run import worktrees
from backlog_ops.run.claude_agents import end_agents
from backlog_ops.run.context import Context
from backlog_ops.run.marks import sync_mark
from backlog_ops.run.rows import Run
from backlog_ops.run.session_agents import give_up
from backlog_ops.run.steps import Step
from backlog_ops.run.text_gates import first_line


def finish(ctx: Context, run: Run) -> None:
    """All waves are over: deliver what was merged, end the run, then remove what is no longer needed.

    In this order, so that a kill leaves at most something for `clean` to do.
    """
    line = _deliver(ctx, run)
    counts = ctx.store.step_counts(run.id)
    done, total = counts.get(Step.DONE, 0), sum(counts.values())
    ctx.store.end_run(run.id, "done", f"run {run.id}: {done} of {total} tickets done · {line}")
    worktrees.remove_all(ctx, run)
    _delete_delivered_branch(ctx, run)
    sync_mark(ctx)


def _deliver(ctx: Context, run: Run) -> str:
    tip, base = ctx.git.commit_of(run.ref), ctx.git.commit_of(run.base_ref)
    if tip is None:
        return f"{run.branch} is gone; nothing was delivered"
    if tip == run.base_commit:
        return f"{run.base_branch} is unchanged"
    by_hand = f"`git merge {run.branch}` brings the commits in"
    if base is None or not ctx.git.is_ancestor(base, tip):
        return f"{run.base_branch} moved on meanwhile; {by_hand}"
    try:
        if ctx.git.branch() == run.base_branch:
            ctx.git.run("merge", "--ff-only", "--quiet", run.ref)
        elif any(ctx.git.at(path).branch() == run.base_branch for path in ctx.git.worktrees()):
            return f"{run.base_branch} is checked out in another worktree; {by_hand}"
        else:
            ctx.git.move_ref(run.base_ref, tip, base, f"backlog: run {run.id}")
    except BacklogError as error:
        return f"{run.base_branch} was not moved ({first_line(error)}); {by_hand}"
    return f"{run.base_branch} is {_commits(ctx, run, tip)} ahead"


def _commits(ctx: Context, run: Run, tip: str) -> str:
    """`1 commit`, `4 commits`: what the run has added."""
    count = ctx.git.text("rev-list", "--count", f"{run.base_commit}..{tip}")
    return f"{count} commit" if count == "1" else f"{count} commits"


def _delete_delivered_branch(ctx: Context, run: Run) -> str | None:
    """Delete the run's branch where the base branch holds all of it; else say that it is kept."""
    tip = ctx.git.commit_of(run.ref)
    if tip is None:
        return None
    base = ctx.git.commit_of(run.base_ref)
    if base is None or not ctx.git.is_ancestor(tip, base):
        return f"kept {run.branch}: its commits are not on {run.base_branch}; `git branch -D` removes it"
    ctx.git.run("update-ref", "-d", run.ref, tip, check=False)
    return f"removed the branch {run.branch} (at {tip[:9]})"


def _drop_kept_work(ctx: Context, run: Run) -> list[str]:
    """The refs that hold what parked tickets had done; the commit is named, so that even this can be taken back."""
    listed = ctx.git.text("for-each-ref", "--format=%(refname) %(objectname)", f"refs/backlog/{run.id}/")
    said = []
    for ref, commit in (line.split() for line in listed.splitlines()):
        ctx.git.run("update-ref", "-d", ref, commit)
        said.append(f"removed the work of {ref.rpartition('/')[2]} (at {commit[:9]})")
    return said


def remove_worktrees(ctx: Context) -> list[str]:
    """Remove what ended runs left in the work folder; one line for each."""
    said = []
    for run in ctx.store.ended_runs():
        if (ctx.work_folder / "worktrees" / run.id).is_dir():
            worktrees.remove_all(ctx, run)
            said.append(f"removed the worktrees of run {run.id}")
    return said


def abort(ctx: Context) -> str:
    """End the open run where it is, and its agents. The base branch was never touched; what was merged stays on its
    branch.
    """
    run = ctx.open_run()
    at_work = ctx.store.actions(run.id, "open")
    ctx.store.end_run(run.id, "aborted", f"run {run.id}: aborted")
    end_agents(ctx, at_work)
    give_up(ctx, run, everybodys=True)
    sync_mark(ctx)
    tip = ctx.git.commit_of(run.ref)
    if tip is None or tip == run.base_commit:
        return f"run {run.id} aborted; {run.base_branch} is as it was"
    kept = f"{_commits(ctx, run, tip)} on {run.branch} kept"
    return f"run {run.id} aborted; {run.base_branch} is as it was, {kept}"


def clean(ctx: Context) -> list[str]:
    """Remove worktrees, branches and kept work of ended runs; one line for each thing removed.

    A branch with commits that are nowhere else is kept and named: nothing is lost by tidying up.
    """
    said = remove_worktrees(ctx)
    for run in ctx.store.ended_runs():
        said += _drop_kept_work(ctx, run)
        line = _delete_delivered_branch(ctx, run)
        said += [line] if line else []
    return said
