"""`undo ID`: the commit of a ticket is taken back by a commit of its own, or nothing changes at all."""

from __future__ import annotations

import pytest

from backlog_ops.cli.main import main
from backlog_ops.domain.gates import Gate
from backlog_ops.errors import FindingsError, RepositoryError, RunStateError
from backlog_ops.run.driver_lock import RUN, driving
from backlog_ops.run.steering import retry
from backlog_ops.run.steps import Step
from backlog_ops.run.undoing import undo
from tests.support.hand_driven import HandDriven, hook, land, several, worktree_of
from tests.support.lab import Lab


@pytest.fixture
def done(tmp_path) -> Lab:
    """T-1 is done and delivered; the run has ended."""
    lab = several(tmp_path)
    assert HandDriven.begin(lab).play_all().run.state == "done"
    return lab


def refused(lab: Lab, kind: type[Exception]) -> str:
    """What `undo T-1` says when it refuses; no branch, no file and no worktree may have changed by it."""
    before = lab.git.text("for-each-ref"), lab.git.text("status", "--porcelain"), lab.git.worktrees()
    with pytest.raises(kind) as error:
        undo(lab.context(), "T-1")
    assert before == (lab.git.text("for-each-ref"), lab.git.text("status", "--porcelain"), lab.git.worktrees())
    assert lab.states()["T-1"].step is Step.DONE
    return str(error.value)


def test_the_files_are_what_they_were_and_the_ticket_is_pending_again(done, monkeypatch, capsys):
    monkeypatch.chdir(done.top)
    commit = done.git.text("rev-parse", "main")
    assert main(["undo", "T-1"]) == 0
    assert done.git.text("rev-parse", "main^{tree}") == done.git.text("rev-parse", "main~2^{tree}")
    assert done.log()[:2] == ["revert: feat(src): implement T-1", "feat(src): implement T-1"]
    assert (done.top / "tickets/pending/T-1.md").is_file()
    reverted = done.git.text("rev-parse", "main")
    assert capsys.readouterr().out == (
        f"T-1: main is at {reverted[:9]}, which takes {commit[:9]} back; the ticket is pending again\n"
    )


def test_the_message_names_the_commit_and_the_ticket(done):
    commit = done.git.text("rev-parse", "main")
    undo(done.context(), "T-1")
    body = done.git.text("log", "-1", "--format=%b", "main")
    assert body.split("\n\n") == [f"This takes back commit {commit}.", "Ticket: T-1"]


def test_nothing_is_left_over(done):
    undo(done.context(), "T-1")
    assert done.git.worktrees() == [done.top]
    assert done.git.text("status", "--porcelain") == ""
    assert done.git.text("for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_a_ticket_of_the_open_run_is_taken_back_on_the_runs_branch(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2")).play_all("T-1")
    assert f"T-1: {driven.run.branch} is at " in undo(driven.ctx, "T-1")
    assert driven.lab.log(driven.run.branch)[0] == "revert: feat(src): implement T-1"
    assert driven.lab.log() == ["start"]
    assert (driven.state().step, driven.state().parked_at) == (Step.PARKED, "prepare")


