"""Claude Code 2.1.197: another model list, other hooks, no `finished` in its files; the same commits."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import MakeLab
from tests.e2e.harness.parent_session import SKILL, Parent, gates, models
from tests.e2e.harness.run_claude import ROOT


def test_the_skill_works_on_the_older_host(make_lab: MakeLab, older_claude: Path) -> None:
    parent = Parent(models())
    lab = make_lab(parent.models, ("T-1", "T-2"), plugin_dirs=[ROOT], claude=older_claude)
    run = lab.session(SKILL, scenario=parent)
    assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
    assert sorted(lab.commits()) == ["feat(src): implement T-1", "feat(src): implement T-2"]
    assert len(parent.calls) <= 3
    implemented = [model for _, gate, model in gates(parent.models.jobs_from_start()) if gate == "IMPLEMENT"]
    assert implemented == ["claude-haiku-4-5-20251001"] * 2


def test_a_wrong_model_is_put_right_on_the_older_host(make_lab: MakeLab, older_claude: Path) -> None:
    parent = Parent(models(), lambda call: {**call, "model": "opus"})
    lab = make_lab(parent.models, plugin_dirs=[ROOT], claude=older_claude)
    run = lab.session(SKILL, scenario=parent)
    assert run.exit_code == 0, run.explain()
    assert [model for _, _, model in gates(parent.models.jobs_from_start())] == [
        "claude-haiku-4-5-20251001",
        "claude-sonnet-5",
    ]


def test_the_older_hosts_model_variable_defeats_the_guard_and_the_ticket_is_parked(
    make_lab: MakeLab, older_claude: Path
) -> None:
    parent = Parent(models())
    forced = {"CLAUDE_CODE_SUBAGENT_MODEL": "opus"}
    lab = make_lab(parent.models, plugin_dirs=[ROOT], claude=older_claude, environment=forced)
    run = lab.session(SKILL, scenario=parent)
    assert run.exit_code == 0, run.explain()
    assert lab.commits() == []
    assert lab.ticket()["reason"].startswith(
        "asked for haiku, claude-opus-4-8 answered (CLAUDE_CODE_SUBAGENT_MODEL=opus is set)"
    )
