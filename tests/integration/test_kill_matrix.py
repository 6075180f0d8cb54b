"""A run that is killed at every named point of docs/reliability.md ends like one that nobody disturbed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.run import closing, engine
from tests.support.killing import PHASES, KillPoint, run_and_kill
from tests.support.lab import APPROVED, REJECTED, Lab, ticket_text

STEPS = (
    "plan-waves",
    "prepare",
    "plan",
    "investigate",
    "implement",
    "lint",
    "review",
    "commit",
    "merge",
    "close-wave",
    "deliver",
)
POINTS = [KillPoint(step, phase) for step in STEPS for phase in PHASES]
POINTS += [KillPoint(f"{gate} agent", "at its end") for gate in ("PLAN", "INVESTIGATE", "IMPLEMENT", "REVIEW")]
# The first move makes the run's branch, the second and the third put a ticket on it.
POINTS += [KillPoint("the branch", when, n) for when in ("before it moves", "after it has moved") for n in (1, 2, 3)]
# What comes a second time: a hand-in to be judged, and a ticket that is rebased and checked again.
POINTS += [KillPoint(step, phase, 2) for step in ("implement", "review", "merge") for phase in PHASES]


def lab_with_trouble(folder: Path) -> Lab:
    """Two tickets of one wave: one has an open question and is rejected once, the other finds a moved branch."""
    lab = Lab.make(folder, {"a.md": ticket_text("T-1"), "b.md": ticket_text("T-2")})

    def questions(ticket: str) -> tuple[str, ...]:
        brief_of_first_plan = ticket == "T-1" and not (folder / ".answered").exists()
        return ("Which words?",) if brief_of_first_plan else ()

    def investigate(ticket: str) -> dict[str, Any]:
        (folder / ".answered").touch()
        cited = [{"file": "src/readme.txt", "line": 1, "quote": "hello"}]
        return {"answers": [{"question": "Which words?", "answer": "hello", "evidence": cited}], "open": []}

    lab.agents.questions = questions
    lab.agents.investigate = investigate
    lab.agents.verdict = lambda ticket, attempt: REJECTED if (ticket, attempt) == ("T-1", 1) else APPROVED
    (folder / ".git" / "info" / "exclude").write_text(".answered\n")
    return lab


def outcome(lab: Lab) -> dict[str, Any]:
    """All that must be the same: trees, what people were told, verdicts, and that nothing is left over."""
    store = lab.context().store
    run = store.last_run()
    assert run is not None
    told = [
        re.sub(r"\d+\.\d s|\b[0-9a-f]{9}\b|\d{8}-\d{6}-[0-9a-f]{4}", "·", event.text) for event in store.events(run.id)
    ]
    verdicts = {
        ticket.id: [(v.attempt, v.gate, v.passed, v.tree) for v in store.verdicts(ticket)]
        for ticket in store.tickets(run.id)
    }
    return {
        "state": run.state,
        "tree": lab.git.text("rev-parse", "main^{tree}"),
        "log": lab.git.text("log", "--format=%s%n%T", "main"),
        "told": told,
        "verdicts": verdicts,
        "open actions": store.actions(run.id, "open"),
        "journal": store.rows("SELECT * FROM journal WHERE outcome IS NULL"),
        "worktrees": lab.git.worktrees(),
        "refs": lab.git.text("for-each-ref", "--format=%(refname)"),
        "status": lab.git.text("status", "--porcelain"),
        "locks": sorted((lab.top / ".git").rglob("*.lock")),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    lab = lab_with_trouble(tmp_path_factory.mktemp("undisturbed") / "repo")
    lab.run(jobs=1)
    return {**outcome(lab), "worktrees": None}


@pytest.mark.parametrize("point", POINTS, ids=lambda p: f"{p.step} {p.phase} {p.occurrence}".replace(" ", "-"))
def test_a_run_killed_there_ends_like_one_that_nobody_disturbed(
    tmp_path: Path, undisturbed: dict[str, Any], point: KillPoint
) -> None:
    lab = lab_with_trouble(tmp_path / "repo")
    assert run_and_kill(lab, point), "the run was over before the point that this test is about"
    ctx = lab.context()
    run = ctx.store.open_run()
    if run is not None:
        engine.work(ctx, run.id, 1, lab.agents)
    closing.tidy(ctx)
    found = outcome(lab)
    assert found.pop("worktrees") == [lab.top]
    assert {**found, "worktrees": None} == undisturbed


def test_every_point_is_in_the_page_with_what_is_guaranteed() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| ([^|]+?) \|", page, re.MULTILINE))
    assert {point.step for point in POINTS} <= named
