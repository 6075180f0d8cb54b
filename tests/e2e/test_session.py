"""The skill in the real Claude Code, `-p`: the same commits as the headless run, the parent's calls counted."""

from __future__ import annotations

import json
import sys

import pytest

from tests.e2e.conftest import MakeLab, MakeSession
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import (
    SKILL,
    Parent,
    ended_well,
    failing,
    models,
)
from tests.e2e.harness.reply import Answer
from tests.e2e.harness.request import Req
from tests.e2e.harness.rules import script
from tests.support.lab import ticket_text

FIRST_CALL_TOKENS = 2_600  # what a parent's first call may carry over a bare session's
PLAIN = {"T-1": ticket_text("T-1"), "T-2": ticket_text("T-2"), "T-3": ticket_text("T-3", depends_on=["T-1"])}


def results(lab: BacklogLab) -> tuple[str, list[str]]:
    """The tree that came of it and every commit's message: what has to be the same, whoever drove."""
    messages = lab.git("log", "--format=%B%x00", f"{lab.start}..main").split("\0")
    return lab.git("rev-parse", "main^{tree}"), sorted(message.strip() for message in messages if message.strip())


def measured(capsys: pytest.CaptureFixture[str], line: str) -> None:
    """A number to watch, in passing runs too."""
    with capsys.disabled():
        print(f"\n{line}", file=sys.stderr)


def test_a_backlog_becomes_the_commits_that_the_headless_run_makes(
    make_session: MakeSession, make_lab: MakeLab
) -> None:
    lab, parent = make_session(PLAIN)
    ended_well(lab.session(SKILL, scenario=parent))
    headless = make_lab(None, PLAIN)
    assert headless.run().exit_code == 0
    assert results(lab) == results(headless)
    assert len(lab.commits()) == 3
    assert lab.git("status", "--porcelain") == ""


def test_a_wave_of_two_tickets_costs_the_parent_three_calls(
    make_session: MakeSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2"))
    run = lab.session(SKILL, scenario=parent)
    ended_well(run)
    measured(capsys, f"parent calls a wave, foreground: {len(parent.calls)}, limit 3")
    assert len(lab.commits()) == 2
    assert len(parent.calls) <= 3, run.explain()


def test_a_failed_attempt_costs_the_parent_two_calls_more(
    make_session: MakeSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(parent=Parent(models(implement=failing(1))))
    ended_well(lab.session(SKILL, scenario=parent))
    measured(capsys, f"parent calls with a failed attempt, foreground: {len(parent.calls)}, limit 5")
    assert len(parent.calls) <= 5
    assert lab.commits() == ["feat(src): implement T-1"]


def test_with_every_hook_off_the_same_commits_are_made_in_seven_calls(
    make_session: MakeSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2"))
    run = lab.session(SKILL, "--settings", json.dumps({"disableAllHooks": True}), scenario=parent)
    ended_well(run)
    measured(capsys, f"parent calls a wave, hooks off: {len(parent.calls)}, limit 7")
    assert len(lab.commits()) == 2, run.explain()
    assert len(parent.calls) <= 7
    assert {json.loads(row["tags"]).get("guard") for row in lab.session_receipts()} == {"none"}


@pytest.mark.parametrize("name", ["CLAUDE_CODE_FORK_SUBAGENT", "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS"])
def test_the_hosts_background_setting_changes_nothing_but_the_calls(
    make_session: MakeSession, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2"), environment={name: "1"})
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    measured(capsys, f"parent calls a wave, {name}=1: {len(parent.calls)}, limit 5")
    assert len(lab.commits()) == 2
    assert len(parent.calls) <= 5, run.explain()


class Idle(Parent):
    """It is told what to start, and starts nothing."""

    def _turn(self, request: Req) -> Answer:
        super()._turn(request)
        return "That is enough."


def test_the_parents_first_call_carries_little_over_a_bare_session(
    make_session: MakeSession, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2", "T-3"), Idle(models()))
    lab.session(SKILL, scenario=parent)
    lab.plugin_dirs = []
    bare = lab.session("go", scenario=script("done")).calls[0].set_up_tokens
    first = parent.calls[0].set_up_tokens
    measured(capsys, f"parent's first call: {first:,} tokens, {first - bare:,} over a bare session, limit 2,600")
    assert first - bare <= FIRST_CALL_TOKENS
    assert len(parent.launches) >= 3
