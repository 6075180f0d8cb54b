"""`stats.localModelStats`: how the attempts below `balanced` fared (rules.md, "Escalation"). Derived from rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from backlog_ops.domain.gates import Tier
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Store


def local_model_stats(store: Store, run_id: str) -> dict[str, Any]:
    """totalAttempts: IMPLEMENT attempts below `balanced`; successCount: those their ticket was committed from;
    escalatedToCloud: tickets that moved from below `balanced` to it or above after a failed gate; failuresByType: by
    that gate.
    """
    attempts = successes = escalated = 0
    failures: Counter[str] = Counter()
    for ticket in store.tickets(run_id):
        tiers = store.implement_tiers(ticket)
        failed_at = {verdict.attempt: verdict.gate for verdict in store.verdicts(ticket) if not verdict.passed}
        moved = False
        for number, tier in tiers.items():
            if tier >= Tier.BALANCED:
                continue
            attempts += 1
            if ticket.step is Step.DONE and number == ticket.attempt:
                successes += 1
            if not moved and number in failed_at and tiers.get(number + 1, tier) >= Tier.BALANCED:
                moved = True
                escalated += 1
                failures[failed_at[number].value] += 1
    return {
        "totalAttempts": attempts,
        "successCount": successes,
        "escalatedToCloud": escalated,
        "failuresByType": dict(failures),
    }
