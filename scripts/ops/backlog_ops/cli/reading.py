"""Commands that only read: validate, route, status, show."""

from __future__ import annotations

import argparse
import json
import os

from backlog_ops.cli import printing
from backlog_ops.cli.opening import current_repository, latest_run, open_context
from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.host_models import alias_for
from backlog_ops.domain.routing import History
from backlog_ops.domain.routing import route as decide
from backlog_ops.errors import EXIT_OK, UsageError
from backlog_ops.run.backlog import read_backlog
from backlog_ops.run.context import Context
from backlog_ops.storage.config_file import load_settings


def validate(args: argparse.Namespace) -> int:
    git = current_repository()
    problems: list[printing.Located] = []
    if args.what != "tickets":
        problems += printing.config_problems(git.folder, os.environ)
    if args.what != "config" and not any(problem.is_error for problem in problems):
        settings = load_settings(os.environ, git.folder)
        problems += printing.ticket_problems(read_backlog(git.folder, settings).problems)
    printing.print_problems(problems, args.format)
    return printing.exit_code_of(problems)


def route(args: argparse.Namespace) -> int:
    ctx = open_context()
    try:
        gate = Gate(args.gate.upper())
    except ValueError:
        raise UsageError(f"{args.gate}: no such gate; one of {', '.join(g.value for g in Gate)}") from None
    found = [t for t in read_backlog(ctx.top, ctx.settings).pending if t.id == args.id]
    if not found:
        raise UsageError(f"{args.id}: no such ticket in {ctx.settings.backlog.data_dir}/pending")
    run = ctx.store.open_run()
    states = {state.id: state for state in ctx.store.tickets(run.id)} if run else {}
    state = states.get(args.id)
    history = History(state.fails, state.attempt) if state else History()
    decision = decide(gate, found[0].tags, found[0].complexity, history, ctx.settings.llm_ops.routing)
    model = ctx.settings.llm_ops.models.by_tier[decision.tier] if decision.tier else None
    if args.format == "json":
        answer = {
            "ticket": args.id,
            "gate": gate.value,
            "tier": decision.tier.value if decision.tier else None,
            "model": model,
            "host_model": _host_model(ctx, decision.tier),
            "rule": decision.rule.value,
            "reason": decision.reason,
        }
        print(json.dumps(answer))
    elif decision.tier is None:
        print(f"{gate} of {args.id}: parked: {decision.reason}")
    else:
        print(f"{gate} of {args.id}: {decision.tier} ({model}), rule {decision.rule}: {decision.reason}")
    return EXIT_OK


def _host_model(ctx: Context, tier: Tier | None) -> str | None:
    """The Agent tool's `model:`; None for a local model, and for `frontier`, which inherits."""
    return alias_for(tier, ctx.settings.llm_ops.models.by_tier) if tier in (Tier.CHEAP, Tier.BALANCED) else None


def status(args: argparse.Namespace) -> int:
    ctx = open_context()
    printing.print_status(ctx, latest_run(ctx), args.format)
    return EXIT_OK


def show(args: argparse.Namespace) -> int:
    ctx = open_context()
    printing.print_ticket(ctx, ctx.store.ticket(latest_run(ctx).id, args.id), args.format)
    return EXIT_OK
