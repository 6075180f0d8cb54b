"""What a step is given of the budgets: never more than there is, and a wait only where waiting can help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.budget import Admission, Expected, Limit, admit, dollars

DOLLAR = 1_000_000_000
amounts = st.integers(0, 12)  # nano-dollars: where things round, rules break
limits = st.builds(Limit, st.sampled_from(["a", "b", "c"]), amounts, amounts, amounts, st.booleans())
several = st.lists(limits, min_size=1, max_size=3)
needs = st.none() | st.tuples(amounts, amounts).map(lambda pair: Expected(min(pair), max(pair)))
sharings = st.integers(0, 6)


def limit(most: float, spent: float = 0, reserved: float = 0, name: str = "the run's", shared: bool = True) -> Limit:
    return Limit(name, round(most * DOLLAR), round(spent * DOLLAR), round(reserved * DOLLAR), shared)


def need(p50: float, p90: float) -> Expected:
    return Expected(round(p50 * DOLLAR), round(p90 * DOLLAR))


def ask(one: Limit, wanted: Expected | None, sharing: int = 1) -> Admission:
    return admit([one], wanted, sharing, "REVIEW on cheap")


def is_refused(found: Admission) -> bool:
    return found.reason.startswith("budget: ")


# -- what always holds


@given(several, needs, sharings)
def test_what_is_set_aside_is_never_more_than_is_left_of_any_limit(limits, need, sharing):
    amount = admit(limits, need, sharing, "it").amount
    if amount:
        assert all(amount <= limit.left for limit in limits)


@given(several, needs, sharings)
def test_a_step_is_admitted_or_waits_or_is_refused_with_a_reason(limits, need, sharing):
    found = admit(limits, need, sharing, "it")
    assert [found.amount is not None, found.waits, is_refused(found)].count(True) == 1
    assert bool(found.reason) == (found.amount is None)


@given(several, needs, sharings)
def test_who_is_admitted_to_spend_holds_at_least_what_is_usual(limits, need, sharing):
    amount = admit(limits, need, sharing, "it").amount
    if amount is not None and not (need and need.p90 == 0):
        assert amount >= (need.p50 if need else 0)
        assert amount > 0  # 0 stands for a ticket that waits


@given(several, needs, sharings)
def test_a_step_waits_only_where_others_hold_what_it_needs(limits, need, sharing):
    if admit(limits, need, sharing, "it").waits:
        least = max(1, need.p50) if need else 1
        assert any(limit.left < least and limit.reserved > 0 for limit in limits)
        settled = [Limit(limit.name, limit.most, limit.spent, 0, limit.shared) for limit in limits]
        assert admit(settled, need, sharing, "it").amount is not None


@given(several, needs, sharings)
def test_a_step_is_refused_only_where_all_that_others_hold_would_not_do(limits, need, sharing):
    if is_refused(admit(limits, need, sharing, "it")):
        settled = [Limit(limit.name, limit.most, limit.spent, 0, limit.shared) for limit in limits]
        assert is_refused(admit(settled, need, sharing, "it"))


@given(
    st.integers(0, 30),
    st.lists(st.tuples(needs, st.floats(0, 1)), min_size=1, max_size=9),
    st.integers(1, 4),
)
def test_side_by_side_steps_never_spend_more_than_the_limit(most, steps, sharing):
    """Each spends a part of what it holds, and those that came before hold theirs until the end."""
    held: list[int] = []
    for wanted, _ in steps:
        amount = admit([Limit("run", most, 0, sum(held))], wanted, sharing, "it").amount
        held.append(amount or 0)
        assert sum(held) <= most
    assert sum(int(amount * part) for amount, (_, part) in zip(held, steps, strict=True)) <= most


@given(several, needs, st.integers(1, 6))
def test_what_a_limit_has_more_left_never_makes_an_admission_smaller(limits, need, sharing):
    before = admit(limits, need, sharing, "it")
    more = [Limit(limit.name, limit.most + 1, limit.spent, limit.reserved, limit.shared) for limit in limits]
    after = admit(more, need, sharing, "it")
    assert after.amount is not None or before.amount is None
    assert (after.amount or 0) >= (before.amount or 0)


# -- cases


def test_alone_a_ticket_may_have_all_that_is_left():
    assert ask(limit(5, spent=1), need(0.1, 0.3)) == Admission(4 * DOLLAR)


def test_three_that_share_a_budget_get_a_third_each():
    assert ask(limit(3), need(0.1, 0.3), sharing=3) == Admission(DOLLAR)


def test_a_share_below_what_a_step_may_take_is_no_bound():
    assert ask(limit(3), need(1, 2), sharing=3) == Admission(2 * DOLLAR)


def test_a_ticket_has_a_claim_to_all_of_its_own_budget():
    assert ask(limit(2, shared=False), need(0.1, 0.3), sharing=3) == Admission(2 * DOLLAR)


def test_the_tightest_limit_decides():
    assert admit([limit(20), limit(0.5), limit(2, shared=False)], need(0.1, 0.3), 1, "it") == Admission(DOLLAR // 2)


def test_what_nobody_knows_the_cost_of_gets_its_share_of_what_is_left():
    assert ask(limit(3), None, sharing=3) == Admission(DOLLAR)


def test_what_costs_nothing_may_be_done_when_nothing_is_left():
    assert ask(limit(1, spent=1), Expected(0, 0)) == Admission(0)


def test_one_whose_money_another_one_holds_waits_for_it():
    said = "waits: REVIEW on cheap may take $1.00, $1.00 of the run's is set aside for what is under way"
    assert ask(limit(1.5, reserved=1), need(1, 2)) == Admission(None, waits=True, reason=said)


@pytest.mark.parametrize(
    ("one", "wanted", "said"),
    [
        (
            limit(1, spent=0.9),
            need(0.2, 0.4),
            "budget: REVIEW on cheap may take $0.2000, $0.1000 is left of the run's",
        ),
        (
            limit(1, spent=0.9, reserved=0.05),
            need(0.2, 0.4),
            "budget: REVIEW on cheap may take $0.2000, $0.1000 is left of the run's",
        ),
        (limit(1, spent=1), None, "budget: REVIEW on cheap costs an unknown amount, $0.00 is left of the run's"),
        (limit(1, spent=3), need(2, 4), "budget: REVIEW on cheap may take $2.00, $0.00 is left of the run's"),
    ],
)
def test_a_refusal_says_what_it_takes_and_what_is_left_of_which_budget(one, wanted, said):
    assert ask(one, wanted) == Admission(None, reason=said)


def test_a_refusal_names_the_budget_that_has_the_least_left():
    found = admit([limit(20, name="wide"), limit(0.1, name="narrow"), limit(0.5, name="between")], need(1, 2), 1, "it")
    assert "of narrow" in found.reason


@pytest.mark.parametrize(
    ("nanousd", "shown"),
    [(0, "$0.00"), (5 * DOLLAR, "$5.00"), (14_700_000, "$0.0147"), (-14_700_000, "$-0.0147"), (999_999_999, "$1.0000")],
)
def test_dollars_are_shown_as_far_as_they_can_be_told_apart(nanousd, shown):
    assert dollars(nanousd) == shown
