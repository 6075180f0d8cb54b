"""The demo's money, summed twice: what the scripted API billed, and what the ledger says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any

from tests.e2e.demo.stage import Stage
from tests.e2e.harness.request import Req

# Nano-dollars a token: input, cache write for 5 minutes and for an hour, cache read, output. Copied from the
# price list by hand and not from config/models.json, so that the two sums share no mistake.
RATES = {
    "claude-haiku-5-5": (100, 125, 200, 10, 500),
    "claude-sonnet-5-5": (2_000, 2_500, 4_000, 100, 10_000),
    "claude-sonnet-5": (2_000, 2_500, 4_000, 200, 10_000),
    "claude-opus-5-5": (4_000, 5_000, 8_000, 200, 20_000),
    "claude-haiku-4-5-20251001": (1_000, 1_250, 2_000, 100, 5_000),
    "claude-opus-4-8": (5_000, 6_250, 10_000, 500, 25_000),
}


@dataclass(frozen=True)
class Bill:
    """Tokens of one model in the ledger's five buckets, and what they cost."""

    input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0
    output: int = 0
    nanousd: int = 0

    def __add__(self, other: Bill) -> Bill:
        return Bill(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


def _of_call(model: str, usage: dict[str, Any]) -> Bill:
    tokens = (
        usage["input_tokens"],
        usage["cache_creation"]["ephemeral_5m_input_tokens"],
        usage["cache_creation"]["ephemeral_1h_input_tokens"],
        usage["cache_read_input_tokens"],
        usage["output_tokens"],
    )
    return Bill(*tokens, sum(count * rate for count, rate in zip(tokens, RATES[model], strict=True)))


def billed(calls: Iterable[Req]) -> dict[str, Bill]:
    """Per model, every answer that went out."""
    bills: dict[str, Bill] = {}
    for call in calls:
        if call.answered and "usage" in call.answered:
            model = call.answered["model"]
            bills[model] = bills.get(model, Bill()) + _of_call(model, call.answered["usage"])
    return bills


def booked(stage: Stage, parents: bool = False) -> dict[str, Bill]:
    """Per answering model, every receipt of a paid call: the gates', or the parent session's. An unknown count or cost
    adds nothing, and then shows.
    """
    rows = stage.rows(
        "SELECT answered_model, input, cache_write_5m, cache_write_1h, cache_read, output, cost_nanousd "
        "FROM ledger WHERE provider != 'ollama' AND answered_model IS NOT NULL "
        f"AND (source = 'parent') = {int(parents)}"
    )
    bills: dict[str, Bill] = {}
    for model, *numbers in rows:
        bills[model] = bills.get(model, Bill()) + Bill(*(number or 0 for number in numbers))
    return bills
