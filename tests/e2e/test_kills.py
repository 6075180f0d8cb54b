"""SIGKILL in the middle of the real thing: the next command goes on at once, and all ends as if nothing had been."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.money.transcripts import first_prompt, read_transcript
from tests.e2e.conftest import MakeLab, MakeSession, shared_folder
from tests.e2e.demo.bill import billed, booked
from tests.e2e.harness.agents import Job, Models, approve, turns, write, write_own_file
from tests.e2e.harness.backlog_lab import BacklogLab, Ran
from tests.e2e.harness.parent_session import SKILL, Parent, hand_in, in_order, models
from tests.e2e.harness.reply import Answer, Fault, Reply, tool
from tests.support.killed_engine import Fifo

TICKETS = ("T-1", "T-2")
AGAIN_SECONDS = 1.0  # docs/reliability.md: from the next command to what it does first

Outcome = dict[str, Any]


@pytest.fixture(scope="session")
def undisturbed(claude_bin: Path, prepared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What a run of TICKETS comes to that nobody kills; made by one worker for all."""
    kept = shared_folder(tmp_path_factory) / "undisturbed.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with BacklogLab(Models(), TICKETS, cache=prepared_cache) as lab:
                ran = lab.run()
                assert ran.exit_code == 0, ran.explain()
                kept.write_text(json.dumps(outcome(lab)), encoding="utf-8")
    found: Outcome = json.loads(kept.read_text(encoding="utf-8"))
    return found


def outcome(lab: BacklogLab) -> Outcome:
    """All that must be the same: tree and commits, and that nothing is left over."""
    git = lab.repo / ".git"
    return {
        "tree": lab.git("rev-parse", "main^{tree}"),
        "commits": sorted(lab.commits()),
        "refs": lab.git("for-each-ref", "--format=%(refname)"),
        "worktrees": lab.git("worktree", "list", "--porcelain").count("worktree "),
        "status": lab.git("status", "--porcelain"),
        "locks": sorted(str(path.relative_to(git)) for path in git.rglob("*.lock")),
        "steps": len(lab.rows("SELECT * FROM journal WHERE outcome IS NULL")),
        "actions": len(lab.rows("SELECT * FROM action WHERE state != 'closed'")),
    }


GoOn = Callable[..., Ran]


@pytest.fixture
def go_on(capsys: pytest.CaptureFixture[str]) -> GoOn:
    """A command to its end; prints how soon it was at work again, and fails where that took far too long."""

    def run(lab: BacklogLab, after: str, command: str = "run") -> Ran:
        started = time.time()
        ran = lab.end(lab.begin(command))
        seconds = first_sign(lab, started) - started
        with capsys.disabled():
            print(f"\n{command} is at work again, {after}: {seconds:.2f} s, limit {AGAIN_SECONDS:g}", file=sys.stderr)
        assert seconds < 3 * AGAIN_SECONDS, ran.explain()  # other tests use these cores too
        return ran

    return run


def first_sign(lab: BacklogLab, since: float) -> float:
    """When a command took its first step, started its first agent or said its first word, or else was through."""
    signs = [row["at"] for table in ("journal", "event") for row in lab.rows(f"SELECT at FROM {table}")]
    signs += [path.stat().st_mtime for path in lab.repo.glob(".backlog-ops/runs/*/*/*/agent.pid")]
    return min((at for at in signs if at > since), default=time.time())


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_a_run_that_is_killed_at_one_gate_after_the_other_buys_nothing_twice(
    make_lab: MakeLab, undisturbed: Outcome, go_on: GoOn
) -> None:
    slowly = turns(lambda job: Reply([write(job.own_file, f"{job.ticket}\n")], delay=0.5))
    lab = make_lab(Models(implement=slowly), TICKETS)

    def begin_and_kill(gate: str) -> None:
        process = lab.begin("run")
        lab.wait_until(lambda: len(lab.models.begun(gate)) == len(TICKETS))
        kill(process)

    begin_and_kill("IMPLEMENT")
    begin_and_kill("REVIEW")
    ran = go_on(lab, "killed in IMPLEMENT and in REVIEW")
    assert (ran.exit_code, ran.leftovers, outcome(lab)) == (0, [], undisturbed), ran.explain()
    assert len(lab.models.jobs_from_start()) == len(lab.agent_receipts()) == 4
    assert booked(lab) == billed(lab.api.calls)


def test_a_claude_that_is_killed_leaves_its_cause_and_its_diff(make_lab: MakeLab, undisturbed: Outcome) -> None:
    """T-1's implementer with half of its work done, T-2's reviewer as it begins."""
    found: list[str] = []

    def implement(job: Job) -> Answer:
        if job.ticket == "T-2":
            return write_own_file(job)
        if job.attempt == 1:
            return kill_claude(job) if job.turn else write(job.own_file, "half of T-")
        if job.turn == 0:
            return tool("Read", file_path=str(job.own_file))
        found.extend(result.text for result in job.results if result.name == "Read")
        return write(job.own_file, "T-1\n") if job.turn == 1 else "Done."

    def review(job: Job) -> Answer:
        asked = [one for one in lab.models.begun("REVIEW") if one.ticket == job.ticket]
        return kill_claude(job) if job.ticket == "T-2" and len(asked) == 1 else approve(job)

    def kill_claude(job: Job) -> Answer:
        (pid_file,) = lab.repo.glob(f".backlog-ops/runs/*/{job.ticket}/{job.head['Action']}/agent.pid")
        os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGKILL)
        return Fault("reset")

    lab = make_lab(Models(implement, review), TICKETS)
    ran = lab.run()
    assert (ran.exit_code, ran.leftovers, outcome(lab)) == (0, [], undisturbed), ran.explain()
    assert found == ["1\thalf of T-"]
    causes = [tuple(row) for row in lab.rows("SELECT ticket, gate, attempt, cause FROM action WHERE cause IS NOT NULL")]
    died = "claude ended with exit code -9 and no result"
    assert sorted(causes) == [("T-1", "IMPLEMENT", 1, died), ("T-2", "REVIEW", 1, died)]
    assert len(lab.models.jobs_from_start()) == len(lab.agent_receipts()) == 6


