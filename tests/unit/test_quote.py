"""Estimates before anything is spent: from history where there is enough of it, else from priors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.pricing import PriceTable, Usage
from backlog_ops.domain.settings import Models, Settings
from backlog_ops.domain.tickets import Ticket, parse_ticket
from backlog_ops.money.history import calibration
from backlog_ops.money.ledger import Receipt, record
from backlog_ops.money.quote import Quote, TicketQuote, action_expected, quantile, quote, save_quote, total_of
from backlog_ops.storage.config_file import load_preset, load_prices
from backlog_ops.storage.database import connect
from tests.support.lab import ticket_text

TODAY = "2026-11-23"
PRICES = load_prices()
SETTINGS = Settings.from_json(load_preset())
HAIKU, SONNET, OPUS = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"


class Past:
    """A database in which runs have happened."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._numbers = count(1)

    def ticket(
        self,
        name: str,
        implement: int | None,
        review: int = 0,
        tier: Tier = Tier.CHEAP,
        step: str = "done",
        **matter: Any,
    ) -> str:
        """A ticket in a run of its own, implemented and reviewed once at these nano-dollars; returns the run."""
        number = next(self._numbers)
        run = f"run-{number:04}"
        self.connection.execute(
            "INSERT INTO run (id, state, created_at, top, base_branch, base_commit, branch)"
            " VALUES (?, 'done', ?, '/', 'main', 'c', 'b')",
            (run, number),
        )
        self.connection.execute(
            "INSERT INTO ticket (run, id, path, title, text, step, wave) VALUES (?, ?, 'a.md', 'T', ?, ?, 1)",
            (run, name, ticket_text(name, **matter), step),
        )
        self.action(run, name, Gate.IMPLEMENT, tier)
        self.receipt(run, name, Gate.IMPLEMENT, tier, implement)
        if review:
            self.action(run, name, Gate.REVIEW, Tier.BALANCED)
            self.receipt(run, name, Gate.REVIEW, Tier.BALANCED, review)
        return run

    def action(self, run: str, ticket: str, gate: Gate, tier: Tier, attempt: int = 1) -> None:
        self.connection.execute(
            "INSERT INTO action (run, ticket, gate, attempt, tier, rule, brief, state, created_at)"
            " VALUES (?, ?, ?, ?, ?, 'entry', 'b', 'closed', 0)",
            (run, ticket, gate.value, attempt, tier.value),
        )

    def receipt(
        self,
        run: str,
        ticket: str | None,
        gate: Gate | None,
        tier: Tier,
        cost: int | None,
        model: str | None = None,
        source: str = "session",
    ) -> None:
        model = model or SETTINGS.llm_ops.models.by_tier[tier]
        record(
            self.connection,
            Receipt(
                key=f"claude/{next(self._numbers)}",
                at=0.0,
                source=source,
                asked_tier=tier.value,
                asked_model=model,
                provider="claude-code",
                answered_model=model,
                usage=Usage(),
                cost_nanousd=cost,
                price_date=None,
                latency_ms=1,
                outcome="answered",
                run=run,
                wave=1,
                ticket=ticket,
                gate=gate.value if gate else None,
                attempt=1,
            ),
        )


@pytest.fixture
def past(tmp_path: Path) -> Iterator[Past]:
    connection = connect(tmp_path / "state.db")
    yield Past(connection)
    connection.close()


def parsed(name: str, **matter: Any) -> Ticket:
    ticket, problems = parse_ticket("a.md", ticket_text(name, **matter).encode(), SETTINGS.ticket_validation)
    assert ticket is not None and not problems
    return ticket


def quoted(past: Past, *tickets: Ticket, settings: Settings = SETTINGS, waves: int = 1) -> Quote:
    return quote(past.connection, settings, PRICES, tickets, waves, TODAY)


def only(past: Past, ticket: Ticket, settings: Settings = SETTINGS) -> TicketQuote:
    return quoted(past, ticket, settings=settings).tickets[0]


