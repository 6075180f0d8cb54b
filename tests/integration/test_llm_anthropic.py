"""The Anthropic Messages API, against the scripted one on loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backlog_ops.domain.pricing import Usage
from backlog_ops.llm.anthropic import THOUGHT_TOKENS, Anthropic
from backlog_ops.llm.types import Allowance, AttemptError, Call, Outcome, Turn
from backlog_ops.llm.types import Reply as Answered
from tests.e2e.harness.stub_anthropic import Fault, Reply, StubServer, http_fault, text, thinking
from tests.support.llm import allowance, call, nobody
from tests.support.raw_http import RawServer, response

HAIKU, SONNET, OPUS, HAIKU_4_5 = (
    "claude-haiku-5-5",
    "claude-sonnet-5-5",
    "claude-opus-5-5",
    "claude-haiku-4-5",
)
KEY = "sk-test-0123456789"


def ask(answer: Any, asked: Call | None = None, within: Allowance | None = None) -> tuple[Answered, dict[str, Any]]:
    """The reply, and the request that the API saw."""
    with StubServer(lambda _: answer) as server:
        reply = Anthropic(server.base_url, KEY).call(asked or call(model=HAIKU), within or allowance(), nobody)
    return reply, server.calls[0].fields


def fails(answer: Any, asked: Call | None = None, within: Allowance | None = None) -> AttemptError:
    with pytest.raises(AttemptError) as raised:
        ask(answer, asked, within)
    return raised.value


def sent(asked: Call) -> dict[str, Any]:
    return ask("fine", asked)[1]


def test_an_answer_is_read_with_model_and_counts() -> None:
    usage = {
        "input_tokens": 5,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "cache_read_input_tokens": 7,
        "output_tokens": 11,
    }
    reply, _ = ask(Reply([text("hello")], usage=usage, model="claude-haiku-5-5-20261007"))
    assert reply.text == "hello"
    assert reply.spent.answered_model == "claude-haiku-5-5-20261007"
    assert reply.spent.usage == Usage(5, cache_write_5m=10, cache_write_1h=20, cache_read=7, output=11)


def test_content_is_read_by_type_and_not_by_position() -> None:
    assert ask([thinking("let me see"), text("the "), text("answer")])[0].text == "the answer"


def test_an_answer_arrives_piece_by_piece() -> None:
    pieces: list[str] = []
    with StubServer(lambda _: "x" * 1000) as server:
        Anthropic(server.base_url, KEY).call(call(model=HAIKU), allowance(), pieces.append)
    assert len(pieces) > 1
    assert "".join(pieces) == "x" * 1000


def test_the_key_travels_in_its_header_only() -> None:
    with StubServer(lambda _: "fine") as server:
        Anthropic(server.base_url, KEY).call(call(model=HAIKU), allowance(), nobody)
    request = server.calls[0]
    assert request.header("x-api-key") == KEY
    assert request.header("anthropic-version")
    assert KEY not in request.path + str(request.fields)


# -- parameters, shaped per model


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        (HAIKU, {"type": "disabled"}),
        (SONNET, {"type": "between_tools"}),
        (OPUS, None),
        (HAIKU_4_5, None),
        ("claude-tomorrow-9", None),
    ],
)
def test_thinking_is_turned_off_as_each_model_allows(model: str, thinks: dict[str, str] | None) -> None:
    assert sent(call(model=model)).get("thinking") == thinks


@pytest.mark.parametrize(
    ("model", "temperature"), [(HAIKU, None), (SONNET, None), (OPUS, None), (HAIKU_4_5, 0.2), ("other", None)]
)
def test_temperature_goes_only_to_models_that_take_one(model: str, temperature: float | None) -> None:
    assert sent(call(model=model, temperature=0.2)).get("temperature") == temperature


def test_a_model_that_always_thinks_has_room_for_it() -> None:
    assert sent(call(model=OPUS, max_tokens=50))["max_tokens"] == 50 + THOUGHT_TOKENS


def test_a_model_that_does_not_think_gets_the_limit_as_it_is() -> None:
    assert sent(call(model=HAIKU, max_tokens=50))["max_tokens"] == 50


def test_no_more_tokens_are_asked_for_than_the_model_has() -> None:
    assert sent(call(model=HAIKU_4_5, max_tokens=1_000_000))["max_tokens"] == 64_000


def test_no_tool_is_ever_forced_and_no_answer_put_into_its_mouth() -> None:
    body = sent(call(model=SONNET, schema={"type": "object", "properties": {}}))
    assert "tools" not in body
    assert body["messages"][-1]["role"] == "user"


def test_a_schema_is_enforced_where_the_api_can() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    enforced = sent(call(model=HAIKU, schema=schema))["output_config"]["format"]
    assert enforced == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"n": {"type": "integer"}},
            "required": ["n"],
            "additionalProperties": False,
        },
    }


@pytest.mark.parametrize(
    ("model", "schema"),
    [
        (HAIKU, {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("claude-tomorrow-9", {"type": "object", "properties": {}}),
    ],
)
def test_a_schema_that_cannot_be_enforced_is_told_in_words(model: str, schema: dict[str, Any]) -> None:
    body = sent(call(model=model, schema=schema))
    assert "output_config" not in body
    assert "JSON Schema" in body["system"]


def test_no_empty_system_prompt_is_sent() -> None:
    assert "system" not in sent(call(model=HAIKU))


def test_a_repaired_call_carries_the_earlier_answer() -> None:
    roles = [turn["role"] for turn in sent(call(model=HAIKU).repaired("wrong", "it is wrong"))["messages"]]
    assert roles == ["user", "assistant", "user"]


# -- answers that are none


@pytest.mark.parametrize(
    ("stop_reason", "outcome"),
    [
        ("refusal", Outcome.REFUSED),
        ("max_tokens", Outcome.CUT),
        ("model_context_window_exceeded", Outcome.CUT),
        ("pause_turn", Outcome.BROKEN),
        ("tool_use", Outcome.BROKEN),
    ],
)
def test_only_an_ended_turn_is_an_answer(stop_reason: str, outcome: Outcome) -> None:
    found = fails(Reply([text("half of it")], stop_reason=stop_reason))
    assert found.outcome is outcome
    assert found.spent.usage is not None  # it is billed all the same


@pytest.mark.parametrize(
    ("fault", "outcome", "retry", "closes"),
    [
        (http_fault(400, "odd parameter"), Outcome.REJECTED, False, False),
        (http_fault(400, "prompt is too long: 9 tokens > 8 maximum"), Outcome.TOO_LARGE, False, False),
        (http_fault(401, "invalid x-api-key"), Outcome.REJECTED, False, True),
        (http_fault(404, "model: x"), Outcome.REJECTED, False, False),
        (http_fault(413, "too big"), Outcome.TOO_LARGE, False, False),
        (http_fault(429, "slow down", retry_after=3), Outcome.LIMITED, True, False),
        (http_fault(500), Outcome.BROKEN, True, False),
        (http_fault(529, "Overloaded"), Outcome.BROKEN, True, False),
        (Fault("hang"), Outcome.TIMEOUT, False, True),
        (Fault("stall"), Outcome.TIMEOUT, False, True),
        (Fault("reset"), Outcome.BROKEN, True, False),
        (Fault("truncate"), Outcome.BROKEN, True, False),
        (Fault("sse_error"), Outcome.BROKEN, True, False),
        (Fault("garbage"), Outcome.BROKEN, True, False),
    ],
    ids=lambda value: f"{value.kind} {value.status}" if isinstance(value, Fault) else "",
)
def test_a_fault_is_told_apart(fault: Fault, outcome: Outcome, retry: bool, closes: bool) -> None:
    limits = {"firstByteColdSeconds": 0.3, "idleSeconds": 0.3}
    found = fails(fault, within=allowance(**limits))
    assert (found.outcome, found.retry, found.closes_endpoint) == (outcome, retry, closes)


def test_retry_after_is_passed_on() -> None:
    assert fails(http_fault(429, retry_after=3)).retry_after == 3.0


def test_a_spend_limit_is_final() -> None:
    details = {"error_code": "enforced_spend_limit_reached"}
    error = json.dumps({"error": {"type": "rate_limit_error", "message": "limit", "details": details}}).encode()
    with (
        RawServer(lambda _: [response("429 Too Many Requests", error)]) as server,
        pytest.raises(AttemptError) as raised,
    ):
        Anthropic(server.base_url, KEY).call(call(model=HAIKU), allowance(), nobody)
    assert not raised.value.retry
    assert raised.value.closes_endpoint


def test_what_a_broken_stream_has_cost_is_known() -> None:
    assert fails(Fault("truncate")).spent.usage is not None


def test_a_prompt_that_cannot_fit_is_not_sent() -> None:
    with StubServer(lambda _: "fine") as server, pytest.raises(AttemptError) as raised:
        Anthropic(server.base_url, KEY).call(call("words " * 400_000, model=HAIKU_4_5), allowance(), nobody)
    assert raised.value.outcome is Outcome.TOO_LARGE
    assert server.calls == []


def test_a_redirect_takes_the_key_nowhere() -> None:
    with RawServer(lambda _: [response("200 OK", b"")]) as other:
        moved = response("307 Temporary Redirect", b"", f"Location: {other.base_url}/v1/messages")
        with RawServer(lambda _: [moved]) as server, pytest.raises(AttemptError, match="refused"):
            Anthropic(server.base_url, KEY).call(call(model=HAIKU), allowance(), nobody)
    assert other.requests == []


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_neither_key_nor_prompt_stands_in_an_error(status: int) -> None:
    prompt = "the secret recipe of the house"
    fault = http_fault(status, f"cannot take {prompt} with {KEY}")
    detail = fails(fault, Call(HAIKU, "", (Turn("user", prompt),))).detail
    assert "secret recipe" not in detail
    assert KEY not in detail
