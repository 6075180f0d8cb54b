"""LINT: the project's own commands in the ticket's worktree, by exit code."""

from __future__ import annotations

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.write_set import outside
from backlog_ops.run import worktrees
from backlog_ops.run.commands import Checks, run_checks
from backlog_ops.run.context import Context
from backlog_ops.run.gates.implement import allowed_paths, delete_planned
from backlog_ops.run.gates.outcome import fail, verdict_on
from backlog_ops.run.rows import Run, TicketState
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
    checks, tree = run_in_worktree(ctx, ticket, ticket.work_tree or "")
    ticket = ctx.store.update_ticket(ticket, work_tree=tree)
    if not checks.passed:
        failed = checks.results[-1]
        detail = "\n\n".join(filter(None, [ticket.note, checks.report()]))
        fail(ctx, ticket, Gate.LINT, detail, f"{failed.name}: {failed.problem}")
        return
    seconds = sum(result.seconds for result in checks.results)
    ctx.store.settle(
        ticket,
        f"LINT · {len(checks.results)} commands passed · {seconds:.1f} s",
        verdict=verdict_on(ctx, ticket, Gate.LINT, True, checks.report()),
        step=Step.REVIEW,
    )
