"""LINT: the project's own commands in the ticket's worktree, by exit code."""

from __future__ import annotations

from dataclasses import dataclass

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.write_set import outside
from backlog_ops.run import worktrees
from backlog_ops.run.changes import emptied_files, touched_repositories
from backlog_ops.run.commands import Checks, run_checks
from backlog_ops.run.context import Context
from backlog_ops.run.gates.implement import allowed_paths, delete_planned, take_back_strays
from backlog_ops.run.gates.outcome import fail, verdict_on
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.secret_scan import find_secrets
from backlog_ops.run.steps import Step


def run_in_worktree(
    ctx: Context, ticket: TicketState, before: str, test_arguments: tuple[str, ...] = ()
) -> tuple[Checks, str]:
    """(checks, tree afterwards). What differs from the tree `before` outside the write-set is put back at the end,
    however it ends: reports and caches are nobody's work and must not be blamed on the ticket.

    Files that the plan deletes go first; an implementer has no other way to remove one. `test_arguments` narrow the
    test command for a quick look; LINT itself never passes any.
    """
    worktree = ctx.worktree_path(ticket)
    git = ctx.git.at(worktree)
    gates = ctx.settings.quality_gates
    commands = (("testCommand", (*gates.test, *test_arguments)),) if test_arguments else gates.commands()
    delete_planned(ctx, ticket)
    try:
        checks = run_checks(commands, worktree, ctx.top, gates.timeout_seconds, ctx.environ, ctx.stopping)
    finally:
        after = worktrees.snapshot(ctx, worktree)
        left = outside(git.paths_between(before, after), allowed_paths(ctx, ticket))
        git.restore(before, left)
    return checks, worktrees.snapshot(ctx, worktree) if left else after


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    """The commands pass on the very tree that goes on: where they change it themselves, they run on that once more."""
    tree, _strays = take_back_strays(ctx, ticket)
    for _ in range(TRIES):
        refused = refusal(ctx, ticket.base_commit or "", tree)
        if refused is not None:
            fail(ctx, ticket, Gate.LINT, _told(ticket, refused.detail), refused.headline, work_tree=tree)
            return
        checks, after = run_in_worktree(ctx, ticket, tree)
        if not checks.passed:
            failed = checks.results[-1]
            detail = _told(ticket, checks.report())
            fail(ctx, ticket, Gate.LINT, detail, f"{failed.name}: {failed.problem}", work_tree=after)
            return
        if after == tree:
            _passed(ctx, ticket, checks, tree)
            return
        tree, changed = after, ctx.git.paths_between(tree, after)
    detail = f"The commands change these files each time they run:\n{_list(changed)}"
    fail(ctx, ticket, Gate.LINT, _told(ticket, detail), f"the commands change {changed[0]} each time", work_tree=tree)


def _passed(ctx: Context, ticket: TicketState, checks: Checks, tree: str) -> None:
    seconds = sum(result.seconds for result in checks.results)
    ctx.store.settle(
        ticket,
        f"LINT · {len(checks.results)} commands passed · {seconds:.1f} s",
        verdict=verdict_on(ctx, ticket, Gate.LINT, True, checks.report())._replace(tree=tree),
        step=Step.REVIEW,
        work_tree=tree,
    )


def _told(ticket: TicketState, detail: str) -> str:
    return "\n\n".join(filter(None, [ticket.note, detail]))


MOST_LISTED = 30
TRIES = 2


@dataclass(frozen=True)
class Refusal:
    """Why a change is not even checked."""

    headline: str
    detail: str  # for the next attempt


def refusal(ctx: Context, base: str, tree: str) -> Refusal | None:
    """What no change may hold, whatever the project's own commands say of it: secrets, emptied files, submodules."""
    secrets = find_secrets(ctx.git, base, tree)
    if secrets:
        listed = _list([str(secret) for secret in secrets])
        return Refusal(
            f"a secret in {secrets[0].path}:{secrets[0].line} ({secrets[0].kind})",
            f"The change holds secrets; take them out, read them from the environment instead:\n{listed}",
        )
    emptied = emptied_files(ctx.git, base, tree)
    if emptied:
        return Refusal(f"{emptied[0]} was emptied", f"These files lost all they held:\n{_list(emptied)}")
    nested = touched_repositories(ctx.git, base, tree)
    if nested:
        return Refusal(
            f"{nested[0]} is a repository of its own",
            f"Submodules and repositories inside the worktree must stay as they are:\n{_list(nested)}",
        )
    return None


def _list(entries: list[str]) -> str:
    more = [f"- and {len(entries) - MOST_LISTED} more"] if len(entries) > MOST_LISTED else []
    return "\n".join([*(f"- {entry}" for entry in entries[:MOST_LISTED]), *more])
