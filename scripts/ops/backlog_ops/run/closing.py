"""Ending a run: the base branch fast-forwards to the run's branch, or stays exactly what it was."""

from __future__ import annotations

from backlog_ops.errors import BacklogError
from backlog_ops.run import worktrees
from backlog_ops.run.context import Context
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Run
from backlog_ops.run.text_gates import first_line


def finish(ctx: Context, run: Run) -> None:
    """All waves are over: deliver what was merged and remove what is no longer needed."""
    line = _deliver(ctx, run)
    worktrees.remove_all(ctx, run)
    counts = ctx.store.step_counts(run.id)
    done, total = counts.get(Step.DONE, 0), sum(counts.values())
    ctx.store.say(run.id, f"run {run.id}: {done} of {total} tickets done · {line}")
    ctx.store.end_run(run.id, "done")


def _deliver(ctx: Context, run: Run) -> str:
    tip, base = ctx.git.commit_of(run.branch), ctx.git.commit_of(f"refs/heads/{run.base_branch}")
    if tip is None:
        return f"{run.branch} is gone; nothing was delivered"
    if tip == base or tip == run.base_commit:
        _delete_branch(ctx, run, tip)
        return f"{run.base_branch} is unchanged"
    by_hand = f"`git merge {run.branch}` brings the commits in"
    if base is None or not ctx.git.is_ancestor(base, tip):
        return f"{run.base_branch} moved on meanwhile; {by_hand}"
    count = ctx.git.text("rev-list", "--count", f"{base}..{tip}")
    try:
        if ctx.git.branch() == run.base_branch:
            ctx.git.run("merge", "--ff-only", "--quiet", run.branch)
        elif any(ctx.git.at(path).branch() == run.base_branch for path in ctx.git.worktrees()):
            return f"{run.base_branch} is checked out in another worktree; {by_hand}"
        else:
            ctx.git.move_ref(f"refs/heads/{run.base_branch}", tip, base, f"backlog: run {run.id}")
    except BacklogError as error:
        return f"{run.base_branch} was not moved ({first_line(error)}); {by_hand}"
    _delete_branch(ctx, run, tip)
    return f"{run.base_branch} is {count} commits ahead"


def _delete_branch(ctx: Context, run: Run, tip: str) -> None:
    ctx.git.run("update-ref", "-d", f"refs/heads/{run.branch}", tip, check=False)


def abort(ctx: Context) -> str:
    """End the open run where it is. The base branch was never touched; what was merged stays on its branch."""
    run = ctx.open_run()
    ctx.store.end_run(run.id, "aborted")
    tip = ctx.git.commit_of(run.branch)
    if tip is None or tip == run.base_commit:
        return f"run {run.id} aborted; {run.base_branch} is as it was"
    count = ctx.git.text("rev-list", "--count", f"{run.base_commit}..{tip}")
    return f"run {run.id} aborted; {run.base_branch} is as it was, {count} commits are kept on {run.branch}"


def clean(ctx: Context) -> list[str]:
    """Remove worktrees, briefs and branches of ended runs; one line for each thing removed.

    A branch with commits that are nowhere else is kept and named: nothing is lost by tidying up.
    """
    said = []
    for run in ctx.store.ended_runs():
        if (ctx.work_folder / "worktrees" / run.id).is_dir():
            worktrees.remove_all(ctx, run)
            said.append(f"removed the worktrees of run {run.id}")
        tip = ctx.git.commit_of(run.branch)
        if tip is None:
            continue
        base = ctx.git.commit_of(f"refs/heads/{run.base_branch}")
        if base is not None and ctx.git.is_ancestor(tip, base):
            _delete_branch(ctx, run, tip)
            said.append(f"removed the branch {run.branch} (at {tip[:9]})")
        else:
            said.append(f"kept {run.branch}: its commits are not on {run.base_branch}; `git branch -D` removes it")
    return said
