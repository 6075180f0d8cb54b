"""REVIEW: one package to read, one verdict file to write, for each reviewer; no readable verdict is no approval."""

from __future__ import annotations

import json
from pathlib import Path

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.lost_tests import lost_tests
from backlog_ops.domain.settings import Reviewer
from backlog_ops.domain.verdicts import VERDICT_SCHEMA, Review, judge, together
from backlog_ops.run import briefs, worktrees
from backlog_ops.run.actions import hand_in_path
from backlog_ops.run.changes import governing_files, shrunken_files, texts_between
from backlog_ops.run.context import Context
from backlog_ops.run.failures import failures_of, last_failure
from backlog_ops.run.gates.implement import granted_paths, plan_of
from backlog_ops.run.gates.outcome import effort, fail, park, verdict_on
from backlog_ops.run.hand_ins import read_json
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.shown_secrets import patch_without_secrets
from backlog_ops.run.steps import Step
from backlog_ops.run.store import OpenAction

DEAD_REVIEWERS = 2  # so many times one may end without a readable verdict before the ticket is parked


def step(ctx: Context, run: Run, ticket: TicketState) -> None:
    asked = ctx.store.current_actions(ticket, Gate.REVIEW)
    stale = [action for action in asked if action.tree != ticket.work_tree]
    if stale:  # about what was there before the ticket was parked
        ctx.store.settle(ticket, None, closing=stale)
        return
    there = {action.reviewer for action in asked}
    missing = [one for one in ctx.settings.review_pipeline.reviewers if one.name not in there]
    if missing:
        _open(ctx, ticket, missing)
    elif all(action.state == "handed-in" for action in asked):
        _judge(ctx, ticket, asked)


def _open(ctx: Context, ticket: TicketState, reviewers: list[Reviewer]) -> None:
    """Ask these reviewers about the tree that LINT has passed."""
    decision = ctx.decide(Gate.REVIEW, ticket)
    if decision.tier is None:
        park(ctx, ticket, f"{decision.reason}; last: {last_failure(ctx.store, ticket)}")
        return
    evidence, opening = _evidence(ctx, ticket), list[OpenAction]()
    for reviewer in reviewers:
        tier = max(decision.tier, reviewer.least_tier or Tier.CHEAP)
        rule = decision.rule.value if tier is decision.tier else f"reviewer {reviewer.name}"
        action = ctx.store.add_action(
            ticket, Gate.REVIEW, ticket.attempt, tier, rule, reviewer=reviewer.name, tree=ticket.work_tree
        )
        text = _package(ctx, ticket, action, reviewer, evidence)
        size, limit = len(text.encode("utf-8", "replace")), ctx.settings.review_pipeline.max_package_bytes
        if size > limit:
            too_large = (
                f"The change is too large to be reviewed: {size} bytes with its package, {limit} allowed. "
                "Make it smaller."
            )
            headline = f"package of {size} bytes (reviewPipeline.maxPackageBytes {limit})"
            fail(ctx, ticket, Gate.REVIEW, too_large, headline)
            return
        brief = briefs.write_brief(ctx, ticket, action, text)
        opening.append(ctx.opening(ticket, action, brief, hand_in_path(action, ctx.worktree_path(ticket))))
    ctx.store.open_actions(ticket, opening, [])


def _evidence(ctx: Context, ticket: TicketState) -> briefs.ReviewEvidence:
    base, tree = ticket.base_commit or "", ticket.work_tree or ""
    passed = [v.detail for v in ctx.store.verdicts(ticket) if v.gate is Gate.LINT and v.passed]
    before, after = texts_between(ctx.git, base, tree)
    governing = governing_files(ctx.git.paths_between(base, tree), ctx.settings.code_rules_files)
    warnings = [*lost_tests(before, after), *shrunken_files(before, after), *governing]
    diff = patch_without_secrets(ctx.git, base, tree, ctx.git.diff(base, tree))
    return briefs.ReviewEvidence(passed[-1] if passed else "", diff, warnings)


def _package(
    ctx: Context, ticket: TicketState, action: Action, reviewer: Reviewer, evidence: briefs.ReviewEvidence
) -> str:
    worktree = ctx.worktree_path(ticket)
    return briefs.review_brief(
        ticket,
        action,
        worktree,
        plan_of(ticket),
        reviewer,
        ctx.settings.review_pipeline.confidence_threshold,
        evidence,
        failures_of(ctx.store, ticket),
        granted_paths(ticket),
        [name for name in ctx.settings.code_rules_files if (worktree / name).is_file()],
    )


def _judge(ctx: Context, ticket: TicketState, actions: list[Action]) -> None:
    """All have handed in: each verdict is readable, or that reviewer is asked again; then all of them count."""
    tree = worktrees.snapshot(ctx, ctx.worktree_path(ticket))
    if tree != ticket.work_tree:
        fail(ctx, ticket, Gate.REVIEW, "The files changed while they were reviewed.", "not the tree of LINT", actions)
        return
    reviews: dict[str, Review] = {}
    unreadable: list[Action] = []
    for action in actions:
        answer, problem = read_json(Path(action.hand_in or ""), VERDICT_SCHEMA)
        problem = action.cause or problem
        if problem:
            unreadable.append(action.as_dead(problem))
            continue
        threshold = ctx.settings.review_pipeline.confidence_threshold
        review = judge(answer, ticket.work_tree or "", threshold, lambda path: _lines(ctx, ticket, path))
        reviews[action.reviewer or ""] = review
    if unreadable:
        _no_verdict(ctx, ticket, unreadable, actions)
    else:
        _take(ctx, ticket, actions, together(reviews))


def _take(ctx: Context, ticket: TicketState, actions: list[Action], review: Review) -> None:
    if not review.approved:
        fail(ctx, ticket, Gate.REVIEW, _detail(review), review.reason, actions)
        return
    ctx.store.settle(
        ticket,
        f"REVIEW {' + '.join(effort(ctx, action) for action in actions)} · {review.reason}",
        closing=actions,
        verdict=verdict_on(ctx, ticket, Gate.REVIEW, True, _detail(review)),
        step=Step.COMMIT,
        approved_tree=ticket.work_tree,
    )


def _no_verdict(ctx: Context, ticket: TicketState, unreadable: list[Action], actions: list[Action]) -> None:
    """Ask each once more, then a person: nobody has found fault with the code, so nobody is asked to change it."""
    problem = unreadable[0].cause
    if any(ctx.store.died(ticket, Gate.REVIEW, dead.reviewer) + 1 >= DEAD_REVIEWERS for dead in unreadable):
        others = [action for action in actions if action.number not in {dead.number for dead in unreadable}]
        park(ctx, ticket, f"no reviewer gave a readable verdict: {problem}", [*unreadable, *others])
    else:
        said = f"REVIEW #{ticket.attempt}: no readable verdict: {problem}"
        ctx.store.settle(ticket, said, closing=unreadable)


def _lines(ctx: Context, ticket: TicketState, path: str) -> list[str] | None:
    """The file's lines in the reviewed tree; of the base, where the ticket deletes it."""
    return ctx.git.lines_at(ticket.work_tree or "", path) or ctx.git.lines_at(ticket.base_commit or "", path)


def _detail(review: Review) -> str:
    findings = [vars(finding) for finding in review.findings]
    kept = [vars(finding) for finding in review.kept]
    return json.dumps({"reason": review.reason, "findings": findings, "kept": kept}, indent=1, ensure_ascii=False)
