"""Tokens of an agent's conversation, counted as the API caches them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.conversation import Conversation
from backlog_ops.domain.pricing import Usage
from backlog_ops.storage.config_file import load_prices

TODAY = "2026-11-23"
PRICES = load_prices()
HAIKU, SONNET = "claude-haiku-5-5", "claude-sonnet-5-5"
CONVERSATIONS = st.builds(
    Conversation,
    st.integers(0, 80),
    st.integers(0, 50_000),
    st.integers(0, 5_000),
    st.integers(0, 5_000),
    st.booleans(),
)


def test_the_first_call_writes_all_and_later_ones_read_it_and_write_what_is_new() -> None:
    assert list(Conversation(3, set_up=1_000, growth=100, output=10).usages()) == [
        Usage(cache_write_5m=1_000, output=10),
        Usage(cache_write_5m=100, cache_read=1_000, output=10),
        Usage(cache_write_5m=100, cache_read=1_100, output=10),
    ]


def test_without_a_cache_every_call_sends_all_of_it_again() -> None:
    usages = list(Conversation(2, set_up=1_000, growth=100, output=10, cached=False).usages())
    assert usages == [Usage(input=1_000, output=10), Usage(input=1_100, output=10)]


def test_a_conversation_of_no_calls_costs_nothing() -> None:
    assert Conversation(0, 1_000, 100, 10).cost(PRICES, SONNET, TODAY) == 0


def test_a_model_without_a_price_makes_the_cost_unknown() -> None:
    assert Conversation(2, 1_000, 100, 10).cost(PRICES, "claude-next", TODAY) is None


def test_only_the_calls_past_the_price_step_pay_for_it() -> None:
    below, above = Usage(cache_write_5m=100_000), Usage(cache_write_5m=1, cache_read=100_000)
    cost = Conversation(2, set_up=100_000, growth=1, output=0).cost(PRICES, HAIKU, TODAY)
    assert cost == (PRICES.cost(HAIKU, below, TODAY) or 0) + (PRICES.cost(HAIKU, above, TODAY) or 0)
    assert cost == 12_500_000 + 5_000_625


@given(CONVERSATIONS)
def test_every_prompt_is_as_long_as_what_was_said_before_it(conversation: Conversation) -> None:
    prompts = [usage.prompt for usage in conversation.usages()]
    assert prompts == [conversation.set_up + conversation.growth * number for number in range(conversation.calls)]


@given(CONVERSATIONS, st.sampled_from([HAIKU, SONNET]))
def test_one_call_more_never_makes_it_cheaper(conversation: Conversation, model: str) -> None:
    longer = conversation.with_calls(conversation.calls + 1)
    assert (longer.cost(PRICES, model, TODAY) or 0) >= (conversation.cost(PRICES, model, TODAY) or 0)
