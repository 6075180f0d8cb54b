"""The host's own count of a session beside its transcripts: what is in no transcript, and what is priced otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.pricing import Usage
from backlog_ops.money.balance import Balance, HostCount, balance, calls_of_session, host_counts
from backlog_ops.money.transcripts import ModelCall
from backlog_ops.storage.config_file import load_prices

HAIKU, SONNET = "claude-haiku-5-5", "claude-sonnet-5-5"
DAY = "2026-11-24"
PRICES = load_prices()


def call(key: str, model: str = SONNET, **usage: int) -> ModelCall:
    return ModelCall(key, model, Usage(**usage), 0.0, 0, True)


def priced(model: str, usage: Usage) -> int:
    cost = PRICES.cost(model, usage, DAY)
    assert cost is not None
    return cost


def counted(host: dict[str, HostCount], *calls: ModelCall) -> Balance:
    return balance(host, calls, PRICES, DAY)


def exactly(model: str, usage: Usage) -> dict[str, HostCount]:
    """The host's count where it prices as we do."""
    return {model: HostCount(usage, priced(model, usage))}


# -- the two sides


def test_where_the_host_counts_what_the_transcripts_hold_nothing_is_left_over():
    found = counted(
        exactly(SONNET, Usage(input=30, output=50)), call("m1", input=10, output=20), call("m2", input=20, output=30)
    )
    assert (found.unattributed, found.repriced, dict(found.missing)) == (0, 0, {})
    assert found.transcripts == found.host


def test_a_model_that_stands_in_no_transcript_is_unattributed_at_our_price():
    beyond = Usage(input=1_000, cache_read=9_000, output=40)
    found = counted({**exactly(SONNET, Usage(input=10)), **exactly(HAIKU, beyond)}, call("m1", input=10))
    assert (found.unattributed, found.repriced) == (priced(HAIKU, beyond), 0)
    assert dict(found.missing) == {HAIKU: beyond}


def test_more_calls_of_a_model_than_the_transcripts_hold_are_unattributed():
    found = counted(exactly(SONNET, Usage(input=30, output=50)), call("m1", input=10, output=20))
    assert found.unattributed == priced(SONNET, Usage(input=20, output=30))


