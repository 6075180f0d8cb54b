"""`llm_call.py` and the day's budget: what a call may cost is set aside before it is made, and let go when it is over.

A call to cheap with room for 1,000 tokens may cost 0.05 cents, one without a limit of its own 0.8 cents.
"""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.money.ledger import record
from backlog_ops.storage.database import connect
from tests.e2e.harness.stub_anthropic import Reply, StubServer, http_fault, text
from tests.integration.test_llm_call import Shell, wait_until
from tests.support.llm import PRICES
from tests.support.ollama_standin import OllamaStandin, refused_url
from tests.support.paid_agents import call

SMALL = ("--model", "cheap", "--user", "hi", "--max-tokens", "1000")  # may cost up to $0.0005
LARGE = ("--model", "cheap", "--user", "hi")  # up to $0.0082


class Books:
    """The database that the calls of a Shell share."""

    def __init__(self, shell: Shell) -> None:
        self.path = shell.folder / "home" / ".local/state/backlog-ops/no-repository/state.db"

    def rows(self, sql: str) -> list[sqlite3.Row]:
        connection = connect(self.path)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def spend(self, nanousd: int) -> None:
        connection = connect(self.path)
        record(connection, call(nanousd, source="llm_call", run=None))
        connection.close()

    @property
    def reserved(self) -> int:
        return int(self.rows("SELECT coalesce(sum(nanousd), 0) FROM reservation")[0][0])


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def books(shell: Shell) -> Books:
    return Books(shell)


@pytest.fixture
def remote(shell: Shell) -> Iterator[StubServer]:
    with StubServer(lambda _: "remote") as server:
        shell.environ |= {"ANTHROPIC_API_KEY": "sk-test-0123456789", "ANTHROPIC_BASE_URL": server.base_url}
        yield server


def a_day(shell: Shell, usd: float, ollama: str = "") -> None:
    shell.ollama(ollama or refused_url(), budget={"perDayUsd": usd})


# -- too little is left


def test_a_call_that_the_day_does_not_allow_is_exit_6_and_not_made(shell: Shell, remote: StubServer) -> None:
    a_day(shell, 0.004)
    done = shell.run(*LARGE)
    assert (done.returncode, done.stdout) == (6, "")
    assert remote.calls == []


def test_it_is_told_what_the_call_may_cost_and_what_is_left_of_what(
    shell: Shell, books: Books, remote: StubServer
) -> None:
    a_day(shell, 0.004)
    books.spend(1_000_000)
    said = shell.run(*LARGE).stderr.splitlines()[-1]
    assert said.startswith("llm_call: claude-haiku-5-5: it may cost up to $0.008")
    assert said.endswith("and $0.0030 is left of today's $0.0040 (llmOps.budget.perDayUsd)")


def test_nothing_is_booked_and_nothing_is_left_set_aside(shell: Shell, books: Books, remote: StubServer) -> None:
    a_day(shell, 0.004)
    shell.run(*LARGE)
    assert (shell.rows(), books.reserved) == ([], 0)


def test_so_it_is_where_free_falls_back_to_cheap(shell: Shell, remote: StubServer) -> None:
    a_day(shell, 0)
    done = shell.ask()
    assert (done.returncode, done.stdout) == (6, "")
    assert "free ollama qwen3:8b: unreachable" in done.stderr
    assert "$0.00 is left of today's $0.00" in done.stderr
    assert remote.calls == []


def test_what_costs_nothing_is_asked_when_nothing_is_left(shell: Shell) -> None:
    with OllamaStandin(lambda _: "local") as server:
        a_day(shell, 0, server.base_url)
        assert shell.ask().stdout == "local\n"


def test_a_model_without_a_price_is_asked_while_anything_is_left(shell: Shell, remote: StubServer) -> None:
    assert PRICES.price("a-model-of-tomorrow", "2026-11-25") is None
    shell.ollama(refused_url(), budget={"perDayUsd": 0.001}, models={"cheap": "a-model-of-tomorrow"})
    assert shell.run(*LARGE).returncode == 0
    shell.ollama(refused_url(), budget={"perDayUsd": 0}, models={"cheap": "a-model-of-tomorrow"})
    done = shell.run(*LARGE)
    assert done.returncode == 6
    assert "it may cost an unknown amount" in done.stderr


# -- enough is left


def test_a_call_that_fits_is_booked_and_nothing_stays_set_aside(shell: Shell, books: Books, remote: StubServer) -> None:
    a_day(shell, 0.001)
    assert shell.run(*SMALL).stdout == "remote\n"
    assert [row["cost_nanousd"] > 0 for row in shell.rows()] == [True]
    assert books.reserved == 0


@pytest.mark.parametrize(
    ("scenario", "exit_code"),
    [
        pytest.param(lambda _: Reply([text("")], stop_reason="refusal"), 7, id="refused"),
        pytest.param(lambda _: http_fault(413, "too large"), 8, id="not-reached"),
    ],
)
def test_neither_does_it_when_the_call_fails(
    shell: Shell, books: Books, remote: StubServer, scenario: Any, exit_code: int
) -> None:
    a_day(shell, 1)
    remote.scenario = scenario
    assert shell.run(*SMALL, "--no-fallback").returncode == exit_code
    assert len(remote.calls) >= 1
    assert books.reserved == 0


def test_two_at_once_cannot_both_take_what_is_there_once(shell: Shell, books: Books, remote: StubServer) -> None:
    a_day(shell, 0.012)  # for one
    answers = threading.Event()

    def slow(_request: Any) -> str:
        assert answers.wait(30)
        return "remote"

    remote.scenario = slow
    with subprocess.Popen(shell.command(*LARGE), cwd=shell.folder, env=shell.environ, stdout=subprocess.PIPE) as first:
        wait_until(lambda: remote.calls)
        second = shell.run(*LARGE)
        answers.set()
        assert first.wait(30) == 0
    assert second.returncode == 6
    assert len(remote.calls) == 1
    assert shell.run(*LARGE).returncode == 0  # what the first did not use is there again


def test_what_a_killed_call_has_set_aside_is_there_for_the_next(shell: Shell, books: Books, remote: StubServer) -> None:
    a_day(shell, 0.012)
    never = threading.Event()
    remote.scenario = lambda _: "late" if never.wait(30) else "never"
    with subprocess.Popen(shell.command(*LARGE), cwd=shell.folder, env=shell.environ, stdout=subprocess.PIPE) as first:
        wait_until(lambda: remote.calls)
        first.kill()
    assert books.reserved > 0
    remote.scenario = lambda _: "remote"
    never.set()
    assert shell.run(*LARGE).stdout == "remote\n"


# -- a ledger that is of no use


def test_a_ledger_that_cannot_be_opened_is_told_of_once_and_costs_no_answer(shell: Shell, remote: StubServer) -> None:
    state = shell.folder / "state"
    state.write_text("a file in the way")
    shell.environ["XDG_STATE_HOME"] = str(state)
    done = shell.run(*SMALL)
    assert (done.returncode, done.stdout) == (0, "remote\n")
    (line,) = [line for line in done.stderr.splitlines() if str(state) in line]
    assert line.startswith("llm_call: the budget could not be checked: ")
