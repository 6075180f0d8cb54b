"""Several reviewers of one diff, side by side; what they are shown, and what counts as their verdict."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.cli.main import main
from backlog_ops.domain.gates import Gate
from backlog_ops.domain.verdicts import VERDICT_SCHEMA
from backlog_ops.run.hand_ins import MAX_BYTES, read_json
from backlog_ops.run.steering import park_ticket, retry
from backlog_ops.run.steps import Step
from tests.support.hand_driven import HandDriven, brief_of, several, worktree_of
from tests.support.lab import APPROVED, REJECTED

NOTE = {"severity": "low", "file": "src/T-1.txt", "line": 1, "quote": "T-1 1", "confidence": 90, "text": "a note"}


def reviewed_by(folder: Path, *reviewers: str | Mapping[str, str], **fields: Any) -> HandDriven:
    """T-1 when its reviewers have been asked and none has answered."""
    named = [one if isinstance(one, Mapping) else {"name": one} for one in reviewers or ("reviewer",)]
    driven = HandDriven.begin(several(folder, config={"reviewPipeline": {"reviewers": named}}, **fields))
    driven.play_until(Gate.REVIEW)
    return driven


def answer(driven: HandDriven, reviewer: str, verdict: Any = APPROVED, cause: str | None = None) -> None:
    """One reviewer hands in; the engine goes on."""
    (action,) = [action for action in driven.waiting() if action.reviewer == reviewer]
    driven.lab.agents.verdict = lambda *_: verdict
    driven.lab.agents.cause = lambda _action: cause
    driven.hand_in(action)
    driven.lab.agents.cause = lambda _action: None
    driven.works()


def asked(driven: HandDriven) -> list[str | None]:
    """The reviewers who have not answered yet."""
    return [action.reviewer for action in driven.waiting() if action.gate is Gate.REVIEW]


# -- side by side


def test_all_reviewers_are_asked_at_once_about_the_same_tree(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b", "c")
    assert asked(driven) == ["a", "b", "c"]
    assert {action.tree for action in driven.waiting()} == {driven.state().work_tree}
    assert len({action.hand_in for action in driven.waiting()}) == 3


def test_nothing_is_committed_before_the_last_one_has_approved(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b", "c")
    answer(driven, "c")
    answer(driven, "a")
    assert (driven.state().step, asked(driven)) == (Step.REVIEW, ["b"])
    answer(driven, "b", {**APPROVED, "findings": [NOTE]})
    assert driven.state().step is Step.DONE
    approved = "a: approved (0 notes); b: approved (1 notes); c: approved (0 notes)"
    assert next(line for line in driven.told if line.startswith("REVIEW ")).endswith(approved)


def test_one_that_rejects_outweighs_all_that_approve(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b", "c")
    answer(driven, "a")
    answer(driven, "b", {**REJECTED, "findings": [{**NOTE, "text": "it lies"}]})
    answer(driven, "c")
    (action,) = driven.waiting()
    assert (action.gate, driven.state().fails) == (Gate.IMPLEMENT, 1)
    assert "b: changes requested (1 findings)" in brief_of(action)
    assert "it lies" in brief_of(action)


def test_one_that_dies_is_asked_again_alone_and_the_others_keep_their_verdicts(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b", "c")
    answer(driven, "a")
    answer(driven, "b", cause="api_error: 529")
    answer(driven, "c")
    assert asked(driven) == ["b"]
    answer(driven, "b")
    assert driven.state().step is Step.DONE
    assert [action.reviewer for action in driven.asked(Gate.REVIEW)] == ["a", "b", "c", "b"]


def test_one_that_dies_again_parks_the_ticket_without_a_new_implementation(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b")
    answer(driven, "a")
    answer(driven, "b", cause="api_error: 529")
    answer(driven, "b", cause="max_turns: 20")
    assert driven.state().reason == "no reviewer gave a readable verdict: max_turns: 20"
    assert (driven.state().fails, driven.state().attempt) == (0, 1)


def test_a_rejection_is_heard_though_another_reviewer_has_died_meanwhile(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b")
    answer(driven, "a", REJECTED)
    answer(driven, "b", cause="api_error: 529")
    answer(driven, "b")
    assert "REVIEW failed: a: changes requested (0 findings); b: approved (0 notes)" in driven.told


def test_each_reviewer_reads_what_is_its_part_and_no_other(tmp_path):
    driven = reviewed_by(tmp_path, {"name": "security", "focus": "Look for holes."}, {"name": "rest"})
    security, rest = (brief_of(action) for action in driven.waiting())
    assert "## Your part (security; others review the same diff)\n\nLook for holes." in security
    assert "holes" not in rest


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ({**APPROVED, "tree": "0" * 40}, "REVIEW failed: approved another tree (000000000, not "),
        ({**APPROVED, "findings": [{**NOTE, "severity": "high"}]}, "REVIEW failed: contradiction: approved with high "),
        ({**APPROVED, "findings": [{**NOTE, "quote": "nope"}]}, "citation does not hold: src/T-1.txt:1 does not say"),
    ],
)
def test_an_approval_that_does_not_hold_fails_the_gate(tmp_path, verdict, said):
    driven = reviewed_by(tmp_path)
    answer(driven, "reviewer", verdict)
    assert any(said in line for line in driven.told)
    assert driven.waiting()[0].gate is Gate.IMPLEMENT


def test_files_that_change_while_they_are_reviewed_are_not_the_approved_ones(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b")
    answer(driven, "a")
    (worktree_of(driven) / "src" / "T-1.txt").write_text("something else\n")
    answer(driven, "b")
    assert "REVIEW failed: not the tree of LINT" in driven.told


def test_an_approval_of_an_earlier_attempt_does_not_count_after_a_retry(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b")
    answer(driven, "a")
    park_ticket(driven.ctx, "T-1", "later")
    shutil.rmtree(worktree_of(driven))
    retry(driven.ctx, ["T-1"])  # from the beginning: its worktree is gone
    driven.works().play_until(Gate.REVIEW)
    assert asked(driven) == ["a", "b"]


def test_an_approval_from_before_the_ticket_was_parked_counts_where_nothing_has_changed(tmp_path):
    driven = reviewed_by(tmp_path, "a", "b")
    answer(driven, "a")
    park_ticket(driven.ctx, "T-1", "later")
    retry(driven.ctx, ["T-1"])
    assert asked(driven.works()) == ["b"]


# -- tiers and receipts


def test_a_reviewer_is_never_asked_below_its_own_tier(tmp_path):
    driven = reviewed_by(tmp_path, "a", {"name": "b", "model": "frontier"}, {"name": "c", "model": "cheap"})
    tiers = [(action.tier.value, action.rule, action.host_model) for action in driven.waiting()]
    assert tiers == [
        ("balanced", "entry", "sonnet"),
        ("frontier", "reviewer b", "opus"),
        ("balanced", "entry", "sonnet"),
    ]


def test_after_two_failures_all_reviewers_are_of_the_frontier(tmp_path):
    driven = reviewed_by(tmp_path, "a", {"name": "b", "model": "frontier"})
    for _ in range(2):
        answer(driven, "a", REJECTED)
        answer(driven, "b")
        driven.play_until(Gate.REVIEW)
    assert [(action.tier.value, action.rule) for action in driven.waiting()] == [("frontier", "fails>=2")] * 2


# -- what they are shown


def test_the_package_names_the_tests_that_are_gone_or_weaker_and_the_files_that_shrank(tmp_path):
    lab = several(tmp_path)
    lab.write("tests/test_a.py", "def test_one():\n    assert 1\n    assert 2\n\n\ndef test_two():\n    assert 2\n")
    lab.write("src/long.txt", "line\n" * 100)
    lab.commit("tests")
    lab.agents.plan_files = lambda _ticket: [("tests/test_a.py", "modify"), ("src/long.txt", "modify")]

    def implement(worktree: Path, ticket: str, attempt: int) -> None:
        (worktree / "tests/test_a.py").write_text("def test_one():\n    assert 1\n")
        (worktree / "src/long.txt").write_text("line\n" * 10)

    lab.agents.implement = implement
    brief = brief_of(HandDriven.begin(lab).play_until(Gate.REVIEW))
    for line in (
        "- tests/test_a.py: test_two: deleted",
        "- tests/test_a.py: test_one: 1 assertion fewer (2 before, 1 now)",
        "- src/long.txt: 100 lines before, 10 now",
    ):
        assert f"\n{line}\n" in brief


def test_a_package_without_losses_warns_of_nothing(tmp_path):
    assert "Look at these" not in brief_of(reviewed_by(tmp_path).waiting()[0])


def test_the_package_holds_new_files_and_what_the_gates_said(tmp_path):
    brief = brief_of(reviewed_by(tmp_path).waiting()[0])
    assert "+++ b/src/T-1.txt\n@@ -0,0 +1 @@\n+T-1 1\n" in brief
    assert "testCommand: passed (sh -c " in brief


def test_a_change_too_large_to_be_reviewed_fails_before_anybody_is_asked(tmp_path):
    config = {"reviewPipeline": {"maxPackageBytes": 20_000, "reviewers": [{"name": "a"}, {"name": "b"}]}}
    lab = several(tmp_path, config=config)
    lab.agents.implement = lambda worktree, ticket, attempt: (
        (worktree / "src" / "T-1.txt").write_text("large\n" * (5_000 if attempt == 1 else 1)) and None
    )
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.IMPLEMENT)
    driven.play()
    assert driven.waiting()[0].gate is Gate.IMPLEMENT
    assert "(reviewPipeline.maxPackageBytes 20000)" in next(line for line in driven.told if "REVIEW failed" in line)
    driven.play_until(Gate.REVIEW)
    assert asked(driven) == ["a", "b"]


# -- what they hand in


def test_only_a_file_of_the_reviewed_tree_can_be_cited(tmp_path):
    lab = several(tmp_path)
    (lab.top / "src" / "link.txt").symlink_to("/etc/hosts")
    lab.commit("a link")
    cited = ["../../../../../outside.txt", "/etc/hosts", "src/link.txt"]
    lab.agents.verdict = lambda _ticket, attempt: {
        **APPROVED,
        "findings": [{**NOTE, "file": cited[attempt - 1], "quote": "localhost"}],
    }
    driven = HandDriven.begin(lab).play_all()
    told = [line for line in driven.told if line.startswith("REVIEW failed: citation does not hold: ")]
    assert [file in line for file, line in zip(cited, told, strict=True)] == [True] * 3


def test_a_hand_in_with_windows_line_ends_and_a_byte_order_mark_is_read(tmp_path):
    driven = reviewed_by(tmp_path)
    (action,) = driven.waiting()
    quoted = {**NOTE, "quote": "T-1 1\r\n"}
    text = json.dumps({**APPROVED, "tree": action.tree, "findings": [quoted]}, indent=1).replace("\n", "\r\n")
    answer(driven, "reviewer", b"\xef\xbb\xbf" + text.encode())
    assert driven.state().step is Step.DONE


def test_a_file_with_windows_line_ends_can_be_cited(tmp_path):
    lab = several(tmp_path)
    lab.agents.implement = lambda worktree, *_: (worktree / "src/T-1.txt").write_bytes(b"one\r\ntwo\r\n") and None
    lab.agents.verdict = lambda *_: {**APPROVED, "findings": [{**NOTE, "quote": "one\ntwo"}]}
    assert HandDriven.begin(lab).play_all().state().step is Step.DONE


def test_a_hand_in_that_is_missing_is_asked_for_again(tmp_path):
    driven = reviewed_by(tmp_path)
    driven.ctx.store.hand_in(driven.waiting()[0])
    driven.works()
    assert driven.told[-1] == "REVIEW #1: no readable verdict: verdict.json is missing"
    assert asked(driven) == ["reviewer"]


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(100 * 1024 * 1024)


HAND_INS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "verdict.json is missing"),
    "empty": (lambda path: path.write_bytes(b""), "is not JSON"),
    "binary": (lambda path: path.write_bytes(bytes(range(256))), "is not JSON"),
    "100 MB": (_sparse, f"is larger than {MAX_BYTES} bytes"),
    "nested too deep": (lambda path: path.write_text("[" * 100_000), "is not JSON"),
    "two objects": (lambda path: path.write_text("{}{}"), "is not JSON"),
    "no number": (lambda path: path.write_text('{"verdict": NaN}'), "verdict"),
    "wrong schema": (
        lambda path: path.write_text('{"verdict": "CHANGES_REQUESTED", "findings": 3}'),
        "findings: 3 is not",
    ),
    "one key too many": (lambda path: path.write_text('{"verdict": "X", "findings": [], "ok": true}'), "verdict.json"),
    "FIFO": (os.mkfifo, "verdict.json is missing"),
    "folder": (lambda path: path.mkdir(), "verdict.json is missing"),
    "symlink": (lambda path: path.symlink_to(path.parent / "good.json"), "verdict.json is missing"),
}


@pytest.mark.parametrize("make, said", HAND_INS.values(), ids=list(HAND_INS))
def test_what_is_no_verdict_is_said_in_one_line(tmp_path, make, said):
    (tmp_path / "good.json").write_text(json.dumps(REJECTED))
    make(tmp_path / "verdict.json")
    value, problem = read_json(tmp_path / "verdict.json", VERDICT_SCHEMA)
    assert value is None
    assert said in (problem or "") and "\n" not in (problem or "")


def test_a_hand_in_that_nobody_can_read_does_not_hold_the_engine(tmp_path):
    driven = reviewed_by(tmp_path)
    (action,) = driven.waiting()
    os.mkfifo(Path(action.hand_in or ""))
    driven.ctx.store.hand_in(action)
    assert driven.works().told[-1] == "REVIEW #1: no readable verdict: verdict.json is missing"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_sparse, f"larger than {MAX_BYTES} bytes; no gate takes so much"),
        (os.mkfifo, "is not a file"),
        (lambda path: path.mkdir(), "is not a file"),
        (lambda path: None, "No such file or directory"),
    ],
    ids=["100 MB", "FIFO", "folder", "missing"],
)
def test_submit_refuses_a_file_that_no_gate_takes(tmp_path, monkeypatch, capsys, make, said):
    driven = reviewed_by(tmp_path)
    (action,) = driven.waiting()
    make(tmp_path / "answer")
    monkeypatch.chdir(driven.lab.top)
    assert main(["submit", action.id, "--file", str(tmp_path / "answer")]) == 2
    assert said in capsys.readouterr().err
    assert driven.waiting() == [action]
