"""How tickets come onto the run's branch, and that branch into the base: checked again, guarded, never by force."""

from __future__ import annotations

from pathlib import Path

import pytest

from backlog_ops.cli.main import main
from backlog_ops.domain.gates import Gate
from backlog_ops.run.hand_over import hand_over
from backlog_ops.run.steering import retry
from backlog_ops.run.steps import Step
from tests.support.hand_driven import HandDriven, brief_of, land, several
from tests.support.lab import APPROVED, Lab

ASK = {"backlog": {"askBeforeMerge": True}}
MANY = "".join(f"{number}\n" for number in range(1, 21))


def changing_readme(lab: Lab, text: str) -> None:
    """What T-1 does is to write src/readme.txt anew."""
    lab.agents.plan_files = lambda _ticket: [("src/readme.txt", "modify")]

    def implement(worktree: Path, ticket: str, attempt: int) -> None:
        (worktree / "src" / "readme.txt").write_text(text)

    lab.agents.implement = implement


# -- into the base branch, or not


def test_merge_into_branch_leaves_the_base_branch_alone(tmp_path):
    driven = HandDriven.begin(several(tmp_path, config={"backlog": {"mergeInto": "branch"}})).play_all()
    assert driven.lab.log() == ["start"]
    assert driven.lab.log(driven.run.branch) == ["feat(src): implement T-1", "start"]
    branch = driven.run.branch
    by_hand = f"1 commit on {branch} (backlog.mergeInto: branch); `git merge {branch}` brings the commits in"
    assert (driven.run.summary or "").endswith(by_hand)


def test_a_person_is_asked_before_the_base_branch_moves(tmp_path):
    driven = HandDriven.begin(several(tmp_path, config=ASK)).play_all()
    question = f"merge 1 commit of run {driven.run_id} into main?"
    (asked,) = hand_over(driven.ctx, driven.run, 1)["actions"]
    assert (asked["do"], asked["id"], asked["question"]) == ("ask", "q1", question)
    assert [asked["answers"][said].split("/bin/")[1] for said in ("yes", "no")] == [
        "backlog-ops submit q1 --answer yes",
        "backlog-ops submit q1 --answer no",
    ]
    assert driven.lab.log() == ["start"]


def test_going_on_before_the_answer_asks_the_same_once_more_and_does_nothing(tmp_path):
    driven = HandDriven.begin(several(tmp_path, config=ASK)).play_all()
    first = hand_over(driven.ctx, driven.run, 1)
    assert hand_over(driven.works().ctx, driven.run, 1) == first
    assert (driven.run.state, driven.lab.log()) == ("open", ["start"])
    assert sum(line.startswith("merge 1 commit") for line in driven.told) == 1


@pytest.mark.parametrize(
    ("said", "log", "end"),
    [
        ("yes", ["feat(src): implement T-1", "start"], "main is 1 commit ahead"),
        ("no", ["start"], "not merged into main, as you said; `git merge backlog/"),
    ],
)
def test_the_persons_answer_decides(tmp_path, monkeypatch, said, log, end):
    driven = HandDriven.begin(several(tmp_path, config=ASK)).play_all()
    monkeypatch.chdir(driven.lab.top)
    assert main(["submit", "q1", "--answer", said]) == 0
    assert (driven.works().run.state, driven.lab.log()) == ("done", log)
    assert end in (driven.run.summary or "")


def test_status_shows_the_question_that_is_open(tmp_path, monkeypatch, capsys):
    driven = HandDriven.begin(several(tmp_path, config=ASK)).play_all()
    monkeypatch.chdir(driven.lab.top)
    main(["status"])
    question = f"merge 1 commit of run {driven.run_id} into main?"
    assert f"asks: q1: {question} `backlog-ops submit q1 --answer yes` or no" in capsys.readouterr().out


