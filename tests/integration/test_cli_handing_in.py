"""`check` and `submit`: what a sub-agent types."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run.engine import work
from backlog_ops.run.git import Git
from backlog_ops.run.steps import Step
from tests.support.lab import REJECTED, Lab, write_own_file
from tests.support.parent_session import Parent

pytestmark = pytest.mark.usefixtures("workers")  # no worker, and no hook, outlives its test


@pytest.fixture
def parent(tmp_path):
    return Parent.of(tmp_path / "repo")


# -- check


ARGUMENTS = [
    sys.executable,
    "-c",
    "import sys; print(*sys.argv[1:]); [print('line', n) for n in range(5000)]; sys.exit('fail' in sys.argv)",
]


@pytest.fixture
def implementing(tmp_path):
    """A ticket that waits for its implementer; its test command prints its arguments and fails at `fail`."""
    parent = Parent.of(tmp_path / "repo", config={"qualityGates": {"testCommand": ARGUMENTS, "lintCommand": ["true"]}})
    return parent, parent.begin_at(Gate.IMPLEMENT)["id"]


def test_check_runs_the_configured_commands_and_says_that_they_passed(implementing):
    parent, action = implementing
    done = parent.lab.cli("check", action)
    assert done.returncode == 0
    assert re.sub(r"\d+\.\d s", "… s", done.stdout).splitlines() == [
        "lintCommand: passed (true, … s)",
        f"testCommand: passed ({' '.join(ARGUMENTS)}, … s)",
    ]


def test_check_prints_what_failed_short_and_exits_1(implementing):
    parent, action = implementing
    done = parent.lab.cli("check", action, "--", "fail")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0].startswith("testCommand: FAILED: exit code 1")
    assert lines[1] == "fail"
    assert lines[-1] == "line 4999"
    assert len(lines) < 130


@pytest.mark.parametrize(
    ("given", "arrived"),
    [
        (["--", "-k", "login"], "-k login"),
        (["--", "--", "-t", "$(touch x)"], "-- -t $(touch x)"),
        (["--", "a", "--", "--help"], "a -- --help"),
        (["a"], "a"),
    ],
)
def test_arguments_after_the_dashes_reach_the_test_command_as_they_are(implementing, given, arrived):
    parent, action = implementing
    done = parent.lab.cli("check", action, *given, "fail")
    assert done.stdout.splitlines()[1] == f"{arrived} fail"


def test_check_and_submit_work_from_inside_the_worktree(implementing):
    parent, action = implementing
    state = parent.lab.states()["T-1"]
    worktree = Path(state.worktree or "")
    inside = Lab(worktree / "src", Git(worktree))
    assert inside.cli("check", action).returncode == 0
    write_own_file(worktree, "T-1", 1)
    assert inside.cli("submit", action).returncode == 0
    assert parent.next()["actions"][0]["gate"] == "REVIEW"


def test_check_of_a_ticket_that_is_done_says_that_its_worktree_is_gone(parent):
    action = parent.begin_at(Gate.IMPLEMENT)["id"]
    work(parent.ctx, parent.run.id, 1, parent.lab.agents)
    done = parent.lab.cli("check", action)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"backlog-ops: {action}: its worktree is gone; the ticket is done\n"


# -- submit


@pytest.fixture
def reviewing(parent):
    return parent, parent.begin_at(Gate.REVIEW)


def test_a_verdict_file_is_picked_up_without_submit(reviewing):
    parent, action = reviewing
    parent.play(action)
    assert parent.next()["actions"][0]["do"] == "done"
    assert parent.lab.states()["T-1"].step is Step.DONE


def test_a_verdict_can_be_handed_in_as_another_file(reviewing, tmp_path):
    parent, action = reviewing
    verdict = tmp_path / "verdict of mine.json"
    verdict.write_text(json.dumps(REJECTED))
    done = parent.lab.cli("submit", action["id"], "--file", str(verdict))
    assert done.stdout == f"{action['id']}: handed in; the engine looks at it next\n"
    assert [(a["gate"], a["attempt"]) for a in parent.next()["actions"]] == [("IMPLEMENT", 2)]


def test_a_file_that_is_no_verdict_asks_another_reviewer(reviewing, tmp_path):
    parent, action = reviewing
    (tmp_path / "notes.txt").write_text("looks good to me")
    parent.lab.cli("submit", action["id"], "--file", str(tmp_path / "notes.txt"))
    (again,) = parent.next()["actions"]
    assert (again["gate"], again["attempt"], again["id"] != action["id"]) == ("REVIEW", 1, True)


def test_a_file_that_is_not_there_leaves_the_action_open(reviewing, tmp_path):
    parent, action = reviewing
    done = parent.lab.cli("submit", action["id"], "--file", str(tmp_path / "none.json"))
    assert (done.returncode, done.stderr) == (2, f"backlog-ops: {tmp_path / 'none.json'}: No such file or directory\n")
    assert parent.next()["actions"] == [action]


def test_submit_before_the_verdict_is_written_names_the_file(reviewing):
    parent, action = reviewing
    done = parent.lab.cli("submit", action["id"])
    assert done.returncode == 2
    assert "verdict.json is not written yet; write it or name a file with --file" in done.stderr


def test_an_implementation_is_handed_in_as_its_worktree_only(implementing, tmp_path):
    parent, action = implementing
    (tmp_path / "answer.json").write_text("{}")
    done = parent.lab.cli("submit", action, "--file", str(tmp_path / "answer.json"))
    assert done.returncode == 2
    assert done.stderr == f"backlog-ops: {action}: IMPLEMENT hands in its worktree, not a file\n"


def test_a_second_submit_is_refused(implementing):
    parent, action = implementing
    assert parent.lab.cli("submit", action).returncode == 0
    done = parent.lab.cli("submit", action)
    assert done.returncode == 1
    assert done.stderr == f"backlog-ops: {action}: already handed-in; `backlog-ops next` says what is open\n"
