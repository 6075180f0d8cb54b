"""The skill in Claude Code's terminal: sub-agents in the background, grants that end with the prompt, nobody asked."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeSession
from tests.e2e.harness.agents import Job, write_own_file
from tests.e2e.harness.parent_session import SKILL, Parent, diligent, in_order, models
from tests.e2e.harness.reply import Answer, Reply, http_fault, text
from tests.e2e.harness.request import Req
from tests.e2e.harness.terminal import Terminal

MODES = ("auto", "default")  # what people get, and what they may choose
MOST_PARENT_CALLS = 5


@pytest.fixture(autouse=True)
def _in_tmux(tmux: Path) -> None:
    """Every test here needs a terminal."""


def finish(terminal: Terminal) -> None:
    terminal.wait_until(lambda: terminal.shows("● Done: "))
    assert (terminal.questions, terminal.server.errors) == ([], []), terminal.screen()


@pytest.mark.parametrize("mode", MODES)
def test_a_wave_of_two_tickets_asks_nobody_and_costs_the_parent_five_calls(
    make_session: MakeSession, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lab, parent = make_session(("T-1", "T-2"))
    with lab.terminal(parent, "--permission-mode", mode) as terminal:
        terminal.type(SKILL)
        finish(terminal)
    with capsys.disabled():
        print(f"\nparent calls a wave, terminal, {mode} mode: {len(parent.calls)}, limit 5", file=sys.stderr)
    assert sorted(lab.commits()) == ["feat(src): implement T-1", "feat(src): implement T-2"]
    assert lab.git("status", "--porcelain") == ""
    assert len(parent.calls) <= MOST_PARENT_CALLS


def test_a_subagent_that_dies_in_the_background_is_a_failed_attempt(make_session: MakeSession) -> None:
    def implement(job: Job) -> Answer:
        return http_fault(400, "out of luck") if (job.ticket, job.attempt) == ("T-2", 1) else diligent(job)

    lab, parent = make_session(("T-1", "T-2"), Parent(models(implement=implement)))
    with lab.terminal(parent, "--permission-mode", "default") as terminal:
        terminal.type(SKILL)
        terminal.wait_until(lambda: terminal.shows("● Done: "))
        assert terminal.questions == []
    assert sorted(lab.commits()) == ["feat(src): implement T-1", "feat(src): implement T-2"]
    assert (lab.ticket("T-2")["attempt"], lab.ticket("T-1")["attempt"]) == (2, 1)
    assert len(parent.calls) <= MOST_PARENT_CALLS + 2


class Forgetful(Parent):
    """It starts nothing until the person tells it to go on."""

    def _turn(self, request: Req) -> Answer:
        return super()._turn(request) if "go on" in request.all_text else "I forgot."


@pytest.mark.parametrize("mode", MODES)
def test_in_a_second_turn_without_the_skills_grants_nobody_is_asked_either(
    make_session: MakeSession, mode: str
) -> None:
    lab, parent = make_session(parent=Forgetful(models()))
    with lab.terminal(parent, "--permission-mode", mode) as terminal:
        terminal.type(SKILL)
        terminal.wait_until(lambda: terminal.shows("I forgot."))
        terminal.type("go on")
        finish(terminal)
    assert lab.commits() == ["feat(src): implement T-1"]
    assert any(result.name == "Bash" for call in parent.calls for result in call.tool_results)


def opened(pipe: Path) -> bool:
    """Whether somebody read at the pipe, and was let go on."""
    try:
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False  # nobody reads yet
    os.write(descriptor, b"go\n")
    os.close(descriptor)
    return True


def test_esc_during_a_hook_loses_nothing(make_session: MakeSession, tmp_path: Path) -> None:
    """The ticket's tests wait at a pipe while a hook holds the sub-agent's end; there the person presses Esc."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    parent = Parent(models(implement=in_order(write_own_file)))
    lab, parent = make_session(
        parent=parent,
        config={"qualityGates": {"testCommand": ["sh", "-c", f"read line <{pipe}"]}},
        environment={"CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1"},  # else Esc ends no hook
    )
    with lab.terminal(parent, "--permission-mode", "default") as terminal:
        terminal.type(SKILL)
        terminal.wait_until(lambda: lab.step() == "lint")
        terminal.key("Escape")
        terminal.wait_until(lambda: terminal.shows("Interrupted"))
        terminal.type("go on")
        terminal.wait_until(lambda: opened(pipe))
        finish(terminal)
    assert lab.commits() == ["feat(src): implement T-1"]
    assert lab.ticket()["attempt"] == 1


def test_a_subagent_that_esc_takes_away_is_started_again_on_the_same_attempt(make_session: MakeSession) -> None:
    first = Reply([text("Too slow.")], delay=60)

    def implement(job: Job) -> Answer:
        return first if len(parent.models.jobs) == 1 else diligent(job)

    lab, parent = make_session(
        parent=Parent(models(implement=implement)), environment={"CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1"}
    )
    with lab.terminal(parent, "--permission-mode", "default") as terminal:
        terminal.type(SKILL)
        terminal.wait_until(lambda: parent.models.jobs)
        terminal.key("Escape")
        terminal.wait_until(lambda: terminal.shows("Interrupted"))
        terminal.type("go on")
        finish(terminal)
    assert lab.commits() == ["feat(src): implement T-1"]
    assert (lab.ticket()["attempt"], lab.ticket()["fails"]) == (1, 0)


def test_a_session_that_is_killed_is_taken_over_and_its_attempt_goes_on(make_session: MakeSession) -> None:
    def implement(job: Job) -> Answer:
        if job.turn == 1 and not killed:
            killed.extend(lab.claudes())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        return diligent(job)

    killed: list[int] = []
    lab, parent = make_session(parent=Parent(models(implement=implement)))
    with lab.terminal(parent, "--permission-mode", "default") as terminal:
        terminal.type(SKILL)
        terminal.wait_until(lambda: killed)
    with lab.terminal(parent, "--permission-mode", "default") as terminal:
        terminal.type(SKILL)
        finish(terminal)
    assert lab.commits() == ["feat(src): implement T-1"]
    assert lab.ticket()["attempt"] == 1
    first, *_ = lab.rows("SELECT cause FROM agent ORDER BY started_at")
    assert first["cause"] == "its session ended"


def test_a_second_session_in_the_same_repository_starts_nothing_twice(make_session: MakeSession) -> None:
    """While the first one's sub-agent is at work, the second is told to wait, and who is at work."""
    seen: list[str] = []

    def implement(job: Job) -> Answer:
        if job.turn == 0:
            beside = lab.begin("start")  # `next` would wait for the sub-agent's end
            seen.append(beside.communicate(timeout=30)[0])
        return diligent(job)

    lab, parent = make_session(parent=Parent(models(implement=implement)))
    with lab.terminal(parent, "--permission-mode", "default") as terminal:
        terminal.type(SKILL)
        finish(terminal)
    assert re.search(r'"do": "wait".*"why": "sub-agents at work on a1"', seen[0]), seen
    assert [job.head["Gate"] for job in parent.models.jobs_from_start()] == ["IMPLEMENT", "REVIEW"]
    assert lab.commits() == ["feat(src): implement T-1"]
