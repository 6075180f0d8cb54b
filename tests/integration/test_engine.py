"""The gate engine on a real repository: agents are scripted functions, everything else is real."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.errors import BacklogError
from backlog_ops.run import closing, engine
from backlog_ops.run.gates import lint
from backlog_ops.run.stats import local_model_stats
from backlog_ops.run.steps import Step
from tests.support.lab import APPROVED, CONFIG, Lab, ticket_text, write_own_file


@pytest.fixture
def two(tmp_path):
    return Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2")})


def one(tmp_path, config=None, **fields) -> Lab:
    return Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1", **fields)}, config)


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


def test_a_file_outside_the_write_set_is_put_back_and_never_committed(tmp_path):
    lab = one(tmp_path)

    def implement(worktree, ticket, attempt):
        write_own_file(worktree, ticket, attempt)
        (worktree / "src" / "other.txt").write_text("stray")
        (worktree / "src" / "readme.txt").write_text("changed")

    lab.agents.implement = implement
    run = lab.run()
    assert lab.states()["T-1"].step is Step.DONE
    assert "src/other.txt" not in lab.git.paths_between("main~1", "main")
    assert "src/readme.txt" not in lab.git.paths_between("main~1", "main")
    said = [event.text for event in lab.context().store.events(run.id)]
    assert any("2 outside the write-set put back, such as src/other.txt" in text for text in said)


def test_the_next_attempt_is_told_what_was_put_back(tmp_path):
    lab = one(tmp_path)

    def implement(worktree, ticket, attempt):
        (worktree / "src" / f"{ticket}.txt").write_text("BROKEN" if attempt == 1 else "fine")
        (worktree / "src" / "other.txt").write_text("stray") if attempt == 1 else None

    lab.agents.implement = implement
    lab.run()
    second = [action for action in lab.agents.seen if action.gate is Gate.IMPLEMENT][1]
    assert "- src/other.txt" in Path(second.brief).read_text()


def test_a_file_that_the_plan_deletes_is_deleted_by_the_engine(tmp_path):
    lab = one(tmp_path)
    lab.agents.plan_files = lambda ticket: [f"src/{ticket}.txt", ("src/readme.txt", "delete")]
    lab.run()
    assert lab.states()["T-1"].step is Step.DONE
    assert "src/readme.txt" in lab.git.paths_between("main~1", "main", only="D")


def test_a_merge_that_deletes_what_nobody_said_is_refused(tmp_path):
    lab = one(tmp_path)
    lab.agents.plan_files = lambda ticket: [f"src/{ticket}.txt", ("src/readme.txt", "modify")]

    def implement(worktree, ticket, attempt):
        write_own_file(worktree, ticket, attempt)
        (worktree / "src" / "readme.txt").unlink()

    lab.agents.implement = implement
    lab.run()
    assert "it would delete src/readme.txt" in (lab.states()["T-1"].reason or "")
    assert lab.log() == ["start"]


def test_a_plan_that_names_an_ignored_file_is_no_plan(tmp_path):
    lab = one(tmp_path)
    lab.write(".gitignore", "*.log\n")
    lab.commit("ignore")
    lab.agents.plan_files = lambda ticket: [f"src/{ticket}.txt", "debug.log"]
    lab.run()
    assert "'debug.log' is ignored by git" in (lab.states()["T-1"].reason or "")


def test_parked_work_is_kept_on_a_ref_until_clean(tmp_path):
    lab = one(tmp_path)
    lab.agents.verdict = lambda *_: {"verdict": "CHANGES_REQUESTED", "findings": []}
    run = lab.run()
    assert lab.git.file_at(f"refs/backlog/{run.id}/T-1", "src/T-1.txt") is not None
    said = closing.clean(lab.context())
    assert any(line.startswith("removed the work of T-1 (at ") for line in said)
    assert lab.git.text("for-each-ref", "refs/backlog/") == ""


def test_a_hook_that_formats_is_judged_again_and_not_failed(tmp_path):
    lab = one(tmp_path)
    hook = lab.write(
        ".git/hooks/pre-commit",
        "#!/bin/sh\ngrep -q formatted src/T-1.txt && exit 0\necho formatted >> src/T-1.txt\nexit 1\n",
    )
    hook.chmod(0o755)
    lab.run()
    state = lab.states()["T-1"]
    assert (state.step, state.fails, state.attempt) == (Step.DONE, 0, 1)
    assert (lab.git.file_at("main", "src/T-1.txt") or b"").endswith(b"formatted\n")
    assert lab.agents.tiers(Gate.REVIEW) == ["balanced", "balanced"]


def test_a_commit_that_fails_without_any_hook_is_a_persons_matter(tmp_path):
    lab = one(tmp_path)
    lab.git.run("config", "commit.gpgSign", "true")
    lab.git.run("config", "gpg.program", "/bin/false")
    lab.run()
    state = lab.states()["T-1"]
    assert state.step is Step.PARKED
    assert (state.fails, lab.agents.tiers(Gate.IMPLEMENT)) == (0, ["cheap"])
    assert "git could not commit" in (state.reason or "")


def test_text_that_gitattributes_calls_binary_is_shown_to_the_reviewer(tmp_path):
    lab = one(tmp_path)
    lab.write(".gitattributes", "*.txt -diff\n")
    lab.commit("attributes")
    lab.run()
    review = next(action for action in lab.agents.seen if action.gate is Gate.REVIEW)
    assert "+T-1 1" in Path(review.brief).read_text()


def test_a_branch_with_a_tag_of_the_same_name_is_delivered(tmp_path):
    lab = one(tmp_path)
    lab.git.run("tag", "main")
    lab.run()
    assert lab.log("refs/heads/main")[0] == "feat(src): implement T-1"


def test_tickets_done_on_a_branch_that_is_not_merged_are_not_bought_again(tmp_path):
    lab = one(tmp_path)

    def implement(worktree, ticket, attempt):
        write_own_file(worktree, ticket, attempt)
        lab.write("elsewhere.txt", "a person works on\n")
        lab.commit("by hand")

    lab.agents.implement = implement
    run = lab.run()
    with pytest.raises(BacklogError) as refused:
        lab.run()
    assert f"`git merge {run.branch}`" in refused.value.details[0]


def test_a_setup_that_leaves_unignored_files_parks_before_anybody_is_paid(tmp_path):
    lab = one(tmp_path, {"worktree": {"setupCommand": ["touch", "left.txt"]}})
    lab.run()
    assert "left left.txt, which git does not ignore" in (lab.states()["T-1"].reason or "")
    assert lab.agents.seen == []


def test_an_interrupted_check_does_not_put_its_files_into_the_commit(tmp_path):
    """LINT is killed after its command left a file: what was handed in is what counts."""
    lab = one(tmp_path)

    def implement(worktree, ticket, attempt):
        write_own_file(worktree, ticket, attempt)

    lab.agents.implement = implement
    original = lint.step

    def killed_once(ctx, run, ticket):
        (ctx.worktree_path(ticket) / "junk.tmp").write_text("left by a killed test")
        original(ctx, run, ticket)

    steps = engine._STEPS
    engine._STEPS = {**steps, Step.LINT: killed_once}
    try:
        lab.run()
    finally:
        engine._STEPS = steps
    assert "junk.tmp" not in lab.git.paths_between("main~1", "main")


def test_what_the_checks_leave_behind_is_not_committed(tmp_path):
    leave = ["sh", "-c", "echo report > junit.xml; mkdir -p cache; echo x > cache/y"]
    lab = one(tmp_path, {"qualityGates": {"testCommand": leave}})
    lab.run()
    assert sorted(lab.git.paths_between("main~1", "main")) == [
        "src/T-1.txt",
        "tickets/completed/a.md",
        "tickets/pending/a.md",
    ]


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
    lab.agents.open_questions = ("Which currency?",)
    lab.run()
    assert lab.states()["T-1"].reason == "needs-investigation: Which currency?"
    assert not lab.agents.tiers(Gate.IMPLEMENT)


def test_a_parked_dependency_parks_what_needs_it(tmp_path):
    lab = Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2", depends_on=["T-1"])})
    lab.agents.implement = lambda *_: None
    lab.run()
    assert "depends on T-1" in (lab.states()["T-2"].reason or "")


def test_a_hook_that_refuses_the_commit_is_a_failed_gate_with_its_words(tmp_path):
    lab = one(tmp_path)
    hook = lab.write(".git/hooks/pre-commit", "#!/bin/sh\necho 'no commits on Mondays' >&2\nexit 1\n")
    hook.chmod(0o755)
    lab.run()
    state = lab.states()["T-1"]
    assert state.step is Step.PARKED
    details = [verdict.detail for verdict in lab.context().store.verdicts(state) if not verdict.passed]
    assert "no commits on Mondays" in details[0]
    assert lab.log() == ["start"]


def test_a_base_that_moved_meanwhile_keeps_the_commits_on_their_branch(tmp_path):
    lab = one(tmp_path)

    def implement(worktree, ticket, attempt):
        write_own_file(worktree, ticket, attempt)
        lab.write("elsewhere.txt", "a person works on\n")
        lab.commit("by hand")

    lab.agents.implement = implement
    run = lab.run()
    assert lab.log() == ["by hand", "start"]
    assert lab.log(run.branch) == ["feat(src): implement T-1", "start"]


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
    assert state.reason == "budget: nothing left for this ticket ($3.0000 spent on it; llmOps.budget, --max-usd)"
    assert not lab.agents.tiers(Gate.REVIEW)


def test_a_setup_command_makes_the_worktree_runnable(tmp_path):
    config = {
        "worktree": {"setupCommand": ["touch", "src/made.txt"]},
        "qualityGates": {"testCommand": ["test", "-f", "src/made.txt"]},
    }
    lab = one(tmp_path, {**CONFIG, **config})
    lab.write(".gitignore", "made.txt\n")
    lab.commit("ignore")
    lab.run()
    assert lab.states()["T-1"].step is Step.DONE


def test_a_failing_setup_command_parks_before_any_agent_is_paid(tmp_path):
    lab = one(tmp_path, {"worktree": {"setupCommand": ["false"]}})
    lab.run()
    assert "worktree.setupCommand failed" in (lab.states()["T-1"].reason or "")
    assert lab.agents.seen == []


def test_linked_folders_are_there_and_never_committed(tmp_path):
    lab = one(
        tmp_path, {"worktree": {"link": ["vendor"]}, "qualityGates": {"testCommand": ["test", "-f", "vendor/lib"]}}
    )
    lab.write("vendor/lib", "x")
    lab.write(".git/info/exclude", "vendor/\n")
    lab.run()
    assert lab.states()["T-1"].step is Step.DONE
    assert (lab.top / "vendor/lib").read_text() == "x"
    assert "vendor" not in lab.git.text("ls-tree", "--name-only", "main")


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
