"""What a LiteLLM price map changes in the table: new prices from today on, and nothing that looks wrong."""

from __future__ import annotations

import json
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.pricing import RATE_KEYS, PriceTable, Usage
from backlog_ops.errors import ConfigurationError, UsageError
from backlog_ops.money.litellm_map import MAX_BYTES, TOKEN_KEYS, PriceMap, price_of, read_map
from backlog_ops.money.price_update import Update, compare, keep
from backlog_ops.storage.config_file import load_prices
from tests.support.price_maps import MAP, entries_of, write_map

TODAY = "2026-12-01"
PRICES = load_prices()
OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"
MTOK = Usage(input=1_000_000)


@pytest.fixture
def entries() -> dict[str, Any]:
    """A map that agrees with the plugin's table."""
    return entries_of(PRICES, TODAY)


def compared(entries: dict[str, Any], *accepted: str, table: PriceTable = PRICES, day: str = TODAY) -> Update:
    """By way of JSON, as a map comes."""
    parsed = json.loads(json.dumps(entries), parse_float=Decimal)
    return compare(table, PriceMap("a map", "map.json", parsed), day, accepted)


def after(update: Update) -> PriceTable:
    return PRICES.overlaid_by(update.table())


def refusal(entries: dict[str, Any]) -> str:
    """The one line that refuses the one model that is refused."""
    update = compared(entries)
    (line,) = update.refused
    assert not update.changed and not update.new
    return line


# -- what changes


def test_a_map_that_agrees_adds_nothing_but_its_date(entries) -> None:
    update = compared(entries)
    assert update.same == list(PRICES.prices)
    assert (update.table().prices, after(update).date) == ({}, TODAY)


def test_a_new_price_holds_from_today_on(entries) -> None:
    entries[OPUS]["input_cost_per_token"] = 3e-06
    table = after(compared(entries))
    assert [table.cost(OPUS, MTOK, day) for day in ("2026-11-30", TODAY)] == [4_000_000_000, 3_000_000_000]


def test_a_new_model_is_known_from_today_on_by_both_its_names(entries) -> None:
    entries["claude-opus-6"] = entries[OPUS]
    table = after(compared(entries))
    assert [table.cost("claude-opus-6", MTOK, day) for day in ("2026-11-30", TODAY)] == [None, 4_000_000_000]
    assert table.cost("claude-opus-6[1m]", MTOK, TODAY) == 4_000_000_000


def test_a_changed_step_for_long_prompts_is_a_new_price(entries) -> None:
    for key in list(entries[HAIKU]):
        if "_above_100k_tokens" in key:
            entries[HAIKU][key.replace("100k", "200k")] = entries[HAIKU].pop(key)
    table = after(compared(entries))
    assert table.cost(HAIKU, Usage(input=150_000), TODAY) == 15_000_000


def test_other_makers_and_other_modes_are_left_alone(entries) -> None:
    named = {"gpt-other", "bedrock/claude-opus-5-5", "claude-embed", "sample_spec"}
    assert named <= entries.keys()
    assert not named & after(compared(entries)).prices.keys()


def test_a_model_that_the_map_does_not_name_is_told(entries) -> None:
    del entries[OPUS]
    assert compared(entries).unlisted == [OPUS]


def test_a_dated_name_at_the_same_price_is_the_same_model(entries) -> None:
    entries["claude-haiku-4-5-20251001"] = entries["claude-haiku-4-5"]
    update = compared(entries)
    assert not (update.new or update.changed or update.refused)


def test_a_map_that_knows_no_batches_changes_nothing_about_them(entries) -> None:
    entries[OPUS] = {key: value for key, value in entries[OPUS].items() if not key.endswith("_batches")}
    assert OPUS in compared(entries).same


def test_the_source_of_a_price_is_its_page_and_the_map(entries) -> None:
    entries["claude-opus-6"] = {**entries[OPUS], "source": "https://example.invalid/prices"}
    entries["claude-opus-7"] = {**entries[OPUS], "source": "https://example.invalid/\x1b[2J"}
    assert [price.source for _, price in compared(entries).new] == [
        "https://example.invalid/prices through a map",
        "a map",
    ]


@given(st.integers(1_000, 10**13))
def test_a_price_is_read_as_it_is_written(billionths: int) -> None:
    """No binary fraction in between: 0.1 stays 0.1."""
    dollars = Decimal(billionths).scaleb(-9)  # per million tokens
    price, problems = price_of(dict.fromkeys(TOKEN_KEYS, dollars / 1_000_000), TODAY, "a map")
    assert price is not None and not problems
    assert set(price.rates.in_order()) == {dollars}


