"""An attempt becomes one row of the ledger, with nothing lost and nothing made up."""

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.pricing import Usage
from backlog_ops.llm.types import Attempt, Outcome
from backlog_ops.run.receipts import receipt

ATTEMPT = Attempt(
    provider="anthropic",
    tier=Tier.CHEAP,
    asked_model="claude-haiku-5-5",
    answered_model="claude-haiku-5-5-x",
    outcome=Outcome.ANSWERED,
    detail="",
    usage=Usage(input=3, output=5),
    cost_nanousd=2_800,
    price_date="2026-11-23",
    latency_ms=812,
)


def test_asked_and_answered_stay_apart() -> None:
    row = receipt(ATTEMPT, key="k", at=1.0, source="llm_call")
    assert (row.asked_tier, row.asked_model, row.answered_model) == (
        "cheap",
        "claude-haiku-5-5",
        "claude-haiku-5-5-x",
    )


def test_usage_cost_and_outcome_are_those_of_the_attempt() -> None:
    row = receipt(ATTEMPT, key="k", at=1.0, source="llm_call")
    assert (row.usage, row.cost_nanousd, row.price_date, row.outcome) == (
        Usage(input=3, output=5),
        2_800,
        "2026-11-23",
        "answered",
    )


def test_what_it_was_for_is_kept() -> None:
    row = receipt(
        ATTEMPT, key="k", at=1.0, source="engine", run="r", ticket="T-1", gate="PLAN", attempt=2, tags={"a": "b"}
    )
    assert (row.run, row.ticket, row.gate, row.attempt, row.tags) == ("r", "T-1", "PLAN", 2, {"a": "b"})
