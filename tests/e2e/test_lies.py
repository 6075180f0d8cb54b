"""Models that lie, forget or meet in one file: nothing gets through, and `status` and `show` say why."""

from __future__ import annotations

import json
import re

import pytest

from tests.e2e.conftest import MakeLab, MakeSession
from tests.e2e.harness.agents import Job, Models, approve, plan_of, turns, verdict, write, write_own_file
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import SKILL, Parent, ended_well, hand_in, in_order, models
from tests.e2e.harness.reply import Answer, tool
from tests.support.lab import ticket_text

ONE_ATTEMPT = {"routing": {"maxAttemptsPerTicket": 1}}


def cites(job: Job, line: int, quote: str) -> str:
    finding = {"severity": "low", "file": f"src/{job.ticket}.txt", "line": line, "quote": quote}
    return verdict(job, findings=[{**finding, "confidence": 90, "text": "a note"}])


# what a reviewer puts into its verdict file, by ticket; None: it writes none
REVIEWS = {
    "prose-only": lambda job: None,
    "prose-in-file": lambda job: "NOT APPROVED: the file is wrong.",
    "no-such-line": lambda job: cites(job, 40, job.ticket),
    "no-such-quote": lambda job: cites(job, 1, "what nobody wrote"),
    "another-tree": lambda job: verdict(job, tree="0" * 40),
}
CAUSES = {
    "prose-only": "no readable verdict: verdict.json is missing",
    "prose-in-file": "no readable verdict: verdict.json is not JSON",
    "no-such-line": "citation does not hold: src/no-such-line.txt:40 does not exist (1 lines)",
    "no-such-quote": "citation does not hold: src/no-such-quote.txt:1 does not say 'what nobody wrote'",
    "another-tree": "approved another tree (000000000, not ",
}


def lying_review(job: Job) -> Answer:
    said = REVIEWS[job.ticket](job)
    return write(job.verdict_file, said) if said and job.turn == 0 else "NOT APPROVED: I would not merge this."


def shown(lab: BacklogLab, ticket: str) -> str:
    return lab.end(lab.begin("show", ticket)).stdout


def status(lab: BacklogLab) -> str:
    return lab.end(lab.begin("status")).stdout


def test_a(make_lab: MakeLab, make_session) -> None:
    lab = make_lab(Models(review=lying_review), list(REVIEWS), llm_ops=ONE_ATTEMPT, config={"backlog": {"maxSlots": 3}})
    ran = lab.run()
    print(ran.explain())
    print(status(lab))
    for t in REVIEWS: print(shown(lab, t))
    assert 0
def test_b(make_session) -> None:
    lab, parent = make_session(("prose-only","prose-in-file","another-tree"), Parent(models(review=lying_review)), llm_ops=ONE_ATTEMPT)
    run = lab.session(SKILL, scenario=parent)
    print(status(lab))
    for t in REVIEWS: print(shown(lab, t))
    assert 0
