"""Commands that drive or end a run themselves: run, abort, clean."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time

from backlog_ops.cli import printing
from backlog_ops.cli.opening import open_context
from backlog_ops.errors import EXIT_BUDGET, EXIT_FINDINGS, EXIT_INTERRUPTED, EXIT_OK, EXIT_UNREACHABLE
from backlog_ops.run import closing
from backlog_ops.run.claude_agents import ClaudeAgents
from backlog_ops.run.context import Context
from backlog_ops.run.driver_lock import CLEAN, RUN, WORKER, driving, holder
from backlog_ops.run.engine import work
from backlog_ops.run.opening import open_run
from backlog_ops.run.pauses import clock_time
from backlog_ops.run.progress import waits_for_person
from backlog_ops.run.questions import answer
from backlog_ops.run.rows import Run
from backlog_ops.run.session_agents import refuse_beside_a_session

EVENT_POLL_SECONDS = 0.1
WAIT_POLL_SECONDS = 1.0
_GOES_ON = "`backlog-ops run` goes on later"


def run(args: argparse.Namespace) -> int:
    ctx = open_context()
    agents = ClaudeAgents(ctx)
    _wait_for_worker(ctx)
    with driving(ctx.state_folder, RUN):
        closing.tidy(ctx)
        current = ctx.store.open_run()
        if current is not None:
            refuse_beside_a_session(ctx, current)
        seen = 0
        if current is None or args.ids or args.max_usd is not None:
            current = open_run(ctx, args.ids, args.max_usd)
        else:
            past = ctx.store.events(current.id)
            seen = past[-1].number if past else 0
            printing.progress(f"going on with run {current.id}")
        _stop_on_signals(ctx)
        jobs = args.jobs or ctx.settings.backlog.max_slots
        while True:
            seen = _drive(ctx, current, jobs, agents, seen)
            current = ctx.store.run(current.id)
            if ctx.stopping.is_set() or not _goes_on(ctx, current, args.wait):
                break
    if ctx.stopping.is_set() and current.state == "open":
        return EXIT_INTERRUPTED
    printing.print_outcome(ctx, current, args.output)
    if current.state == "open":
        return EXIT_UNREACHABLE if current.paused_until is not None else EXIT_FINDINGS
    reasons = [ticket.reason for ticket in ctx.store.tickets(current.id) if ticket.reason]
    if any(reason.startswith("budget:") for reason in reasons):
        return EXIT_BUDGET
    return EXIT_FINDINGS if reasons or closing.is_undelivered(ctx, current) else EXIT_OK


def _wait_for_worker(ctx: Context) -> None:
    """A session's worker comes to its end by itself, once only agents are waited for; nobody has to stop it."""
    told = False
    while (busy := holder(ctx.state_folder)) is not None and busy.startswith(WORKER):
        if not told:
            printing.progress(f"waiting for {busy}; Ctrl-C stops, nothing is lost")
            told = True
        time.sleep(EVENT_POLL_SECONDS)


def _drive(ctx: Context, run: Run, jobs: int, agents: ClaudeAgents, seen: int) -> int:
    """Work in a thread, print what happens from this one, which is also the one that signals reach. Returns the last
    event that was printed.
    """
    ended = threading.Event()
    failed: list[BaseException] = []

    def drive() -> None:
        try:
            work(ctx, run.id, jobs, agents)
        except BaseException as error:
            failed.append(error)
        finally:
            ended.set()

    threading.Thread(target=drive).start()
    told = False
    while not ended.wait(EVENT_POLL_SECONDS):
        seen = printing.print_events(ctx, run.id, seen)
        if ctx.stopping.is_set() and not told:
            printing.progress(f"interrupted: asking the agents for their bill; {_GOES_ON}")
            told = True
    if failed:
        raise failed[0]
    seen = printing.print_events(ctx, run.id, seen)
    cut_off = ctx.stopping.is_set() and ctx.store.run(run.id).state == "open"
    if cut_off and not told:  # all had ended before anybody could look
        printing.progress(f"interrupted: {_GOES_ON}")
    return seen


def _goes_on(ctx: Context, run: Run, wait: bool) -> bool:
    """Whether an open run that has stopped may go on at once: a limit was waited for, or the person has answered."""
    if run.state != "open":
        return False
    if run.paused_until is not None:
        return wait and _wait_until(ctx, run.paused_until)
    asked = waits_for_person(ctx, run)
    if asked is None:
        return False
    said = printing.ask(asked.text) if sys.stdin.isatty() and sys.stderr.isatty() else None
    if said is None:
        printing.progress(
            f"{asked.id} waits for an answer; `backlog-ops submit {asked.id} --answer yes`, or no, then `run`"
        )
        return False
    answer(ctx.store, asked, said)
    return True


def _wait_until(ctx: Context, moment: float) -> bool:
    """Wait by the clock on the wall, which a machine that sleeps does not lose. False when stopped meanwhile."""
    printing.progress(f"waiting until {clock_time(moment)}; Ctrl-C stops, nothing is lost")
    while ctx.clock() < moment:
        if ctx.stopping.wait(min(WAIT_POLL_SECONDS, max(0.01, moment - ctx.clock()))):
            return False
    return True


def _stop_on_signals(ctx: Context) -> None:
    """Ctrl-C stops between steps; a second one leaves at once, and the next `run` finds what is still at work.

    A terminal that closes and a CI job that is cancelled mean the same. What is ignored (nohup) stays ignored.
    """

    def stop(_number: int, _frame: object) -> None:
        if ctx.stopping.is_set():
            os._exit(EXIT_INTERRUPTED)
        ctx.stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def abort(args: argparse.Namespace) -> int:
    ctx = open_context()
    print(closing.abort(ctx))
    busy = holder(ctx.state_folder)
    if busy:
        print(f"{busy} stops at its next step; `backlog-ops clean` then removes the worktrees")
    else:
        _print_lines(closing.remove_worktrees(ctx))
    return EXIT_OK


def clean(args: argparse.Namespace) -> int:
    ctx = open_context()
    with driving(ctx.state_folder, CLEAN):
        _print_lines(closing.clean(ctx) or ["nothing to remove"])
    return EXIT_OK


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        print(line)
