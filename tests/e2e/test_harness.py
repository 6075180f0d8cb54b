"""The harness itself: what it scripts really happens, and what it does not script fails loudly."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.demo.bill import billed
from tests.e2e.harness.run_claude import Lab
from tests.e2e.harness.stub_anthropic import (
    Fault,
    Reply,
    Rule,
    Rules,
    Scenario,
    StubServer,
    http_fault,
    script,
    text,
    tool,
)

BODY: dict[str, Any] = {
    "model": "claude-haiku-5-5",
    "max_tokens": 10,
    "messages": [{"role": "user", "content": "hello"}],
}
CACHED = BODY | {"system": [{"type": "text", "text": "s" * 4000, "cache_control": {"type": "ephemeral"}}]}


@pytest.fixture
def lab(claude_bin: Path) -> Iterator[Lab]:
    with Lab({"a.txt": "one\n"}) as made:
        yield made


def post(server: StubServer, body: dict[str, Any]) -> tuple[int, str]:
    connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=5)
    connection.request("POST", "/v1/messages", json.dumps(body))
    response = connection.getresponse()
    return response.status, response.read().decode()


def answer(scenario: Scenario, **fields: Any) -> tuple[int, str]:
    with StubServer(scenario) as server:
        return post(server, BODY | fields)


def test_claude_does_what_the_script_says(lab: Lab) -> None:
    run = lab.claude(
        "go",
        "--model",
        "haiku",
        scenario=script([tool("Read", file_path=str(lab.repo / "a.txt"))], "seen"),
    )
    assert (run.exit_code, run.result["result"], run.stub_errors) == (0, "seen", []), run.explain()
    assert "one" in run.calls[1].tool_results[0].text


def test_claude_reports_what_the_stub_billed(lab: Lab) -> None:
    run = lab.claude("go", "--model", "haiku", scenario=script([tool("Read", file_path="a.txt")], "seen"))
    bill = billed(run.calls)["claude-haiku-5-5"]
    used = run.result["modelUsage"]["claude-haiku-5-5"]
    assert round(used["costUSD"] * 1e9) == bill.nanousd
    assert (used["inputTokens"], used["outputTokens"]) == (bill.input, bill.output)
    assert used["cacheReadInputTokens"] == bill.cache_read
    assert used["cacheCreationInputTokens"] == bill.cache_write_5m + bill.cache_write_1h


def test_nothing_of_the_callers_environment_reaches_claude(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "the-real-one")
    run = lab.claude("go", scenario=script("done"))
    assert {call.header("x-api-key") for call in run.calls} == {"dummy"}


def test_a_call_outside_the_script_fails_the_run_and_is_named(lab: Lab) -> None:
    run = lab.claude("surprise", scenario=Rules([]))
    assert run.exit_code == 1
    assert "surprise" in run.stub_errors[0]


def test_what_a_run_leaves_behind_is_named_and_ended(lab: Lab) -> None:
    stray = lab.root / "stray.sh"
    stray.write_text("#!/bin/sh\nsetsid sleep 300 </dev/null >/dev/null 2>&1 &\n", encoding="utf-8")
    stray.chmod(0o755)
    run = lab.claude(
        "go", "--allowedTools", f"Bash({stray})", scenario=script([tool("Bash", command=str(stray))], "done")
    )
    assert run.leftovers == ["sleep 300"], run.explain()


def test_a_plain_answer_and_a_stream_say_the_same() -> None:
    _, plain = answer(script("twelve words"))
    _, stream = answer(script("twelve words"), stream=True)
    assert json.loads(plain)["content"][0]["text"] == "twelve words"
    deltas = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: ")]
    assert "".join(event["delta"]["text"] for event in deltas if "text" in event.get("delta", {})) == "twelve words"
    assert deltas[-1]["type"] == "message_stop"


@pytest.mark.parametrize("status", [400, 401, 429, 529])
def test_an_http_fault_looks_like_the_apis_own(status: int) -> None:
    got, body = answer(lambda request: http_fault(status, "no", retry_after=1))
    assert got == status
    assert json.loads(body)["error"]["message"] == "no"


def test_a_truncated_stream_never_says_that_it_is_complete() -> None:
    _, stream = answer(lambda request: Fault("truncate", after=3), stream=True)
    assert "message_start" in stream
    assert "message_stop" not in stream


def test_a_reset_gives_no_answer() -> None:
    with pytest.raises(OSError):
        answer(lambda request: Fault("reset"))


def test_the_second_call_reads_the_prefix_that_the_first_one_cached() -> None:
    with StubServer(script()) as server:
        first, second = (json.loads(post(server, CACHED)[1])["usage"] for _ in range(2))
    assert first["cache_read_input_tokens"] == 0
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"] + first["input_tokens"]


def test_without_a_cache_mark_nothing_is_cached() -> None:
    with StubServer(script()) as server:
        usages = [json.loads(post(server, BODY)[1])["usage"] for _ in range(2)]
    assert {usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"] for usage in usages} == {0}


def test_rules_deal_their_answers_out_in_order_and_repeat_the_last() -> None:
    rules = Rules([Rule(last="hello", each=["one", Reply([text("two")])])])
    with StubServer(rules) as server:
        texts = [json.loads(post(server, BODY)[1])["content"][0]["text"] for _ in range(3)]
    assert texts == ["one", "two", "two"]