def test_only_an_open_question_can_be_answered(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(HandDriven.begin(several(tmp_path, config=ASK)).play_all().lab.top)
    for words, code, said in (
        (["q1"], 2, "q1: a question is answered with --answer yes or --answer no"),
        (["q7", "--answer", "yes"], 1, "q7: unknown; `backlog-ops status` shows the open question"),
        (["a1", "--answer", "yes"], 2, "a1: --answer is for questions; they look like q1"),
    ):
        assert main(["submit", *words]) == code
        assert said in capsys.readouterr().err


def test_a_question_is_answered_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(HandDriven.begin(several(tmp_path, config=ASK)).play_all().lab.top)
    assert [main(["submit", "q1", "--answer", said]) for said in ("no", "yes")] == [0, 1]
    assert "q1: answered already: no" in capsys.readouterr().err


def test_an_answer_about_an_older_tip_does_not_count(tmp_path, monkeypatch):
    driven = HandDriven.begin(several(tmp_path, config=ASK)).play_all()
    monkeypatch.chdir(driven.lab.top)
    land(driven.lab, "src/later.txt", "later\n")
    main(["submit", "q1", "--answer", "yes"])
    driven.works()
    assert (driven.run.state, driven.lab.log()) == ("open", ["start"])
    (asked,) = hand_over(driven.ctx, driven.run, 1)["actions"]
    assert (asked["id"], asked["question"]) == ("q2", f"merge 2 commits of run {driven.run_id} into main?")


def parked_beside_a_question(folder: Path) -> HandDriven:
    """T-2 is done and the person is asked; T-1 is parked."""
    lab = several(folder, "T-1", "T-2", config=ASK)
    lab.agents.verdict = lambda ticket, _attempt: b"no" if ticket == "T-1" else APPROVED
    driven = HandDriven.begin(lab).play_all()
    lab.agents.verdict = lambda *_: APPROVED
    return driven


def test_a_ticket_that_is_retried_while_a_question_waits_is_handed_out(tmp_path):
    driven = parked_beside_a_question(tmp_path)
    retry(driven.ctx, ["T-1"])
    (action,) = hand_over(driven.works().ctx, driven.run, 1)["actions"]
    assert (action["do"], action["ticket"], action["gate"]) == ("agent", "T-1", "REVIEW")


def test_the_answer_about_all_commits_ends_the_run_though_an_older_question_was_never_answered(tmp_path, monkeypatch):
    driven = parked_beside_a_question(tmp_path)
    retry(driven.ctx, ["T-1"])
    driven.works().play_all()
    monkeypatch.chdir(driven.lab.top)
    main(["submit", "q2", "--answer", "yes"])
    assert hand_over(driven.works().ctx, driven.run, 1)["actions"][0]["do"] == "done"
    assert len(driven.lab.log()) == 3


def test_a_base_branch_that_moved_on_before_the_answer_is_not_touched(tmp_path, monkeypatch):
    driven = HandDriven.begin(several(tmp_path, config=ASK)).play_all()
    monkeypatch.chdir(driven.lab.top)
    driven.lab.write("src/readme.txt", "a person works on\n")
    driven.lab.commit("by hand")
    main(["submit", "q1", "--answer", "yes"])
    assert "main moved on meanwhile; `git merge " in (driven.works().run.summary or "")
    assert driven.lab.log() == ["by hand", "start"]


def test_a_run_without_a_commit_asks_nobody(tmp_path):
    lab = several(tmp_path, config=ASK)
    lab.agents.verdict = lambda *_: b"no"
    driven = HandDriven.begin(lab).play_all()
    assert (driven.run.state, (driven.run.summary or "").endswith("main is unchanged")) == ("done", True)


def test_what_the_person_has_not_committed_is_not_overwritten(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    driven.lab.write("src/T-1.txt", "mine\n")
    driven.play_all()
    assert "main was not moved (git merge: error: " in (driven.run.summary or "")
    assert (driven.lab.top / "src/T-1.txt").read_text() == "mine\n"
    assert driven.lab.log() == ["start"]


# -- onto the run's branch


def test_a_conflict_parks_with_the_file_and_changes_nothing(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    changing_readme(driven.lab, "mine\n")
    driven.play_until(Gate.REVIEW)
    tip = land(driven.lab, "src/readme.txt", "theirs\n")
    driven.play()
    assert driven.state().reason == "merge conflict with what was merged before it in src/readme.txt"
    assert driven.lab.git.commit_of("main") == tip  # delivered as it was
    assert driven.lab.git.file_at(f"refs/backlog/{driven.run_id}/T-1", "src/readme.txt") == b"mine\n"
    assert driven.lab.git.text("status", "--porcelain") == ""


def test_an_attempt_after_a_conflict_that_changes_nothing_is_not_committed(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2"))
    changing_readme(driven.lab, "mine\n")
    driven.play_until(Gate.REVIEW)
    land(driven.lab, "src/readme.txt", "theirs\n")
    driven.play()
    assert retry(driven.ctx, ["T-1"]) == ["T-1: taken up again at prepare"]
    driven.lab.agents.implement = lambda *_: None
    driven.works().play()
    assert driven.told[-2] == "LINT failed: the attempt changed nothing"


def test_on_a_base_that_moved_the_checks_run_again(tmp_path):
    together = {"qualityGates": {"testCommand": ["sh", "-c", "! test -e src/later.txt || grep -q 2 src/T-1.txt"]}}
    driven = HandDriven.begin(several(tmp_path, config=together))
    driven.play_until(Gate.REVIEW)
    tip = land(driven.lab, "src/later.txt", "later\n")
    driven.play()
    assert driven.told[-1] == "Haiku failed on T-1 at LINT. Escalated to Sonnet."
    assert "LINT failed: on the merged base: testCommand: exit code 1" in driven.told
    assert driven.lab.git.commit_of(driven.run.ref) == tip
    driven.play_all()
    assert driven.lab.log() == ["feat(src): implement T-1", "land src/later.txt", "start"]


def test_on_a_base_that_moved_an_unchanged_change_is_not_reviewed_again(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    driven.play_until(Gate.REVIEW)
    land(driven.lab, "src/later.txt", "later\n")
    driven.play_all()
    assert (driven.state().step, len(driven.asked(Gate.REVIEW))) == (Step.DONE, 1)


def test_a_change_that_git_merged_into_another_one_is_checked_and_reviewed_again(tmp_path):
    lab = several(tmp_path)
    lab.write("src/readme.txt", MANY)
    lab.commit("many lines")
    changing_readme(lab, MANY.replace("\n2\n", "\ntwo\n").replace("\n19\n", "\nnineteen\n"))
    driven = HandDriven.begin(lab)
    first = driven.play_until(Gate.REVIEW)
    land(lab, "src/readme.txt", MANY.replace("\n2\n", "\ntwo\n"))  # git finds only line 19 left to change
    second = driven.play().play_until(Gate.REVIEW)
    assert (
        "COMMIT: on the merged base it is another change than the approved one; checked and reviewed again"
        in driven.told
    )
    assert ("+two" in brief_of(first), "+two" in brief_of(second)) == (True, False)
    assert driven.play_all().run.state == "done"
    assert lab.log() == ["feat(src): implement T-1", "land src/readme.txt", "many lines", "start"]


def test_a_file_that_was_emptied_is_deleted_under_another_name(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    changing_readme(driven.lab, " \n\n")
    driven.play_until(Gate.IMPLEMENT)
    driven.play()
    assert "LINT failed: src/readme.txt was emptied" in driven.told
    (action,) = driven.waiting()
    assert "These files lost all they held:\n- src/readme.txt" in brief_of(action)
