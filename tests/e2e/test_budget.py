"""A limit too small for its backlog: three tickets side by side do not pass it together, and nothing is half done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import shared_folder
from tests.e2e.demo.bill import billed
from tests.e2e.harness.agents import Agent, Job, Models, approve, write_own_file
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.reply import Answer, Reply, as_reply, tool
from tests.support.once import once

Found = dict[str, Any]
TICKETS = ("T-1", "T-2", "T-3")
READS = 14  # of an implementer, so that it takes about what the quote expects
# What a call of these agents is billed for, whatever it holds.
IMPLEMENTERS_CALL = {"cache_read_input_tokens": 40_000, "output_tokens": 1_000}
REVIEWERS_CALL = {"cache_read_input_tokens": 30_000, "output_tokens": 300}


def billed_as(usage: dict[str, int], agent: Agent) -> Agent:
    def costly(job: Job) -> Answer:
        answer = as_reply(agent(job))
        assert isinstance(answer, Reply)
        return Reply(answer.blocks, usage=usage)

    return costly


def implement(job: Job) -> Answer:
    """T-3's never comes to an end: the host has to end it."""
    if 0 < job.turn <= READS or (job.turn and job.ticket == "T-3"):
        return tool("Read", file_path=str(job.own_file))
    return write_own_file(job)


@pytest.fixture(scope="module")
def found(claude_bin: Path, prepared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A run that may cost 40 % of what the quote before it says."""

    def play() -> Found:
        models = Models(billed_as(IMPLEMENTERS_CALL, implement), billed_as(REVIEWERS_CALL, approve))
        with BacklogLab(models, TICKETS, cache=prepared_cache) as lab:
            quote = json.loads(lab.end(lab.begin("quote", "--format", "json")).stdout)
            limit = quote["total"]["p50_nanousd"] * 2 // 5
            ran = lab.run("--max-usd", f"{limit / 1e9:.9f}")
            return {
                "limit": limit,
                "exit_code": ran.exit_code,
                "said": ran.explain(),
                "leftovers": ran.leftovers,
                "billed": sum(one.nanousd for one in billed(lab.api.calls).values()),
                "dearest": max(one.nanousd for call in lab.api.calls for one in billed([call]).values()),
                "booked": lab.rows("SELECT sum(cost_nanousd) FROM ledger")[0][0],
                "run": lab.rows("SELECT state FROM run")[0][0],
                "parked": {row["id"]: row["reason"] for row in lab.rows("SELECT * FROM ticket WHERE step = 'parked'")},
                "done": [row["id"] for row in lab.rows("SELECT id FROM ticket WHERE step = 'done'")],
                "commits": [changed_in(lab, each) for each in lab.git("rev-list", f"{lab.start}..main").split()],
                "clean": lab.git("status", "--porcelain") == "",
            }

    return once(shared_folder(tmp_path_factory), "budget-run", play)


def changed_in(lab: BacklogLab, commit: str) -> list[str]:
    return sorted(lab.git("show", "--no-renames", "--name-status", "--format=", commit).splitlines())


def test_a_run_that_reaches_its_limit_ends_in_good_order_with_exit_code_6(found: Found) -> None:
    assert (found["exit_code"], found["run"], found["leftovers"]) == (6, "done", []), found["said"]


def test_three_tickets_side_by_side_pass_the_limit_by_no_more_than_one_call(found: Found) -> None:
    assert found["limit"] / 2 < found["billed"] <= found["limit"] + found["dearest"], found["said"]


def test_the_money_of_agents_that_were_ended_is_in_the_ledger_too(found: Found) -> None:
    assert found["booked"] == found["billed"], found["said"]


def test_what_cannot_be_paid_is_parked_with_the_reason_and_what_it_has_cost(found: Found) -> None:
    assert "T-3" in found["parked"], found["said"]
    for ticket, reason in found["parked"].items():
        assert "budget" in reason and "$" in reason, (ticket, reason)


def test_the_base_branch_is_ahead_by_whole_tickets_alone(found: Found) -> None:
    whole = [
        sorted([f"A\tsrc/{name}.txt", f"A\ttickets/completed/{name}.md", f"D\ttickets/pending/{name}.md"])
        for name in found["done"]
    ]
    assert sorted(found["commits"]) == sorted(whole), found["said"]
    assert found["clean"]
    assert sorted([*found["done"], *found["parked"]]) == list(TICKETS)
