"""What the real Claude Code makes of a usage limit, and that the engine understands it.

A subscription's limit stands in headers of the refusal: the host ends at once and puts the reset into words. With an
API key those headers and `retry-after` are lost: only what the API itself writes is left.

    the API's answer                                  with a key                      with a subscription
    429, unified-representative-claim: five_hour      Request rejected (429) · …      You've hit your 5-hour limit · …
    429, retry-after over a minute                    the same, at once               … (not your usage limit) · …
    400 or 429, "You have reached your specified …"   the API's words after "API Error: …" with either
    400 or 402, "… credit balance is too low …"       Credit balance is too low, with either

2.1.197 says "session limit". A 429 without such headers is asked again, CLAUDE_CODE_MAX_RETRIES times (2.1.197: not
with a subscription), unless it says `x-should-retry: false`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backlog_ops.domain.usage_limits import UsageLimit, usage_limit
from backlog_ops.money.transcripts import read_transcript
from tests.e2e.harness.reply import Answer, Fault, http_fault, tool
from tests.e2e.harness.rules import Rule, Rules
from tests.e2e.harness.run_claude import Lab
from tests.e2e.harness.run_record import Run

HOUR = 3600
RETRIES = {"CLAUDE_CODE_MAX_RETRIES": "4"}  # as the engine's own agents
SUBSCRIPTION = {**RETRIES, "ANTHROPIC_API_KEY": None, "CLAUDE_CODE_OAUTH_TOKEN": "dummy", "TZ": "Asia/Tokyo"}


@pytest.fixture(params=["claude_bin", "older_claude"])
def claude(request: pytest.FixtureRequest) -> Path:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Path)
    return found


@pytest.fixture
def lab(claude: Path) -> Iterator[Lab]:
    """With a subscription."""
    with Lab(environment=SUBSCRIPTION, claude=claude) as made:
        yield made


@pytest.fixture
def lab_with_key(claude_bin: Path) -> Iterator[Lab]:
    with Lab(environment=RETRIES, claude=claude_bin) as made:
        yield made


def five_hour_limit(reset: int) -> Fault:
    return http_fault(
        429,
        "This request would exceed your account's rate limit. Please try again later.",
        anthropic_ratelimit_unified_status="rejected",
        anthropic_ratelimit_unified_representative_claim="five_hour",
        anthropic_ratelimit_unified_reset=reset,
    )


def ask(lab: Lab, answer: Answer) -> Run:
    """`claude -p`, as the engine starts it."""
    scenario = Rules([], default=answer)
    return lab.exec("-p", "--model", "haiku", "--output-format", "json", scenario=scenario, stdin="hi")


def understood(run: Run) -> UsageLimit | None:
    return usage_limit(run.result["result"], time.time(), run.result["api_error_status"])


def in_the_minute_after(limit: UsageLimit | None, reset: int) -> bool:
    return limit is not None and limit.resets_at is not None and reset < limit.resets_at <= reset + 60


def test_a_subscriptions_limit_ends_an_agent_at_once_and_names_its_reset(lab: Lab) -> None:
    reset = int(time.time()) + 3 * HOUR
    run = ask(lab, five_hour_limit(reset))
    assert (run.exit_code, len(run.calls), run.result["is_error"]) == (1, 1, True), run.explain()
    assert run.result["api_error_status"] == 429
    assert in_the_minute_after(understood(run), reset), run.result["result"]


def test_a_spend_limit_is_told_in_the_apis_own_words(lab_with_key: Lab) -> None:
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 10 * 24 * HOUR))
    words = f"You have reached your specified API usage limits. You will regain access on {day} at 00:00 UTC."
    run = ask(lab_with_key, http_fault(400, words))
    assert (run.exit_code, run.result["result"]) == (1, f"API Error: 400 {words}"), run.explain()
    limit = understood(run)
    assert limit is not None and limit.resets_at is not None
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(limit.resets_at)) == f"{day} 00:00:00"


def test_a_long_retry_after_ends_an_agent_at_once_but_its_length_is_lost(lab_with_key: Lab) -> None:
    run = ask(lab_with_key, http_fault(429, "slow down", retry_after=2 * HOUR))
    assert (run.exit_code, len(run.calls)) == (1, 1), run.explain()
    assert run.result["result"] == "API Error: Request rejected (429) · slow down"
    assert understood(run) is None


def test_a_subagent_that_meets_a_limit_leaves_its_reset_in_its_transcript(lab: Lab) -> None:
    reset = int(time.time()) + 3 * HOUR
    seen = lab.root / "stop-failure.json"
    hook = {"hooks": [{"type": "command", "command": f"cat > {seen}"}]}
    start = tool("Agent", description="d", prompt="the task", subagent_type="general-purpose")
    is_subagent = Rule(five_hour_limit(reset), first=lambda said: "the task" in said and "begin" not in said)
    run = lab.claude(
        "begin",
        "--settings",
        json.dumps({"hooks": {"StopFailure": [hook]}}),
        "--allowedTools",
        "Agent",
        scenario=Rules([is_subagent, Rule(start, turn=0)], default="over"),
    )
    assert (run.exit_code, run.result["result"]) == (0, "over"), run.explain()
    (transcript,) = lab.home.glob(".claude/projects/*/*/subagents/agent-*.jsonl")
    said = read_transcript(transcript).error
    assert json.loads(seen.read_text(encoding="utf-8"))["last_assistant_message"] == said
    assert in_the_minute_after(usage_limit(said, time.time()), reset), said