def test_a_session_that_is_killed_is_gone_on_with_by_the_next_one_and_that_by_a_run(
    make_session: MakeSession, undisturbed: Outcome, go_on: GoOn
) -> None:
    """Each time T-1's sub-agent has ended, and what follows is under way, while T-2's is in flight."""
    to_kill = ["IMPLEMENT", "REVIEW"]

    def has_ended(gate: str) -> bool:
        """And its transcript is whole: what the host has not written down by its end nobody can book."""
        joined = "action JOIN agent ON action = number WHERE agent.ended_at AND ticket = 'T-1'"
        ended = lab.rows(f"SELECT transcripts, agent_id FROM {joined} AND gate = '{gate}'")
        files = [Path(folder) / f"agent-{agent}.jsonl" for folder, agent in (tuple(row) for row in ended)]
        return bool(files) and all(read_transcript(file).said_last_word for file in files)

    def is_written_down(job: Job) -> bool:
        number = int(job.head["Action"][1:])
        folders = [Path(row[0]) for row in lab.rows(f"SELECT transcripts FROM agent WHERE action = {number}")]
        own = [
            file for folder in folders for file in folder.glob("agent-*.jsonl") if f":a{number}]" in first_prompt(file)
        ]
        return any(sum(call.complete for call in read_transcript(file).calls) > job.turn for file in own)

    def killing(job: Job) -> bool:
        gate = job.head["Gate"]
        if job.ticket != "T-2" or to_kill[:1] != [gate]:
            return False
        lab.wait_until(lambda: has_ended(gate) and is_written_down(job))
        del to_kill[0]
        for pid in lab.claudes():
            os.kill(pid, signal.SIGKILL)
        return True

    def implement(job: Job) -> Answer:
        return Fault("reset") if job.turn == 1 and killing(job) else work(job)

    def review(job: Job) -> Answer:
        return Fault("reset") if killing(job) else approve(job)

    work = in_order(write_own_file, hand_in)
    lab, parent = make_session(TICKETS, Parent(models(implement=implement, review=review)))
    first = lab.session(SKILL, scenario=parent)
    told = json.loads(go_on(lab, "session killed", "next").stdout)
    assert ("T-2", "IMPLEMENT", 1) in [(each["ticket"], each["gate"], each["attempt"]) for each in told["actions"]]
    second = lab.session(SKILL, scenario=parent)
    assert (first.exit_code, second.exit_code) == (-signal.SIGKILL, -signal.SIGKILL), second.explain()
    lab.extra["ANTHROPIC_BASE_URL"] = lab.api.base_url
    ran = go_on(lab, "session killed")
    assert (ran.exit_code, ran.leftovers, outcome(lab)) == (0, [], undisturbed), ran.explain()
    begun = Counter((job.ticket, job.head["Gate"]) for job in parent.models.jobs_from_start())
    assert begun == {(ticket, gate): int(ticket[-1]) for ticket in TICKETS for gate in ("IMPLEMENT", "REVIEW")}
    calls = [call for call in [*first.calls, *second.calls, *lab.api.calls] if "Agent" not in call.tools]
    bought, known = (sum(bill.nanousd for bill in bills.values()) for bills in (billed(calls), booked(lab)))
    folders = {Path(row[0]) for row in lab.rows("SELECT DISTINCT transcripts FROM agent")}
    answers = [
        call for folder in folders for file in folder.glob("agent-*.jsonl") for call in read_transcript(file).calls
    ]
    keys = {row[0] for row in lab.rows("SELECT key FROM ledger")}
    assert {f"claude/{call.message_id}" for call in answers if call.complete} <= keys
    # What the host has not written down when it is killed nobody can book: the calls in flight, no more.
    assert 0 <= bought - known <= bought / 4


def test_a_commit_whose_git_or_engine_is_killed_is_made_once(
    make_lab: MakeLab, undisturbed: Outcome, go_on: GoOn, tmp_path: Path
) -> None:
    lab = make_lab(Models(), TICKETS)
    hook = lab.repo / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\nkill -9 $PPID\n", encoding="utf-8")
    hook.chmod(0o755)
    ran = lab.run()
    # The other one stops where it is: the next git would meet the same.
    assert (ran.exit_code, lab.commits()) == (1, []) and "commit" in (lab.step("T-1"), lab.step("T-2"))
    assert "backlog-ops: git commit: was ended" in ran.stderr
    with Fifo.at(tmp_path / "at-work") as fifo:
        hook.write_text(f"#!/bin/sh\n{fifo.holding()}\n", encoding="utf-8")
        process = lab.begin("run")
        fifo.line()
        kill(process)
        assert fifo.is_free_within(1.0)
    hook.unlink()
    ran = go_on(lab, "killed in COMMIT")
    assert (ran.exit_code, ran.leftovers, outcome(lab)) == (0, [], undisturbed), ran.explain()
    # The other ticket's agent may have been ended in the middle of its answer: of that one nobody has a bill.
    unbilled = [row for row in lab.agent_receipts() if "unbilled" in row["tags"]]
    bought, known = (sum(bill.nanousd for bill in bills.values()) for bills in (billed(lab.api.calls), booked(lab)))
    dearest = max(sum(bill.nanousd for bill in billed([call]).values()) for call in lab.api.calls)
    assert 0 <= bought - known <= dearest * len(unbilled)
