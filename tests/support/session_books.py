"""The books of a real session, held beside what the scripted API billed for it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from backlog_ops.money.ledger import TOKEN_COLUMNS
from backlog_ops.run.session_receipts import GIVE_UP_SECONDS
from tests.e2e.demo.bill import billed
from tests.e2e.harness.backlog_lab import BacklogLab, Ran
from tests.e2e.harness.parent_session import Parent, is_safety_check
from tests.e2e.harness.reply import Answer, Reply, as_reply, tool
from tests.e2e.harness.request import Json, Req
from tests.e2e.harness.rules import script
from tests.e2e.harness.run_claude import ROOT
from tests.e2e.harness.stub_anthropic import StubServer

LLM_CALL = ROOT / "scripts" / "ops" / "llm_call.py"
LOOK = "Look around"
LOOK_DEEPER = "Look around in the corners"
UNATTRIBUTED = "unattributed"

Books = dict[str, dict[str, Sequence[int]]]  # source → model → tokens in the ledger's five buckets, nano-dollars


@dataclass
class WithHelpers(Parent):
    """Beside the first actions it starts a sub-agent of its own, and that one starts another.

    pace  seconds between the events of a sub-agent's answer
    """

    pace: float = 0.0

    def __call__(self, request: Req) -> Answer:
        answer = as_reply(_helper(request) if is_helper(request) else super().__call__(request))
        slow = isinstance(answer, Reply) and request.stream and request.agent_id
        return replace(answer, pace=self.pace) if slow else answer

    def _turn(self, request: Req) -> Answer:
        answer = super()._turn(request)
        return [*answer, _start(LOOK, "sonnet")] if len(self.calls) == 1 else answer


def is_helper(request: Req) -> bool:
    return request.agent_id is not None and request.first_text.startswith(LOOK)


def _helper(request: Req) -> Answer:
    starts_another = request.turn == 0 and not request.first_text.startswith(LOOK_DEEPER)
    return _start(LOOK_DEEPER, "haiku") if starts_another else "There is nothing."


def _start(prompt: str, model: str) -> Json:
    call = {"description": "look", "prompt": prompt, "subagent_type": "general-purpose", "model": model}
    return tool("Agent", **call, run_in_background=False)


# -- both books


def source_of(call: Req) -> str:
    """Where a call has to stand in the ledger, by what the scripted API saw of it."""
    if call.agent_id:
        return "parent" if is_helper(call) else "session"
    if "Agent" in call.tools:
        return "parent"
    from_host = (call.header("user-agent") or "").startswith("claude-cli")
    return UNATTRIBUTED if from_host or is_safety_check(call) else "engine"


def bill(calls: Iterable[Req], source: Callable[[Req], str] = source_of) -> Books:
    """What the scripted API billed."""
    by_source: dict[str, list[Req]] = {}
    for call in calls:
        by_source.setdefault(source(call), []).append(call)
    return {name: {model: astuple(one) for model, one in billed(some).items()} for name, some in by_source.items()}


def ledger(lab: BacklogLab) -> Books:
    """What the ledger says; an unknown count or cost is none, and then shows."""
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in (*TOKEN_COLUMNS, "cost_nanousd"))
    books: Books = {}
    for source, model, *numbers in lab.rows(
        f"SELECT source, answered_model, {sums} FROM ledger GROUP BY source, answered_model"
    ):
        books.setdefault(source, {})[model] = numbers
    return books


def by_model(books: Books, *sources: str) -> dict[str, Sequence[int]]:
    """The sum of some sources."""
    found: dict[str, Sequence[int]] = {}
    for source in sources:
        for model, numbers in books.get(source, {}).items():
            before = found.get(model, [0] * len(numbers))
            found[model] = [one + other for one, other in zip(before, numbers, strict=True)]
    return found


def cost(books: Books, *sources: str) -> int:
    """Nano-dollars of some sources."""
    return sum(numbers[-1] for numbers in by_model(books, *sources).values())


# -- what is done to them


def ask_a_model(lab: BacklogLab) -> Books:
    """One `llm_call` from a shell in the repository, and what it was billed."""
    with StubServer(script("Five.")) as api:
        subprocess.run(
            [sys.executable, str(LLM_CALL), "--model", "cheap", "--user", "How many fields has a line of a crontab?"],
            cwd=lab.repo,
            env={**lab.environ(), "ANTHROPIC_BASE_URL": api.base_url},
            stdin=subprocess.DEVNULL,
            check=True,
            capture_output=True,
            timeout=60,
        )
        return bill(api.calls, lambda _call: "llm_call")


def settle(lab: BacklogLab) -> Ran:
    """What the host's Stop and SessionEnd run."""
    process = subprocess.run(
        [str(lab.launcher), "hook", "settle"],
        cwd=lab.repo,
        env=lab.environ(),
        input="{}",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(process.returncode, process.stdout, process.stderr, [])


def read_all_again(lab: BacklogLab) -> list[Any]:
    """Every transcript from its start, as if nobody had read it; the number of receipts and their sum."""
    _change(lab, "DELETE FROM transcript", "UPDATE agent SET booked = 0")
    settle(lab)
    return list(lab.rows("SELECT count(*), sum(cost_nanousd) FROM ledger")[0])


def transcripts(lab: BacklogLab) -> list[Path]:
    return list((lab.home / ".claude" / "projects").rglob("*.jsonl"))


def time_passes(lab: BacklogLab, seconds: float = GIVE_UP_SECONDS + 60) -> None:
    """Nothing was written for so long."""
    _change(lab, f"UPDATE agent SET ended_at = ended_at - {seconds}")
    for path in transcripts(lab):
        os.utime(path, (time.time() - seconds,) * 2)


def _change(lab: BacklogLab, *statements: str) -> None:
    (database,) = lab.home.glob(".local/state/backlog-ops/*/state.db")
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
