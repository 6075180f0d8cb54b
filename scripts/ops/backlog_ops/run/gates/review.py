"""REVIEW: one package to read, one verdict file to write; no readable verdict is no approval."""

from __future__ import annotations

import json
from pathlib import Path

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.verdicts import VERDICT_SCHEMA, Review, judge
from backlog_ops.run import briefs
from backlog_ops.run.actions import hand_in_path
from backlog_ops.run.context import Context
from backlog_ops.run.gates.implement import granted_paths, plan_of
from backlog_ops.run.gates.outcome import effort, fail, park, verdict_on
from backlog_ops.run.hand_ins import read_json
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.steps import Step

DEAD_REVIEWERS = 2  # so many reviewers may end without a readable verdict before the ticket is parked


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    action = ctx.store.current_action(ticket, Gate.REVIEW)
    if action is None:
        _open(ctx, ticket)
    elif action.state == "handed-in":
        _take_verdict(ctx, ticket, action)


def _open(ctx: Context, ticket: TicketState) -> None:
    decision = ctx.decide(Gate.REVIEW, ticket)
    if decision.tier is None:
        park(ctx, ticket, decision.reason)
        return
    worktree = ctx.worktree_path(ticket)
    action = ctx.store.add_action(ticket, Gate.REVIEW, ticket.attempt, decision.tier, decision.rule.value)
    verdicts = ctx.store.verdicts(ticket)
    gate_output = next((v.detail for v in reversed(verdicts) if v.gate is Gate.LINT and v.passed), "")
    text = briefs.review_brief(
        ticket,
        action,
        worktree,
        plan_of(ticket),
        ctx.settings.review_pipeline.confidence_threshold,
        gate_output,
        ctx.git.diff(ticket.base_commit or "", ticket.work_tree or ""),
        [verdict for verdict in verdicts if not verdict.passed],
        granted_paths(ticket),
        [name for name in ctx.settings.code_rules_files if (worktree / name).is_file()],
    )
    size, limit = len(text.encode("utf-8", "replace")), ctx.settings.review_pipeline.max_package_bytes
    if size > limit:
        fail(
            ctx,
            ticket,
            Gate.REVIEW,
            f"The change is too large to be reviewed: {size} bytes with its package, {limit} allowed. Make it smaller.",
            f"package of {size} bytes (reviewPipeline.maxPackageBytes {limit})",
            action,
        )
        return
    ctx.open_action(ticket, action, briefs.write_brief(ctx, ticket, action, text), hand_in_path(action, worktree))


def _take_verdict(ctx: Context, ticket: TicketState, action: Action) -> None:
    answer, problem = read_json(Path(action.hand_in or ""), VERDICT_SCHEMA)
    problem = action.cause or problem
    if problem:
        _no_verdict(ctx, ticket, action, problem)
        return
    threshold = ctx.settings.review_pipeline.confidence_threshold
    review = judge(answer, threshold, lambda path: _lines(ctx, ticket, path))
    if not review.approved:
        fail(ctx, ticket, Gate.REVIEW, _detail(review), review.reason, action)
        return
    ctx.store.settle(
        ticket,
        f"REVIEW {effort(ctx, action)} · {review.reason}",
        action=action,
        verdict=verdict_on(ctx, ticket, Gate.REVIEW, True, _detail(review)),
        step=Step.COMMIT,
        approved_tree=ticket.work_tree,
    )


def _no_verdict(ctx: Context, ticket: TicketState, action: Action, problem: str) -> None:
    """Ask one more reviewer, then a person: nobody has found fault with the code, so nobody is asked to change it."""
    if ctx.store.died(ticket, Gate.REVIEW, ticket.attempt) + 1 < DEAD_REVIEWERS:
        said = f"REVIEW #{ticket.attempt}: no readable verdict: {problem}"
        ctx.store.settle(ticket, said, action=action, cause=problem)
    else:
        park(ctx, ticket, f"no reviewer gave a readable verdict: {problem}", action)


def _lines(ctx: Context, ticket: TicketState, path: str) -> list[str] | None:
    """The file's lines in the reviewed tree; of the base, where the ticket deletes it."""
    for tree in (ticket.work_tree, ticket.base_commit):
        data = ctx.git.file_at(tree or "", path)
        if data is not None:
            return data.decode("utf-8", "replace").splitlines()
    return None


def _detail(review: Review) -> str:
    findings = [vars(finding) for finding in review.findings]
    kept = [vars(finding) for finding in review.kept]
    return json.dumps({"reason": review.reason, "findings": findings, "kept": kept}, indent=1, ensure_ascii=False)
