"""`backlog-ops run` wherever it is started: odd paths, other logins, any number of jobs; and what others can see."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeLab
from tests.e2e.harness.agents import Job, Models, approve, bash, turns, write, write_own_file
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.reply import Answer
from tests.e2e.harness.request import ToolResult
from tests.e2e.harness.run_claude import ROOT

ODD = """it's (an) "odd" [folder] ü & co;"""


@pytest.fixture
def odd_plugin(tmp_path: Path) -> Path:
    """What runs of the plugin, in a folder with an odd name; its launcher."""
    for part in ("agents", "bin", "config", "scripts"):
        shutil.copytree(ROOT / part, tmp_path / ODD / part, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / ODD / "bin/backlog-ops"


def test_an_odd_path_of_the_plugin_or_the_repository_disturbs_nobody(make_lab: MakeLab, odd_plugin: Path) -> None:
    checked: list[ToolResult] = []

    def look(job: Job) -> Answer:
        checked.extend(job.results)
        return "Done."

    work = turns(lambda job: [write(job.own_file, "T-1\n"), bash(job.check), bash(f"{job.check} -- x")], look)
    lab = make_lab(Models(implement=work), folder=f"{ODD}/repo", launcher=odd_plugin)
    ran = lab.run()
    assert (ran.exit_code, lab.commits()) == (0, ["feat(src): implement T-1"]), ran.explain()
    assert [(result.is_error, "testCommand: passed" in result.text) for result in checked[1:]] == [(False, True)] * 2


def test_neither_prompt_nor_ticket_nor_key_stands_on_a_command_line(make_lab: MakeLab) -> None:
    lab = make_lab(environment={"ANTHROPIC_API_KEY": "the-key-of-this-lab"})
    seen: dict[str, list[list[str]]] = {}

    def looked_at(job: Job) -> None:
        seen[job.head["Gate"]] = [argv for argv in command_lines(lab)]

    def implement(job: Job) -> Answer:
        looked_at(job)
        return write_own_file(job)

    def review(job: Job) -> Answer:
        looked_at(job)
        return approve(job)

    lab.models.implement, lab.models.review = implement, review
    ran = lab.run()
    assert ran.exit_code == 0, ran.explain()
    for argvs in seen.values():
        assert [Path(argv[0]).name for argv in argvs if str(lab.claude_bin) in argv] == ["claude"]
        words = [word for argv in argvs for word in argv]
        assert [word for word in words if " " in word or "the-key-of-this-lab" in word] == []
    assert set(seen) == {"IMPLEMENT", "REVIEW"}


def command_lines(lab: BacklogLab) -> Iterator[list[str]]:
    for pid in lab.processes():
        yield (Path("/proc") / str(pid) / "cmdline").read_text(encoding="utf-8").split("\0")[:-1]


def test_one_job_and_three_give_the_same_commits(make_lab: MakeLab) -> None:
    def history(jobs: str) -> tuple[list[str], str]:
        lab = make_lab(tickets=["T-1", "T-2", "T-3"])
        ran = lab.run("--jobs", jobs)
        assert ran.exit_code == 0, ran.explain()
        return sorted(lab.commits()), lab.git("rev-parse", "main^{tree}")

    one = history("1")
    assert one == history("3")
    assert one[0] == [f"feat(src): implement T-{number}" for number in (1, 2, 3)]


def test_whoever_has_no_api_key_plans_through_their_own_login(make_lab: MakeLab) -> None:
    lab = make_lab(environment={"ANTHROPIC_API_KEY": None, "ANTHROPIC_AUTH_TOKEN": "a-login"})
    ran = lab.run()
    assert (ran.exit_code, lab.commits()) == (0, ["feat(src): implement T-1"]), ran.explain()
    planned = lab.rows("SELECT provider, answered_model, cost_nanousd > 0 FROM ledger WHERE gate = 'PLAN'")
    assert [tuple(row) for row in planned] == [("claude-cli", "claude-haiku-5-5", 1)]
    assert {call.header("authorization") for call in lab.api.calls} == {"Bearer a-login"}
