"""Ollama's native API: against recordings of the real server, byte for byte, and against the stand-in."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.domain.pricing import Usage
from backlog_ops.llm.ollama import Ollama
from backlog_ops.llm.types import Allowance, AttemptError, Call, Outcome, Reply, Turn
from tests.support.llm import allowance, call, nobody
from tests.support.ollama_standin import Fault, Model, OllamaStandin, refused_url
from tests.support.raw_http import RawServer, response

FIXTURES = Path(__file__).parents[1] / "fixtures" / "ollama"

WORDS = "answassistanI fal scor answ scor war value not r answ"
ANSWERS = {
    "chat": WORDS,
    "chat-stream": WORDS,
    "chat-repeat": WORDS,
    "chat-num-ctx-256": WORDS,
    "chat-unknown-option": WORDS,
    "chat-format-json": None,  # any text: the test compares with the recording
    "chat-format-schema": None,
    "chat-format-schema-stream": None,
    "tpl-chat": "answ scor thre",
}
FAILURES = {
    "chat-after-runner-killed": Outcome.CUT,
    "chat-format-schema-cut": Outcome.CUT,
    "chat-generation-past-ctx": Outcome.CUT,
    "chat-generation-past-ctx-shift-false": Outcome.CUT,
    "chat-logprobs": Outcome.CUT,
    "chat-num-predict-3": Outcome.CUT,
    "err-chat-bad-role": Outcome.CUT,
    "chat-keepalive-0": Outcome.EMPTY,
    "chat-load-only": Outcome.EMPTY,
    "chat-debug-render": Outcome.BROKEN,
    "chat-stream-runner-killed": Outcome.BROKEN,
    "err-chat-runner-killed": Outcome.BROKEN,
    "err-chat-queue-full": Outcome.BROKEN,
    "err-chat-bad-option": Outcome.BROKEN,
    "err-chat-format-bad": Outcome.BROKEN,
    "chat-overlong-default-ctx": Outcome.TOO_LARGE,
    "chat-overlong-history": Outcome.TOO_LARGE,
    "chat-overlong-history-truncate-false": Outcome.TOO_LARGE,
    "chat-overlong-single": Outcome.TOO_LARGE,
    "chat-overlong-single-stream": Outcome.TOO_LARGE,
    "chat-overlong-truncate-false": Outcome.TOO_LARGE,
    "tpl-chat-overlong-single": Outcome.TOO_LARGE,
    "err-chat-bad-json": Outcome.REJECTED,
    "err-chat-bad-json2": Outcome.REJECTED,
    "err-chat-empty-body": Outcome.REJECTED,
    "err-chat-format-bad-schema": Outcome.REJECTED,
    "err-chat-grammar-too-big": Outcome.REJECTED,
    "err-chat-invalid-model-name": Outcome.REJECTED,
    "err-chat-no-model": Outcome.REJECTED,
    "err-chat-think": Outcome.REJECTED,
    "err-chat-tools": Outcome.REJECTED,
    "err-chat-unknown-model": Outcome.REJECTED,
    "err-chat-unknown-model-stream": Outcome.REJECTED,
    "err-chat-unknown-model-tagged": Outcome.REJECTED,
    "err-chat-wrong-type": Outcome.REJECTED,
    "err-chat-wrong-type-options": Outcome.REJECTED,
}


def recording(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return found


def recorded_bytes(name: str) -> bytes:
    """The response as it came off the socket; put together again where only its parts were kept."""
    kept = recording(name)["response"]
    if "raw_http_base64" in kept:
        return base64.b64decode(kept["raw_http_base64"])
    head = "\r\n".join([kept["status_line"], *(f"{key}: {value}" for key, value in kept["headers"]), "", ""])
    chunks = [chunk.encode() for chunk in kept["chunks"]]
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


def recorded_call(name: str) -> Call:
    body = recording(name)["request"]["body"]
    messages = body.get("messages") if isinstance(body, dict) else None
    turns = [turn for turn in messages or [] if isinstance(turn, dict)]
    system = "\n".join(turn["content"] for turn in turns if turn["role"] == "system")
    asked = tuple(Turn(turn["role"], turn["content"]) for turn in turns if turn["role"] != "system")
    return Call("tiny", system, asked or (Turn("user", "hi"),))


def replayed(name: str) -> Reply:
    """What the client makes of a recorded answer to /api/chat."""
    by_path = {"/api/ps": "ps-loaded", "/api/show": "show", "/api/chat": name}
    with RawServer(lambda line: [recorded_bytes(by_path[line.split()[1]])]) as server:
        return Ollama(server.base_url).call(recorded_call(name), allowance(), nobody)


def ask(server: OllamaStandin, asked: Call | None = None, within: Allowance | None = None) -> Reply:
    return Ollama(server.base_url).call(asked or call(), within or allowance(), nobody)


def fails(server: OllamaStandin, asked: Call | None = None, within: Allowance | None = None) -> AttemptError:
    with pytest.raises(AttemptError) as raised:
        ask(server, asked, within)
    return raised.value


def answering(text: str, **options: Any) -> OllamaStandin:
    return OllamaStandin(lambda _: text, **options)


# -- recordings


def test_every_recorded_chat_has_an_expected_outcome() -> None:
    assert {*ANSWERS, *FAILURES} == {path.stem for path in FIXTURES.glob("*chat*.json")}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_recorded_answer_is_read_as_it_was_given(name: str) -> None:
    body = recording(name)["response"]["body"]
    said = "".join(json.loads(line)["message"]["content"] for line in body.splitlines() if line)
    assert replayed(name).text == said.lstrip()
    assert ANSWERS[name] in (None, said.strip())


def test_a_recorded_answer_comes_with_model_and_counts() -> None:
    spent = replayed("chat").spent
    assert (spent.answered_model, spent.usage) == ("tiny", Usage(input=25, output=13))


@pytest.mark.parametrize(("name", "outcome"), FAILURES.items())
def test_a_recorded_failure_is_never_taken_for_an_answer(name: str, outcome: Outcome) -> None:
    with pytest.raises(AttemptError) as raised:
        replayed(name)
    assert raised.value.outcome is outcome


@pytest.mark.parametrize(
    ("show", "outcome"), [("err-show-unknown-model", Outcome.REJECTED), ("err-bad-host", Outcome.REJECTED)]
)
def test_a_recorded_refusal_of_the_model_ends_the_call(show: str, outcome: Outcome) -> None:
    by_path = {"/api/ps": "ps-empty", "/api/show": show}
    with (
        RawServer(lambda line: [recorded_bytes(by_path[line.split()[1]])]) as server,
        pytest.raises(AttemptError) as raised,
    ):
        Ollama(server.base_url).call(call(), allowance(), nobody)
    assert raised.value.outcome is outcome


# -- requests


def test_the_request_forbids_silent_cutting_and_forgetting() -> None:
    with answering("yes") as server:
        ask(server)
    assert server.chats[0]["truncate"] is False
    assert server.chats[0]["shift"] is False


def test_system_user_and_options_are_sent() -> None:
    with answering("yes") as server:
        ask(server, call("u", system="s", max_tokens=7, temperature=0.5, schema={"type": "string"}))
    sent = server.chats[0]
    assert sent["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert sent["format"] == {"type": "string"}
    assert (sent["options"]["num_predict"], sent["options"]["temperature"]) == (7, 0.5)


def test_thinking_is_turned_off_only_where_the_model_can_think() -> None:
    models = {"qwen3:8b": Model(capabilities=("completion", "thinking")), "tiny:latest": Model()}
    with answering("yes", models=models) as server:
        ask(server)
        ask(server, call(model="tiny"))
    assert [chat.get("think") for chat in server.chats] == [False, None]


@pytest.mark.parametrize(
    ("characters", "max_tokens", "context"),
    [(100, None, 8192), (100, 100, 4096), (30_000, None, 16_384), (100_000, None, 40_960), (100, 30_000, 32_768)],
)
def test_the_context_is_sized_from_prompt_and_answer_in_few_steps(
    characters: int, max_tokens: int | None, context: int
) -> None:
    with answering("yes") as server:
        ask(server, call("word " * (characters // 5), max_tokens=max_tokens))
    assert server.chats[0]["options"]["num_ctx"] == context


def test_a_loaded_model_that_is_large_enough_is_not_loaded_anew() -> None:
    with answering("yes") as server:
        server.loaded["qwen3:8b"] = 20_000
        ask(server)
    assert server.chats[0]["options"]["num_ctx"] == 20_000


def test_a_loaded_model_that_is_too_small_is_loaded_anew() -> None:
    with answering("yes") as server:
        server.loaded["qwen3:8b"] = 2048
        ask(server)
    assert server.chats[0]["options"]["num_ctx"] == 8192


def test_a_prompt_of_more_tokens_than_estimated_gets_a_larger_context() -> None:
    error = {"type": "exceed_context_size_error", "n_prompt_tokens": 12_000, "n_ctx": 8192}
    too_small = Fault("http", 400, json.dumps({"error": error}))
    answers = iter([too_small, "yes"])
    with OllamaStandin(lambda _: next(answers)) as server:
        assert ask(server).text == "yes"
    assert [chat["options"]["num_ctx"] for chat in server.chats] == [8192, 16_384]


def test_a_prompt_that_cannot_fit_is_not_sent() -> None:
    with answering("yes", models={"qwen3:8b": Model(context_length=2048)}) as server:
        assert fails(server, call("many words " * 5000)).outcome is Outcome.TOO_LARGE
    assert server.chats == []


def test_a_prompt_that_does_not_fit_after_all_is_too_large() -> None:
    with answering("yes", models={"qwen3:8b": Model(context_length=2048)}) as server:
        assert fails(server, call("many words " * 900)).outcome is Outcome.TOO_LARGE
    assert len(server.chats) == 1


# -- answers


def test_an_answer_arrives_piece_by_piece() -> None:
    pieces: list[str] = []
    with answering("a rather long answer") as server:
        Ollama(server.base_url).call(call(), allowance(), pieces.append)
    assert len(pieces) > 1
    assert "".join(pieces) == "a rather long answer"


def test_thoughts_are_neither_answered_nor_shown() -> None:
    pieces: list[str] = []
    with answering("<think>hm <think>deep</think></think>\nanswer") as server:
        assert Ollama(server.base_url).call(call(), allowance(), pieces.append).text == "answer"
    assert "".join(pieces) == "answer"


def test_thoughts_that_a_template_began_are_not_shown_either() -> None:
    pieces: list[str] = []
    models = {"qwen3:8b": Model(template="{{ .Prompt }}<think>\n")}
    with answering("hm, let me see\n</think>\nanswer", models=models) as server:
        assert Ollama(server.base_url).call(call(), allowance(), pieces.append).text == "answer"
    assert pieces == []


def test_an_answer_cut_by_its_limit_is_none() -> None:
    with answering("a rather long answer that goes on") as server:
        assert fails(server, call(max_tokens=3)).outcome is Outcome.CUT


@pytest.mark.parametrize(
    ("fault", "outcome", "retry"),
    [
        (Fault("http", 500), Outcome.BROKEN, True),
        (Fault("http", 503, "server busy, please try again."), Outcome.BROKEN, True),
        (Fault("error_line"), Outcome.BROKEN, True),
        (Fault("cut"), Outcome.BROKEN, True),
        (Fault("reset"), Outcome.BROKEN, True),
        (Fault("stall"), Outcome.TIMEOUT, False),
        (Fault("hang"), Outcome.TIMEOUT, False),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_a_fault_is_told_apart(fault: Fault, outcome: Outcome, retry: bool) -> None:
    with OllamaStandin(lambda _: fault) as server:
        found = fails(server, within=allowance(idleSeconds=0.2, firstByteColdSeconds=0.2))
    assert (found.outcome, found.retry) == (outcome, retry)


def test_a_cold_model_is_given_more_time_than_a_warm_one() -> None:
    limits = {"firstByteWarmSeconds": 0.1, "firstByteColdSeconds": 0.4}
    with OllamaStandin(lambda _: Fault("hang")) as server:
        assert "0.4 s" in fails(server, within=allowance(**limits)).detail  # and loads it
        assert "0.1 s" in fails(server, within=allowance(**limits)).detail


def test_an_ollama_that_is_down_says_how_to_start_it_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(AttemptError, match="ollama serve") as raised:
        Ollama(refused_url()).call(call(), allowance(), nobody)
    assert raised.value.outcome is Outcome.UNREACHABLE
    assert time.monotonic() - began < 1


def test_an_ollama_that_hangs_is_given_up_before_the_model_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backlog_ops.llm.ollama.METADATA_SECONDS", 0.2)
    with answering("yes", metadata_hangs=True) as server:
        found = fails(server)
    assert found.outcome is Outcome.UNREACHABLE
    assert "does not answer" in found.detail
    assert found.closes_endpoint


def test_a_model_that_is_not_there_says_how_to_get_it() -> None:
    with answering("yes") as server:
        found = fails(server, call(model="llama3.2:3b"))
    assert found.outcome is Outcome.REJECTED
    assert "ollama pull llama3.2:3b" in found.detail


def test_the_local_tier_is_bounded_in_seconds() -> None:
    with OllamaStandin(lambda _: Fault("hang")) as server:
        began = time.monotonic()
        assert fails(server, within=allowance(seconds=30, share=0.3)).outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 5


def test_the_prompt_never_stands_in_an_error() -> None:
    prompt = "the secret recipe of the house"
    with OllamaStandin(lambda _: Fault("http", 400, f"cannot parse: {prompt}")) as server:
        assert "secret recipe" not in fails(server, call(prompt)).detail


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{]", b"\xff\xfe", b'{"models": 7}', b'{"models": [3]}'])
def test_something_else_on_the_port_is_no_traceback(body: bytes) -> None:
    with (
        RawServer(lambda _: [response("200 OK", body)]) as server,
        pytest.raises(AttemptError) as raised,
    ):
        Ollama(server.base_url).call(call(), allowance(), nobody)
    assert raised.value.outcome in (Outcome.REJECTED, Outcome.BROKEN)