def estimate(past: Past, gate: Gate, tier: Tier, prices: PriceTable = PRICES) -> int | None:
    found = action_expected(past.connection, SETTINGS, prices, gate, tier, TODAY)
    return found.p90 if found else None


# -- one action


def test_an_action_without_history_is_estimated_from_the_prior(past: Past) -> None:
    assert (
        estimate(past, Gate.IMPLEMENT, Tier.CHEAP) == 38_049_775
    )  # 50 calls of Haiku 5.5, 8,085 tokens and 1,500 each


def test_an_action_with_history_is_estimated_from_it(past: Past) -> None:
    for cost in (10, 20, 30, 40, 50):
        past.ticket("BUG-1", implement=cost)
    assert estimate(past, Gate.IMPLEMENT, Tier.CHEAP) == 50


def test_four_actions_are_too_few_to_estimate_from(past: Past) -> None:
    for cost in (10, 20, 30, 40):
        past.ticket("BUG-1", implement=cost)
    assert estimate(past, Gate.IMPLEMENT, Tier.CHEAP) == 38_049_775


def test_actions_of_another_tier_say_nothing(past: Past) -> None:
    for _ in range(9):
        past.ticket("BUG-1", implement=10, tier=Tier.BALANCED)
    assert estimate(past, Gate.IMPLEMENT, Tier.CHEAP) == 38_049_775


def test_actions_of_unknown_cost_are_not_counted_as_free(past: Past) -> None:
    for cost in (10, 20, 30, 40, None):
        past.ticket("BUG-1", implement=cost)
    assert estimate(past, Gate.IMPLEMENT, Tier.CHEAP) == 38_049_775


def test_reviewers_side_by_side_share_the_bill_of_their_attempt(past: Past) -> None:
    for _ in range(5):
        run = past.ticket("BUG-1", implement=1, review=100)
        past.action(run, "BUG-1", Gate.REVIEW, Tier.BALANCED)
        past.receipt(run, "BUG-1", Gate.REVIEW, Tier.BALANCED, 300)
    assert estimate(past, Gate.REVIEW, Tier.BALANCED) == 200


def test_a_free_gate_is_estimated_as_its_fallback(past: Past) -> None:
    assert estimate(past, Gate.PLAN, Tier.FREE) == estimate(past, Gate.PLAN, Tier.CHEAP) == 3_900_000


def test_a_commit_message_of_the_local_model_costs_nothing(past: Past) -> None:
    assert estimate(past, Gate.COMMIT, Tier.FREE) == 0


def test_an_action_of_a_model_without_a_price_is_unknown(past: Past) -> None:
    assert estimate(past, Gate.IMPLEMENT, Tier.CHEAP, prices=PriceTable(TODAY, {}, {})) is None


# -- tickets without history


def test_without_history_a_quote_says_that_it_is_from_priors(past: Past) -> None:
    assert only(past, parsed("BUG-1")).basis == "priors"


def test_the_gates_of_a_quote_from_priors_add_up_to_the_ticket(past: Past) -> None:
    one = only(past, parsed("BUG-1"))
    assert one.expected is not None
    known = [gate.expected for gate in one.gates if gate.expected]
    assert sum(gate.p50 for gate in known) == one.expected.p50
    assert sum(gate.p90 for gate in known) == one.expected.p90


def test_a_plain_ticket_starts_on_its_entry_tiers(past: Past) -> None:
    tiers = {gate.gate: gate.tier for gate in only(past, parsed("BUG-1")).gates}
    expected = {Gate.PLAN: "free", Gate.IMPLEMENT: "cheap", Gate.REVIEW: "balanced", Gate.COMMIT: "free"}
    assert {gate: str(tier) for gate, tier in tiers.items()} == expected


