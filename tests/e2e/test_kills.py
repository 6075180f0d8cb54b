"""SIGKILL in the middle of the real thing: the next `run` or `next` goes on at once, and it ends as if nobody had."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeLab, MakeSession
from tests.e2e.demo.bill import billed, booked
from tests.e2e.harness.agents import Job, Models, approve, turns, write, write_own_file
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import SKILL, Parent, diligent, models
from tests.e2e.harness.reply import Answer, Reply, tool
from tests.support.killed_engine import Fifo
from tests.support.lab import ticket_text

TICKETS = ("T-1", "T-2")
AGAIN_SECONDS = 1.0  # from the command to its first step: docs/reliability.md


@pytest.fixture(scope="session")
def undisturbed(claude_bin: Path, prepared_cache: Path) -> dict[str, Any]:
    """What a run of TICKETS comes to that nobody kills."""
    with BacklogLab(Models(), TICKETS, cache=prepared_cache) as lab:
        ran = lab.run()
        assert ran.exit_code == 0, ran.explain()
        return outcome(lab)


def outcome(lab: BacklogLab) -> dict[str, Any]:
    """All that must be the same, whoever was killed."""
    git = lab.repo / ".git"
    return {
        "tree": lab.git("rev-parse", "main^{tree}"),
        "commits": sorted(lab.git("log", "--format=%B", f"{lab.start}..main").split("\n\n")),
        "refs": lab.git("for-each-ref", "--format=%(refname)"),
        "worktrees": lab.git("worktree", "list", "--porcelain").count("worktree "),
        "status": lab.git("status", "--porcelain"),
        "locks": sorted(str(path.relative_to(git)) for path in git.rglob("*.lock")),
        "journal": [tuple(row) for row in lab.rows("SELECT step FROM journal WHERE outcome IS NULL")],
        "open": [tuple(row) for row in lab.rows("SELECT number FROM action WHERE state = 'open'")],
    }


def kill(process: Any) -> None:
    process.kill()
    process.wait()


def working_again(lab: BacklogLab, since: float) -> float:
    """Seconds from `since` to the first step, word or model call after it."""
    times = [row["at"] for table in ("journal", "event") for row in lab.rows(f"SELECT at FROM {table}")]
    return min(at for at in [*times, *(call.at for call in lab.api.calls)] if at > since) - since


def goes_on(lab: BacklogLab, what: str, capsys) -> Any:
    started = time.time()
    ran = lab.run()
    took = working_again(lab, started)
    with capsys.disabled():
        print(f"\nworking again after a kill {what}: {took:.2f} s, limit {AGAIN_SECONDS:g}", file=sys.stderr)
    return ran


def test_a_run_that_is_killed_at_two_gates(make_lab: MakeLab, undisturbed: dict[str, Any], capsys) -> None:
    slowly = turns(lambda job: Reply([write(job.own_file, f"{job.ticket}\n")], delay=1.0))
    lab = make_lab(Models(implement=slowly), TICKETS)
    for gate in ("IMPLEMENT", "REVIEW"):
        started = time.time()
        process = lab.begin("run")
        lab.wait_until(lambda gate=gate: len(lab.models.begun(gate)) == len(TICKETS))
        kill(process)
        print(f"{gate}: {working_again(lab, started):.3f}")
    ran = goes_on(lab, "in REVIEW", capsys)
    assert ran.exit_code == 0, ran.explain()
    assert outcome(lab) == undisturbed
    assert booked(lab) == billed(lab.api.calls)
    print(ran.explain())
    print(Counter((row["ticket"], row["gate"]) for row in lab.rows("SELECT * FROM ledger")))
    assert 0


def test_git_commit(make_lab: MakeLab, undisturbed, capsys, tmp_path) -> None:
    with Fifo.at(tmp_path / "at-work") as fifo:
        lab = make_lab(Models(), TICKETS)
        hook = lab.repo / ".git/hooks/pre-commit"
        hook.write_text(f"#!/bin/sh\n{fifo.holding()}\n")
        hook.chmod(0o755)
        process = lab.begin("run")
        fifo.line()
        kill(process)
        t = time.time()
        assert fifo.is_free_within(1.0)
        print("hook gone", time.time() - t)
        hook.unlink()
        ran = goes_on(lab, "in COMMIT", capsys)
        assert ran.exit_code == 0, ran.explain()
        assert outcome(lab) == undisturbed
        assert booked(lab) == billed(lab.api.calls)
        print(ran.explain())
        print(Counter((row["ticket"], row["gate"]) for row in lab.rows("SELECT * FROM ledger")))
        assert 0


def test_git_killed(make_lab: MakeLab, undisturbed, capsys, tmp_path) -> None:
    lab = make_lab(Models(), TICKETS)
    hook = lab.repo / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n")
    hook.chmod(0o755)
    ran = lab.run()
    print(ran.explain())
    print(lab.end(lab.begin("status")).stdout)
    hook.unlink()
    ran = goes_on(lab, "of git", capsys)
    print(ran.explain())
    assert ran.exit_code == 0, ran.explain()
    assert outcome(lab) == undisturbed
    assert booked(lab) == billed(lab.api.calls)
    assert 0


def test_claude_killed(make_lab: MakeLab, undisturbed) -> None:
    lab = make_lab(Models(), TICKETS)
    seen = []

    def die(job: Job) -> None:
        (pid_file,) = lab.repo.glob(f".backlog-ops/runs/*/{job.ticket}/{job.head['Action']}/agent.pid")
        os.kill(int(pid_file.read_text()), signal.SIGKILL)

    def implement(job: Job) -> Answer:
        if job.ticket == "T-2" or job.attempt == 1 and job.turn == 0:
            return write(job.own_file, "T-") if job.ticket == "T-1" else write_own_file(job)
        if job.attempt == 1:
            die(job)
        if job.turn == 0:
            return tool("Read", file_path=str(job.own_file))
        if job.turn == 1:
            seen.append(job.results[0].text)
        return write(job.own_file, "T-1\n") if job.turn == 1 else "Done."

    def review(job: Job) -> Answer:
        if job.ticket == "T-2" and len([one for one in lab.models.begun("REVIEW") if one.ticket == "T-2"]) == 1:
            die(job)
        return approve(job)

    lab.models.implement, lab.models.review = implement, review
    ran = lab.run()
    print(ran.explain(), seen)
    print(lab.end(lab.begin("show", "T-1")).stdout)
    print(lab.end(lab.begin("show", "T-2")).stdout)
    assert ran.exit_code == 0, ran.explain()
    assert outcome(lab) == undisturbed
    assert booked(lab) == billed(lab.api.calls)
    assert 0


@pytest.mark.parametrize("how", ["next", "run"])
def test_session_killed(make_session: MakeSession, undisturbed, how) -> None:
    barrier, over = threading.Barrier(len(TICKETS)), threading.Event()

    def implement(job: Job) -> Answer:
        if job.turn == 1 and not over.is_set():
            barrier.wait(20)
            if job.ticket == "T-1":
                for pid in lab.claudes():
                    os.kill(pid, signal.SIGKILL)
                over.set()
            over.wait(20)
            return None
        return diligent(job)

    lab, parent = make_session(TICKETS, Parent(models(implement=implement)))
    run = lab.session(SKILL, scenario=parent)
    print(run.exit_code, run.leftovers, run.stub_errors)
    print([dict(r) for r in lab.rows("SELECT action, ended_at, cause, booked FROM agent")])
    if how == "next":
        t = time.time()
        print(lab.end(lab.begin("next")), time.time() - t)
        second = lab.session(SKILL, scenario=parent)
        print(second.explain()[:3000])
        calls = run.calls + second.calls
    else:
        lab.extra["ANTHROPIC_BASE_URL"] = lab.api.base_url
        t = time.time()
        ran = lab.run()
        print(ran.explain(), working_again(lab, t))
        calls = run.calls + lab.api.calls
    print(outcome(lab))
    print([dict(r) for r in lab.rows("SELECT action, ended_at, cause, booked FROM agent")])
    print([(r["source"], r["key"], r["ticket"], r["gate"]) for r in lab.rows("SELECT * FROM ledger")])
    print([(c.seq, c.model, c.agent_id, c.status, c.turn) for c in calls])
    assert outcome(lab) == undisturbed
    print(booked(lab), billed(c for c in calls if 'Agent' not in c.tools))
    assert 0
