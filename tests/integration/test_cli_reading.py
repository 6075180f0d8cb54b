"""`status`, `show`, `route`, `validate`, and what `abort` and `clean` leave."""

from __future__ import annotations

import json

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run.engine import work
from tests.support.lab import REJECTED, Lab, ticket_text
from tests.support.parent_session import Parent


@pytest.fixture
def parent(tmp_path):
    return Parent.of(tmp_path / "repo")


@pytest.fixture
def reviewing(parent):
    return parent, parent.begin_at(Gate.REVIEW)


# -- reading


def test_status_is_a_table_and_the_open_actions(reviewing):
    parent, action = reviewing
    lines = parent.lab.cli("status").stdout.splitlines()
    assert lines[0] == f"run {parent.run.id} · open · wave 1 of 1 · 1 in review · $0.0000 of $20.00"
    assert lines[1].split() == ["ticket", "wave", "step", "attempts", "cost"]
    assert lines[3].split() == ["T-1", "1", "review", "1", "$0.0000"]
    assert lines[4] == f"open: {action['id']} REVIEW of T-1 (balanced, entry)"


def test_status_as_json_holds_the_run_its_tickets_and_its_stats(reviewing):
    parent, action = reviewing
    answer = parent.command("status", "--format", "json")
    assert (answer["run"], answer["state"], answer["actions"]) == (parent.run.id, "open", [action["id"]])
    assert [(ticket["id"], ticket["step"]) for ticket in answer["tickets"]] == [("T-1", "review")]
    assert answer["stats"]["localModelStats"]["totalAttempts"] == 1


def test_show_holds_the_brief_the_verdicts_and_the_diff(reviewing):
    parent, _action = reviewing
    shown = parent.lab.cli("show", "T-1").stdout
    assert f"brief {parent.lab.top}/.backlog-ops/runs/{parent.run.id}/T-1/a3/brief.md" in shown
    assert "attempt 1 · LINT · passed" in shown
    assert "+T-1 1" in shown
    answer = parent.command("show", "T-1", "--format", "json")
    assert answer["plan"]["files"][0]["path"] == "src/T-1.txt"
    assert [(verdict["gate"], verdict["passed"]) for verdict in answer["verdicts"]] == [("LINT", True)]
    assert len(answer["briefs"]) == 3  # PLAN, IMPLEMENT, REVIEW


def test_route_tells_the_tier_the_model_and_the_rule_with_the_runs_history(reviewing, tmp_path):
    parent, action = reviewing
    before = parent.lab.cli("route", "T-1", "implement").stdout
    assert before.startswith("IMPLEMENT of T-1: cheap (claude-haiku-5-5), rule entry: ")
    (tmp_path / "verdict.json").write_text(json.dumps(REJECTED))
    parent.lab.cli("submit", action["id"], "--file", str(tmp_path / "verdict.json"))
    work(parent.ctx, parent.run.id, 1, None)
    answer = parent.command("route", "T-1", "IMPLEMENT", "--format", "json")
    assert {key: answer[key] for key in ("ticket", "gate", "tier", "model", "host_model", "rule")} == {
        "ticket": "T-1",
        "gate": "IMPLEMENT",
        "tier": "balanced",
        "model": "claude-sonnet-5-5",
        "host_model": "sonnet",
        "rule": "fails>=1",
    }


@pytest.mark.parametrize("form", ["text", "json", "github"])
def test_validate_names_a_problem_in_every_form(parent, form):
    parent.lab.write("tickets/pending/b.md", ticket_text("T-2", priority="urgent"))
    done = parent.lab.cli("validate", "--format", form)
    message = '`priority` "urgent" must be one of low, medium, high, critical'
    assert done.returncode == 1
    if form == "json":
        (problem,) = json.loads(done.stdout)
        assert (problem["file"], problem["line"], problem["message"]) == ("tickets/pending/b.md", 6, message)
    else:
        assert (
            done.stdout
            == {
                "text": f"tickets/pending/b.md:6: {message}\n",
                "github": f"::error file=tickets/pending/b.md,line=6::{message}\n",
            }[form]
        )


@pytest.mark.parametrize(("form", "said"), [("text", "ok\n"), ("json", "[]\n"), ("github", "")])
def test_validate_of_a_sound_backlog_says_so(parent, form, said):
    done = parent.lab.cli("validate", "--format", form)
    assert (done.returncode, done.stdout) == (0, said)


# -- ending


def test_abort_leaves_the_base_as_it_was_and_takes_the_worktrees_away(reviewing):
    parent, action = reviewing
    done = parent.lab.cli("abort")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"run {parent.run.id} aborted; main is as it was",
        f"removed the worktrees of run {parent.run.id}",
    ]
    assert parent.lab.log() == ["start"]
    assert parent.lab.git.text("status", "--porcelain") == ""
    assert parent.lab.git.worktrees() == [parent.lab.top]
    assert parent.lab.cli("submit", action["id"]).stderr.startswith(f"backlog-ops: {action['id']}: already closed")


def test_abort_keeps_the_commits_that_were_made_and_names_their_branch(tmp_path):
    tickets = {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2", depends_on=["T-1"])}
    parent = Parent(Lab.make(tmp_path / "repo", tickets))
    parent.begin_at(Gate.PLAN, "T-2")
    branch = parent.run.branch
    done = parent.lab.cli("abort")
    assert f"main is as it was, 1 commit on {branch} kept" in done.stdout
    assert parent.lab.log() == ["start"]
    assert parent.lab.log(branch) == ["feat(src): implement T-1", "start"]
    assert parent.lab.git.worktrees() == [parent.lab.top]


def test_clean_keeps_commits_that_are_nowhere_else_and_removes_the_rest(tmp_path):
    tickets = {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2", depends_on=["T-1"])}
    parent = Parent(Lab.make(tmp_path / "repo", tickets))
    parent.begin_at(Gate.PLAN, "T-2")
    branch = parent.run.branch
    parent.lab.cli("abort")
    kept = f"kept {branch}: its commits are not on main; `git branch -D` removes it"
    assert kept in parent.lab.cli("clean").stdout.splitlines()
    parent.lab.git.run("merge", "--quiet", branch)
    assert f"removed the branch {branch}" in parent.lab.cli("clean").stdout
    assert parent.lab.cli("clean").stdout == "nothing to remove\n"
    assert parent.lab.git.text("for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_a_new_run_begins_after_an_aborted_one(parent):
    parent.begin_at(Gate.REVIEW)
    first = parent.run.id
    parent.lab.cli("abort")
    assert parent.lab.run().id != first
    assert parent.lab.log() == ["feat(src): implement T-1", "start"]
