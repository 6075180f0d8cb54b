"""IMPLEMENT: route, brief, and look at what came back with git's eyes, not the agent's words."""

from __future__ import annotations

import json

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.plans import Plan
from backlog_ops.domain.routing import Decision, Rule
from backlog_ops.domain.write_set import deletable, outside, write_set
from backlog_ops.run import briefs, worktrees
from backlog_ops.run.context import Context
from backlog_ops.run.failures import failures_of, last_failure
from backlog_ops.run.gates.outcome import effort, fail, park
from backlog_ops.run.git import is_beyond_link
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.steps import Step


def plan_of(ticket: TicketState) -> Plan:
    return Plan.from_json(json.loads(ticket.plan or "null"))


def allowed_paths(ctx: Context, ticket: TicketState) -> frozenset[str]:
    return write_set(ctx.parsed(ticket), plan_of(ticket)) | frozenset(granted_paths(ticket))


def granted_paths(ticket: TicketState) -> list[str]:
    """What implementers of this ticket asked for beyond its plan, and got."""
    paths: list[str] = json.loads(ticket.granted)
    return paths


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    action = ctx.store.current_action(ticket, Gate.IMPLEMENT)
    if action is None:
        _open(ctx, ticket)
    elif action.state == "handed-in":
        _inspect(ctx, ticket, action)


def _open(ctx: Context, ticket: TicketState) -> None:
    decision = ctx.decide(Gate.IMPLEMENT, ticket)
    if decision.tier is None:
        park(ctx, ticket, f"{decision.reason}; last: {last_failure(ctx.store, ticket)}")
        return
    worktree = ctx.worktree_path(ticket)
    number = ticket.attempt + 1
    action = ctx.store.add_action(ticket, Gate.IMPLEMENT, number, decision.tier, decision.rule.value)
    allowed = sorted(allowed_paths(ctx, ticket))
    rules = [name for name in ctx.settings.code_rules_files if (worktree / name).is_file()]
    text = briefs.implement_brief(
        ticket,
        action,
        worktree,
        plan_of(ticket),
        allowed,
        rules,
        failures_of(ctx.store, ticket),
        worktrees.snapshot(ctx, worktree) != ctx.git.text("rev-parse", f"{ticket.base_commit}^{{tree}}"),
        ctx.for_session,
    )
    opening = ctx.opening(ticket, action, briefs.write_brief(ctx, ticket, action, text), None, allowed)
    ctx.store.open_actions(ticket, [opening], _escalation(ctx, ticket, decision), attempt=number)


def _escalation(ctx: Context, ticket: TicketState, decision: Decision) -> list[str]:
    """rules.md: what is said on a ticket's first move from cheap to balanced."""
    tiers = ctx.store.implement_tiers(ticket).values()
    if decision.rule is not Rule.FAILS_ONCE or not tiers or max(tiers) is not Tier.CHEAP:
        return []
    failed = next(verdict for verdict in reversed(ctx.store.verdicts(ticket)) if not verdict.passed)
    return [f"Haiku failed on {ticket.id} at {failed.gate}. Escalated to Sonnet."]


def _inspect(ctx: Context, ticket: TicketState, action: Action) -> None:
    """A failed attempt is one that died or changed nothing. What it must not change is put back."""
    if action.cause:
        # Nobody judged anything: the attempt counts, a gate failure does not.
        ctx.store.settle(ticket, f"IMPLEMENT attempt {action.attempt} died: {action.cause}", closing=[action])
        return
    delete_planned(ctx, ticket)
    git, base = ctx.git.at(ctx.worktree_path(ticket)), ticket.base_commit or ""
    judged_before = ticket.work_tree or git.text("rev-parse", f"{base}^{{tree}}")
    tree, strays = take_back_strays(ctx, ticket)
    note = _note(strays)
    if tree == judged_before:
        detail = "\n\n".join(filter(None, [note, "The attempt ended without changing any file it may change."]))
        fail(ctx, ticket, Gate.LINT, detail, "the attempt changed nothing", [action], note=note, work_tree=tree)
        return
    said = f"IMPLEMENT {effort(ctx, action)} · {len(git.paths_between(base, tree))} files changed"
    if strays:
        said += f" · {len(strays)} put back that were not to be touched, such as {strays[0]}"
    ctx.store.settle(ticket, said, closing=[action], step=Step.LINT, work_tree=tree, note=note)


def take_back_strays(ctx: Context, ticket: TicketState) -> tuple[str, list[str]]:
    """(tree of the worktree, paths that were put back before: outside the write-set, or deleted unasked)."""
    worktree = ctx.worktree_path(ticket)
    git, base = ctx.git.at(worktree), ticket.base_commit or ""
    tree = worktrees.snapshot(ctx, worktree)
    strays = outside(git.paths_between(base, tree), allowed_paths(ctx, ticket))
    strays += outside(git.paths_between(base, tree, only="D"), deletable(ctx.parsed(ticket)) | set(strays))
    git.restore(base, strays)
    return worktrees.snapshot(ctx, worktree) if strays else tree, strays


def _note(strays: list[str]) -> str | None:
    """What the next attempt is told about files that were not the ticket's to change."""
    if not strays:
        return None
    listed = "\n".join(f"- {path}" for path in strays)
    return f"These files are not among the files of this ticket; what was done to them was taken back:\n{listed}"


def delete_planned(ctx: Context, ticket: TicketState) -> None:
    """Remove what the plan deletes: an implementer has no tool for it, and the plan was accepted. Nothing behind a link
    that was put in place of a folder since.
    """
    worktree = ctx.worktree_path(ticket)
    for path in plan_of(ticket).deleted_paths:
        if is_beyond_link(worktree, path):
            continue
        if (worktree / path).is_file() or (worktree / path).is_symlink():
            (worktree / path).unlink()
