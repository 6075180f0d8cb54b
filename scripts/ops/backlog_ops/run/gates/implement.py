"""IMPLEMENT: route, brief, and look at what came back with git's eyes, not the agent's words."""

from __future__ import annotations

import json

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.plans import Plan
from backlog_ops.domain.routing import Decision, Rule
from backlog_ops.domain.write_set import outside, write_set
from backlog_ops.run import briefs, worktrees
from backlog_ops.run.context import Context
from backlog_ops.run.gates.outcome import effort, fail, implemented_on, park
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Action, Run, TicketState, Verdict


def plan_of(ticket: TicketState) -> Plan:
    return Plan.from_json(json.loads(ticket.plan or "null"))


def allowed_paths(ctx: Context, ticket: TicketState) -> frozenset[str]:
    return write_set(ctx.parsed(ticket), plan_of(ticket))


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    action = ctx.store.current_action(ticket, Gate.IMPLEMENT)
    if action is None:
        _open(ctx, ticket)
    elif action.state == "handed-in":
        _inspect(ctx, ticket, action)


def _open(ctx: Context, ticket: TicketState) -> None:
    decision = ctx.decide(Gate.IMPLEMENT, ticket)
    if decision.tier is None:
        park(ctx, ticket, decision.reason)
        return
    failures = [verdict for verdict in ctx.store.verdicts(ticket) if not verdict.passed]
    if decision.rule is Rule.FAILS_ONCE and implemented_on(ctx, ticket) is Tier.CHEAP:
        ctx.store.say(ticket.run, f"Haiku failed on {ticket.id} at {failures[-1].gate}. Escalated to Sonnet.")
    _open_action(ctx, ticket, decision, failures)


def _open_action(ctx: Context, ticket: TicketState, decision: Decision, failures: list[Verdict]) -> None:
    assert decision.tier is not None and ticket.worktree is not None
    worktree = ctx.worktree_path(ticket)
    number = ticket.attempt + 1
    tree = worktrees.snapshot(ctx, worktree)
    action = ctx.store.add_action(ticket, Gate.IMPLEMENT, number, decision.tier, decision.rule.value, tree)
    rules = [name for name in ctx.settings.code_rules_files if (worktree / name).is_file()]
    text = briefs.implement_brief(
        ticket, action, worktree, plan_of(ticket), sorted(allowed_paths(ctx, ticket)), rules, failures
    )
    ctx.store.open_action(action, briefs.write_brief(ctx, ticket, action, text), None, attempt=number)


def _inspect(ctx: Context, ticket: TicketState, action: Action) -> None:
    """A failed attempt is one that died, changed nothing, or changed what it must not."""
    if action.cause:
        # Nobody judged anything: the attempt counts, a gate failure does not.
        ctx.store.settle(ticket, f"IMPLEMENT attempt {action.attempt} died: {action.cause}", action=action)
        return
    worktree = ctx.worktree_path(ticket)
    tree = worktrees.snapshot(ctx, worktree)
    ticket = ctx.store.update_ticket(ticket, work_tree=tree)
    changed = ctx.git.paths_between(ticket.base_commit or "", tree)
    strays = outside(changed, allowed_paths(ctx, ticket))
    if not changed or tree == action.tree:
        detail = "The attempt ended without changing any file."
        fail(ctx, ticket, Gate.LINT, detail, "the attempt changed nothing", action)
    elif strays:
        listed = "\n".join(f"- {path}" for path in strays)
        detail = f"These files were changed but are not among the files of this ticket; put them back:\n{listed}"
        headline = f"{len(strays)} files outside the write-set, such as {strays[0]}"
        fail(ctx, ticket, Gate.LINT, detail, headline, action)
    else:
        said = f"IMPLEMENT {effort(ctx, action)} · {len(changed)} files changed"
        ctx.store.settle(ticket, said, action=action, step=Step.LINT)
