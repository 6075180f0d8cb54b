"""Opening a run: everything that can be wrong is found before anything is written."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from backlog_ops.domain.budget import dollars
from backlog_ops.domain.gates import TicketStatus
from backlog_ops.domain.pricing import iso_day
from backlog_ops.domain.tickets import Ticket
from backlog_ops.errors import (
    BudgetError,
    ConfigurationError,
    FindingsError,
    RepositoryError,
    RunStateError,
    UsageError,
)
from backlog_ops.money.quote import quote, save_quote
from backlog_ops.run.backlog import BacklogFiles, read_backlog
from backlog_ops.run.context import Context
from backlog_ops.run.failures import as_history, failures_of
from backlog_ops.run.git import GitError
from backlog_ops.run.marks import sync_mark
from backlog_ops.run.progress import run_limit
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.steps import Step
from backlog_ops.run.surroundings import check_surroundings
from backlog_ops.run.worktrees import kept_ref

_NOT_READY = {
    TicketStatus.BLOCKED: "blocked: its status says so",
    TicketStatus.COMPLETED: "its status is completed, but it lies in pending/",
}


@dataclass(frozen=True)
class Selection:
    """What a run would take up: tickets to do, and id → reason of those left out."""

    tickets: tuple[Ticket, ...]
    skipped: dict[str, str]
    completed: frozenset[str]


def _head(ctx: Context) -> str:
    commit = ctx.git.commit_of("HEAD")
    if commit is None:
        raise RepositoryError(f"{ctx.top}: the repository has no commit yet; commit the tickets first")
    return commit


def check_repository(ctx: Context) -> tuple[str, str]:
    """(branch, commit) a run may begin on. Raises RepositoryError with the remedy when there is none."""
    commit = _head(ctx)
    branch = ctx.git.branch()
    if branch is None:
        raise RepositoryError("HEAD is detached: check out the branch the commits should land on")
    if ctx.git.commit_of("refs/heads/backlog") is not None:
        # A run's branch is backlog/<run>, and git keeps no branch below another one.
        raise RepositoryError("backlog: a branch of this name is in the way; `git branch -m backlog …` renames it")
    for name in ctx.settings.worktree.link:
        if ctx.git.is_tracked(name):
            raise ConfigurationError(
                f"worktree.link: {name} is tracked by git, so every worktree has its own; take it out"
            )
    dirty = ctx.git.tracked_changes()
    if dirty:
        more = f" and {len(dirty) - 1} more" if len(dirty) > 1 else ""
        raise RepositoryError(
            f"{dirty[0]}{more}: changed but not committed; commit or stash first, tickets start from commits"
        )
    try:
        ctx.git.run("var", "GIT_COMMITTER_IDENT")
        ctx.git.run("var", "GIT_AUTHOR_IDENT")
    except GitError:
        raise RepositoryError("git does not know who commits: set user.name and user.email") from None
    return branch, commit


def select(ctx: Context, wanted: Sequence[str]) -> Selection:
    """The tickets of a run. Raises FindingsError with every problem at once, UsageError for an unknown id."""
    files = read_backlog(ctx.top, ctx.settings)
    if files.problems:
        raise FindingsError(
            f"{len(files.problems)} problem(s) in the tickets; nothing was started",
            [str(problem) for problem in files.problems],
        )
    folder = f"{ctx.settings.backlog.data_dir}/pending"
    if not files.pending:
        raise FindingsError(f"{folder}: no ticket (*.md) there; add one, or set backlog.dataDir")
    known = {ticket.id for ticket in files.pending}
    unknown = [ticket_id for ticket_id in wanted if ticket_id not in known]
    if unknown:
        raise UsageError(f"{unknown[0]}: no such ticket in {folder} (ids are matched case-exactly)")
    chosen = [ticket for ticket in files.pending if not wanted or ticket.id in wanted]
    _all_committed(ctx, chosen)
    return _ready(ctx, files, chosen)


def _all_committed(ctx: Context, chosen: Sequence[Ticket]) -> None:
    tracked = set(
        ctx.git.run("ls-tree", "-r", "-z", "--name-only", _head(ctx), "--", ctx.settings.backlog.data_dir)
        .stdout.decode("utf-8", "replace")
        .split("\0")
    )
    missing = [ticket.path for ticket in chosen if ticket.path not in tracked]
    if missing:
        raise RepositoryError(f"{missing[0]}: not committed; `git add` and commit the tickets first")


def _ready(ctx: Context, files: BacklogFiles, chosen: Sequence[Ticket]) -> Selection:
    """Leave out what is not ready, and with it what needs it."""
    waiting = _done_elsewhere(ctx)
    skipped = {t.id: _NOT_READY[t.status] for t in chosen if t.status in _NOT_READY}
    skipped.update({t.id: waiting[t.id] for t in chosen if t.id in waiting})
    by_id = {ticket.id: ticket for ticket in chosen}
    order = TopologicalSorter({t.id: [d for d in t.depends_on if d in by_id] for t in chosen})
    for ticket_id in order.static_order():
        for other in by_id[ticket_id].depends_on:
            if other not in files.completed and (other not in by_id or other in skipped):
                skipped.setdefault(ticket_id, f"depends on {other}, which is neither completed nor part of this run")
    return Selection(tuple(t for t in chosen if t.id not in skipped), skipped, files.completed)


def _done_elsewhere(ctx: Context) -> dict[str, str]:
    """Tickets that an earlier run has done on a branch that is not merged: doing them again would pay twice."""
    found = {}
    for run in ctx.store.ended_runs():
        tip = ctx.git.commit_of(run.ref)
        if tip is not None and not ctx.git.is_ancestor(tip, "HEAD"):
            for ticket in ctx.store.tickets(run.id):
                if ticket.step is Step.DONE:
                    found[ticket.id] = f"done on {run.branch}, which is not merged yet: `git merge {run.branch}`"
    return found


def open_run(
    ctx: Context,
    wanted: Sequence[str],
    max_nanousd: int | None,
    earlier: Mapping[str, TicketState] | None = None,
) -> Run:
    """Open a run on a branch of its own; `earlier` are tickets that go on from an ended run. Nothing is written
    unless everything holds.
    """
    other = ctx.store.open_run()
    if other is not None:
        raise RunStateError(
            f"run {other.id} is open in this repository: `backlog-ops next` or `backlog-ops run` goes on with it, "
            "`backlog-ops abort` ends it"
        )
    if max_nanousd is not None and max_nanousd <= 0:
        raise BudgetError("--max-usd: nothing is left to spend; give an amount above 0")
    branch, commit = check_repository(ctx)
    check_surroundings(ctx)
    selection = select(ctx, wanted)
    if not selection.tickets:
        raise FindingsError("no ticket is ready", [f"{i}: {reason}" for i, reason in selection.skipped.items()])
    if not ctx.settings.quality_gates.test:
        raise ConfigurationError("qualityGates.testCommand: empty; without tests no gate can pass")
    run_id = time.strftime("%Y%m%d-%H%M%S", time.gmtime(ctx.clock())) + "-" + secrets.token_hex(2)
    run = Run(
        id=run_id,
        state="open",
        created_at=ctx.clock(),
        top=str(ctx.top),
        base_branch=branch,
        base_commit=commit,
        branch=f"backlog/{run_id}",
        wave=0,
        wave_source=None,
        max_nanousd=max_nanousd,
        summary=None,
    )
    ctx.make_work_folder()
    states = [_state(run, ticket) for ticket in selection.tickets]
    states = [_carried_over(ctx, state, earlier[state.id]) if earlier else state for state in states]
    ctx.store.begin(run, states)
    for ticket_id, reason in selection.skipped.items():
        ctx.store.say(run.id, f"left out: {reason}", ticket_id)
    _quote(ctx, run, selection.tickets)
    sync_mark(ctx)
    return run


def _quote(ctx: Context, run: Run, tickets: Sequence[Ticket]) -> None:
    """Say what the run is expected to cost, and keep it: how good quotes were is seen later."""
    today = iso_day(ctx.clock())
    quoted = quote(ctx.store.connection, ctx.settings, ctx.prices, tickets, 1, today)
    with ctx.store.transaction() as db:
        save_quote(db, run.id, quoted, ctx.clock())
        priced = f"{dollars(quoted.total.p50)} in half of all cases, {dollars(quoted.total.p90)} in nine of ten"
        unknown = f", and {quoted.unknown} of unknown cost" if quoted.unknown else ""
        ctx.store.say_within(db, run.id, None, f"expected: {priced}{unknown}; limit {dollars(run_limit(ctx, run))}")


def _state(run: Run, ticket: Ticket) -> TicketState:
    return TicketState(
        run=run.id,
        id=ticket.id,
        path=ticket.path,
        title=ticket.title,
        text=ticket.text,
        wave=None,
        step=Step.WAITING,
        reason=None,
        attempt=0,
        fails=0,
        worktree=None,
        base_commit=None,
        plan=None,
        work_tree=None,
        note=None,
        approved_tree=None,
        message=None,
        commit_id=None,
    )


def _carried_over(ctx: Context, state: TicketState, earlier: TicketState) -> TicketState:
    """With what an earlier run left: its work, what failed, and its plan while the ticket says the same."""
    same = earlier.text == state.text
    return state._replace(
        plan=earlier.plan if same else None,
        granted=earlier.granted if same else state.granted,
        answers=earlier.answers if same else None,
        carried=ctx.git.commit_of(kept_ref(earlier)) or earlier.carried,
        history=as_history(failures_of(ctx.store, earlier)),
    )
