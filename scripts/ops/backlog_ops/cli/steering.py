"""Commands that steer a run: park, retry, undo."""

from __future__ import annotations

import argparse

from backlog_ops.cli.opening import open_context
from backlog_ops.errors import EXIT_OK, RunStateError
from backlog_ops.run.driver_lock import UNDO, driving
from backlog_ops.run.steering import park_ticket, retry, write_status
from backlog_ops.run.undoing import undo as take_back


def park(args: argparse.Namespace) -> int:
    ctx = open_context()
    run = ctx.store.open_run()
    in_run = run is not None and ctx.store.step_of(run.id, args.id) is not None
    if in_run:
        print(park_ticket(ctx, args.id, args.reason or "by hand"))
    elif not args.write:
        raise RunStateError(
            f"{args.id}: not part of an open run; `backlog-ops park {args.id} --write` marks its file as blocked"
        )
    if args.write:
        print(write_status(ctx, args.id))
    return EXIT_OK


def retry_tickets(args: argparse.Namespace) -> int:
    for line in retry(open_context(), args.ids):
        print(line)
    print("`backlog-ops run` goes on with it, in a Claude Code session `backlog-ops next` does")
    return EXIT_OK


def undo(args: argparse.Namespace) -> int:
    ctx = open_context()
    with driving(ctx.state_folder, UNDO):
        print(take_back(ctx, args.id))
    return EXIT_OK