def test_other_prices_of_the_host_are_told_apart_from_what_is_missing():
    usage = Usage(input=1_000, output=100)
    dearer = {SONNET: HostCount(usage, priced(SONNET, usage) * 3 // 2)}
    found = counted(dearer, call("m1", input=1_000, output=100))
    assert (found.unattributed, found.repriced) == (0, priced(SONNET, usage) // 2)


def test_a_model_with_more_room_is_the_same_model():
    found = counted(exactly(SONNET, Usage(input=10)), call("m1", f"{SONNET}[1m]", input=10))
    assert found.unattributed == 0


def test_a_count_below_the_transcripts_is_shown_as_less_than_nothing():
    """Such as after a resume that began to count anew."""
    found = counted(exactly(SONNET, Usage(input=10)), call("m1", input=30))
    assert found.missing[SONNET] == Usage(input=-20)
    assert found.unattributed == -priced(SONNET, Usage(input=20))


def test_a_model_without_a_price_makes_the_account_unknown_and_not_zero():
    found = counted({"nobody-1": HostCount(Usage(input=10), 500)}, call("m1", "nobody-1", input=10))
    assert (found.host, found.transcripts, found.unattributed, found.repriced) == (500, None, None, None)


def test_a_model_that_only_the_host_knows_costs_what_the_host_says():
    found = counted({"nobody-1": HostCount(Usage(input=10), 500)})
    assert (found.unattributed, found.repriced) == (500, 0)


def test_a_session_without_any_call_is_balanced():
    found = counted({})
    assert (found.host, found.transcripts, found.unattributed, found.repriced) == (0, 0, 0, 0)


def test_what_was_put_right_is_beyond_the_transcripts_no_more():
    found = counted(exactly(SONNET, Usage(input=10, output=50)), call("m1", input=10, output=1))
    right = found.corrected(SONNET)
    assert (right.transcripts, right.unattributed, right.repriced) == (found.host, 0, 0)


usages = st.builds(Usage, *[st.integers(0, 50_000)] * 5)


@given(
    st.lists(st.tuples(st.sampled_from([HAIKU, SONNET]), usages), max_size=4),
    st.lists(st.tuples(st.sampled_from([HAIKU, SONNET, "nobody-1"]), usages, st.integers(0, 10**9)), max_size=3),
)
def test_the_parts_always_add_up_to_what_the_host_counts(calls, host):
    counts = {model: HostCount(usage, cost) for model, usage, cost in host}
    found = balance(counts, [ModelCall(str(n), m, u, 0.0, 0, True) for n, (m, u) in enumerate(calls)], PRICES, DAY)
    assert found.host == found.transcripts + found.unattributed + found.repriced


# -- what the host says


def entry(**fields: Any) -> dict[str, Any]:
    return {"inputTokens": 3, "outputTokens": 5, "cacheReadInputTokens": 7, "costUSD": 0.25, **fields}


def test_the_hosts_count_is_read_by_model():
    assert host_counts({"modelUsage": {SONNET: entry()}}, PRICES) == {
        SONNET: HostCount(Usage(input=3, cache_read=7, output=5), 250_000_000)
    }


def test_variants_of_a_model_are_counted_together():
    found = host_counts({"modelUsage": {SONNET: entry(), f"{SONNET}[1m]": entry()}}, PRICES)
    assert found == {SONNET: HostCount(Usage(input=6, cache_read=14, output=10), 500_000_000)}


@pytest.mark.parametrize("dollars", [None, "0.25", -1, float("nan"), float("inf"), 1e300, []])
def test_a_cost_that_cannot_be_one_is_none(dollars):
    assert host_counts({"modelUsage": {SONNET: entry(costUSD=dollars)}}, PRICES)[SONNET].nanousd == 0


@pytest.mark.parametrize("counted", [{}, {"modelUsage": None}, {"modelUsage": []}, {"modelUsage": {}}])
def test_a_host_that_counts_nothing_has_no_count(counted):
    assert host_counts(counted, PRICES) == {}


@pytest.mark.parametrize("broken", [None, [], "17", {"inputTokens": -4, "outputTokens": 10**30}])
def test_a_models_entry_that_makes_no_sense_counts_nothing(broken):
    assert host_counts({"modelUsage": {SONNET: broken}}, PRICES) == {SONNET: HostCount(Usage(), 0)}


# -- what the transcripts hold


def answer(key: str, output: int = 20, model: str = SONNET) -> bytes:
    usage = {"input_tokens": 3, "output_tokens": output}
    message = {"id": key, "model": model, "stop_reason": "end_turn", "content": [], "usage": usage}
    return json.dumps({"type": "assistant", "message": message}).encode() + b"\n"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A conversation with one call, and the folder of its sub-agents."""
    path = tmp_path / "5e55.jsonl"
    path.write_bytes(answer("m1"))
    (tmp_path / "5e55" / "subagents" / "workflows" / "w1").mkdir(parents=True)
    return path


def keys(session: Path) -> list[str]:
    return sorted(call.message_id for call in calls_of_session(session))


def test_the_calls_of_a_session_are_its_own_and_those_of_all_its_sub_agents(session):
    folder = session.with_suffix("") / "subagents"
    (folder / "agent-a1.jsonl").write_bytes(answer("m2"))
    (folder / "workflows" / "w1" / "agent-a2.jsonl").write_bytes(answer("m3"))
    assert keys(session) == ["m1", "m2", "m3"]


def test_a_call_that_stands_in_two_files_is_one_with_its_largest_count(session):
    """A forked sub-agent's file repeats what its parent had said."""
    (session.with_suffix("") / "subagents" / "agent-a1.jsonl").write_bytes(answer("m1", output=29))
    (call,) = calls_of_session(session)
    assert call.usage.output == 29


def test_a_session_whose_files_are_gone_has_no_calls(tmp_path):
    assert calls_of_session(tmp_path / "nowhere.jsonl") == []
