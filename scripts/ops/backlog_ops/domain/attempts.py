"""How the attempts below `balanced` fared: `stats.localModelStats` (rules.md, "Escalation")."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backlog_ops.domain.gates import Tier

_BELOW = frozenset(tier for tier in Tier if tier < Tier.BALANCED)


@dataclass(frozen=True)
class TicketAttempts:
    """The IMPLEMENT attempts of one ticket in one run, by their numbers."""

    tiers: Mapping[int, Tier]
    failed_at: Mapping[int, str]  # the gate that an attempt failed last
    committed: int | None  # the attempt whose work was committed


@dataclass(frozen=True)
class LocalModelStats:
    total_attempts: int  # below `balanced`
    success_count: int  # of them, those their ticket was committed from
    escalated_to_cloud: int  # tickets that moved from below `balanced` to it or above, after a failed gate
    failures_by_type: tuple[tuple[str, int], ...]  # that gate, and how many tickets

    def to_json(self) -> dict[str, Any]:
        return {
            "totalAttempts": self.total_attempts,
            "successCount": self.success_count,
            "escalatedToCloud": self.escalated_to_cloud,
            "failuresByType": dict(self.failures_by_type),
        }

    @property
    def share(self) -> str:
        """0/0 is no share: shown as a dash."""
        return f"{self.success_count}/{self.total_attempts}" if self.total_attempts else "–"


def local_model_stats(tickets: Iterable[TicketAttempts]) -> LocalModelStats:
    attempts = successes = 0
    failures: Counter[str] = Counter()
    for ticket in tickets:
        below = [number for number, tier in ticket.tiers.items() if tier in _BELOW]
        attempts += len(below)
        successes += ticket.committed in below
        left_at = next((ticket.failed_at[number] for number in below if _was_left(ticket, number)), None)
        if left_at is not None:
            failures[left_at] += 1
    return LocalModelStats(attempts, successes, sum(failures.values()), tuple(failures.items()))


def _was_left(ticket: TicketAttempts, number: int) -> bool:
    """Whether an attempt below `balanced` failed a gate, and the next was made at `balanced` or above."""
    return number in ticket.failed_at and ticket.tiers.get(number + 1, Tier.FREE) not in _BELOW
