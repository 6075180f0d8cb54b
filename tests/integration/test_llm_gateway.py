"""The gateway: who really served and what it cost stand in the headers, not in the body."""

from __future__ import annotations

from typing import Any

import pytest

from backlog_ops.domain.pricing import Usage
from backlog_ops.llm.gateway import Gateway
from backlog_ops.llm.types import AttemptError, Call, Outcome, Reply
from tests.support.llm import allowance, call, nobody
from tests.support.openai_gateway import completion, gateway, sent
from tests.support.raw_http import RawServer

KEY = "sk-gateway-0123456789"


def ask(server: RawServer, asked: Call | None = None, behind: str = "claude-haiku-5-5", key: str = KEY) -> Reply:
    with server:
        return Gateway(server.base_url, key, behind).call(asked or call(model="cheap"), allowance(), nobody)


def fails(body: dict[str, Any], status: str = "200 OK") -> AttemptError:
    with pytest.raises(AttemptError) as raised:
        ask(gateway(body, status))
    return raised.value


def test_the_tier_is_asked_for_by_its_alias() -> None:
    server = gateway(completion("hi"))
    ask(server)
    assert sent(server)["model"] == "cheap"
    assert server.requests[0].startswith(b"POST /v1/chat/completions ")
    assert f"authorization: Bearer {KEY}".lower() in server.requests[0].decode().lower()


def test_a_base_url_with_v1_means_the_same() -> None:
    server = gateway(completion("hi"))
    with server:
        Gateway(f"{server.base_url}/v1/", KEY, "x").call(call(), allowance(), nobody)
    assert server.requests[0].startswith(b"POST /v1/chat/completions ")


def test_who_served_and_the_cost_come_from_the_headers() -> None:
    spent = ask(
        gateway(
            completion("hi"),
            x_litellm_model_name="anthropic/claude-sonnet-5-5",
            x_litellm_response_cost="2.4e-05",
        )
    ).spent
    assert (spent.answered_model, spent.cost_nanousd) == ("claude-sonnet-5-5", 24_000)


def test_without_headers_model_and_cost_are_unknown_and_not_zero() -> None:
    spent = ask(gateway(completion("hi"))).spent
    assert (spent.answered_model, spent.cost_nanousd) == (None, None)


def test_cached_tokens_are_not_counted_twice() -> None:
    assert ask(gateway(completion("hi"))).spent.usage == Usage(input=100, cache_read=400, output=20)


def test_without_a_key_none_is_sent() -> None:
    server = gateway(completion("hi"))
    ask(server, key="")
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize(("behind", "temperature"), [("claude-haiku-5-5", None), ("claude-haiku-4-5", 0.5)])
def test_temperature_goes_only_to_models_that_take_one(behind: str, temperature: float | None) -> None:
    server = gateway(completion("hi"))
    ask(server, call(model="cheap", temperature=0.5), behind)
    assert sent(server).get("temperature") == temperature


def test_a_schema_is_passed_on() -> None:
    server = gateway(completion("{}"))
    ask(server, call(model="cheap", schema={"type": "object"}))
    assert sent(server)["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (completion("half", "length"), Outcome.CUT),
        (completion(None, "content_filter"), Outcome.REFUSED),
        (completion(None, "stop", refusal="no"), Outcome.REFUSED),
        (completion(None, "tool_calls"), Outcome.BROKEN),
        ({"choices": []}, Outcome.BROKEN),
        ({"choices": 7}, Outcome.BROKEN),
        ({}, Outcome.BROKEN),
    ],
)
def test_only_a_stopped_answer_is_one(body: dict[str, Any], outcome: Outcome) -> None:
    assert fails(body).outcome is outcome


@pytest.mark.parametrize(
    ("status", "outcome", "retry"),
    [
        ("400 Bad Request", Outcome.REJECTED, False),
        ("401 Unauthorized", Outcome.REJECTED, False),
        ("429 Too Many Requests", Outcome.LIMITED, True),
        ("500 Internal Server Error", Outcome.BROKEN, True),
    ],
)
def test_an_error_status_is_told_apart(status: str, outcome: Outcome, retry: bool) -> None:
    found = fails({"error": {"message": f"not with {KEY}"}}, status)
    assert (found.outcome, found.retry) == (outcome, retry)
    assert KEY not in found.detail


def test_a_prompt_that_does_not_fit_is_too_large() -> None:
    error = {"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}
    assert fails(error, "400 Bad Request").outcome is Outcome.TOO_LARGE
