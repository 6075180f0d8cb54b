"""A usage limit is nobody's failure: the run pauses, says until when, and goes on with the actions that were open."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from tests.e2e.conftest import MakeLab, MakeSession
from tests.e2e.harness.agents import Models
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import SKILL, Parent, ended_well
from tests.e2e.harness.reply import Answer, Fault, http_fault
from tests.e2e.harness.request import Req

HOUR, DAY = 3600, 86400
SUBSCRIPTION = {"ANTHROPIC_API_KEY": None, "CLAUDE_CODE_OAUTH_TOKEN": "dummy", "TZ": "UTC"}


@dataclass
class Limited(Models):
    """Agents, or `everybody`, are told of a limit; `limit` gives None once it has been reset."""

    limit: Callable[[], Fault | None] = lambda: None
    everybody: bool = False

    def __call__(self, request: Req) -> Answer:
        refused = self.limit() if self.everybody or "Read" in request.tools else None
        return refused or super().__call__(request)


def five_hours(reset: int) -> Fault:
    """A subscription's limit, as the API says it; the host drops the seconds of the reset."""
    return http_fault(
        429,
        "This request would exceed your account's rate limit. Please try again later.",
        anthropic_ratelimit_unified_status="rejected",
        anthropic_ratelimit_unified_representative_claim="five_hour",
        anthropic_ratelimit_unified_reset=reset,
    )


def spent(until: str) -> Fault:
    return http_fault(400, f"You have reached your specified API usage limits. {until}.")


IN_TEN_DAYS = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 10 * DAY))
SPENT_FOR_TEN_DAYS = spent(f"You will regain access on {IN_TEN_DAYS} at 00:00 UTC")
SPENT_UNTIL = f"{IN_TEN_DAYS} 00:00: You have reached your specified API usage limits"


def minute_after(moment: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment + 60))


def actions(lab: BacklogLab) -> list[tuple[object, ...]]:
    """Of each action: its gate, attempt and state, and why it came to nothing."""
    return [tuple(row) for row in lab.rows("SELECT gate, attempt, state, cause FROM action ORDER BY number")]


def test_a_subscriptions_limit_pauses_the_run_until_its_reset_and_buys_nothing_before(make_lab: MakeLab) -> None:
    reset = int(time.time()) + 3 * HOUR
    models = Limited(limit=lambda: five_hours(reset))
    lab = make_lab(models, ["T-1", "T-2"], environment=SUBSCRIPTION)
    first = lab.run()
    paused = f"paused until {minute_after(reset)}: You've hit your 5-hour limit"
    assert (first.exit_code, first.leftovers, first.stderr.count(paused)) == (4, [], 1), first.explain()
    assert f"\n{paused}; `backlog-ops run --wait` goes on by itself\n" in lab.end(lab.begin("status")).stdout
    assert actions(lab) == [("IMPLEMENT", 1, "open", None)] * 2
    asked = len(lab.api.calls)
    second = lab.run()
    assert (second.exit_code, len(lab.api.calls)) == (4, asked), second.explain()


def test_a_spend_limit_that_meets_every_call_uses_up_no_attempt(make_lab: MakeLab) -> None:
    models = Limited(limit=lambda: SPENT_FOR_TEN_DAYS, everybody=True)
    lab = make_lab(models, environment={"TZ": "UTC"})
    ran = lab.run()
    assert (ran.exit_code, lab.step()) == (4, "plan"), ran.explain()
    assert f"paused until {SPENT_UNTIL}\n" in ran.stderr
    assert actions(lab) == [("PLAN", 1, "open", None)]


def test_a_run_that_waits_goes_on_by_itself_after_the_reset(make_lab: MakeLab) -> None:
    resets: list[float] = []

    def limit() -> Fault | None:
        resets.append(time.time() + 2)
        left = resets[0] - time.time()
        return spent(f"Try again in {math.ceil(left)} seconds") if left > 0 else None

    lab = make_lab(Limited(limit=limit))
    ran = lab.run("--wait")
    assert (ran.exit_code, lab.commits()) == (0, ["feat(src): implement T-1"]), ran.explain()
    said = [line.partition(" until ")[0] for line in ran.stderr.splitlines()]
    start = said.index("paused")
    assert said[start + 1 : start + 3] == ["waiting", "going on: the usage limit should be reset by now"]
    assert actions(lab) == [("IMPLEMENT", 1, "closed", None), ("REVIEW", 1, "closed", None)]


def test_a_session_is_told_to_wait_and_later_goes_on_with_the_same_action(make_session: MakeSession) -> None:
    parent = Parent(Limited(limit=lambda: SPENT_FOR_TEN_DAYS))
    lab, _ = make_session(parent=parent, environment={"TZ": "UTC"})
    run = lab.session(SKILL, scenario=parent)
    ended_well(run)
    assert (run.result["result"], len(parent.calls)) == (f"Stopped: usage limit until {SPENT_UNTIL}", 2), run.explain()
    assert actions(lab) == [("IMPLEMENT", 1, "open", None)]
    the_reset_comes(lab)
    told = json.loads(lab.end(lab.begin("next")).stdout)
    assert [(each["do"], each["id"], each["attempt"]) for each in told["actions"]] == [("agent", "a1", 1)]


def the_reset_comes(lab: BacklogLab) -> None:
    """Nobody waits ten days for it here."""
    (database,) = lab.home.glob(".local/state/backlog-ops/*/state.db")
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute("UPDATE run SET paused_until = 1").rowcount == 1
