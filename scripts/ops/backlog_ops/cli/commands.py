"""What each `backlog-ops` command does: open what it needs, call the engine, print."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from backlog_ops.cli import printing
from backlog_ops.domain.gates import Gate
from backlog_ops.domain.routing import History
from backlog_ops.domain.routing import route as decide
from backlog_ops.errors import EXIT_BUDGET, EXIT_FINDINGS, EXIT_OK, FindingsError, RunStateError, UsageError
from backlog_ops.run.context import Context
from backlog_ops.run.git import open_repository
from backlog_ops.run.store import Action, Store
from backlog_ops.storage.config_file import load_prices, load_settings, require_settings
from backlog_ops.storage.locations import WORK_FOLDER_NAME, state_folder

START_SECONDS = 18.0  # contracts.md: start answers within 20 s, next within 100 s
NEXT_SECONDS = 95.0
EVENT_POLL_SECONDS = 0.1


def _context() -> Context:
    """The repository of the current folder, its settings and its store. A ticket's worktree leads to its owner."""
    git = open_repository(Path.cwd())
    marker = f"{os.sep}{WORK_FOLDER_NAME}{os.sep}worktrees{os.sep}"
    if marker in str(git.folder):
        git = git.at(Path(str(git.folder).split(marker, 1)[0]))
    common = Path(git.text("rev-parse", "--git-common-dir"))
    folder = state_folder(os.environ, common if common.is_absolute() else git.folder / common)
    return Context(
        git=git,
        store=Store(folder / "state.db", time.time),
        settings=require_settings(os.environ, git.folder),
        environ=dict(os.environ),
        prices=load_prices(),
        clock=time.time,
        state_folder=folder,
    )


def validate(args: argparse.Namespace) -> int:
    from backlog_ops.run.backlog import read_backlog

    git = open_repository(Path.cwd())
    problems: list[printing.Located] = []
    if args.what != "tickets":
        problems += printing.config_problems(git.folder)
    if args.what != "config" and not any(problem.is_error for problem in problems):
        settings = load_settings(os.environ, git.folder)
        problems += printing.ticket_problems(read_backlog(git.folder, settings).problems)
    printing.print_problems(problems, args.format)
    return printing.exit_code_of(problems)


def route(args: argparse.Namespace) -> int:
    from backlog_ops.run.backlog import read_backlog

    ctx = _context()
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
        answer: dict[str, Any] = {
            "ticket": args.id,
            "gate": gate.value,
            "tier": decision.tier.value if decision.tier else None,
            "model": model,
            "host_model": decision.tier.host_model if decision.tier else None,
            "rule": decision.rule.value,
            "reason": decision.reason,
        }
        print(json.dumps(answer))
    elif decision.tier is None:
        print(f"{gate} of {args.id}: {decision.reason}")
    else:
        print(f"{gate} of {args.id}: {decision.tier} ({model}), rule {decision.rule}: {decision.reason}")
    return EXIT_OK


def run(args: argparse.Namespace) -> int:
    from backlog_ops.run.claude_agents import ClaudeAgents
    from backlog_ops.run.driver_lock import driving
    from backlog_ops.run.engine import work
    from backlog_ops.run.opening import open_run

    ctx = _context()
    agents = ClaudeAgents(ctx)
    with driving(ctx.state_folder, "backlog-ops run"):
        current = ctx.store.open_run()
        seen = 0
        if current is None or args.ids or args.max_usd is not None:
            current = open_run(ctx, args.ids, args.max_usd)
        else:
            past = ctx.store.events(current.id)
            seen = past[-1].number if past else 0
            printing.progress(f"going on with run {current.id}")
        failed: list[BaseException] = []

        def drive(run_id: str = current.id) -> None:
            try:
                work(ctx, run_id, args.jobs or ctx.settings.backlog.max_slots, agents)
            except BaseException as error:
                failed.append(error)

        worker = threading.Thread(target=drive)
        worker.start()
        try:
            while worker.is_alive():
                worker.join(EVENT_POLL_SECONDS)
                seen = printing.print_events(ctx, current.id, seen)
        except KeyboardInterrupt:
            printing.progress("stopping: asking the agents for their bill; `backlog-ops run` goes on later")
            ctx.stopping.set()
            agents.interrupt()
            worker.join()
            raise
        printing.print_events(ctx, current.id, seen)
        if failed:
            raise failed[0]
    printing.print_outcome(ctx, ctx.store.run(current.id), args.output)
    reasons = [t.reason or "" for t in ctx.store.tickets(current.id) if t.reason]
    if any(reason.startswith("budget:") for reason in reasons):
        return EXIT_BUDGET
    return EXIT_FINDINGS if reasons else EXIT_OK


