"""Usage limits of the host or the API: the run waits between gates for the reset, and nobody's attempt is used up."""

from __future__ import annotations

import math
import time

from backlog_ops.domain.usage_limits import UsageLimit, usage_limit
from backlog_ops.errors import BacklogError
from backlog_ops.run.context import Context
from backlog_ops.run.rows import Run

UNKNOWN_RESET_SECONDS = 900.0  # where nobody says when the limit is reset, it is tried again so often


class LimitReachedError(BacklogError):
    """An agent could not go on because of a usage limit; its action is still to be done."""

    def __init__(self, limit: UsageLimit) -> None:
        super().__init__(limit.why)
        self.limit = limit


def local_offset(now: float) -> float:
    """Seconds that the local time is ahead of UTC."""
    return float(time.localtime(now).tm_gmtoff)


def limit_of_cause(cause: str, said_at: float, status: int | None = None) -> UsageLimit | None:
    """The usage limit that ended an agent, by the host's own words for it; `said_at` in Unix seconds: a time of day
    means the next one after that.
    """
    return usage_limit(cause, said_at, status, offset=local_offset(said_at))


def pause(ctx: Context, run_id: str, limit: UsageLimit) -> None:
    """Let nothing be bought until the limit is reset."""
    until = limit.resets_at or ctx.clock() + UNKNOWN_RESET_SECONDS
    run = ctx.store.run(run_id)
    if run.paused_until is None or run.paused_until < until:
        known = "" if limit.resets_at else ", the time of its reset is not known"
        ctx.store.pause(run_id, until, limit.why, f"paused until {clock_time(until)}: {limit.why}{known}")


def resumed(ctx: Context, run: Run) -> bool:
    """Whether the run may go on; says so once when a limit has been reset."""
    if run.paused_until is None:
        return True
    if ctx.clock() < run.paused_until:
        return False
    ctx.store.pause(run.id, None, None, "going on: the usage limit should be reset by now")
    return True


def clock_time(at: float) -> str:
    """`2026-11-25 15:00`, local; the minute by which the moment has come."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(math.ceil(at / 60) * 60))
