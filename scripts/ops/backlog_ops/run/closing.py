"""Ending a run: the base branch fast-forwards to the run's branch, or stays exactly what it was."""

from __future__ import annotations

from backlog_ops.errors import BacklogError, RunStateError, SurroundingsError
from backlog_ops.run import worktrees
from backlog_ops.run.branches import checked_out_at
from backlog_ops.run.claude_agents import end_agents
from backlog_ops.run.context import Context
from backlog_ops.run.driver_lock import holder
from backlog_ops.run.journal import DELIVER, is_at_work
from backlog_ops.run.marks import sync_mark
from backlog_ops.run.questions import answer_about, ask_person
from backlog_ops.run.rows import Run
from backlog_ops.run.session_agents import give_up
from backlog_ops.run.steps import Step
from backlog_ops.run.text_gates import first_line


def finish(ctx: Context, run: Run) -> None:
    """All waves are over: deliver what was merged, end the run, then remove what is no longer needed.

    In this order, so that a kill leaves at most something for `clean` to do. Where a person has to say yes first,
    the run stays open with that question.
    """
    tip = ctx.git.commit_of(run.ref)
    if tip is not None and tip != run.base_commit and _must_ask(ctx, run, tip):
        question = f"merge {_commits(ctx, run, tip)} of run {run.id} into {run.base_branch}?"
        ask_person(ctx.store, run, question, tip)
        return
    line = _deliver(ctx, run, tip)
    counts = ctx.store.step_counts(run.id)
    done, total = counts.get(Step.DONE, 0), sum(counts.values())
    if ctx.store.end_run(run.id, "done", f"run {run.id}: {done} of {total} tickets done · {line}"):
        _sweep(ctx, run)
    sync_mark(ctx)


def _sweep(ctx: Context, run: Run) -> None:
    """The folder goes last: where it is left, a kill came in between, and `tidy` does the rest."""
    _delete_delivered_branch(ctx, run)
    worktrees.remove_all(ctx, run)


def tidy(ctx: Context) -> None:
    """Remove what a kill at the very end of the last run has left."""
    run = ctx.store.last_run()
    if run is not None and run.state == "done" and (ctx.work_folder / "worktrees" / run.id).is_dir():
        _sweep(ctx, run)


def _must_ask(ctx: Context, run: Run, tip: str) -> bool:
    merging = ctx.settings.merging
    if not (merging.into_base and merging.asks_first) or answer_about(ctx.store, run.id, tip) is not None:
        return False
    base = ctx.git.commit_of(run.base_ref)
    return base is None or not ctx.git.is_ancestor(tip, base)  # else the person has brought them in already


def _deliver(ctx: Context, run: Run, tip: str | None) -> str:
    base = ctx.git.commit_of(run.base_ref)
    if tip is None:
        return f"{run.branch} is gone; nothing was delivered"
    if tip == run.base_commit:
        return f"{run.base_branch} is unchanged"
    by_hand = f"`git merge {run.branch}` brings the commits in"
    if base is not None and ctx.git.is_ancestor(tip, base):  # a kill after the merge and before the end
        return f"{run.base_branch} is {_commits(ctx, run, tip)} ahead"
    if not ctx.settings.merging.into_base:
        return f"{_commits(ctx, run, tip)} on {run.branch} (backlog.mergeInto: branch); {by_hand}"
    if answer_about(ctx.store, run.id, tip) == "no":
        return f"not merged into {run.base_branch}, as you said; {by_hand}"
    if base is None or not ctx.git.is_ancestor(base, tip):
        return f"{run.base_branch} moved on meanwhile; {by_hand}"
    try:
        if ctx.git.branch() == run.base_branch:
            ctx.git.run("merge", "--ff-only", "--quiet", run.ref)
        elif any(ctx.git.at(path).branch() == run.base_branch for path in ctx.git.worktrees()):
            return f"{run.base_branch} is checked out in another worktree; {by_hand}"
        else:
            ctx.git.move_ref(run.base_ref, tip, base, f"backlog: run {run.id}")
    except SurroundingsError:
        raise
    except BacklogError as error:
        return f"{run.base_branch} was not moved ({first_line(error)}); {by_hand}"
    return f"{run.base_branch} is {_commits(ctx, run, tip)} ahead"


def is_undelivered(ctx: Context, run: Run) -> bool:
    """Whether commits of an ended run should be on the base branch and are not."""
    tip = ctx.git.commit_of(run.ref)
    wanted = ctx.settings.merging.into_base and tip is not None and answer_about(ctx.store, run.id, tip) != "no"
    return wanted and tip != run.base_commit


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
    if checked_out_at(ctx.git, run.ref) is not None:
        return f"kept {run.branch}: it is checked out"
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
    if holder(ctx.state_folder) is not None and is_at_work(ctx.store, run.id, DELIVER):
        raise RunStateError(f"run {run.id}: is being delivered this moment; `backlog-ops undo ID` takes a ticket back")
    at_work = ctx.store.actions(run.id, "open")
    if not ctx.store.end_run(run.id, "aborted", f"run {run.id}: aborted"):
        raise RunStateError(f"run {run.id}: has ended meanwhile; `backlog-ops status` says how")
    end_agents(ctx, at_work)
    give_up(ctx, run, everybodys=True)
    for ticket in ctx.store.tickets(run.id):
        if not ticket.step.is_final:
            worktrees.keep(ctx, ticket)
    sync_mark(ctx)
    tip, base = ctx.git.commit_of(run.ref), ctx.git.commit_of(run.base_ref)
    if tip is None or tip == run.base_commit:
        return f"run {run.id} aborted; {run.base_branch} is as it was"
    if base is not None and ctx.git.is_ancestor(tip, base):  # killed after the delivery and before the end
        return f"run {run.id} aborted; its commits are on {run.base_branch} already"
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
