"""An agent that goes on and on is cut off by its turn limit: a failed attempt with its cause, and the next one goes on
with what it has done.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.harness.agents import Job
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import SKILL, Parent, hand_in, in_order, models, write_own_file_now
from tests.e2e.harness.reply import Answer, tool
from tests.e2e.test_session_trouble import copy_of_the_plugin

TURNS = 3


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A copy whose implementers have a limit that is soon reached."""
    copy = copy_of_the_plugin(tmp_path / "plugin")
    file = copy / "agents" / "implementer.md"
    limited, changed = re.subn(r"(?m)^maxTurns: \d+$", f"maxTurns: {TURNS}", file.read_text(encoding="utf-8"))
    assert changed == 1
    file.write_text(limited, encoding="utf-8")
    return copy


def implement(job: Job) -> Answer:
    """The first attempt writes the file and reads it for ever; the second one finds nothing left to be written."""
    if job.attempt > 1:
        return in_order(hand_in)(job)
    return write_own_file_now(job) if job.turn == 0 else tool("Read", file_path=str(job.own_file))


def was_cut_and_gone_on_with(lab: BacklogLab, cause: str) -> bool:
    rows = lab.rows("SELECT attempt, cause FROM action WHERE gate = 'IMPLEMENT' ORDER BY number")
    return [tuple(row) for row in rows] == [(1, cause), (2, None)] and lab.commits() == ["feat(src): implement T-1"]


@pytest.mark.parametrize("host", ["claude_bin", "older_claude"])
def test_in_a_session_its_attempt_has_failed_and_the_next_one_goes_on_with_its_work(
    make_lab: MakeLab, plugin: Path, host: str, request: pytest.FixtureRequest
) -> None:
    parent = Parent(models(implement=implement))
    lab = make_lab(parent.models, plugin_dirs=[plugin], claude=request.getfixturevalue(host))
    run = lab.session(SKILL, scenario=parent)
    assert was_cut_and_gone_on_with(lab, f"its limit of {TURNS} turns was reached"), run.explain()


def test_in_a_headless_run_too(make_lab: MakeLab, plugin: Path) -> None:
    lab = make_lab(models(implement=implement), launcher=plugin / "bin" / "backlog-ops")
    ran = lab.run()
    assert was_cut_and_gone_on_with(lab, f"max_turns: Reached maximum number of turns ({TURNS})"), ran.explain()
