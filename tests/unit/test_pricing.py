"""What a call costs, and the table the prices come from."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.pricing import PriceTable, Usage
from backlog_ops.storage.config_file import MODELS_FILE, load_preset, load_prices

TODAY = "2026-11-23"
PRICES = load_prices()
MODELS: dict[str, Any] = json.loads(MODELS_FILE.read_bytes())["models"]
TOKENS = st.integers(0, 2_000_000)
FEW = st.integers(0, 4_000)  # five calls of four such buckets stay within 100,000 prompt tokens
SHORT = st.builds(Usage, FEW, FEW, FEW, FEW, TOKENS)
USAGES = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)


def usd(model: str, usage: Usage, on: str = TODAY) -> Decimal | None:
    nanousd = PRICES.cost(model, usage, on)
    return None if nanousd is None else Decimal(nanousd) / 10**9


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("claude-haiku-5-5", "0.50"),
        ("claude-sonnet-5-5", "10"),
        ("claude-opus-5-5", "20"),
        ("claude-fable-5-2", "40"),
    ],
)
def test_a_million_output_tokens_cost_the_list_price(model: str, dollars: str) -> None:
    assert usd(model, Usage(output=1_000_000)) == Decimal(dollars)


def test_each_bucket_has_its_own_rate() -> None:
    million = 1_000_000
    buckets = [
        Usage(input=million),
        Usage(cache_write_5m=million),
        Usage(cache_write_1h=million),
        Usage(cache_read=million),
        Usage(output=million),
    ]
    rates = [usd("claude-sonnet-5-5", usage) for usage in buckets]
    assert rates == [Decimal(rate) for rate in ("2", "2.5", "4", "0.1", "10")]


def test_at_the_threshold_a_haiku_prompt_has_the_low_price() -> None:
    assert usd("claude-haiku-5-5", Usage(input=60_000, cache_read=40_000)) == Decimal("0.0064")


def test_above_the_threshold_the_whole_haiku_request_has_the_high_price() -> None:
    usage = Usage(input=60_000, cache_write_5m=1, cache_read=40_000, output=1_000)
    assert usd("claude-haiku-5-5", usage) == Decimal("0.034500625")


def test_a_price_cut_holds_from_its_day_on() -> None:
    read = Usage(cache_read=1_000_000)
    assert usd("claude-sonnet-5-5", read, "2026-10-06") == Decimal("0.20")
    assert usd("claude-sonnet-5-5", read, "2026-10-07") == Decimal("0.10")


def test_a_model_nobody_priced_costs_unknown_not_nothing() -> None:
    assert usd("claude-next", Usage(input=1)) is None


def test_a_day_before_the_first_price_costs_unknown() -> None:
    assert usd("claude-opus-5-5", Usage(input=1), "2026-09-21") is None


def test_a_dated_id_has_the_price_of_its_model() -> None:
    usage = Usage(input=1_000, output=1_000)
    assert usd("claude-haiku-4-5-20251001", usage) == usd("claude-haiku-4-5", usage)


@given(st.sampled_from(sorted(MODELS)), USAGES, USAGES)
def test_more_tokens_never_cost_less(model: str, usage: Usage, more: Usage) -> None:
    smaller, larger = PRICES.cost(model, usage, TODAY), PRICES.cost(model, usage + more, TODAY)
    assert smaller is not None and larger is not None
    assert smaller <= larger


@given(st.sampled_from(sorted(MODELS)), st.lists(SHORT, max_size=5))
def test_calls_together_cost_what_they_cost_one_by_one(model: str, calls: list[Usage]) -> None:
    """Within a step of the prices: to the nano-dollar, nothing is lost by rounding."""
    one_by_one = sum(PRICES.cost(model, usage, TODAY) or 0 for usage in calls)
    assert PRICES.cost(model, sum(calls, Usage()), TODAY) == one_by_one


@given(st.sampled_from(sorted(MODELS)), USAGES)
def test_a_cost_is_a_whole_number_of_nano_dollars(model: str, usage: Usage) -> None:
    assert type(PRICES.cost(model, usage, TODAY)) is int


@pytest.mark.parametrize("model", MODELS)
def test_a_token_costs_whole_nano_dollars(model: str) -> None:
    for price in PRICES.prices[model]:
        for rates in filter(None, (price.rates, price.long_rates)):
            assert all(rate * 1_000 == int(rate * 1_000) for rate in rates.in_order())


def test_every_cloud_model_of_the_preset_has_a_price_today() -> None:
    models = load_preset()["llmOps"]["models"]
    for tier in (Tier.CHEAP, Tier.BALANCED, Tier.FRONTIER):
        assert usd(models[tier.value], Usage(input=1, output=1)) is not None


def test_the_models_of_the_preset_are_made_for_their_tiers() -> None:
    models = load_preset()["llmOps"]["models"]
    for tier in (Tier.CHEAP, Tier.BALANCED, Tier.FRONTIER):
        assert PRICES.tiers[models[tier.value]] is tier


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_tier_and_a_batch_price(model: str) -> None:
    assert PRICES.tiers[model] in (Tier.CHEAP, Tier.BALANCED, Tier.FRONTIER)
    assert all(price.batch_factor == Decimal("0.5") for price in PRICES.prices[model])


def test_the_table_says_what_it_does_not_cover() -> None:
    assert [words.partition(" ")[0] for words in PRICES.not_covered] == ["fast", "inference", "web"]


def test_no_id_is_claimed_twice() -> None:
    ids = [*MODELS, *(alias for entry in MODELS.values() for alias in entry["aliases"])]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("model", MODELS)
def test_every_price_names_its_day_and_its_source(model: str) -> None:
    for price in MODELS[model]["prices"]:
        assert "2025-09-29" <= price["since"] <= TODAY
        assert "https://" in price["source"]


@pytest.mark.parametrize("model", MODELS)
def test_cached_tokens_cost_less_to_read_and_more_to_write(model: str) -> None:
    for price in MODELS[model]["prices"]:
        for rates in (price, price.get("longContext", price)):
            assert rates["cacheRead"] < rates["input"] < rates["cacheWrite5m"] < rates["cacheWrite1h"]
            assert rates["input"] < rates["output"]


@pytest.mark.parametrize("model", MODELS)
def test_every_model_says_what_it_can_take(model: str) -> None:
    able = MODELS[model]["capabilities"]
    assert able.keys() == {"sampling", "jsonSchema", "thinking", "contextTokens", "maxOutputTokens"}
    assert able["thinking"] in ("disabled", "between_tools", "always", "none")
    assert able["maxOutputTokens"] < able["contextTokens"]


def test_prices_are_found_in_any_order() -> None:
    rates = {"input": 1, "cacheWrite5m": 1, "cacheWrite1h": 1, "cacheRead": 1, "output": 1}
    newer, older = {"since": "2026-02-01", **rates}, {"since": "2026-01-01", **rates, "input": 3}
    table = PriceTable.from_json({"date": TODAY, "models": {"m": {"prices": [newer, older]}}})
    assert table.cost("m", Usage(input=1), "2026-01-15") == 3_000
    assert table.cost("m", Usage(input=1), "2026-02-01") == 1_000


def test_a_sum_of_calls_that_may_hold_a_long_prompt_has_no_known_cost():
    table = PriceTable.from_json(
        {
            "date": "2026-11-01",
            "models": {
                "m": {
                    "prices": [
                        {
                            "since": "2026-01-01",
                            **{key: 1 for key in ("input", "cacheWrite5m", "cacheWrite1h", "cacheRead", "output")},
                            "longContext": {
                                "abovePromptTokens": 100,
                                **{key: 5 for key in ("input", "cacheWrite5m", "cacheWrite1h", "cacheRead", "output")},
                            },
                        }
                    ]
                }
            },
        }
    )
    assert table.cost_of_calls("m", Usage(input=100, output=10), "2026-11-01") == 110_000
    assert table.cost_of_calls("m", Usage(input=101), "2026-11-01") is None
    assert table.cost_of_calls("other", Usage(input=1), "2026-11-01") is None


# -- age


@pytest.mark.parametrize(("on", "days"), [("2026-11-23", 0), ("2027-02-21", 90), ("2026-11-22", -1)])
def test_the_age_of_a_table_is_in_days(on: str, days: int) -> None:
    assert RATED.age_days(on) == days


def test_a_table_of_90_days_is_young_enough() -> None:
    assert RATED.warning("2027-02-21") is None


def test_an_older_table_is_warned_about_with_the_remedy() -> None:
    assert RATED.warning("2027-02-22") == (
        "the prices are 91 days old (2026-11-23); `backlog-ops prices update --from F` renews them"
    )


# -- one table over another


ONES = dict.fromkeys(("input", "cacheWrite5m", "cacheWrite1h", "cacheRead", "output"), 1)


def table(date: str, **models: Any) -> PriceTable:
    return PriceTable.from_json({"date": date, "source": f"of {date}", "models": models})


def entry(*prices: dict[str, Any], aliases: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"aliases": list(aliases), "prices": list(prices)}


RATED = table("2026-11-23", m=entry({"since": "2026-01-01", **ONES}, aliases=("m-1",)))
NEWER = table("2026-12-01", m=entry({"since": "2026-12-01", **ONES, "input": 2}))


def test_an_overlay_changes_no_older_cost() -> None:
    both = RATED.overlaid_by(NEWER)
    assert [both.cost("m-1", Usage(input=1), day) for day in ("2026-11-30", "2026-12-01")] == [1_000, 2_000]


def test_an_overlay_brings_its_date_and_source() -> None:
    both = RATED.overlaid_by(NEWER)
    assert (both.date, both.source) == ("2026-12-01", "of 2026-12-01")


def test_on_the_same_day_the_overlay_holds() -> None:
    again = table("2026-12-01", m=entry({"since": "2026-12-01", **ONES, "input": 3}))
    assert RATED.overlaid_by(NEWER).overlaid_by(again).cost("m", Usage(input=1), "2026-12-01") == 3_000


def test_an_overlay_cannot_give_a_name_to_another_model() -> None:
    other = table("2026-12-01", n=entry({"since": "2026-01-01", **ONES, "input": 9}, aliases=("m-1", "n-1")))
    both = RATED.overlaid_by(other)
    assert (both.cost("m-1", Usage(input=1), TODAY), both.cost("n-1", Usage(input=1), TODAY)) == (1_000, 9_000)


def test_a_table_comes_back_from_its_json() -> None:
    again = PriceTable.from_json(json.loads(json.dumps(PRICES.to_json())))
    assert (again.date, again.prices, again.aliases) == (PRICES.date, PRICES.prices, PRICES.aliases)


@pytest.mark.parametrize(
    "price",
    [
        {"since": "2026-01-01"},
        {"since": "2026-01-01", **ONES, "input": "NaN"},
        {"since": "2026-01-01", **ONES, "input": float("inf")},
        {"since": "2026-01-01", **ONES, "input": -1},
        {"since": "2026-01-01", **ONES, "input": None},
        {"since": "20260101", **ONES},
        {"since": "yesterday", **ONES},
    ],
)
def test_what_is_no_price_is_no_table(price: dict[str, Any]) -> None:
    with pytest.raises((LookupError, ValueError, ArithmeticError)):
        table("2026-11-23", m=entry(price))
