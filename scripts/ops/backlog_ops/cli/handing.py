"""Commands of a parent session and its sub-agents: start, next, resume, submit, check, and the engine's worker."""

from __future__ import annotations

import argparse
import json
import re
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from backlog_ops.cli.opening import latest_run, open_context
from backlog_ops.errors import EXIT_FINDINGS, EXIT_OK, RunStateError, UsageError
from backlog_ops.run.context import Context
from backlog_ops.run.hand_ins import MAX_BYTES
from backlog_ops.run.hand_over import hand_over
from backlog_ops.run.questions import answer, question
from backlog_ops.run.rows import Action, Run
from backlog_ops.run.session_agents import give_up

START_SECONDS = 18.0  # contracts.md: start answers within 20 s, next within 100 s
NEXT_SECONDS = 95.0


def start(args: argparse.Namespace) -> int:
    from backlog_ops.run.opening import open_run, select

    ctx = open_context()
    if args.dry_run:
        from backlog_ops.cli import printing

        printing.print_dry_run(ctx, select(ctx, args.ids), args.json)
        return EXIT_OK
    current = ctx.store.open_run()
    goes_on = current is not None and args.max_usd is None and _holds(ctx, current, args.ids)
    if current is None or not goes_on:
        current = open_run(ctx, args.ids, args.max_usd)
    return _print_actions(ctx, current, START_SECONDS)


def _holds(ctx: Context, run: Run, ids: Sequence[str]) -> bool:
    return all(ctx.store.step_of(run.id, ticket_id) is not None for ticket_id in ids)


def next_actions(args: argparse.Namespace) -> int:
    ctx = open_context()
    run = latest_run(ctx)
    if args.lost:
        give_up(ctx, run)
    return _print_actions(ctx, run, NEXT_SECONDS, patient=not args.lost)


def _print_actions(ctx: Context, run: Run, seconds: float, patient: bool = False) -> int:
    print(json.dumps(hand_over(ctx, run, seconds, patient), ensure_ascii=False))
    return EXIT_OK


def worker(args: argparse.Namespace) -> int:
    from backlog_ops.run.driver_lock import WORKER, DrivenError, driving
    from backlog_ops.run.engine import work

    ctx = replace(open_context(), for_session=True)
    try:
        with driving(ctx.state_folder, WORKER):
            work(ctx, args.run_id, ctx.settings.backlog.max_slots, None)
    except DrivenError:
        pass  # two calls of `next` at once start two workers; the other one was faster and does it all
    return EXIT_OK


def _action(ctx: Context, name: str) -> Action:
    if not re.fullmatch("a[0-9]{1,15}", name):
        raise UsageError(f"{name}: not an action; they look like a17")
    return ctx.store.action(int(name[1:]))


def submit(args: argparse.Namespace) -> int:
    ctx = open_context()
    if args.answer or args.action.startswith("q"):
        return _answer(ctx, args.action, args.answer)
    action = _action(ctx, args.action)
    if action.state != "open":
        raise RunStateError(f"{action.id}: already {action.state}; `backlog-ops next` says what is open")
    if args.request:
        from backlog_ops.run.requests import request

        print(request(ctx, action, args.request))
        return EXIT_OK
    if args.file:
        if action.hand_in is None:
            raise UsageError(f"{action.id}: {action.gate} hands in its worktree, not a file")
        Path(action.hand_in).write_bytes(_answer_file(Path(args.file)))
    elif action.hand_in and not Path(action.hand_in).is_file():
        raise UsageError(f"{action.id}: {action.hand_in} is not written yet; write it or name a file with --file")
    ctx.store.hand_in(action)
    print(f"{action.id}: handed in; the engine looks at it next")
    return EXIT_OK


def _answer_file(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UsageError(f"{path}: {'is not a file' if path.exists() else 'No such file or directory'}")
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: larger than {MAX_BYTES} bytes; no gate takes so much")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _answer(ctx: Context, name: str, said: str | None) -> int:
    if not re.fullmatch("q[0-9]{1,15}", name):
        raise UsageError(f"{name}: --answer is for questions; they look like q1")
    if said is None:
        raise UsageError(f"{name}: a question is answered with --answer yes or --answer no")
    asked = question(ctx.store, int(name[1:]))
    if ctx.store.run(asked.run).state != "open":
        raise RunStateError(f"{name}: its run {asked.run} is over")
    answer(ctx.store, asked, said)
    print(f"{name}: {said}; `backlog-ops next` or `backlog-ops run` goes on")
    return EXIT_OK


def check(args: argparse.Namespace) -> int:
    from backlog_ops.run import worktrees
    from backlog_ops.run.gates.lint import run_in_worktree

    ctx = open_context()
    action = _action(ctx, args.action)
    ticket = ctx.store.ticket(action.run, action.ticket)
    if not ctx.worktree_path(ticket).is_dir():
        raise RunStateError(f"{action.id}: its worktree is gone; the ticket is {ticket.step}")
    # Whoever cuts this command off, files that the tests left behind must not be taken for the ticket's work.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    before = worktrees.snapshot(ctx, ctx.worktree_path(ticket))
    checks, _tree = run_in_worktree(ctx, ticket, before, tuple(args.args))
    print(checks.report())
    return EXIT_OK if checks.passed else EXIT_FINDINGS
