"""Agents as processes: found again by whoever comes later, ended politely, and never taken for another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlog_ops.errors import RunStateError
from backlog_ops.run import agent_process
from backlog_ops.run.agent_process import AgentProcess

# Each says that it is ready, then waits on a pipe that nobody writes to.
WAIT = "print('ready', flush=True); os.read(os.pipe()[0], 1)"
TELL_ON_INTERRUPT = "signal.signal(signal.SIGINT, lambda *_: (print('bill'), sys.exit(0)))\n" + WAIT
DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT


def start(folder: Path, script: str) -> AgentProcess:
    agent = AgentProcess(folder)
    agent.start([sys.executable, "-c", f"import os, signal, sys\n{script}"], folder, os.environ, "the prompt")
    return agent


def ready(agent: AgentProcess) -> AgentProcess:
    while not agent.output()[0]:
        assert not agent.wait(0.01), agent.output()
    return agent


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    if (tmp_path / "agent.pid").exists():
        AgentProcess(tmp_path).end()


def test_it_gets_its_prompt_on_stdin_and_leaves_what_it_prints(tmp_path):
    agent = start(tmp_path, "sys.stdout.write(sys.stdin.read()); sys.stderr.write('oops'); sys.exit(3)")
    assert agent.wait(10)
    assert (agent.output(), agent.exit_code) == ((b"the prompt", b"oops"), 3)


def test_nobody_was_started_before_the_first_start(tmp_path):
    assert not AgentProcess(tmp_path).was_started


def test_somebody_else_sees_it_run_and_end(tmp_path):
    agent, other = ready(start(tmp_path, WAIT)), AgentProcess(tmp_path)
    assert (other.was_started, other.is_running) == (True, True)
    agent.end()
    assert (other.was_started, other.is_running) == (True, False)


def test_a_second_one_is_not_started_beside_it(tmp_path):
    ready(start(tmp_path, WAIT))
    with pytest.raises(RunStateError, match="still at work"):
        start(tmp_path, WAIT)


def test_somebody_else_can_end_it_and_reads_its_last_words(tmp_path):
    agent, other = ready(start(tmp_path, TELL_ON_INTERRUPT)), AgentProcess(tmp_path)
    other.end()
    assert agent.wait(0)
    assert other.output()[0] == b"ready\nbill\n"


def test_one_that_does_not_listen_is_killed(tmp_path, monkeypatch):
    brief = [(signal.SIGINT, 0.05), (signal.SIGTERM, 0.05), (signal.SIGKILL, 10.0)]
    monkeypatch.setattr(agent_process, "ENDING", brief)
    agent = ready(start(tmp_path, DEAF))
    agent.end()
    assert agent.exit_code == -signal.SIGKILL


def test_a_stranger_that_has_its_number_now_is_left_alone(tmp_path):
    assert start(tmp_path, "").wait(10)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as stranger:
        (tmp_path / "agent.pid").write_text(str(stranger.pid))
        AgentProcess(tmp_path).end()
        assert stranger.poll() is None
        stranger.communicate(b"\n")
