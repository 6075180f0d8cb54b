"""The chain: who is asked when, what is tried again, what ends it, and what is known of it afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.domain.gates import Tier
from backlog_ops.errors import (
    BacklogError,
    NoAnswerError,
    PromptTooLargeError,
    SchemaError,
    UnreachableError,
    UsageError,
)
from backlog_ops.llm.chain import MAX_RETRIES, ask, chain_of
from backlog_ops.llm.types import Answer, Attempt, ChainError, Outcome, Prompt
from tests.e2e.harness.stub_anthropic import Fault as ApiFault
from tests.e2e.harness.stub_anthropic import Reply, Req, StubServer, http_fault, text
from tests.support.fake_claude import fake_claude, result
from tests.support.llm import PRICES, TODAY, RestlessClock, ops
from tests.support.ollama_standin import Fault, Model, OllamaStandin, Scenario, refused_url
from tests.support.openai_gateway import completion, gateway

ASK = Prompt(system="", user="What is it?")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ASK_JSON = Prompt(system="", user="What is it?", schema=SCHEMA)
Api = Callable[[Req], Any]


class World:
    """An Ollama and an API on loopback, both scripted, and what a caller saw of asking them."""

    def __init__(self, ollama: OllamaStandin, api: StubServer) -> None:
        self.ollama, self.api = ollama, api
        self.environ = {"ANTHROPIC_API_KEY": "dummy", "ANTHROPIC_BASE_URL": api.base_url, "PATH": ""}
        self.limits: dict[str, float] = {}
        self.local: dict[str, float] = {}
        self.gateway = ""
        self.clock = RestlessClock()
        self.attempts: list[Attempt] = []
        self.shown: list[str] = []

    def ask(self, prompt: Prompt = ASK, tier: Tier = Tier.FREE, **options: Any) -> Answer:
        return ask(
            prompt,
            chain_of(tier),
            ops(self.ollama.base_url, self.gateway, timeouts=self.limits, local=self.local),
            environ=self.environ,
            prices=PRICES,
            on_attempt=self.attempts.append,
            clock=self.clock.clock(),
            **options,
        )

    def fails(
        self, kind: type[BacklogError], prompt: Prompt = ASK, tier: Tier = Tier.FREE, **options: Any
    ) -> ChainError:
        with pytest.raises(kind) as raised:
            self.ask(prompt, tier, **options)
        assert isinstance(raised.value, ChainError)
        return raised.value

    def trail(self) -> list[str]:
        return [f"{a.tier} {a.provider} {a.outcome}" for a in self.attempts]


@pytest.fixture
def world() -> Iterator[Callable[..., World]]:
    """world(ollama scenario, api scenario): each a constant answer or a callable."""
    started: list[Any] = []

    def start(ollama: Any = "local", api: Any = "remote", **options: Any) -> World:
        local: Scenario = ollama if callable(ollama) else lambda _: ollama
        remote: Api = api if callable(api) else lambda _: api
        servers = (OllamaStandin(local, **options), StubServer(remote))
        for server in servers:
            started.append(server.__enter__())
        return World(*servers)

    yield start
    for server in started:
        server.__exit__(None, None, None)


def one_after_another(*answers: Any) -> Callable[[Any], Any]:
    """A scenario that gives its answers in order."""
    left = iter(answers)
    return lambda _: next(left)


# -- falling back


def test_a_local_answer_asks_nobody_else(world: Callable[..., World]) -> None:
    w = world()
    assert w.ask().text == "local"
    assert w.trail() == ["free ollama answered"]
    assert w.api.calls == []


@pytest.mark.parametrize("local", ["local", "", Fault("error_line"), Fault("hang")])
def test_a_local_attempt_is_free_and_known_to_be_whatever_comes_of_it(world: Callable[..., World], local: Any) -> None:
    w = world(local)
    w.limits = {"firstByteColdSeconds": 0.2}
    w.ask()
    assert w.attempts[0].cost_nanousd == 0


@pytest.mark.parametrize(
    ("local", "outcome"),
    [
        (Fault("error_line"), "broken"),
        ("", "empty"),
        (" \n", "empty"),
        ("null", "empty"),
        ("<think>and nothing else</think>", "empty"),
        (Fault("http", 404, "model 'qwen3:8b' not found"), "rejected"),
    ],
)
def test_no_local_answer_falls_to_cheap(world: Callable[..., World], local: Any, outcome: str) -> None:
    w = world(local)
    assert w.ask().text == "remote"
    assert w.trail()[0] == f"free ollama {outcome}"
    assert w.trail()[-1] == "cheap anthropic answered"


def test_a_model_that_is_not_pulled_falls_to_cheap(world: Callable[..., World]) -> None:
    w = world(models={"other:latest": Model()})
    assert w.ask().text == "remote"
    assert "ollama pull" in w.attempts[0].detail


def test_an_ollama_that_is_down_falls_to_cheap(world: Callable[..., World]) -> None:
    w = world()
    w.ollama.base_url = refused_url()
    assert w.ask().text == "remote"
    assert w.trail() == ["free ollama unreachable", "cheap anthropic answered"]


def test_cheap_falls_to_balanced(world: Callable[..., World]) -> None:
    w = world(api=one_after_another(Reply([text("no")], stop_reason="refusal"), "balanced"))
    assert w.ask(tier=Tier.CHEAP).text == "balanced"
    assert w.trail() == ["cheap anthropic refused", "cheap claude-cli skipped", "balanced anthropic answered"]


def test_a_paid_answer_is_priced_by_the_table_of_its_day(world: Callable[..., World]) -> None:
    w = world(
        api=Reply(
            [text("x")],
            usage={
                "input_tokens": 1000,
                "cache_creation_input_tokens": 0,
                "cache_creation": {},
                "cache_read_input_tokens": 0,
                "output_tokens": 100,
            },
        )
    )
    attempt = w.ask(tier=Tier.CHEAP).attempts[-1]
    assert attempt.usage is not None
    assert attempt.cost_nanousd == PRICES.cost("claude-haiku-5-5", attempt.usage, TODAY) is not None
    assert attempt.price_date == PRICES.date


def test_a_model_without_a_price_costs_unknown_and_not_zero(world: Callable[..., World]) -> None:
    attempt = world(api=Reply([text("x")], model="claude-tomorrow-9")).ask(tier=Tier.CHEAP).attempts[-1]
    assert attempt.answered_model == "claude-tomorrow-9"
    assert (attempt.cost_nanousd, attempt.price_date) == (None, None)


def test_the_gateway_goes_first_where_there_is_one(world: Callable[..., World]) -> None:
    w = world()
    with gateway(completion("by gateway"), x_litellm_response_cost="1e-06") as server:
        w.gateway = server.base_url
        answer = w.ask(tier=Tier.CHEAP)
    assert answer.text == "by gateway"
    assert (answer.attempts[-1].asked_model, answer.attempts[-1].cost_nanousd) == ("cheap", 1_000)
    assert w.api.calls == []


def test_a_gateway_that_is_down_leads_to_the_api(world: Callable[..., World]) -> None:
    w = world()
    w.gateway = refused_url()
    assert w.ask(tier=Tier.CHEAP).text == "remote"


def test_the_users_own_claude_answers_where_there_is_no_key(world: Callable[..., World], tmp_path: Path) -> None:
    w = world()
    w.ollama.base_url = refused_url()
    w.environ = {"CLAUDE_BIN": str(fake_claude(tmp_path, result("by claude")).path), "PATH": ""}
    assert w.ask().text == "by claude"
    assert w.trail()[-1] == "cheap claude-cli answered"


# -- nobody


def test_nobody_names_every_attempt_and_what_to_do(world: Callable[..., World]) -> None:
    w = world()
    w.ollama.base_url = refused_url()
    w.environ = {"PATH": ""}
    error = w.fails(UnreachableError)
    assert error.exit_code == 4
    assert [attempt.provider for attempt in error.attempts] == ["ollama", "anthropic", "claude-cli"]
    told = "\n".join(error.details)
    assert all(remedy in told for remedy in ("ollama serve", "set ANTHROPIC_API_KEY", "CLAUDE_BIN"))


def test_offline_asks_nobody_beyond_this_machine(world: Callable[..., World]) -> None:
    w = world(Fault("http", 404, "gone"))
    w.fails(UnreachableError, offline=True)
    assert w.api.calls == []


def test_only_refusals_end_with_no_answer(world: Callable[..., World]) -> None:
    w = world("", Reply([text("half")], stop_reason="max_tokens"))
    assert w.fails(NoAnswerError).exit_code == 7


def test_a_prompt_too_large_for_all_says_so(world: Callable[..., World]) -> None:
    w = world(api=http_fault(413, "too large"), models={"qwen3:8b": Model(context_length=64)})
    assert w.fails(PromptTooLargeError, Prompt("", "some words " * 500)).exit_code == 8


def test_a_prompt_too_large_for_the_local_model_falls_to_cheap(world: Callable[..., World]) -> None:
    w = world(models={"qwen3:8b": Model(context_length=64)})
    assert w.ask(Prompt("", "some words " * 500)).text == "remote"
    assert w.trail()[0] == "free ollama too_large"


# -- again


@pytest.mark.parametrize("status", [429, 500, 529])
def test_a_passing_trouble_is_waited_out(world: Callable[..., World], status: int) -> None:
    w = world(api=one_after_another(http_fault(status, retry_after=3), "remote"))
    assert w.ask(tier=Tier.CHEAP).text == "remote"
    assert w.clock.slept == [3.0]


def test_without_retry_after_the_waits_grow(world: Callable[..., World]) -> None:
    w = world(api=one_after_another(http_fault(529), http_fault(529), "remote"))
    assert w.ask(tier=Tier.CHEAP).text == "remote"
    first, second = w.clock.slept
    assert 0.25 <= first <= 0.5 <= second <= 1


def test_retries_are_bounded(world: Callable[..., World]) -> None:
    w = world(api=http_fault(500))
    w.fails(UnreachableError, tier=Tier.BALANCED)
    assert len(w.api.calls) == 1 + MAX_RETRIES


def test_a_wait_beyond_the_time_left_moves_on_at_once(world: Callable[..., World]) -> None:
    w = world(api=http_fault(429, retry_after=3600))
    w.fails(UnreachableError, tier=Tier.BALANCED)
    assert w.clock.slept == []
    assert len(w.api.calls) == 1


def test_a_request_that_is_wrong_is_not_sent_again(world: Callable[..., World]) -> None:
    w = world(api=http_fault(400, "odd"))
    w.fails(UnreachableError, tier=Tier.BALANCED)
    assert len(w.api.calls) == 1


def test_a_refused_key_is_not_tried_on_the_next_tier(world: Callable[..., World]) -> None:
    w = world(api=http_fault(401, "invalid x-api-key"))
    w.fails(UnreachableError, tier=Tier.CHEAP)
    assert len(w.api.calls) == 1


# -- schema and check


def test_an_answer_that_passes_the_schema_comes_parsed(world: Callable[..., World]) -> None:
    assert world('{"n": 3}').ask(ASK_JSON).parsed == {"n": 3}


def test_a_code_fence_around_the_json_is_no_fault(world: Callable[..., World]) -> None:
    answer = world('```json\n{"n": 3}\n```').ask(ASK_JSON)
    assert (answer.text, answer.parsed) == ('{"n": 3}', {"n": 3})


def test_an_invalid_answer_gets_one_repair_turn_that_names_the_fault(world: Callable[..., World]) -> None:
    w = world(one_after_another('{"n": "three"}', '{"n": 3}'))
    assert w.ask(ASK_JSON).parsed == {"n": 3}
    assert w.trail() == ["free ollama invalid", "free ollama answered"]
    repair = w.ollama.chats[1]["messages"]
    assert repair[-2]["content"] == '{"n": "three"}'
    assert "$.n: 'three' is not of type 'integer'" in repair[-1]["content"]


def test_a_second_invalid_answer_leads_to_the_next(world: Callable[..., World]) -> None:
    w = world("not json", '{"n": 3}')
    assert w.ask(ASK_JSON).parsed == {"n": 3}
    assert w.trail() == ["free ollama invalid", "free ollama invalid", "cheap anthropic answered"]


def test_only_invalid_answers_end_with_the_schema_error(world: Callable[..., World]) -> None:
    assert world("not json", "nor this").fails(SchemaError, ASK_JSON).exit_code == 5


def test_an_answer_that_echoes_the_schema_is_a_failure(world: Callable[..., World]) -> None:
    w = world('{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "n": 1}', '{"n": 3}')
    assert w.ask(ASK_JSON).parsed == {"n": 3}


def test_the_callers_check_is_repaired_like_the_schema(world: Callable[..., World]) -> None:
    w = world(one_after_another('{"n": 3}', '{"n": 4}'))
    answer = w.ask(ASK_JSON, accept=lambda _, parsed: "n must be even" if parsed["n"] % 2 else None)
    assert answer.parsed == {"n": 4}
    assert "n must be even" in w.ollama.chats[1]["messages"][-1]["content"]


def test_the_callers_check_works_without_a_schema(world: Callable[..., World]) -> None:
    answer = world("bad", "good").ask(accept=lambda text, _: None if text == "good" else "say good")
    assert answer.text == "good"


def test_a_schema_that_is_none_asks_nobody(world: Callable[..., World]) -> None:
    w = world()
    with pytest.raises(UsageError):
        w.ask(Prompt("", "x", schema={"type": "nonsense"}))
    assert w.ollama.chats == []


# -- text as it arrives


def test_text_is_shown_as_it_arrives(world: Callable[..., World]) -> None:
    w = world("a rather long answer")
    answer = w.ask(on_text=w.shown.append)
    assert len(w.shown) > 1
    assert "".join(w.shown) == answer.text


def test_nothing_is_shown_of_an_answer_that_may_still_be_thrown_away(world: Callable[..., World]) -> None:
    w = world("not json", '{"n": 3}')
    w.ask(ASK_JSON, on_text=w.shown.append)
    assert w.shown == ['{"n": 3}']


@pytest.mark.parametrize("local", ["", " \n ", "null", Fault("http", 500)])
def test_nothing_is_shown_of_an_answer_that_is_none(world: Callable[..., World], local: Any) -> None:
    w = world(local)
    w.ask(on_text=w.shown.append)
    assert w.shown == ["remote"]


def test_an_answer_that_begins_like_null_is_shown_whole(world: Callable[..., World]) -> None:
    w = world("null and void")
    w.ask(on_text=w.shown.append)
    assert "".join(w.shown) == "null and void"


def test_after_half_an_answer_was_shown_nobody_else_begins_another(world: Callable[..., World]) -> None:
    w = world(Fault("cut", after=3))
    w.fails(NoAnswerError, on_text=w.shown.append)
    assert w.shown
    assert w.api.calls == []


# -- time


def test_a_hanging_local_model_leaves_time_for_the_next(world: Callable[..., World]) -> None:
    w = world(Fault("hang"))
    began = time.monotonic()
    assert w.ask(timeout=2).text == "remote"
    assert time.monotonic() - began < 2
    assert w.trail() == ["free ollama timeout", "cheap anthropic answered"]


def test_the_local_tier_has_a_bound_of_its_own(world: Callable[..., World]) -> None:
    w = world(Fault("hang"))
    w.local = {"maxSeconds": 0.3}
    began = time.monotonic()
    assert w.ask(timeout=60).text == "remote"
    assert time.monotonic() - began < 10


def test_everything_hanging_ends_at_the_deadline(world: Callable[..., World]) -> None:
    w = world(Fault("hang"), ApiFault("hang"))
    began = time.monotonic()
    w.fails(UnreachableError, timeout=1)
    assert time.monotonic() - began < 3


def test_an_api_that_hangs_is_not_asked_again_for_the_next_tier(world: Callable[..., World]) -> None:
    w = world(api=ApiFault("hang"))
    w.limits = {"firstByteColdSeconds": 0.2}
    w.fails(UnreachableError, tier=Tier.CHEAP)
    assert len(w.api.calls) == 1


# -- what stays private


def test_neither_key_nor_prompt_stands_in_any_attempt(world: Callable[..., World]) -> None:
    secret = "the secret recipe of the house"
    w = world(Fault("http", 400, f"bad: {secret}"), http_fault(401, f"bad: {secret} dummy-key-123"))
    w.environ["ANTHROPIC_API_KEY"] = "dummy-key-123"
    error = w.fails(UnreachableError, Prompt("", secret))
    told = error.message + "".join(error.details)
    assert "secret recipe" not in told
    assert "dummy-key-123" not in told


def test_an_attempt_that_no_model_worked_on_is_told_from_one_that_may_cost(world: Callable[..., World]) -> None:
    w = world("", http_fault(400, "odd"))
    w.fails(NoAnswerError)
    assert [a.reached_model for a in w.attempts if a.outcome is not Outcome.SKIPPED] == [True, False, False]
