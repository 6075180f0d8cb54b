"""What goes wrong in a session: sub-agents that die, sessions that stop, updates, problems; nothing is lost."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.e2e.conftest import MakeSession
from tests.e2e.harness.agents import Job, turns
from tests.e2e.harness.parent_session import (
    SKILL,
    Parent,
    diligent,
    ended_well,
    models,
    write_own_file_now,
)
from tests.e2e.harness.reply import Answer, http_fault
from tests.e2e.harness.request import Req
from tests.e2e.harness.rules import script
from tests.e2e.harness.run_claude import ROOT


def test_a_subagent_that_dies_is_a_failed_attempt_with_its_cause(make_session: MakeSession) -> None:
    dead: list[str] = []

    def implement(job: Job) -> Answer:
        if job.attempt == 1:
            dead.append(job.ticket)
            return http_fault(400, "out of luck")
        return diligent(job)

    lab, parent = make_session(parent=Parent(models(implement=implement)))
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, lab.commits()) == (0, ["feat(src): implement T-1"]), run.explain()
    causes = [row["cause"] for row in lab.rows("SELECT cause FROM action WHERE cause IS NOT NULL")]
    assert len(causes) == 1 and "out of luck" in causes[0]
    assert (lab.ticket()["attempt"], lab.ticket()["fails"]) == (2, 0)


def test_a_subagent_that_does_not_hand_in_is_looked_at_all_the_same(make_session: MakeSession) -> None:
    lab, parent = make_session(parent=Parent(models(implement=turns(write_own_file_now))))
    ended_well(lab.session(SKILL, scenario=parent))
    assert (len(parent.calls), lab.commits()) == (3, ["feat(src): implement T-1"])


class Idle(Parent):
    """It starts nothing."""

    def _turn(self, request: Req) -> Answer:
        return "I stop here."


def test_the_next_session_is_told_in_three_lines_that_a_run_is_open(make_session: MakeSession) -> None:
    lab, parent = make_session()
    lab.session(SKILL, scenario=Idle(parent.models))
    run = lab.session("hello", scenario=script(end="hi"))
    lines = re.findall(
        r"^.*(?:A backlog run is open|How it goes on|Do so if you were working).*$", run.calls[0].all_text, re.M
    )
    assert len(lines) == 3, run.calls[0].all_text[-2000:]
    assert str(ROOT / "bin/backlog-ops") in lines[1]


def test_a_session_that_stopped_is_taken_over_by_the_next(make_session: MakeSession) -> None:
    lab, parent = make_session()
    lab.session(SKILL, scenario=Idle(parent.models))
    ended_well(lab.session(SKILL, scenario=parent))
    assert lab.commits() == ["feat(src): implement T-1"]


def test_a_headless_run_goes_on_with_what_a_session_began(make_session: MakeSession) -> None:
    lab, parent = make_session()
    lab.session(SKILL, scenario=Idle(parent.models))
    lab.extra["ANTHROPIC_BASE_URL"] = lab.api.base_url
    ran = lab.run()
    assert (ran.exit_code, lab.commits()) == (0, ["feat(src): implement T-1"]), ran.explain()


def test_a_session_in_a_folder_of_the_repository_asks_nobody_either(make_session: MakeSession) -> None:
    lab, parent = make_session()
    lab.extra.pop("ANTHROPIC_BASE_URL")
    run = lab.claude(SKILL, scenario=parent, cwd=lab.repo / "src")
    ended_well(run)
    assert (len(parent.calls), lab.commits()) == (3, ["feat(src): implement T-1"])


def test_a_plugin_update_in_the_middle_of_a_run_loses_nothing(make_session: MakeSession, tmp_path: Path) -> None:
    """The run's first briefs name a version whose folder is gone by the time somebody goes on."""
    before, after = (copy_of_the_plugin(tmp_path / name) for name in ("1", "2"))
    lab, parent = make_session()
    lab.plugin_dirs = [before]
    lab.session(SKILL, scenario=Idle(parent.models))
    shutil.rmtree(before)
    lab.plugin_dirs = [after]
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    assert str(before) in parent.models.begun("IMPLEMENT")[0].brief
    assert lab.commits() == ["feat(src): implement T-1"]


def copy_of_the_plugin(target: Path) -> Path:
    for name in (".claude-plugin", "agents", "bin", "config", "hooks", "scripts", "skills"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def test_a_problem_is_told_by_the_skill_instead_of_ending_it(make_session: MakeSession) -> None:
    lab, _ = make_session(files={"backlog.config.json": "{"})
    run = lab.session(SKILL, scenario=script(end="There is a problem."))
    assert (run.exit_code, run.result["result"]) == (0, "There is a problem."), run.explain()
    assert "backlog.config.json" in run.calls[0].all_text and "not valid JSON" in run.calls[0].all_text


def test_a_headless_run_is_refused_while_a_sessions_subagents_are_at_work(make_session: MakeSession) -> None:
    seen: list[str] = []

    def implement(job: Job) -> Answer:
        if job.turn == 0:
            beside = lab.begin("run")
            seen.append(f"{beside.communicate(timeout=20)[1]} {beside.returncode}")
        return diligent(job)

    lab, parent = make_session(parent=Parent(models(implement=implement)))
    ended_well(lab.session(SKILL, scenario=parent))
    assert re.fullmatch(r"backlog-ops: sub-agents of a Claude Code session are at work on a1: .*\n 1", seen[0]), seen
    assert lab.commits() == ["feat(src): implement T-1"]
