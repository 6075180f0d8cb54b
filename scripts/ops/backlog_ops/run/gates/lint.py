"""LINT: the project's own commands in the ticket's worktree, by exit code."""

from __future__ import annotations

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.write_set import outside
from backlog_ops.run import worktrees
from backlog_ops.run.commands import Checks, run_checks
from backlog_ops.run.context import Context
from backlog_ops.run.gates.implement import allowed_paths
from backlog_ops.run.gates.outcome import fail, verdict_on
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Run, TicketState


def run_in_worktree(ctx: Context, ticket: TicketState, test_arguments: tuple[str, ...] = ()) -> tuple[Checks, str]:
    """(checks, tree afterwards). What the commands leave behind outside the write-set is removed again:
    reports and caches are nobody's work and must not be blamed on the ticket.

    `test_arguments` narrow the test command for a quick look; LINT itself never passes any.
    """
    worktree = ctx.worktree_path(ticket)
    gates = ctx.settings.quality_gates
    commands = gates.commands()
    if test_arguments:
        commands = (("testCommand", (*gates.test, *test_arguments)),)
    before = worktrees.snapshot(ctx, worktree)
    checks = run_checks(commands, worktree, ctx.top, gates.timeout_seconds, ctx.environ, ctx.stopping)
    after = worktrees.snapshot(ctx, worktree)
    if after != before:
        left = outside(ctx.git.paths_between(before, after), allowed_paths(ctx, ticket))
        for path in left:
            worktrees.restore_path(ctx, worktree, before, path)
        after = worktrees.snapshot(ctx, worktree) if left else after
    return checks, after


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    checks, tree = run_in_worktree(ctx, ticket)
    ticket = ctx.store.update_ticket(ticket, work_tree=tree)
    if not checks.passed:
        failed = checks.results[-1]
        fail(ctx, ticket, Gate.LINT, checks.report(), f"{failed.name}: {failed.problem}")
        return
    seconds = sum(result.seconds for result in checks.results)
    ctx.store.settle(
        ticket,
        f"LINT · {len(checks.results)} commands passed · {seconds:.1f} s",
        verdict=verdict_on(ctx, ticket, Gate.LINT, True, checks.report()),
        step=Step.REVIEW,
    )