def test_a_run_whose_ticket_was_taken_back_goes_on_and_delivers_the_rest(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2")).play_all("T-1")
    undo(driven.ctx, "T-1")
    assert driven.works().play_all().run.state == "done"
    assert sorted(driven.lab.git.text("ls-tree", "--name-only", "main", "src/").splitlines()) == [
        "src/T-2.txt",
        "src/readme.txt",
    ]


def test_an_undone_ticket_can_be_retried_in_the_open_run(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2")).play_all("T-1")
    undo(driven.ctx, "T-1")
    retry(driven.ctx, ["T-1"])
    driven.works().play_until(Gate.IMPLEMENT)
    assert not (worktree_of(driven) / "src" / "T-1.txt").exists()
    assert driven.play_all("T-1").state().step is Step.DONE


def test_an_undone_ticket_may_be_done_the_same_way_again(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2"))
    driven.lab.agents.implement = lambda worktree, *_: (worktree / "src" / "T-1.txt").write_text("the same\n") and None
    driven.play_all("T-1")
    undo(driven.ctx, "T-1")
    retry(driven.ctx, ["T-1"])
    assert driven.works().play_all("T-1").state().step is Step.DONE
    assert driven.state().fails == 0


def test_an_undone_ticket_is_taken_up_by_the_next_run(done):
    undo(done.context(), "T-1")
    assert HandDriven.begin(done).play_all().state().step is Step.DONE


def test_a_ticket_on_a_branch_that_was_not_delivered_is_taken_back_there(tmp_path):
    lab = several(tmp_path, config={"backlog": {"mergeInto": "branch"}})
    driven = HandDriven.begin(lab).play_all()
    undo(lab.context(), "T-1")
    assert lab.log(driven.run.branch)[0] == "revert: feat(src): implement T-1"
    assert lab.log() == ["start"]


def test_what_was_changed_again_since_is_not_taken_back(done):
    done.write("src/T-1.txt", "by hand\n")
    done.commit("by hand")
    commit = done.git.text("rev-parse", "main~1")
    assert refused(done, FindingsError) == (
        f"T-1: cannot be taken back: src/T-1.txt was changed again since; `git revert {commit[:9]}` does it by hand"
    )


def test_what_later_work_needs_is_not_taken_back(tmp_path):
    lab = several(tmp_path, config={"qualityGates": {"testCommand": ["sh", "./check"]}})
    lab.write("check", "true\n")
    lab.commit("a check")
    HandDriven.begin(lab).play_all()
    lab.write("check", "echo 'it is gone'; test -e src/T-1.txt\n")
    lab.commit("now T-1 is needed")
    said = "T-1: cannot be taken back: without it testCommand fails: exit code 1; `git revert "
    assert refused(lab, FindingsError).startswith(said)


def test_what_the_tests_leave_behind_is_not_in_the_commit(tmp_path):
    lab = several(
        tmp_path, config={"qualityGates": {"testCommand": ["sh", "-c", "echo x >report.xml; rm -f src/readme.txt"]}}
    )
    HandDriven.begin(lab).play_all()
    undo(lab.context(), "T-1")
    assert lab.git.text("rev-parse", "main^{tree}") == lab.git.text("rev-parse", "main~2^{tree}")


def test_the_commit_goes_through_the_users_own_hooks(done):
    hook(done, "commit-msg", 'grep -q "^revert: " "$1" && echo "no way back" >&2 && exit 1')
    assert "no way back" in refused(done, RepositoryError)


def test_changes_of_the_person_in_other_files_stay(done):
    done.write("src/readme.txt", "not committed\n")
    undo(done.context(), "T-1")
    assert done.git.text("status", "--porcelain") == " M src/readme.txt"
    assert (done.top / "src/readme.txt").read_text() == "not committed\n"


def test_changes_of_the_person_in_the_same_file_are_not_overwritten(done):
    done.write("src/T-1.txt", "not committed\n")
    assert "local changes" in refused(done, RepositoryError)
    assert (done.top / "src/T-1.txt").read_text() == "not committed\n"


def test_a_branch_that_nobody_has_checked_out_is_moved(done):
    done.git.run("checkout", "-q", "-b", "other")
    undo(done.context(), "T-1")
    assert done.log("main")[0] == "revert: feat(src): implement T-1"
    assert (done.top / "src/T-1.txt").is_file()


def test_a_branch_that_is_checked_out_elsewhere_is_left_alone(done, tmp_path):
    done.git.run("checkout", "-q", "-b", "other")
    done.git.run("worktree", "add", "-q", str(tmp_path / "elsewhere"), "main")
    assert "main is checked out in another worktree; run this there" in refused(done, RepositoryError)


@pytest.mark.parametrize("ticket", ["T-1", "T-9"])
def test_what_is_not_done_or_was_undone_already_cannot_be_undone(done, ticket):
    undo(done.context(), "T-1")
    with pytest.raises(RunStateError, match=f"{ticket}: no run has done it, or it was undone already"):
        undo(done.context(), ticket)


def test_a_commit_that_is_on_no_branch_any_more_is_left_to_git(done):
    commit = done.git.text("rev-parse", "main")
    done.git.run("reset", "-q", "--hard", "main~1")
    assert f"T-1: its commit {commit[:9]} is neither on main nor on backlog/" in refused(done, RunStateError)


def test_nothing_is_undone_while_a_run_is_at_work(done, monkeypatch, capsys):
    monkeypatch.chdir(done.top)
    with driving(done.context().state_folder, RUN):
        assert main(["undo", "T-1"]) == 1
    assert "backlog-ops run (pid" in capsys.readouterr().err
    assert done.states()["T-1"].step is Step.DONE


def test_a_commit_on_top_that_has_nothing_to_do_with_it_is_kept(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2")).play_all("T-1")
    land(driven.lab, "src/other.txt", "other\n")
    undo(driven.ctx, "T-1")
    assert driven.lab.git.file_at(driven.run.ref, "src/other.txt") == b"other\n"