# -- what is refused


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, 'output_cost_per_token is "null", not a number'),
        ("2e-05", 'output_cost_per_token is ""2e-05"", not a number'),
        (float("nan"), 'output_cost_per_token is "NaN", not a number'),
        (float("inf"), 'output_cost_per_token is "Infinity", not a number'),
        (True, 'output_cost_per_token is "true", not a number'),
        ([1], 'output_cost_per_token is "[1]", not a number'),
        (0, 'output_cost_per_token is "0": no price per token'),
        (-2e-05, 'output_cost_per_token is "-0.00002": no price per token'),
        (20, 'output_cost_per_token is "20": no price per token'),
    ],
)
def test_what_is_no_price_is_refused_with_its_place(entries, value: object, said: str) -> None:
    entries[OPUS]["output_cost_per_token"] = value
    assert refusal(entries) == f"map.json: {OPUS}: {said}"


def test_a_missing_price_is_refused(entries) -> None:
    del entries[OPUS]["cache_creation_input_token_cost_above_1hr"]
    assert refusal(entries) == f"map.json: {OPUS}: cache_creation_input_token_cost_above_1hr is missing"


def test_half_a_step_for_long_prompts_is_refused(entries) -> None:
    del entries[HAIKU]["output_cost_per_token_above_100k_tokens"]
    assert refusal(entries) == f"map.json: {HAIKU}: output_cost_per_token_above_100k_tokens is missing"


def test_two_steps_for_long_prompts_are_refused(entries) -> None:
    entries[HAIKU]["input_cost_per_token_above_200k_tokens"] = 1e-06
    assert "has 2 steps for long prompts (above 100, 200k tokens)" in refusal(entries)


def test_a_name_that_would_write_on_the_terminal_is_refused_and_shown_harmless(entries) -> None:
    entries["claude-\x1b[2J"] = entries[OPUS]
    assert refusal(entries) == 'map.json: "claude-\\x1b[2J": this is no name of a model'


def test_two_prices_for_one_model_are_refused(entries) -> None:
    entries["claude-haiku-4-5-20251001"] = {**entries["claude-haiku-4-5"], "output_cost_per_token": 6e-06}
    assert "claude-haiku-4-5 and claude-haiku-4-5-20251001 are one model here" in refusal(entries)


@pytest.mark.parametrize("factor", [10, 0.1])
def test_a_tenfold_rate_is_refused_until_it_is_accepted(entries, factor: float) -> None:
    entries[OPUS]["output_cost_per_token"] *= factor
    assert refusal(entries) == (
        f"map.json: {OPUS}: a rate is 10 times what it was, or a 10th of it; if that is right: --accept {OPUS}"
    )
    assert [model for model, _, _ in compared(entries, OPUS).changed] == [OPUS]


def test_a_price_of_the_past_is_refused_as_an_old_map(entries) -> None:
    entries["claude-sonnet-5-5"]["cache_read_input_token_cost"] = 2e-07
    assert "this is what it cost before 2026-10-07: an old price map?" in refusal(entries)


def test_long_prompts_that_get_cheap_are_refused(entries) -> None:
    entries[HAIKU] = {key: value for key, value in entries[HAIKU].items() if "100k" not in key}
    assert "long prompts cost no more than short ones any longer" in refusal(entries)


def test_a_cache_that_costs_more_than_it_saves_is_refused(entries) -> None:
    entries[OPUS]["cache_read_input_token_cost"] = 1.9e-06
    entries[OPUS]["input_cost_per_token"] = 1.8e-06
    assert "reading from the cache costs more than reading, or writing to it less" in refusal(entries)


def test_what_is_no_price_at_all_cannot_be_accepted(entries) -> None:
    entries[OPUS]["output_cost_per_token"] = -1
    assert len(compared(entries, OPUS).refused) == 1


def test_a_refused_model_keeps_its_price_and_the_others_get_theirs(entries) -> None:
    entries[OPUS]["input_cost_per_token"] = -1
    entries[HAIKU]["input_cost_per_token"] = 1.1e-07
    table = after(compared(entries))
    assert table.cost(OPUS, MTOK, TODAY) == PRICES.cost(OPUS, MTOK, TODAY)
    assert table.cost(HAIKU, Usage(input=1), TODAY) == 110


def test_a_name_to_accept_that_is_not_there_is_said(entries) -> None:
    with pytest.raises(UsageError, match='did you mean "claude-opus-5-5"'):
        compared(entries, "claude-opus-5.5")


def test_a_clock_behind_the_table_changes_nothing(entries) -> None:
    with pytest.raises(UsageError, match="is the clock right"):
        compared(entries, day="2026-11-22")


@pytest.mark.parametrize("content", [{}, {"gpt": {"litellm_provider": "openai"}}, {"claude": 1}])
def test_a_map_without_claude_is_no_map(content: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="this is no LiteLLM price map"):
        compared(content)


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers())


@given(st.dictionaries(st.sampled_from(sorted(entries_of(PRICES, TODAY)[HAIKU])), ANYTHING))
def test_whatever_a_map_says_of_a_model_it_is_taken_or_refused(changes: dict[str, Any]) -> None:
    entries = entries_of(PRICES, TODAY)
    entries[HAIKU].update(changes)
    cost = after(compared(entries)).cost(HAIKU, Usage(1, 1, 1, 1, 1), TODAY)
    assert cost is not None and cost > 0


