"""Routing is total, monotone and bounded, and never sends agent work to a tier without tools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.gates import Complexity, Gate, Tier
from backlog_ops.domain.routing import FRONTIER_TAGS, Decision, History, Rule, entry_tier, route
from backlog_ops.domain.settings import Routing

DEFAULT = Routing(
    entry={
        Gate.CLASSIFY: Tier.FREE,
        Gate.WAVE_PLAN: Tier.FREE,
        Gate.PLAN: Tier.FREE,
        Gate.DRAFT: Tier.FREE,
        Gate.IMPLEMENT: Tier.CHEAP,
        Gate.REVIEW: Tier.BALANCED,
    },
    escalation=Tier.FRONTIER,
    max_escalations=1,
    max_attempts=3,
)

AGENT_GATES = (Gate.INVESTIGATE, Gate.IMPLEMENT, Gate.REVIEW)
with_tools = st.sampled_from([tier for tier in Tier if tier is not Tier.FREE])
# What validate_config.py accepts: agent gates with tools, the escalation tier not below any entry tier.
routings = st.builds(
    lambda text, agent, escalation, escalations, attempts: Routing(
        entry={gate: min((agent if gate in AGENT_GATES else text), escalation) for gate in DEFAULT.entry},
        escalation=escalation,
        max_escalations=escalations,
        max_attempts=attempts,
    ),
    st.sampled_from(list(Tier)),
    with_tools,
    st.sampled_from([Tier.BALANCED, Tier.FRONTIER]),
    st.integers(0, 5),
    st.integers(1, 8),
)
tag_sets = st.sets(st.sampled_from(["ARCH", "SECURITY", "security", "UI", "token"]))
histories = st.builds(History, st.integers(0, 12), st.integers(0, 12))
gates = st.sampled_from(list(Gate))
complexities = st.sampled_from(list(Complexity))


def not_cheaper(less: Decision, more: Decision) -> bool:
    """A parked ticket asks nobody, so only two decisions that both name a tier can be compared."""
    return less.tier is None or more.tier is None or less.tier <= more.tier


@given(gates, tag_sets, complexities, histories, routings)
def test_every_input_has_a_decision_with_its_reason(gate, tags, complexity, history, routing):
    decision = route(gate, tags, complexity, history, routing)
    assert decision.reason
    assert (decision.tier is None) == (decision.rule in (Rule.ATTEMPTS_USED, Rule.ESCALATIONS_USED))


@given(gates, tag_sets, complexities, histories, routings)
def test_agent_gates_never_get_the_tier_without_tools(gate, tags, complexity, history, routing):
    if gate in AGENT_GATES:
        assert route(gate, tags, complexity, history, routing).tier is not Tier.FREE


@given(gates, tag_sets, complexities, complexities, histories, histories, routings)
def test_more_failures_tags_or_complexity_never_yield_a_cheaper_tier(gate, tags, one, other, before, after, routing):
    low, high = sorted((one, other))
    less = History(min(before.quality_gate_fails, after.quality_gate_fails), min(before.attempts, after.attempts))
    more = History(max(before.quality_gate_fails, after.quality_gate_fails), max(before.attempts, after.attempts))
    plain = {tag for tag in tags if tag.upper() not in FRONTIER_TAGS}
    base = route(gate, plain, low, less, routing)
    assert not_cheaper(base, route(gate, tags, low, less, routing))
    assert not_cheaper(base, route(gate, plain, high, less, routing))
    assert not_cheaper(base, route(gate, plain, low, more, routing))
    if base.tier is None:
        assert route(gate, plain, low, more, routing).tier is None


@given(tag_sets, complexities, routings, st.booleans())
def test_a_ticket_that_always_fails_is_parked_within_the_bounds(tags, complexity, routing, once_per_attempt):
    fails = attempts = moves = 0
    while True:
        decision = route(Gate.IMPLEMENT, tags, complexity, History(fails, attempts), routing)
        if decision.tier is None:
            break
        moves += decision.rule is Rule.FAILS_ESCALATE and complexity is not Complexity.HIGH
        attempts += 1
        fails += 1 if once_per_attempt else 2
        assert attempts <= routing.max_attempts
    if entry_tier(Gate.IMPLEMENT, routing) < routing.escalation:
        assert moves <= routing.max_escalations


@given(
    st.sampled_from([gate for gate in Gate if not gate.escalates]),
    tag_sets,
    complexities,
    histories,
    routings,
)
def test_gates_that_never_escalate_ignore_the_ticket(gate, tags, complexity, history, routing):
    assert route(gate, tags, complexity, history, routing).tier is entry_tier(gate, routing)


@pytest.mark.parametrize(
    ("gate", "tags", "complexity", "history", "tier", "rule"),
    [
        (Gate.PLAN, (), Complexity.MEDIUM, History(), Tier.FREE, Rule.ENTRY),
        (Gate.IMPLEMENT, (), Complexity.MEDIUM, History(), Tier.CHEAP, Rule.ENTRY),
        (Gate.REVIEW, (), Complexity.MEDIUM, History(), Tier.BALANCED, Rule.ENTRY),
        (Gate.IMPLEMENT, (), Complexity.LOW, History(1, 1), Tier.BALANCED, Rule.FAILS_ONCE),
        (Gate.REVIEW, (), Complexity.LOW, History(1, 2), Tier.BALANCED, Rule.ENTRY),
        (Gate.IMPLEMENT, (), Complexity.LOW, History(2, 2), Tier.FRONTIER, Rule.FAILS_ESCALATE),
        (Gate.REVIEW, (), Complexity.LOW, History(2, 3), Tier.FRONTIER, Rule.FAILS_ESCALATE),
        (Gate.IMPLEMENT, (), Complexity.LOW, History(3, 2), None, Rule.ESCALATIONS_USED),
        (Gate.IMPLEMENT, (), Complexity.LOW, History(0, 3), None, Rule.ATTEMPTS_USED),
        (Gate.IMPLEMENT, ("SECURITY",), Complexity.LOW, History(2, 2), Tier.FRONTIER, Rule.TAG),
        (Gate.IMPLEMENT, ("arch",), Complexity.LOW, History(), Tier.FRONTIER, Rule.TAG),
        (Gate.IMPLEMENT, ("token",), Complexity.LOW, History(), Tier.CHEAP, Rule.ENTRY),
        (Gate.PLAN, (), Complexity.HIGH, History(), Tier.FRONTIER, Rule.COMPLEXITY),
        (Gate.INVESTIGATE, (), Complexity.LOW, History(), Tier.CHEAP, Rule.ENTRY),
        (Gate.INVESTIGATE, ("SECURITY",), Complexity.HIGH, History(9, 9), Tier.CHEAP, Rule.ENTRY),
        (Gate.LINT, ("ARCH",), Complexity.HIGH, History(9, 9), Tier.CHEAP, Rule.ENTRY),
        (Gate.COMMIT, ("ARCH",), Complexity.HIGH, History(9, 9), Tier.FREE, Rule.ENTRY),
        (Gate.SUMMARY, (), Complexity.HIGH, History(9, 9), Tier.CHEAP, Rule.ENTRY),
        (Gate.WAVE_PLAN, (), Complexity.HIGH, History(9, 9), Tier.FREE, Rule.ENTRY),
    ],
)
def test_the_default_routing_is_the_table_of_the_rules(gate, tags, complexity, history, tier, rule):
    decision = route(gate, tags, complexity, history, DEFAULT)
    assert (decision.tier, decision.rule) == (tier, rule)


def test_no_escalations_left_parks_instead_of_escalating():
    none = Routing(DEFAULT.entry, DEFAULT.escalation, max_escalations=0, max_attempts=3)
    decision = route(Gate.IMPLEMENT, (), Complexity.LOW, History(2, 2), none)
    assert (decision.tier, decision.rule) == (None, Rule.ESCALATIONS_USED)


def test_a_ticket_that_starts_at_the_top_is_bounded_by_its_attempts_alone():
    tiers = [route(Gate.IMPLEMENT, ("ARCH",), Complexity.LOW, History(n, n), DEFAULT).tier for n in range(4)]
    assert tiers == [Tier.FRONTIER] * 3 + [None]
