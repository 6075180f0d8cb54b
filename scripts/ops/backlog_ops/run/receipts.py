"""From an attempt of the model chain to its receipt in the ledger."""

from __future__ import annotations

from collections.abc import Mapping

from backlog_ops.llm.types import Attempt
from backlog_ops.money.ledger import Receipt


def receipt(
    made: Attempt,
    /,
    *,
    key: str,
    at: float,
    source: str,
    run: str | None = None,
    wave: int | None = None,
    ticket: str | None = None,
    gate: str | None = None,
    attempt: int | None = None,
    fallback_cause: str | None = None,
    escalation_rule: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Receipt:
    """The ledger row of one attempt.

    key             of this attempt and no other: a second row with it is a no-op
    at              Unix seconds
    source          llm_call | engine
    attempt         of the ticket, not of the chain
    fallback_cause  why the attempt before it in the chain did not do
    """
    return Receipt(
        key=key,
        at=at,
        source=source,
        asked_tier=made.tier.value,
        asked_model=made.asked_model,
        provider=made.provider,
        answered_model=made.answered_model,
        usage=made.usage,
        cost_nanousd=made.cost_nanousd,
        price_date=made.price_date,
        latency_ms=made.latency_ms,
        outcome=made.outcome.value,
        run=run,
        wave=wave,
        ticket=ticket,
        gate=gate,
        attempt=attempt,
        fallback_cause=fallback_cause,
        escalation_rule=escalation_rule,
        tags=tags or {},
    )
