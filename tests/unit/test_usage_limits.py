"""Usage limits in the words of the host and the API, and the times of their resets."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.usage_limits import usage_limit

NOON = 1_795_608_000.0  # Wed, 25 Nov 2026 12:00:00 UTC
HOUR, DAY = 3600, 86400
CLOCK = 60  # a time of day stands for the end of its minute


def at(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def resets_at(text: str, now: float = NOON, **options: float) -> float | None:
    """The reset that a text names; fails where it is no usage limit."""
    found = usage_limit(text, now, **options)
    assert found is not None, text
    return found.resets_at


@pytest.mark.parametrize(
    ("text", "why", "reset"),
    [
        (
            "You've hit your 5-hour limit · resets 4:16pm (Europe/Berlin)",
            "You've hit your 5-hour limit",
            "2026-11-25T15:17:00+00:00",
        ),
        (
            "You've hit your session limit · resets 12am (Asia/Tokyo)",
            "You've hit your session limit",
            "2026-11-25T15:01:00+00:00",
        ),
        (
            "You've hit your weekly limit · resets Nov 28, 2:47am (Europe/Berlin)",
            "You've hit your weekly limit",
            "2026-11-28T01:48:00+00:00",
        ),
        (
            "You've hit your Opus limit · resets Jan 3, 2027, 2:36am (Europe/Berlin)",
            "You've hit your Opus limit",
            "2027-01-03T01:37:00+00:00",
        ),
        (
            "You've hit your Fable limit · resets Nov 27, 2:36am (UTC). Switch to another model to continue.",
            "You've hit your Fable limit. Switch to another model to continue",
            "2026-11-27T02:37:00+00:00",
        ),
        (
            "You've hit your limit · resets Nov 28 at 3pm (UTC)",
            "You've hit your limit",
            "2026-11-28T15:01:00+00:00",
        ),
        (
            "You've hit your org's monthly spend limit · ask your admin · your 5-hour limit resets 3pm (UTC)",
            "You've hit your org's monthly spend limit · ask your admin",
            "2026-11-25T15:01:00+00:00",
        ),
        (
            "You've hit your team's pooled group budget. It resets Dec 1, 1am (UTC). /model to switch models.",
            "You've hit your team's pooled group budget. /model to switch models",
            "2026-12-01T01:01:00+00:00",
        ),
        (
            "You're out of usage credits · resets 3:17pm (UTC)",
            "You're out of usage credits",
            "2026-11-25T15:18:00+00:00",
        ),
        (
            "Claude usage limit reached. Your limit will reset at 1pm (Etc/GMT+5).",
            "Claude usage limit reached",
            "2026-11-25T18:01:00+00:00",
        ),
        ("5-hour limit reached ∙ resets 3pm (UTC)", "5-hour limit reached", "2026-11-25T15:01:00+00:00"),
        ("Claude AI usage limit reached|1795615200", "Claude AI usage limit reached", "2026-11-25T14:00:00+00:00"),
        ("Usage limit reached · resets in 2h 5m", "Usage limit reached", "2026-11-25T14:05:00+00:00"),
        (
            "API Error: 400 You have reached your specified API usage limits. "
            "You will regain access on 2026-12-01 at 00:00 UTC.",
            "You have reached your specified API usage limits",
            "2026-12-01T00:00:00+00:00",
        ),
        (
            "API Error: Request rejected (429) · You have reached your specified workspace API usage limits. "
            "You will regain access on December 1, 2026 at 00:00 UTC.",
            "You have reached your specified workspace API usage limits",
            "2026-12-01T00:00:00+00:00",
        ),
        (
            "API Error: Request rejected (429) · spend limit reached · resets Dec 8 · request an increase at the desk",
            "spend limit reached · request an increase at the desk",
            "2026-12-08T00:00:00+00:00",
        ),
        (
            "API Error: Request rejected (429) · slow down, retry-after: 7200",
            "slow down",
            "2026-11-25T14:00:00+00:00",
        ),
    ],
)
def test_a_limit_is_told_from_its_reset(text: str, why: str, reset: str) -> None:
    found = usage_limit(text, NOON)
    assert found is not None
    assert (found.why, found.resets_at) == (why, at(reset))


@pytest.mark.parametrize(
    "text",
    [
        "Credit balance is too low",
        "You've hit your weekly limit",
        "You've hit your monthly spend limit · raise it at claude.ai/settings/usage",
        "Your usage allocation has been disabled by your admin · ask your admin for a higher limit",
        "Your org is out of usage · contact your admin",
        "Usage is paused for your organization. For help, please contact support.",
        "API Error: Usage credits ran out before the response was finished.",
        "API Error: Server is temporarily limiting requests (not your usage limit) · "
        "This request would exceed your account's monthly spend limit. Please try again later.",
    ],
)
def test_a_limit_may_have_no_time_of_its_reset(text: str) -> None:
    assert resets_at(text) is None


@pytest.mark.parametrize(
    "around",
    [
        "api_error: {}",
        "completed: {}",
        "Agent terminated early due to an API error: {} (error type rate_limit, HTTP 429, request id req_1, model m)",
        'Agent "T-1 IMPLEMENT #1" failed: Agent terminated early due to an API error: {} (error type rate_limit, HTTP',
        "  {}\n",
    ],
)
def test_what_stands_around_the_hosts_words_does_not_matter(around: str) -> None:
    found = usage_limit(around.format("You've hit your weekly limit · resets Nov 28, 3pm (UTC)"), NOON)
    assert found is not None
    assert (found.why, found.resets_at) == ("You've hit your weekly limit", at("2026-11-28T15:01:00+00:00"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "API Error: Request rejected (429) · This request would exceed your account's rate limit. Please try again.",
        "API Error: Server is temporarily limiting requests (not your usage limit) · "
        "Number of request tokens has exceeded your per-minute rate limit",
        "API Error: Request rejected (429) · Rate limited, retry after 59 seconds",
        "API Error: Request rejected (429) · this may be a temporary capacity issue.",
        "API Error: 529 Overloaded. This is a server-side issue, usually temporary",
        "API Error: 500 Internal server error. Try again in 5 minutes.",
        "API Error: Rate limit reached",
        "API Error: Usage credits required for 1M context · run /usage-credits to turn them on",
        "Context limit reached · /compact or /clear to continue",
        "Prompt is too long",
        "Invalid API key · Fix external API key",
        "Not logged in · Please run /login",
        "error: Reached maximum budget ($0.0002)",
        "no end after 900 s (llmOps.timeouts.agentSeconds)",
        "claude ended with exit code -9 and no result",
    ],
)
def test_another_cause_is_no_usage_limit(text: str) -> None:
    assert usage_limit(text, NOON) is None


@pytest.mark.parametrize(
    "text",
    [
        "The page shows: You've hit your weekly limit · resets 3pm",
        "Done. The usage limit reached by the loop is 3.",
        "The handler for 'Credit balance is too low' is missing.",
        "API Error: 400 messages.1: the text You've hit your session limit is not allowed here",
    ],
)
def test_a_text_that_mentions_a_limit_is_not_one(text: str) -> None:
    assert usage_limit(text, NOON) is None


@pytest.mark.parametrize(("status", "counts"), [(429, True), (400, True), (402, True), (401, False), (529, False)])
def test_only_a_status_that_fits_makes_a_limit(status: int, counts: bool) -> None:
    assert (usage_limit("Credit balance is too low", NOON, status) is not None) == counts


@pytest.mark.parametrize(
    "text",
    [
        "Claude AI usage limit reached|1795600000",
        "Claude AI usage limit reached|1899999999",
        "You've hit your weekly limit · resets Jan 25, 2027, 3pm (UTC)",
        "You've hit your weekly limit · resets Nov 24, 3pm (UTC)",
        "You've hit your weekly limit · resets Nov 31, 3pm (UTC)",
        "You've hit your weekly limit · resets 3pm (Middle/Nowhere)",
        "You've hit your weekly limit · resets 25:00pm (UTC)",
        "You've hit your weekly limit · resets soon",
    ],
)
def test_a_reset_that_cannot_be_is_unknown_and_the_hosts_words_stay(text: str) -> None:
    found = usage_limit(text, NOON)
    assert found is not None
    assert (found.why, found.resets_at) == (text, None)


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("You've hit your weekly limit · resets 11:58am (UTC)", True),
        ("You've hit your weekly limit · resets 11:59am (UTC)", True),
        ("You've hit your weekly limit · resets 12pm (UTC)", False),
        ("You've hit your weekly limit · resets 10am (UTC)", False),
        ("You've hit your session limit · resets 10am (UTC)", True),
        ("You've hit your session limit · resets 5pm (UTC)", False),
        ("You've hit your 5-hour limit · resets 5:30pm (UTC)", True),
    ],
)
def test_a_time_of_day_that_is_too_far_ahead_has_just_passed(text: str, passed: bool) -> None:
    assert (resets_at(text) is None) == passed


def test_a_time_without_a_zone_is_local() -> None:
    said = "You've hit your limit · resets 3:45pm"
    assert resets_at(said) == NOON + 3.75 * HOUR + CLOCK
    assert resets_at(said, offset=2.0 * HOUR) == NOON + 1.75 * HOUR + CLOCK


def test_a_time_of_day_may_be_tomorrows() -> None:
    late = at("2026-11-25T23:00:00+00:00")
    assert resets_at("You've hit your session limit · resets 2am (UTC)", late) == late + 3 * HOUR + CLOCK


def test_clocks_are_put_back_in_between() -> None:
    evening = at("2026-10-24T22:30:00+02:00")
    reset = resets_at("You've hit your session limit · resets 2:30am (Europe/Berlin)", evening)
    assert reset == evening + 4 * HOUR + CLOCK
    assert resets_at("You've hit your weekly limit · resets Oct 25, 9pm (Europe/Berlin)", evening) == at(
        "2026-10-25T21:01:00+01:00"
    )


def test_a_date_without_a_year_may_be_next_years() -> None:
    new_years_eve = at("2026-12-31T20:00:00+00:00")
    assert resets_at("You've hit your limit · resets Jan 2 at 8pm (UTC)", new_years_eve) == (
        new_years_eve + 2 * DAY + CLOCK
    )


def test_the_reason_is_one_short_line_without_control_characters() -> None:
    found = usage_limit("Credit balance is too low\x1b[31m\n" + "pay " * 200, NOON)
    assert found is not None
    assert found.why.startswith("Credit balance is too low[31m pay")
    assert (len(found.why), found.why.isprintable()) == (200, True)


_WORDS = (
    "You've hit your limit|usage limit reached| · |resets |in |at |Feb |30|, |2027|am|:|99| (|)|UTC|+99:99|Europe|../x"
)
_PIECES = st.sampled_from([*_WORDS.split("|"), "|", "retry-after: ", "9" * 9, "h ", "(429)", "-02-30T"])


@given(st.lists(_PIECES, max_size=12).map("".join) | st.text(max_size=80))
def test_no_text_breaks_it_and_every_reset_lies_ahead(text: str) -> None:
    found = usage_limit(text, NOON)
    if found is not None and found.resets_at is not None:
        assert NOON < found.resets_at <= NOON + 40 * DAY
