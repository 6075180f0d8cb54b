"""A person parks tickets and takes them up again: in the open run, and in a new one after its end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backlog_ops.cli.main import main
from backlog_ops.domain.gates import Gate
from backlog_ops.errors import FindingsError, RunStateError, UsageError
from backlog_ops.run import closing
from backlog_ops.run.requests import request
from backlog_ops.run.steering import park_ticket, retry
from backlog_ops.run.steps import Step
from tests.support.hand_driven import HandDriven, brief_of, several, worktree_of
from tests.support.lab import APPROVED, REJECTED, Lab, ticket_text

FOUND = {"severity": "high", "file": "src/readme.txt", "line": 1, "quote": "hello", "confidence": 90, "text": "says hi"}
ONE_A_WAVE = {"backlog": {"maxSlots": 1}}
CHAIN = {"T-1": {}, "T-2": {"depends_on": ["T-1"]}, "T-3": {"depends_on": ["T-2"]}}


@pytest.fixture
def two(tmp_path) -> HandDriven:
    """T-1 is driven; T-2, which waits for its plan, keeps the wave open."""
    return HandDriven.begin(several(tmp_path, "T-1", "T-2"))


def unreadable(driven: HandDriven) -> HandDriven:
    """Parked at REVIEW: no reviewer has given a readable verdict."""
    driven.lab.agents.verdict = lambda *_: b"no"
    driven.play_all("T-1")
    assert driven.state().step is Step.PARKED
    driven.lab.agents.verdict = lambda *_: APPROVED
    return driven


def ended(driven: HandDriven) -> Lab:
    """The same in a run of its own, which ends with it."""
    assert unreadable(driven).run.state == "done"
    return driven.lab


# -- park


def test_a_parked_ticket_is_out_of_the_run_and_its_work_is_kept(two):
    action = two.play_until(Gate.REVIEW)
    assert park_ticket(two.ctx, "T-1", "later") == "T-1: parked; `backlog-ops retry T-1` takes it up again"
    assert (two.state().step, two.state().reason) == (Step.PARKED, "later")
    assert (two.waiting(), two.ctx.store.action(action.number).cause) == ([], "later")
    assert two.lab.git.file_at(f"refs/backlog/{two.run_id}/T-1", "src/T-1.txt") == b"T-1 1\n"


def test_the_hand_in_of_an_agent_whose_ticket_was_parked_changes_nothing(two):
    action = two.play_until(Gate.REVIEW)
    park_ticket(two.ctx, "T-1", "later")
    two.hand_in(action)
    assert two.works().state().step is Step.PARKED


def test_a_ticket_is_parked_once_and_not_after_it_is_done(two):
    two.play_all("T-1")
    with pytest.raises(RunStateError, match="T-1: done already; `backlog-ops undo T-1` takes its commit back"):
        park_ticket(two.ctx, "T-1", "later")
    park_ticket(two.ctx, "T-2", "later")
    assert park_ticket(two.ctx, "T-2", "never") == "T-2: parked already: later"


def test_a_ticket_that_waits_for_its_wave_can_be_parked(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2", config=ONE_A_WAVE))
    park_ticket(driven.ctx, "T-2", "later")
    assert driven.play_all().run.state == "done"
    assert (driven.state("T-1").step, driven.state("T-2").step) == (Step.DONE, Step.PARKED)


def test_park_write_changes_the_status_in_the_file_and_no_other_byte(two, monkeypatch, capsys):
    monkeypatch.chdir(two.lab.top)
    path = two.lab.top / "tickets/pending/T-1.md"
    before = path.read_bytes()
    assert main(["park", "T-1", "--reason", "later", "--write"]) == 0
    assert path.read_bytes() == before.replace(b'"pending"', b'"blocked"')
    assert capsys.readouterr().out.splitlines() == [
        "T-1: parked; `backlog-ops retry T-1` takes it up again",
        "tickets/pending/T-1.md: status: blocked; commit it when you like",
    ]


def test_park_write_says_that_a_question_is_open_where_one_is(two, monkeypatch):
    monkeypatch.chdir(two.lab.top)
    two.lab.agents.questions = lambda _ticket: ("Which words?",)
    two.play_all("T-1")
    assert main(["park", "T-1", "--write"]) == 0
    assert '\nstatus: "needs-investigation"\n' in (two.lab.top / "tickets/pending/T-1.md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["T-1"], 1, "T-1: not part of an open run; `backlog-ops park T-1 --write` marks its file as blocked"),
        (["T-1", "--write"], 0, ""),
        (["T-9", "--write"], 2, "T-9: no such ticket in tickets/pending"),
    ],
)
def test_without_an_open_run_only_the_file_can_be_marked(tmp_path, monkeypatch, capsys, words, code, said):
    monkeypatch.chdir(several(tmp_path).top)
    assert main(["park", *words]) == code
    assert said in capsys.readouterr().err


# -- retry in the open run


def test_a_ticket_parked_at_review_is_reviewed_and_nothing_else_is_done_again(two):
    unreadable(two)
    assert retry(two.ctx, ["T-1"]) == ["T-1: taken up again at review"]
    asked = len(two.lab.agents.seen)
    two.works().play_all("T-1")
    assert [action.gate for action in two.lab.agents.seen[asked:]] == [Gate.REVIEW]
    assert (two.state().step, two.state().wave) == (Step.DONE, 1)


def test_a_ticket_parked_at_commit_asks_nobody_again(two):
    two.lab.git.run("config", "commit.gpgSign", "true")
    two.lab.git.run("config", "gpg.program", "/bin/false")
    two.play_all("T-1")
    assert two.state().parked_at == "commit"
    two.lab.git.run("config", "commit.gpgSign", "false")
    asked = len(two.lab.agents.seen)
    assert retry(two.ctx, ["T-1"]) == ["T-1: taken up again at commit"]
    assert (two.works().state().step, len(two.lab.agents.seen)) == (Step.DONE, asked)


def test_a_ticket_parked_at_implement_starts_from_what_is_there(two):
    two.lab.agents.implement = lambda worktree, ticket, attempt: (worktree / "src" / "T-1.txt").write_text("BROKEN\n")
    two.play_until(Gate.IMPLEMENT)
    two.play()
    park_ticket(two.ctx, "T-1", "later")
    assert retry(two.ctx, ["T-1"]) == ["T-1: taken up again at implement"]
    two.works().play_until(Gate.IMPLEMENT)
    assert (worktree_of(two) / "src" / "T-1.txt").read_text() == "BROKEN\n"


def test_a_ticket_whose_wave_is_over_goes_on_in_a_wave_of_its_own_at_the_end(tmp_path):
    driven = unreadable(HandDriven.begin(several(tmp_path, "T-1", "T-2", config=ONE_A_WAVE)))
    driven.play_until(Gate.PLAN, "T-2")
    assert retry(driven.ctx, ["T-1"]) == ["T-1: taken up again at review, in wave 3"]
    assert driven.works().waiting() == []
    driven.play_all()
    assert (driven.run.state, driven.state().step, driven.state().wave) == ("done", Step.DONE, 3)
    assert driven.lab.log()[:2] == ["feat(src): implement T-1", "feat(src): implement T-2"]


def test_a_ticket_whose_worktree_is_gone_is_prepared_again_with_its_work(two):
    unreadable(two)
    shutil.rmtree(worktree_of(two))
    assert retry(two.ctx, ["T-1"]) == ["T-1: taken up again at prepare"]
    two.works().play_until(Gate.IMPLEMENT)
    assert (worktree_of(two) / "src" / "T-1.txt").read_text() == "T-1 1\n"


def test_a_retried_ticket_has_all_its_attempts_again_and_is_told_what_failed(two):
    two.lab.agents.verdict = lambda *_: {**REJECTED, "findings": [FOUND]}
    two.play_all("T-1")
    assert two.state().step is Step.PARKED
    retry(two.ctx, ["T-1"])
    two.works().play_all("T-1")
    assert two.lab.agents.tiers(Gate.IMPLEMENT) == ["cheap", "balanced", "frontier"] * 2
    fourth = two.asked(Gate.IMPLEMENT)[3]
    assert (fourth.attempt, brief_of(fourth).count("says hi")) == (4, 3)


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["T-2"], "T-2: not parked; it is plan"),
        (["T-1", "T-2"], "T-2: not parked; it is plan"),
        (["T-1", "T-9"], "T-9: not part of the open run"),
    ],
)
def test_nothing_is_taken_up_where_one_of_the_tickets_cannot_be(two, ids, said):
    park_ticket(two.ctx, "T-1", "later")
    with pytest.raises(RunStateError, match=said):
        retry(two.ctx, ids)
    assert two.state().step is Step.PARKED


def test_several_tickets_are_taken_up_at_once_and_each_once(two, monkeypatch, capsys):
    monkeypatch.chdir(two.lab.top)
    for ticket in ("T-1", "T-2"):
        park_ticket(two.ctx, ticket, "later")
    assert main(["retry", "T-1", "T-2", "T-1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "T-1: taken up again at plan",
        "T-2: taken up again at plan",
        "`backlog-ops run` goes on with it, in a Claude Code session `backlog-ops next` does",
    ]
    assert two.works().play_all().lab.states()["T-2"].step is Step.DONE


def test_the_escalation_is_told_once_and_counted_once_however_often_a_ticket_is_retried(two, monkeypatch, capsys):
    def implement(worktree: Path, ticket: str, attempt: int) -> None:
        (worktree / "src" / f"{ticket}.txt").write_text("fine\n" if attempt == 5 else f"BROKEN {attempt}\n")

    two.lab.agents.implement = implement
    two.play_all("T-1")
    retry(two.ctx, ["T-1"])
    two.works().play_all("T-1")
    assert two.lab.agents.tiers(Gate.IMPLEMENT) == ["cheap", "balanced", "frontier", "cheap", "balanced"]
    assert two.told.count("Haiku failed on T-1 at LINT. Escalated to Sonnet.") == 1
    monkeypatch.chdir(two.lab.top)
    main(["status", "--format", "json"])
    counted = '{"totalAttempts": 2, "successCount": 0, "escalatedToCloud": 1, "failuresByType": {"LINT": 1}}'
    assert f'"stats": {{"localModelStats": {counted}}}' in capsys.readouterr().out


def test_a_ticket_that_waited_for_its_wave_goes_back_to_it_and_what_needs_it_follows(tmp_path):
    tickets = {f"{name}.md": ticket_text(name, **after) for name, after in CHAIN.items()}
    lab = Lab.make(tmp_path / "repo", tickets)
    driven = HandDriven.begin(lab)
    park_ticket(driven.ctx, "T-2", "later")
    retry(driven.ctx, ["T-2"])
    assert driven.play_all().run.state == "done"
    assert [(state.wave, state.step) for state in lab.states().values()] == [(n, Step.DONE) for n in (1, 2, 3)]


def test_tickets_are_taken_up_in_the_order_of_their_waves_however_they_are_named(tmp_path):
    lab = several(tmp_path, "T-1", "T-2", "T-3", config=ONE_A_WAVE)
    driven = unreadable(HandDriven.begin(lab))
    park_ticket(driven.ctx, "T-2", "later")
    driven.works().play_until(Gate.PLAN, "T-3")
    retry(driven.ctx, ["T-2", "T-1"])
    assert (driven.state("T-1").wave, driven.state("T-2").wave) == (4, 5)


# -- retry after the end of the run


def test_a_new_run_goes_on_from_the_plan_the_work_and_the_findings(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    driven.lab.agents.verdict = lambda *_: {**REJECTED, "findings": [FOUND]}
    assert driven.play_all().run.state == "done"
    said = retry(driven.ctx, ["T-1"])
    new = HandDriven.going_on(driven.lab)
    assert said == [f"T-1: taken up again in run {new.run_id}"]
    (action,) = new.waiting()
    assert (action.gate, action.attempt, action.tier.value) == (Gate.IMPLEMENT, 1, "cheap")
    assert (worktree_of(new) / "src" / "T-1.txt").read_text() == "T-1 3\n"
    assert brief_of(action).count("says hi") == 3
    assert json.loads(new.state().plan or "{}") == json.loads(driven.state().plan or "{}")


def test_a_ticket_that_was_rewritten_since_is_planned_anew_and_keeps_its_work(tmp_path):
    lab = ended(HandDriven.begin(several(tmp_path)))
    lab.write("tickets/pending/T-1.md", ticket_text("T-1", title="Do it otherwise"))
    lab.commit("rewritten")
    retry(lab.context(), ["T-1"])
    new = HandDriven.going_on(lab)
    assert [action.gate for action in new.waiting()] == [Gate.PLAN]
    assert (worktree_of(new) / "src" / "T-1.txt").read_text() == "T-1 1\n"


def test_work_that_no_longer_fits_is_left_out_as_a_whole(tmp_path):
    lab = several(tmp_path)
    lab.agents.plan_files = lambda ticket: [f"src/{ticket}.txt", ("src/readme.txt", "modify")]

    def implement(worktree: Path, ticket: str, attempt: int) -> None:
        (worktree / "src" / "T-1.txt").write_text("mine\n")
        (worktree / "src" / "readme.txt").write_text("mine\n")

    lab.agents.implement = implement
    ended(HandDriven.begin(lab))
    lab.write("src/readme.txt", "theirs\n")
    lab.commit("by hand")
    retry(lab.context(), ["T-1"])
    new = HandDriven.going_on(lab)
    assert new.lab.git.at(worktree_of(new)).text("status", "--porcelain") == ""
    assert new.play_all().state().step is Step.DONE


def test_an_implementer_whose_earlier_work_did_not_fit_is_told_so(tmp_path):
    lab = several(tmp_path)
    lab.agents.plan_files = lambda _ticket: [("src/readme.txt", "modify")]
    lab.agents.implement = lambda worktree, *_: (worktree / "src" / "readme.txt").write_text("mine\n") and None
    ended(HandDriven.begin(lab))
    lab.write("src/readme.txt", "theirs\n")
    lab.commit("by hand")
    retry(lab.context(), ["T-1"])
    (action,) = HandDriven.going_on(lab).waiting()
    assert "Its work does not fit the code any more" in brief_of(action)
    assert "The worktree holds the work" not in brief_of(action)


@pytest.mark.parametrize("setting", ["diff.noprefix", "diff.mnemonicPrefix", "core.autocrlf"])
def test_work_is_carried_over_whatever_the_persons_settings_are(tmp_path, setting):
    driven = HandDriven.begin(several(tmp_path))
    driven.lab.git.run("config", setting, "true")
    retry(ended(driven).context(), ["T-1"])
    assert (worktree_of(HandDriven.going_on(driven.lab)) / "src" / "T-1.txt").read_text() == "T-1 1\n"


def test_work_in_files_that_were_granted_is_carried_over_too(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    action = driven.play_until(Gate.IMPLEMENT)
    request(driven.ctx, action, ["src/more.txt"])
    (worktree_of(driven) / "src" / "more.txt").write_text("more\n")
    retry(ended(driven).context(), ["T-1"])
    assert HandDriven.going_on(driven.lab).play_all().run.state == "done"
    assert driven.lab.git.file_at("main", "src/more.txt") == b"more\n"


def test_what_an_earlier_run_kept_survives_a_run_that_could_not_even_prepare(tmp_path):
    lab = several(tmp_path, config={"worktree": {"setupCommand": ["test", "!", "-e", str(tmp_path / "no")]}})
    ended(HandDriven.begin(lab))
    (tmp_path / "no").touch()
    retry(lab.context(), ["T-1"])
    assert "setupCommand failed" in (HandDriven.going_on(lab).state().reason or "")
    (tmp_path / "no").unlink()
    retry(lab.context(), ["T-1"])
    assert (worktree_of(HandDriven.going_on(lab)) / "src" / "T-1.txt").read_text() == "T-1 1\n"


def test_several_tickets_of_an_ended_run_go_on_in_one_new_run(tmp_path):
    lab = several(tmp_path, "T-1", "T-2")
    lab.agents.verdict = lambda *_: b"no"
    HandDriven.begin(lab).play_all()
    retry(lab.context(), ["T-1", "T-2"])
    new = HandDriven.going_on(lab)
    assert [new.waiting(ticket)[0].gate for ticket in ("T-1", "T-2")] == [Gate.IMPLEMENT, Gate.IMPLEMENT]


def test_a_ticket_that_no_run_has_had_cannot_be_retried(tmp_path):
    with pytest.raises(UsageError, match="T-1: no run has had it; `backlog-ops run T-1` does"):
        retry(several(tmp_path).context(), ["T-1"])


def test_a_ticket_of_an_aborted_run_is_taken_up_with_the_work_it_had(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    driven.play_until(Gate.REVIEW)
    closing.abort(driven.ctx)
    (said,) = retry(driven.ctx, ["T-1"])
    assert said.startswith("T-1: taken up again in run ")
    new = HandDriven.going_on(driven.lab)
    new.works()
    assert (worktree_of(new, "T-1") / "src" / "T-1.txt").read_text() == "T-1 1\n"


def test_a_ticket_that_the_person_has_blocked_is_not_taken_up(tmp_path, monkeypatch):
    lab = ended(HandDriven.begin(several(tmp_path)))
    monkeypatch.chdir(lab.top)
    main(["park", "T-1", "--write"])
    lab.commit("blocked")
    with pytest.raises(FindingsError) as refused:
        retry(lab.context(), ["T-1"])
    assert list(refused.value.details) == ["T-1: blocked: its status says so"]
    assert lab.context().store.open_run() is None


def test_of_several_tickets_only_those_that_are_taken_up_are_said_to_be(tmp_path, monkeypatch):
    lab = several(tmp_path, "T-1", "T-2")
    lab.agents.verdict = lambda *_: b"no"
    HandDriven.begin(lab).play_all()
    monkeypatch.chdir(lab.top)
    main(["park", "T-2", "--write"])
    lab.commit("blocked")
    said = retry(lab.context(), ["T-1", "T-2"])
    run = lab.context().open_run()
    assert said == [f"T-1: taken up again in run {run.id}", "T-2: left out: blocked: its status says so"]
