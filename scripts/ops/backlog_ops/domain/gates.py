"""The closed sets every other module speaks in: tiers, gates, complexity, priority."""

from __future__ import annotations

import enum
import functools


@functools.total_ordering
class _Ordered(enum.Enum):
    """Members compare by the order in which they are written, cheapest or lowest first."""

    @property
    def rank(self) -> int:
        return list(type(self)).index(self)

    def __lt__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.rank < other.rank

    def __str__(self) -> str:
        return str(self.value)


class Tier(_Ordered):
    """Who answers, cheapest first (rules.md, "Tiers"). Only `free` cannot use tools."""

    FREE = "free"
    CHEAP = "cheap"
    BALANCED = "balanced"
    FRONTIER = "frontier"


class Gate(enum.Enum):
    """Every place where a model or a script is asked (rules.md, "Gates")."""

    CLASSIFY = "CLASSIFY"
    WAVE_PLAN = "WAVE_PLAN"
    INVESTIGATE = "INVESTIGATE"
    PLAN = "PLAN"
    DRAFT = "DRAFT"
    IMPLEMENT = "IMPLEMENT"
    LINT = "LINT"
    REVIEW = "REVIEW"
    COMMIT = "COMMIT"
    SUMMARY = "SUMMARY"

    @property
    def escalates(self) -> bool:
        """Whether failures, tags or complexity may raise its tier (rules.md, "Escalation")."""
        return self in (Gate.PLAN, Gate.IMPLEMENT, Gate.REVIEW)

    def __str__(self) -> str:
        return self.value


class Complexity(_Ordered):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Priority(_Ordered):
    """Lowest first, so that `max` is the most urgent."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class TicketStatus(enum.Enum):
    """What a ticket file's `status:` line may say (contracts.md, "Ticket")."""

    PENDING = "pending"
    READY = "ready-to-implement"
    NEEDS_INVESTIGATION = "needs-investigation"
    BLOCKED = "blocked"
    COMPLETED = "completed"

    def __str__(self) -> str:
        return self.value
