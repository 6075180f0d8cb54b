"""The gate engine on a real repository: agents are scripted functions, everything else is real."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.errors import BacklogError
from backlog_ops.run import engine
from backlog_ops.run.stats import local_model_stats
from backlog_ops.run.steps import Step
from tests.support.lab import APPROVED, Lab, one, ticket_text, write_own_file


@pytest.fixture
def two(tmp_path):
    return Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2")})


def test_two_tickets_become_two_commits_and_nothing_is_left_over(two):
    run = two.run()
    assert run.state == "done"
    assert {state.step for state in two.states().values()} == {Step.DONE}
    assert sorted(two.log())[:2] == ["feat(src): implement T-1", "feat(src): implement T-2"]
    assert two.git.text("status", "--porcelain") == ""
    assert two.git.worktrees() == [two.top]
    assert two.git.text("branch", "--format=%(refname:short)") == "main"
    assert two.git.text("rev-list", "--count", f"{run.base_commit}..main") == "2"


def test_the_ticket_moves_to_completed_in_its_own_commit_with_one_line_changed(two):
    before = (two.top / "tickets/pending/a.md").read_text()
    two.run("T-1")
    assert not (two.top / "tickets/pending/a.md").exists()
    after = (two.top / "tickets/completed/a.md").read_text()
    changed = [(b, a) for b, a in zip(before.splitlines(), after.splitlines(), strict=True) if b != a]
    assert changed == [('status: "pending"', 'status: "completed"')]
    assert sorted(two.git.paths_between("main~1", "main")) == [
        "src/T-1.txt",
        "tickets/completed/a.md",
        "tickets/pending/a.md",
    ]


def test_a_dependent_ticket_waits_for_the_wave_before_and_sees_its_work(tmp_path):
    lab = Lab.make(
        tmp_path / "repo",
        {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2", depends_on=["T-1"], priority="critical")},
    )
    seen = {}

    def implement(worktree, ticket, attempt):
        seen[ticket] = (worktree / "src" / "T-1.txt").exists()
        write_own_file(worktree, ticket, attempt)

    lab.agents.implement = implement
    lab.run()
    assert seen == {"T-1": False, "T-2": True}
    assert [state.wave for state in lab.states().values()] == [1, 2]


def test_a_failed_check_escalates_from_haiku_to_sonnet_with_the_findings(tmp_path):
    lab = one(tmp_path)

    def implement(worktree, ticket, attempt):
        (worktree / "src" / f"{ticket}.txt").write_text("BROKEN\n" if attempt == 1 else "fine\n")

    lab.agents.implement = implement
    run = lab.run()
    assert lab.agents.tiers(Gate.IMPLEMENT) == ["cheap", "balanced"]
    store = lab.context().store
    assert "Haiku failed on T-1 at LINT. Escalated to Sonnet." in [event.text for event in store.events(run.id)]
    second = [action for action in lab.agents.seen if action.gate is Gate.IMPLEMENT][1]
    assert "testCommand: FAILED: exit code 1" in Path(second.brief).read_text()
    assert local_model_stats(store, run.id) == {
        "totalAttempts": 1,
        "successCount": 0,
        "escalatedToCloud": 1,
        "failuresByType": {"LINT": 1},
    }


def test_the_next_attempt_starts_from_the_failed_diff(tmp_path):
    lab = one(tmp_path)
    found = []

    def implement(worktree, ticket, attempt):
        target = worktree / "src" / f"{ticket}.txt"
        found.append(target.read_text() if target.exists() else None)
        target.write_text("BROKEN\n" if attempt == 1 else "fine\n")

    lab.agents.implement = implement
    lab.run()
    assert found == [None, "BROKEN\n"]


def test_three_failed_reviews_park_the_ticket_and_the_run_goes_on(two):
    two.agents.verdict = lambda ticket, _attempt: (
        {"verdict": "CHANGES_REQUESTED", "findings": []} if ticket == "T-1" else APPROVED
    )
    run = two.run()
    states = two.states()
    assert states["T-1"].step is Step.PARKED
    assert states["T-2"].step is Step.DONE
    tiers = [
        action.tier.value for action in two.agents.seen if action.ticket == "T-1" and action.gate is Gate.IMPLEMENT
    ]
    assert tiers == ["cheap", "balanced", "frontier"]
    assert (two.top / "tickets/pending/a.md").exists()
    assert two.git.text("rev-list", "--count", f"{run.base_commit}..main") == "1"


def test_a_security_ticket_goes_to_the_frontier_for_every_agent_gate(tmp_path):
    lab = one(tmp_path, tags=["SECURITY"])
    lab.run()
    assert [(action.gate.value, action.tier.value) for action in lab.agents.seen] == [
        ("PLAN", "frontier"),
        ("IMPLEMENT", "frontier"),
        ("REVIEW", "frontier"),
    ]


@pytest.mark.parametrize(
    "verdict",
    [b"", b"APPROVED", b"{}", b'{"verdict":"APPROVED"}', b"\xff\xfe\x00", b'{"verdict":"NOT APPROVED","findings":[]}'],
)
def test_no_readable_verdict_is_no_approval(tmp_path, verdict):
    lab = one(tmp_path)
    lab.agents.verdict = lambda _ticket, _attempt: verdict
    lab.run()
    assert lab.states()["T-1"].step is Step.PARKED
    assert lab.log() == ["start"]


def test_a_review_that_quotes_what_is_not_there_is_a_failed_review(tmp_path):
    lab = one(tmp_path)
    invented = {"severity": "low", "file": "src/T-1.txt", "line": 1, "quote": "nope", "confidence": 90, "text": "x"}
    lab.agents.verdict = lambda _ticket, attempt: (
        {"verdict": "APPROVED", "findings": [invented]} if attempt == 1 else APPROVED
    )
    lab.run()
    assert lab.agents.tiers(Gate.IMPLEMENT) == ["cheap", "balanced"]


def test_an_attempt_that_changes_nothing_is_a_failed_attempt(tmp_path):
    lab = one(tmp_path)
    lab.agents.implement = lambda worktree, ticket, attempt: attempt == 1 or write_own_file(worktree, ticket, attempt)
    lab.run()
    assert lab.agents.tiers(Gate.IMPLEMENT) == ["cheap", "balanced"]
    assert lab.states()["T-1"].step is Step.DONE


def test_an_agent_that_dies_is_a_failed_attempt_without_an_escalation(tmp_path):
    lab = one(tmp_path)
    lab.agents.cause = lambda action: "api_error: 529" if (action.gate, action.attempt) == (Gate.IMPLEMENT, 1) else None
    lab.run()
    assert lab.agents.tiers(Gate.IMPLEMENT) == ["cheap", "cheap"]
    assert lab.states()["T-1"].step is Step.DONE


def test_an_agent_that_always_dies_parks_the_ticket(tmp_path):
    lab = one(tmp_path)
    lab.agents.cause = lambda action: "api_error: 529" if action.gate is Gate.IMPLEMENT else None
    lab.run()
    assert len(lab.agents.tiers(Gate.IMPLEMENT)) == 3
    assert "attempts used" in (lab.states()["T-1"].reason or "")


def test_one_dead_reviewer_is_replaced_without_a_new_implementation(tmp_path):
    lab = one(tmp_path)
    seen = []

    def cause(action):
        seen.append(action.gate)
        return "api_error: 500" if action.gate is Gate.REVIEW and seen.count(Gate.REVIEW) == 1 else None

    lab.agents.cause = cause
    lab.run()
    assert seen == [Gate.PLAN, Gate.IMPLEMENT, Gate.REVIEW, Gate.REVIEW]


def test_a_plan_with_an_open_question_sends_the_ticket_to_investigation(tmp_path):
    lab = one(tmp_path)
    lab.agents.questions = lambda _ticket: ("Which currency?",)
    lab.run()
    assert lab.states()["T-1"].reason == "needs-investigation: ? (who knows)"
    assert not lab.agents.tiers(Gate.IMPLEMENT)


def test_a_parked_dependency_parks_what_needs_it(tmp_path):
    lab = Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2", depends_on=["T-1"])})
    lab.agents.implement = lambda *_: None
    lab.run()
    assert "depends on T-1" in (lab.states()["T-2"].reason or "")


def test_two_tickets_of_a_wave_are_merged_one_after_the_other(two):
    two.run(jobs=2)
    parents = two.git.text("log", "--format=%P", "-2", "main").split()
    assert len(parents) == 2


def test_a_spent_budget_parks_the_ticket_with_what_it_cost(tmp_path):
    lab = one(tmp_path)

    def implement(worktree, ticket, attempt):
        write_own_file(worktree, ticket, attempt)
        ctx = lab.context()
        run = ctx.open_run()
        with sqlite3.connect(ctx.store.path) as db:
            db.execute(
                "INSERT INTO ledger (key, at, source, run, ticket, asked_tier, asked_model, provider, cost_nanousd,"
                " latency_ms, outcome) VALUES ('k', 0, 'test', ?, 'T-1', 'cheap', 'm', 'p', 3000000000, 1, 'answered')",
                (run.id,),
            )

    lab.agents.implement = implement
    lab.run()
    state = lab.states()["T-1"]
    assert state.step is Step.PARKED
    limit = "the ticket's $2.00 (llmOps.budget.perTicketUsd)"
    assert state.reason == f"budget: nothing is left of {limit}; the ticket has cost $3.0000"
    assert not lab.agents.tiers(Gate.REVIEW)


@pytest.mark.parametrize("step", ["prepare", "plan", "implement", "lint", "review", "commit", "merge"])
def test_a_run_killed_before_any_step_goes_on_and_commits_once(tmp_path, monkeypatch, step):
    """What a kill leaves behind is the store as it was before the step; the step then runs again."""
    lab = one(tmp_path)
    killed = []
    original = engine._guarded

    class Killed(BaseException):
        pass

    def guarded(ctx, ticket, *rest):
        if ticket.step.value == step and not killed:
            killed.append(step)
            raise Killed
        original(ctx, ticket, *rest)

    monkeypatch.setattr(engine, "_guarded", guarded)
    with pytest.raises(Killed):
        lab.run()
    ctx = lab.context()
    engine.work(ctx, ctx.open_run().id, 1, lab.agents)
    assert lab.log() == ["feat(src): implement T-1", "start"]
    assert lab.states()["T-1"].step is Step.DONE


def test_a_second_run_is_told_about_the_first(two):
    from backlog_ops.run.opening import open_run

    ctx = two.context()
    first = open_run(ctx, [], None)
    with pytest.raises(BacklogError, match=f"run {first.id} is open"):
        open_run(ctx, [], None)


def test_ticket_text_never_reaches_a_shell(tmp_path):
    evil = "$(touch pwned) `touch pwned` '; touch pwned; --amend -m x"
    lab = Lab.make(tmp_path / "repo", {"--evil.md": ticket_text("T-1", title=evil)})
    lab.run()
    assert lab.states()["T-1"].step is Step.DONE
    assert not list(tmp_path.rglob("pwned"))


def test_every_plan_is_kept_and_never_asked_for_again(tmp_path):
    lab = one(tmp_path)
    lab.agents.verdict = lambda _t, attempt: (
        {"verdict": "CHANGES_REQUESTED", "findings": []} if attempt == 1 else APPROVED
    )
    lab.run()
    assert [action.gate for action in lab.agents.seen].count(Gate.PLAN) == 1
    assert json.loads(lab.states()["T-1"].plan or "{}")["files"][0]["path"] == "src/T-1.txt"
