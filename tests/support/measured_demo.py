"""What the demo takes in tokens and calls: the real Claude Code, a scripted model, both drivers."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

from backlog_ops.domain.conversation import Conversation
from backlog_ops.domain.pricing import PriceTable, Usage
from backlog_ops.storage.config_file import load_prices
from tests.e2e.demo.script import local_model
from tests.e2e.demo.stage import Stage, headless, terminal
from tests.e2e.harness.request import Req
from tests.support.ollama_standin import OllamaStandin


@dataclass(frozen=True)
class Measured:
    """Of one driver: what its agents and its parent session took, in the demo. Tokens: request bytes / 4."""

    implementer: Conversation
    reviewer: Conversation
    parent_set_up: int = 0
    parent_calls: int = 0
    rounds: int = 0  # lists of agents that the parent started
    growth_alone: int = 0  # of the parent's prompt, a call, in a wave of one ticket
    growth_of_three: int = 0
    safety_calls: int = 0
    safety_nanousd: int = 0

    @property
    def calls_a_round(self) -> float:
        """Beside the last call, which says that all is done."""
        return (self.parent_calls - 1) / self.rounds


def measure(on: str) -> dict[str, Measured]:
    """Play the demo's backlog with both drivers, `headless` and `terminal`; prices are those of ISO date `on`.

    Raises SystemExit where the demo did not go as it should."""
    found = {}
    with OllamaStandin(local_model) as ollama:
        for name, driver in (("headless", headless), ("terminal", terminal)):
            with _silence(), driver(ollama) as stage:
                found[name] = _measured(stage, on)
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """For our own words and those of the processes that the drivers start; they stay where something goes wrong."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with tempfile.TemporaryFile() as log:
            os.dup2(log.fileno(), 1)
            try:
                yield
                sys.stdout.flush()
            except BaseException:
                sys.stdout.flush()
                log.seek(0)
                os.write(2, log.read())
                raise
            finally:
                os.dup2(kept, 1)
    finally:
        os.close(kept)


def _measured(stage: Stage, on: str) -> Measured:
    agents: dict[str, list[Req]] = {}
    for call in stage.calls:
        if call.tools:
            agents.setdefault(call.agent_id or call.header("x-claude-code-session-id") or "", []).append(call)
    roles = {
        with_bash: [a for a in agents.values() if ("Bash" in a[0].tools) is with_bash] for with_bash in (True, False)
    }
    if not all(roles.values()):
        raise SystemExit("the demo's agents did not work")
    implementer, reviewer = (_average(roles[with_bash]) for with_bash in (True, False))
    if not stage.parent_calls:
        return Measured(implementer, reviewer)
    return _with_parent(stage, implementer, reviewer, on)


def _average(conversations: Sequence[Sequence[Req]]) -> Conversation:
    grown = [b.set_up_tokens - a.set_up_tokens for calls in conversations for a, b in pairwise(calls)]
    return Conversation(
        calls=round(mean(len(calls) for calls in conversations)),
        set_up=round(mean(calls[0].set_up_tokens for calls in conversations)),
        growth=round(mean(grown)),
        output=round(mean(_output(call) for calls in conversations for call in calls)),
    )


def _with_parent(stage: Stage, implementer: Conversation, reviewer: Conversation, on: str) -> Measured:
    """The demo's first wave is three tickets, its second one ticket."""
    calls = list(stage.parent_calls)
    waves = {row["id"]: row["wave"] for row in stage.rows("SELECT id, wave FROM ticket")}
    lists = [(number, waves[ticket]) for number, ticket in _lists(calls)]
    second = next((number for number, wave in lists if wave == 2), None)
    if second is None or not 0 < second < len(calls) - 1:
        raise SystemExit("the demo's second wave was not found among the parent's calls")
    tokens = [call.set_up_tokens for call in calls]
    return Measured(
        implementer,
        reviewer,
        parent_set_up=tokens[0],
        parent_calls=len(calls),
        rounds=len(lists),
        growth_of_three=round((tokens[second] - tokens[0]) / second),
        growth_alone=round((tokens[-1] - tokens[second]) / (len(calls) - 1 - second)),
        safety_calls=len(stage.safety_calls),
        safety_nanousd=sum(_billed(call, load_prices(), on) for call in stage.safety_calls),
    )


def _lists(parent_calls: Sequence[Req]) -> list[tuple[int, str]]:
    """(number of the parent's call, first ticket) of each list of agents that it started: its last prompt holds all
    that it answered before.
    """
    answers = [message["content"] for message in parent_calls[-1].messages if message["role"] == "assistant"]
    started = [[b["input"] for b in blocks if _starts_agent(b)] for blocks in answers]
    return [(number, agents[0]["description"].split()[0]) for number, agents in enumerate(started) if agents]


def _starts_agent(block: object) -> bool:
    return isinstance(block, dict) and block.get("type") == "tool_use" and block.get("name") == "Agent"


def _output(call: Req) -> int:
    return int((call.answered or {}).get("usage", {}).get("output_tokens", 0))


def _billed(call: Req, prices: PriceTable, on: str) -> int:
    usage = (call.answered or {}).get("usage")
    if not usage:
        return 0
    used = Usage(
        usage["input_tokens"],
        usage["cache_creation_input_tokens"],
        0,
        usage["cache_read_input_tokens"],
        usage["output_tokens"],
    )
    return prices.cost(call.model, used, on) or 0