@pytest.mark.parametrize("matter", [{"tags": ["SECURITY"]}, {"tags": ["ARCH"]}, {"complexity": "high"}])
def test_a_ticket_that_starts_at_frontier_is_priced_there(past: Past, matter: dict[str, Any]) -> None:
    sharp, plain = only(past, parsed("BUG-1", **matter)), only(past, parsed("BUG-1"))
    assert {gate.model for gate in sharp.gates if gate.gate is not Gate.COMMIT} == {OPUS}
    assert sharp.expected and plain.expected and sharp.expected.p50 > 5 * plain.expected.p50


def test_the_p90_of_a_prior_is_a_ticket_that_is_escalated(past: Past) -> None:
    one = only(past, parsed("BUG-1"))
    implement = next(gate.expected for gate in one.gates if gate.gate is Gate.IMPLEMENT)
    written, read, answered = 25_585, 162_765, 2_500  # tokens of 10 calls of Sonnet 5.5, 12,085 and 1,500 each
    assert implement and implement.p90 - implement.p50 == written * 2_500 + read * 100 + answered * 10_000


def test_a_ticket_that_needs_an_investigation_is_quoted_with_one(past: Past) -> None:
    gates = [gate.gate for gate in only(past, parsed("BUG-1", status="needs-investigation")).gates]
    assert gates[0] is Gate.INVESTIGATE


def test_every_reviewer_is_counted(past: Past) -> None:
    reviewer = SETTINGS.review_pipeline.reviewers[0]
    three = SETTINGS._replace(review_pipeline=SETTINGS.review_pipeline._replace(reviewers=(reviewer,) * 3))
    one, many = (
        next(gate.expected for gate in only(past, parsed("BUG-1"), s).gates if gate.gate is Gate.REVIEW)
        for s in (SETTINGS, three)
    )
    assert one and many and many.p50 == 3 * one.p50


def test_a_model_without_a_price_makes_its_tickets_unknown_and_not_free(past: Past) -> None:
    models = Models({**SETTINGS.llm_ops.models.by_tier, Tier.CHEAP: "claude-next"})
    settings = SETTINGS._replace(llm_ops=SETTINGS.llm_ops._replace(models=models))
    found = quoted(past, parsed("BUG-1"), parsed("SEC-2", tags=["SECURITY"]), settings=settings)
    assert [one.expected is None for one in found.tickets] == [True, False]
    assert found.unknown == 1
    assert found.tickets[1].expected and found.total.p50 == found.tickets[1].expected.p50


def test_the_configured_models_and_not_the_history_of_others_make_the_quote(past: Past) -> None:
    for _ in range(9):
        past.ticket("BUG-1", implement=10)
    models = Models({**SETTINGS.llm_ops.models.by_tier, Tier.CHEAP: SONNET})
    settings = SETTINGS._replace(llm_ops=SETTINGS.llm_ops._replace(models=models))
    assert only(past, parsed("BUG-2"), settings).basis == "priors"


# -- tickets with history


def test_five_tickets_of_the_same_kind_replace_the_prior(past: Past) -> None:
    for cost in (10, 20, 30, 40, 50):
        past.ticket("BUG-1", implement=cost, review=5)
    one = only(past, parsed("BUG-2"))
    assert one.basis == "your last 5: fix, 1–2 files, complexity medium"
    assert one.expected is not None and (one.expected.p50, one.expected.p90) == (35, 55)


def test_too_few_of_the_same_kind_are_joined_by_a_wider_one(past: Past) -> None:
    for cost in (10, 20, 30):
        past.ticket("BUG-1", implement=cost)
    for cost in (40, 50):
        past.ticket("BUG-1", implement=cost, complexity="low")
    assert only(past, parsed("BUG-2")).basis == "your last 5: fix, 1–2 files"


def test_the_widest_kind_is_every_ticket_with_the_same_start(past: Past) -> None:
    for cost in (10, 20, 30, 40, 50):
        past.ticket("FEAT-1", implement=cost, affected_files=[f"src/{n}.txt" for n in range(7)])
    assert only(past, parsed("BUG-2")).basis == "your last 5: all that start on cheap"


