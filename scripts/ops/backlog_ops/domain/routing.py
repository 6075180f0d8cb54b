"""Which tier a gate of a ticket gets, and the rule that decided (rules.md, "Escalation"): one pure function.

First match wins, for PLAN, IMPLEMENT and REVIEW:
    tag         tag ARCH or SECURITY                      → frontier
    fails>=2    two failed LINT or REVIEW verdicts        → llmOps.routing.escalationModel, or parked
    complexity  complexity high                           → frontier
    fails>=1    IMPLEMENT after one failed verdict        → balanced
    entry       the gate's own entry tier
CLASSIFY, WAVE_PLAN, INVESTIGATE, DRAFT, LINT, COMMIT and SUMMARY never escalate. A rule never yields less than the
entry tier, so more failures, a sharper tag or a higher complexity never make a gate cheaper.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass

from backlog_ops.domain.gates import Complexity, Gate, Tier
from backlog_ops.domain.settings import Routing

FRONTIER_TAGS = frozenset({"ARCH", "SECURITY"})
FAILS_BEFORE_ESCALATION = 2

# Gates whose tier no configuration key names (rules.md, "Gates").
_FIXED = {Gate.INVESTIGATE: Tier.CHEAP, Gate.LINT: Tier.CHEAP, Gate.COMMIT: Tier.FREE, Gate.SUMMARY: Tier.CHEAP}


class Rule(enum.Enum):
    """The rule that decided; the value is what people and the ledger see."""

    TAG = "tag"
    FAILS_ESCALATE = "fails>=2"
    COMPLEXITY = "complexity"
    FAILS_ONCE = "fails>=1"
    ENTRY = "entry"
    ESCALATIONS_USED = "escalations-used"
    ATTEMPTS_USED = "attempts-used"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class History:
    """What happened to a ticket in this run. Zero for a ticket that no run has touched."""

    quality_gate_fails: int = 0  # failed LINT or REVIEW verdicts
    attempts: int = 0  # IMPLEMENT attempts begun


@dataclass(frozen=True)
class Decision:
    """`tier` is None when the ticket must be parked instead of asking any model again."""

    tier: Tier | None
    rule: Rule
    reason: str


def entry_tier(gate: Gate, routing: Routing) -> Tier:
    """The tier of a gate for a plain ticket that has not failed."""
    return _FIXED[gate] if gate in _FIXED else routing.entry[gate]


def route(gate: Gate, tags: Collection[str], complexity: Complexity, history: History, routing: Routing) -> Decision:
    """Decide the tier of `gate`. Total: every input has an answer; nothing is read but the arguments."""
    entry = entry_tier(gate, routing)
    if not gate.escalates:
        return Decision(entry, Rule.ENTRY, f"{gate} never escalates: {entry}")
    if gate is Gate.IMPLEMENT and history.attempts >= routing.max_attempts:
        return Decision(
            None,
            Rule.ATTEMPTS_USED,
            f"{history.attempts} of {routing.max_attempts} attempts used (maxAttemptsPerTicket)",
        )
    sharp = sorted({tag.upper() for tag in tags} & FRONTIER_TAGS)
    if sharp:
        return Decision(Tier.FRONTIER, Rule.TAG, f"tag {sharp[0]}")
    by_complexity = complexity is Complexity.HIGH
    without_failures = Tier.FRONTIER if by_complexity else entry
    fails = history.quality_gate_fails
    if fails >= FAILS_BEFORE_ESCALATION:
        return _escalated(fails, without_failures, routing)
    if by_complexity:
        return Decision(Tier.FRONTIER, Rule.COMPLEXITY, "complexity high")
    if gate is Gate.IMPLEMENT and fails >= 1:
        return Decision(max(Tier.BALANCED, entry), Rule.FAILS_ONCE, f"{fails} failed verdict")
    return Decision(entry, Rule.ENTRY, f"entry tier of {gate}")


def _escalated(fails: int, without_failures: Tier, routing: Routing) -> Decision:
    """Two or more failures: move to the escalation tier while moves are left, else park.

    A ticket that stands there already makes no move; only its attempts bound it.
    """
    moves_used = fails - FAILS_BEFORE_ESCALATION
    makes_a_move = without_failures < routing.escalation
    if makes_a_move and moves_used >= routing.max_escalations:
        return Decision(
            None,
            Rule.ESCALATIONS_USED,
            f"{fails} failed verdicts, {routing.max_escalations} escalation(s) used (maxEscalationsPerTicket)",
        )
    return Decision(max(routing.escalation, without_failures), Rule.FAILS_ESCALATE, f"{fails} failed verdicts")
