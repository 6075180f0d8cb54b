"""What the demo takes in tokens and calls: the real Claude Code, a scripted model, both drivers."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
class ParentSession:
    """A parent's own calls for a wave: of one ticket, and of three."""

    alone: Conversation
    of_three: Conversation
    more_calls: int  # for a verdict of a reviewer that sends a ticket back

    def at_work(self, tickets: int, escalations: int) -> Conversation:
        wave = self.alone if tickets == 1 else self.of_three
        return wave.with_calls(wave.calls + escalations * self.more_calls)

    def with_more_set_up(self, tokens: int) -> ParentSession:
        """Where its model is told more, or less."""
        alone, three = (replace(wave, set_up=wave.set_up + tokens) for wave in (self.alone, self.of_three))
        return ParentSession(alone, three, self.more_calls)


@dataclass(frozen=True)
class Measured:
    """Of one driver: what its agents and its parent session took, in the demo. Tokens: request bytes / 4."""

    implementer: Conversation
    reviewer: Conversation
    parent: ParentSession | None = None
    safety_calls: int = 0
    safety_nanousd: int = 0


def measure(on: str) -> dict[str, Measured]:
    """Play the demo's backlog with both drivers, `headless` and `terminal`; prices are those of ISO date `on`.

    Raises SystemExit where the demo did not go as it should."""
    found = {}
    with OllamaStandin(local_model) as ollama:
        for name, driver in (("headless", headless), ("terminal", terminal)):
            with driver(ollama) as stage:
                found[name] = _measured(stage, on)
    return found


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """For our own words and those of the processes that are started; they are told where something goes wrong."""
    sys.stdout.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    with tempfile.TemporaryFile() as log:
        try:
            for number in kept:
                os.dup2(log.fileno(), number)
            yield
        except BaseException:
            sys.stdout.flush()
            log.seek(0)
            os.write(kept[2], log.read())
            raise
        finally:
            sys.stdout.flush()
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)


def _measured(stage: Stage, on: str) -> Measured:
    found = Measured(*agents_of(call for call in stage.calls if call.tools))
    return _with_parent(found, stage, on) if stage.parent_calls else found


def agents_of(calls: Iterable[Req]) -> tuple[Conversation, Conversation]:
    """(implementer, reviewer) as they were on average; a headless one is a session, others are sub-agents.

    Raises SystemExit where there was none."""
    agents: dict[str, list[Req]] = {}
    for call in calls:
        agents.setdefault(call.agent_id or call.header("x-claude-code-session-id") or "", []).append(call)
    roles = {
        with_bash: [a for a in agents.values() if ("Bash" in a[0].tools) is with_bash] for with_bash in (True, False)
    }
    if not all(roles.values()):
        raise SystemExit("the agents did not work")
    return average(roles[True]), average(roles[False])


def average(conversations: Sequence[Sequence[Req]]) -> Conversation:
    grown = [b.set_up_tokens - a.set_up_tokens for calls in conversations for a, b in pairwise(calls)]
    return Conversation(
        calls=round(mean(len(calls) for calls in conversations)),
        set_up=round(mean(calls[0].set_up_tokens for calls in conversations)),
        growth=round(mean(grown)),
        output=round(mean(_output(call) for calls in conversations for call in calls)),
    )


def _with_parent(found: Measured, stage: Stage, on: str) -> Measured:
    """The demo's first wave is three tickets, its second one ticket."""
    calls = list(stage.parent_calls)
    waves = {row["id"]: row["wave"] for row in stage.rows("SELECT id, wave FROM ticket")}
    lists = [(number, waves[ticket]) for number, ticket in _lists(calls)]
    second = next((number for number, wave in lists if wave == 2), None)
    if second is None or not 0 < second < len(calls) - 1:
        raise SystemExit("the demo's second wave was not found among the parent's calls")
    a_round = round((len(calls) - 1) / len(lists))  # the last call says that all is done
    of_three, alone = average([calls[: second + 1]]), average([calls[second:]])
    calls_a_wave = 2 * a_round + 1
    return replace(
        found,
        parent=ParentSession(
            replace(alone, calls=calls_a_wave, set_up=of_three.set_up),
            of_three.with_calls(calls_a_wave),
            more_calls=2 * a_round,
        ),
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
