"""Whether hooks have anything to do in this work tree: a run is open or its end untold, or receipts are to come."""

from __future__ import annotations

import sys

from backlog_ops.run import agent_rows
from backlog_ops.run.context import Context
from backlog_ops.storage.open_runs import clear_mark, set_mark

LINGER_SECONDS = 60.0  # after its end a run's last notifications still arrive, one by one


def sync_mark(ctx: Context, leaving: bool = False) -> None:
    """Set or clear the mark that hooks look for; `leaving`: the session ends, nothing more will arrive in it.

    A mark that cannot be written costs turns, never correctness.
    """
    try:
        if ctx.store.open_run() is not None or agent_rows.unbooked(ctx.store) or not (leaving or _is_over(ctx)):
            set_mark(ctx.environ, ctx.top, sys.executable, ctx.store.path)
        else:
            clear_mark(ctx.environ, ctx.top)
    except (OSError, ValueError):  # ValueError: a path that no encoding can write
        pass


def _is_over(ctx: Context) -> bool:
    """Whether the session that drove the last run, if one did, has heard of its end and of all its sub-agents."""
    run = ctx.store.last_run()
    if run is None or not agent_rows.agents_of_run(ctx.store, run.id):
        return True
    if run.ended_at is None or ctx.clock() - run.ended_at <= LINGER_SECONDS:
        return False
    return agent_rows.was_told_since(ctx.store, run.id, run.ended_at)