def start(args: argparse.Namespace) -> int:
    from backlog_ops.run.opening import open_run, select

    ctx = _context()
    if args.dry_run:
        printing.print_dry_run(ctx, select(ctx, args.ids))
        return EXIT_OK
    return _print_actions(ctx, open_run(ctx, args.ids, args.max_usd), START_SECONDS)


def next_actions(args: argparse.Namespace) -> int:
    ctx = _context()
    current = ctx.store.open_run()
    if current is None:
        last = ctx.store.last_run()
        if last is None:
            raise RunStateError("no run is open: `backlog-ops start` begins one")
        current = last
    return _print_actions(ctx, current, NEXT_SECONDS)


def _print_actions(ctx: Context, current: Any, seconds: float) -> int:
    from backlog_ops.run.hand_over import hand_over

    print(json.dumps(hand_over(ctx, current, seconds), ensure_ascii=False))
    return EXIT_OK


def worker(args: argparse.Namespace) -> int:
    from backlog_ops.run.driver_lock import driving
    from backlog_ops.run.engine import work

    ctx = _context()
    with driving(ctx.state_folder, "backlog-ops worker"):
        work(ctx, args.run_id, ctx.settings.backlog.max_slots, None)
    return EXIT_OK


def _action(ctx: Context, name: str) -> Action:
    if not (name.startswith("a") and name[1:].isdigit()):
        raise UsageError(f"{name}: not an action; they look like a17")
    return ctx.store.action(int(name[1:]))


def submit(args: argparse.Namespace) -> int:
    ctx = _context()
    action = _action(ctx, args.action)
    if action.state != "open":
        raise RunStateError(f"{action.id}: already {action.state}; `backlog-ops next` says what is open")
    if args.file:
        if action.hand_in is None:
            raise UsageError(f"{action.id}: {action.gate} hands in its worktree, not a file")
        try:
            data = Path(args.file).read_bytes()
        except OSError as error:
            raise UsageError(f"{args.file}: {error.strerror}") from None
        Path(action.hand_in).write_bytes(data)
    elif action.hand_in and not Path(action.hand_in).is_file():
        raise UsageError(f"{action.id}: {action.hand_in} is not written yet; write it or name a file with --file")
    ctx.store.hand_in(action)
    print(f"{action.id}: handed in; the engine looks at it next")
    return EXIT_OK


def check(args: argparse.Namespace) -> int:
    from backlog_ops.run.gates.lint import run_in_worktree

    ctx = _context()
    action = _action(ctx, args.action)
    ticket = ctx.store.ticket(action.run, action.ticket)
    if not ctx.worktree_path(ticket).is_dir():
        raise RunStateError(f"{action.id}: its worktree is gone; the ticket is {ticket.step}")
    checks, _tree = run_in_worktree(ctx, ticket, tuple(args.args))
    print(checks.report())
    return EXIT_OK if checks.passed else EXIT_FINDINGS


def status(args: argparse.Namespace) -> int:
    ctx = _context()
    current = ctx.store.open_run() or ctx.store.last_run()
    if current is None:
        raise FindingsError("no run yet: `backlog-ops start` or `backlog-ops run` begins one")
    printing.print_status(ctx, current, args.format)
    return EXIT_OK


def show(args: argparse.Namespace) -> int:
    ctx = _context()
    current = ctx.store.open_run() or ctx.store.last_run()
    if current is None:
        raise FindingsError("no run yet: `backlog-ops start` or `backlog-ops run` begins one")
    printing.print_ticket(ctx, ctx.store.ticket(current.id, args.id), args.format)
    return EXIT_OK


def abort(args: argparse.Namespace) -> int:
    from backlog_ops.run import closing
    from backlog_ops.run.driver_lock import holder

    ctx = _context()
    print(closing.abort(ctx))
    busy = holder(ctx.state_folder)
    if busy:
        print(f"{busy} stops at its next step; `backlog-ops clean` then removes the worktrees")
    else:
        _print_lines(closing.clean(ctx))
    return EXIT_OK


def clean(args: argparse.Namespace) -> int:
    from backlog_ops.run import closing
    from backlog_ops.run.driver_lock import driving

    ctx = _context()
    with driving(ctx.state_folder, "backlog-ops clean"):
        _print_lines(closing.clean(ctx) or ["nothing to remove"])
    return EXIT_OK


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stdout)
