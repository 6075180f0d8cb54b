"""`backlog-ops run` when agents fail: each failure is bounded, named, and on the bill for what it cost."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.demo.bill import billed, booked
from tests.e2e.harness.agents import Job, Models, approve, turns, write_own_file
from tests.e2e.harness.reply import Answer, Fault, http_fault
from tests.e2e.harness.request import Req

ONE_ATTEMPT = {"routing": {"maxAttemptsPerTicket": 1}}


class Broken(Models):
    """Text gates are answered, agents get a fault."""

    fault: Fault

    def __call__(self, request: Req) -> Answer:
        return self.fault if "Read" in request.tools else super().__call__(request)


@pytest.mark.parametrize("status", [400, 401, 529])
def test_an_api_that_answers_with_an_error_for_good_parks_the_ticket_and_names_it(
    make_lab: MakeLab, status: int
) -> None:
    models = Broken()
    models.fault = http_fault(status, "not today")
    lab = make_lab(models, llm_ops=ONE_ATTEMPT)
    ran = lab.run()
    assert (ran.exit_code, lab.commits(), ran.leftovers) == (1, [], []), ran.explain()
    assert "T-1  IMPLEMENT attempt 1 died: api_error: " in ran.stderr
    assert f"API Error: {status} not today" in ran.stderr
    assert [(row["outcome"], row["cost_nanousd"]) for row in lab.agent_receipts()] == [("failed", 0)]


def test_a_budget_that_cannot_pay_for_the_next_step_buys_nothing(make_lab: MakeLab) -> None:
    lab = make_lab()
    ran = lab.run("--max-usd", "0.0002")
    assert (ran.exit_code, lab.commits()) == (6, []), ran.explain()
    limit = "$0.0002 is left of the run's $0.0002 (--max-usd); the ticket has cost $0.0000"
    assert lab.ticket()["reason"] == f"budget: PLAN on free may take $0.0019, {limit}"
    assert lab.api.calls == []


def test_a_claude_that_is_killed_leaves_a_receipt_of_unknown_cost_and_a_new_attempt(make_lab: MakeLab) -> None:
    lab = make_lab()

    def die_once(job: Job) -> Answer:
        if job.attempt == 1:
            for pid in lab.claudes():
                os.kill(pid, signal.SIGKILL)
        return write_own_file(job)

    lab.models.implement = die_once
    ran = lab.run()
    assert ran.exit_code == 0, ran.explain()
    assert "T-1  IMPLEMENT attempt 1 died: claude ended with exit code -9 and no result" in ran.stderr
    told = [(row["gate"], row["attempt"], row["asked_tier"], row["outcome"]) for row in lab.agent_receipts()]
    assert told == [
        ("IMPLEMENT", 1, "cheap", "failed"),
        ("IMPLEMENT", 2, "cheap", "answered"),
        ("REVIEW", 2, "balanced", "answered"),
    ]
    assert [row["cost_nanousd"] is None for row in lab.agent_receipts()] == [True, False, False]
    assert "unknown cost" in ran.stdout.partition("\ntotal ")[2]


def test_an_agent_that_hangs_is_ended_in_time_and_its_bill_is_kept(make_lab: MakeLab) -> None:
    limits = {**ONE_ATTEMPT, "timeouts": {"agentSeconds": 4}}
    lab = make_lab(Models(implement=turns(Fault("hang"))), llm_ops=limits)
    ran = lab.run()
    assert (ran.exit_code, lab.commits(), ran.leftovers) == (1, [], []), ran.explain()
    assert "IMPLEMENT attempt 1 died: no end after 4 s (llmOps.timeouts.agentSeconds)" in ran.stderr
    assert [row["cost_nanousd"] for row in lab.agent_receipts()] != [None]
    assert booked(lab) == billed(lab.api.calls)


def test_an_implementer_that_only_says_it_is_done_has_failed(make_lab: MakeLab) -> None:
    lab = make_lab(Models(implement=lambda job: "All done!" if job.attempt == 1 else write_own_file(job)))
    ran = lab.run()
    assert (ran.exit_code, lab.commits()) == (0, ["feat(src): implement T-1"]), ran.explain()
    assert "T-1  LINT failed: the attempt changed nothing" in ran.stderr
    assert "Haiku failed on T-1 at LINT. Escalated to Sonnet." in ran.stderr


def test_a_missing_verdict_is_asked_for_once_more_and_is_never_an_approval(make_lab: MakeLab) -> None:
    lab = make_lab(Models(review=lambda job: "Looks good to me, APPROVED."), llm_ops=ONE_ATTEMPT)
    ran = lab.run()
    assert (ran.exit_code, lab.commits()) == (1, []), ran.explain()
    assert len(lab.models.begun("REVIEW")) == 2
    assert ran.stderr.count("readable verdict: verdict.json is missing") == 2


def test_the_json_output_is_one_object_and_progress_is_elsewhere(make_lab: MakeLab) -> None:
    def only_for_t2(job: Job) -> Answer:
        return approve(job) if job.ticket == "T-2" else "No."

    lab = make_lab(Models(review=only_for_t2), ["T-1", "T-2"], llm_ops=ONE_ATTEMPT)
    ran = lab.run("--output", "json")
    assert ran.exit_code == 1, ran.explain()
    told = json.loads(ran.stdout)
    assert {ticket["id"]: ticket["step"] for ticket in told["tickets"]} == {"T-1": "parked", "T-2": "done"}
    assert "T-2  COMMIT · " in ran.stderr


def test_without_claude_nothing_is_begun(make_lab: MakeLab) -> None:
    lab = make_lab(environment={"CLAUDE_BIN": "/nonexistent/claude"})
    ran = lab.run()
    assert (ran.exit_code, ran.stdout, ran.stderr.count("\n")) == (4, "", 1), ran.explain()
    assert "set CLAUDE_BIN" in ran.stderr
    assert lab.api.calls == []