def test_tickets_that_started_at_frontier_say_nothing_about_a_plain_one(past: Past) -> None:
    for _ in range(9):
        past.ticket("BUG-1", implement=10, tier=Tier.FRONTIER, complexity="high")
    assert only(past, parsed("BUG-2")).basis == "priors"


def test_parked_tickets_count_and_those_at_work_do_not(past: Past) -> None:
    for step in ("parked", "parked", "parked", "done", "done", "implement"):
        past.ticket("BUG-1", implement=10, step=step)
    assert only(past, parsed("BUG-2")).basis.startswith("your last 5:")


def test_a_total_is_more_certain_than_its_parts(past: Past) -> None:
    for cost in (100, 100, 100, 100, 1_000):
        past.ticket("BUG-1", implement=cost * 1_000_000)
    found = quoted(past, *(parsed(f"BUG-{n}") for n in range(10, 30)))
    assert found.total.p90 < sum(one.expected.p90 for one in found.tickets if one.expected)
    assert found.total.p50 > sum(one.expected.p50 for one in found.tickets if one.expected)


def test_the_same_history_gives_the_same_quote(past: Past) -> None:
    for cost in (10, 20, 30, 40, 50):
        past.ticket("BUG-1", implement=cost)
    tickets = [parsed("BUG-2"), parsed("SEC-3", tags=["SECURITY"])]
    assert quoted(past, *tickets).total == quoted(past, *reversed(tickets)).total


def test_waves_that_a_parent_drove_say_what_it_adds(past: Past) -> None:
    written, read, answered = 16_300, 60_700, 600  # tokens of 5 calls of Opus 5.5, 14,500 and 450 each
    assert quoted(past, parsed("BUG-1")).parent_wave == written * 5_000 + read * 200 + answered * 20_000
    for cost in (1, 2, 3, 4, 5):
        past.receipt(past.ticket("BUG-1", implement=10), None, None, Tier.FRONTIER, cost, source="parent")
    assert quoted(past, parsed("BUG-1")).parent_wave == 3


# -- how good quotes were


def test_past_quotes_are_compared_with_what_their_tickets_cost(past: Past) -> None:
    before = quoted(past, parsed("BUG-1"))
    expected = before.tickets[0].expected
    assert expected is not None
    for cost in (expected.p50 // 2, expected.p50 * 2, expected.p90 * 2):
        save_quote(past.connection, past.ticket("BUG-1", implement=cost), before, 1.0)
    found = calibration(past.connection)
    assert (found.tickets, found.within_p50, found.within_p90) == (3, 1, 2)
    assert found.median_ratio == pytest.approx(2.0)


def test_a_quote_that_is_saved_again_stays_as_it_was(past: Past) -> None:
    run = past.ticket("BUG-1", implement=10)
    save_quote(past.connection, run, quoted(past, parsed("BUG-1")), 1.0)
    save_quote(past.connection, run, quoted(past, parsed("BUG-1", complexity="high")), 2.0)
    assert [row["at"] for row in past.connection.execute("SELECT at FROM quote")] == [1.0]


def test_without_past_quotes_there_is_no_ratio(past: Past) -> None:
    assert calibration(past.connection).median_ratio is None


# -- numbers


@given(st.lists(st.integers(0, 10**12), min_size=1), st.floats(0.01, 1.0))
def test_a_quantile_is_a_sample_that_its_share_does_not_exceed(samples: list[int], share: float) -> None:
    found = quantile(samples, share)
    assert found in samples
    assert sum(sample <= found for sample in samples) >= share * len(samples) - 1e-6


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), max_size=5))
def test_a_total_lies_between_the_cheapest_and_the_dearest_case(samples: Sequence[Sequence[int]]) -> None:
    total = total_of(samples)
    assert sum(map(min, samples)) <= total.p50 <= total.p90 <= sum(map(max, samples))