# -- where a map is found


def test_a_map_is_found_in_a_wheel(tmp_path, entries) -> None:
    wheel = tmp_path / "litellm-9.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("litellm/other.json", "[]")
        archive.writestr(f"litellm/{MAP}", json.dumps(entries))
    found = read_map(str(wheel), {})
    assert (found.name, found.place) == (wheel.name, f"{wheel}/litellm/{MAP}")
    assert dict(found.claude_models()).keys() == PRICES.prices.keys()


def unreadable(named: Path | str) -> str:
    with pytest.raises(UsageError) as refused:
        read_map(str(named), {})
    assert "\n" not in refused.value.message
    return refused.value.message


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no valid JSON"), (b"{", "no valid JSON"), (b"\xff", "no valid JSON"), (b"[1]", "must be a JSON object")],
)
def test_a_file_that_is_no_map_is_one_clear_line(tmp_path, content: bytes, said: str) -> None:
    file = tmp_path / "map.json"
    file.write_bytes(content)
    assert said in unreadable(file)


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"a": 1' + b"0" * 10_000 + b"}"])
def test_json_made_to_break_a_parser_is_one_clear_line(tmp_path, content: bytes) -> None:
    file = tmp_path / "map.json"
    file.write_bytes(content)
    assert "no valid JSON" in unreadable(file)


def test_a_wheel_that_is_none_is_one_clear_line(tmp_path) -> None:
    file = tmp_path / "a.whl"
    file.write_bytes(b"PK\x03\x04 and no more")
    assert "no readable wheel" in unreadable(file)


def test_a_wheel_without_a_map_is_one_clear_line(tmp_path) -> None:
    file = tmp_path / "a.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/other.json", "{}")
    assert "no price map in it" in unreadable(file)


def test_a_wheel_that_unpacks_to_too_much_is_not_unpacked(tmp_path) -> None:
    file = tmp_path / "a.whl"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"a/{MAP}", " " * (MAX_BYTES + 2))
    assert f"is larger than {MAX_BYTES:,} bytes" in unreadable(file)


@pytest.mark.parametrize("named", ["no/such.json", "no-such", "", "a\nb", "x\0y"])
def test_what_is_neither_a_file_nor_a_package_is_one_clear_line(named: str) -> None:
    assert "there is no such file" in unreadable(named)


# -- where it is kept


@pytest.fixture
def environ(tmp_path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def updated(environ: dict[str, str], entries: dict[str, Any], day: str) -> PriceTable:
    keep(environ, compared(entries, table=load_prices(environ), day=day))
    return load_prices(environ)


def test_two_updates_add_up(environ, entries) -> None:
    entries[OPUS]["input_cost_per_token"] = 3e-06
    updated(environ, entries, "2026-12-01")
    entries[OPUS]["input_cost_per_token"] = 2e-06
    table = updated(environ, entries, "2026-12-05")
    days = ("2026-11-30", "2026-12-01", "2026-12-04", "2026-12-05")
    assert [(table.cost(OPUS, MTOK, day) or 0) // 10**9 for day in days] == [4, 3, 3, 2]


def test_the_same_update_again_changes_nothing_more(environ, entries) -> None:
    entries[OPUS]["input_cost_per_token"] = 3e-06
    assert updated(environ, entries, TODAY) == updated(environ, entries, TODAY)


@pytest.fixture
def outdated(environ) -> dict[str, str]:
    """The user has updated the prices, and then the plugin, which knew newer ones."""
    rates = dict.fromkeys(RATE_KEYS, 99)
    folder = Path(environ["XDG_STATE_HOME"]) / "backlog-ops"
    folder.mkdir(parents=True)
    models = {OPUS: {"prices": [{"since": "2026-10-30", **rates}]}}
    write_map(folder / "models.json", {"date": "2026-11-01", "models": models})
    return environ


def test_a_table_of_the_plugin_that_is_newer_holds_alone(outdated) -> None:
    assert load_prices(outdated) == PRICES


def test_the_next_update_drops_what_was_outdated(outdated, entries) -> None:
    assert updated(outdated, entries, TODAY).prices == PRICES.prices


def test_nothing_is_left_beside_the_file(environ, entries) -> None:
    file = keep(environ, compared(entries))
    assert [other.name for other in file.parent.iterdir()] == [file.name]


@given(st.binary(max_size=20) | st.sampled_from([b"{}", b"[]", b'{"date": "2027-01-01", "models": {"m": 1}}']))
def test_a_damaged_table_of_the_user_is_one_clear_line(tmp_path_factory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("state") / "backlog-ops"
    folder.mkdir()
    (folder / "models.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match="this is no price table; remove it"):
        load_prices({"XDG_STATE_HOME": str(folder.parent)})
