"""What an HTTP status means for the chain."""

import pytest

from backlog_ops.llm.http_failures import failure, retry_after
from backlog_ops.llm.types import Outcome

NOON = 1_795_694_400.0  # Thu, 26 Nov 2026 12:00:00 GMT


@pytest.mark.parametrize(
    ("status", "outcome", "retry", "closes"),
    [
        (302, Outcome.REJECTED, False, True),
        (400, Outcome.REJECTED, False, False),
        (401, Outcome.REJECTED, False, True),
        (402, Outcome.REJECTED, False, True),
        (403, Outcome.REJECTED, False, True),
        (404, Outcome.REJECTED, False, False),
        (408, Outcome.BROKEN, True, False),
        (429, Outcome.LIMITED, True, False),
        (500, Outcome.BROKEN, True, False),
        (503, Outcome.BROKEN, True, False),
        (529, Outcome.BROKEN, True, False),
    ],
)
def test_a_status_decides(status: int, outcome: Outcome, retry: bool, closes: bool) -> None:
    found = failure("here", status, {}, "said", now=NOON)
    assert (found.outcome, found.retry, found.closes_endpoint) == (outcome, retry, closes)


def test_a_spend_limit_is_final() -> None:
    found = failure("here", 429, {}, "", now=NOON, final=True)
    assert not found.retry
    assert found.closes_endpoint


def test_a_server_that_says_not_to_try_again_is_believed() -> None:
    assert not failure("here", 500, {"x-should-retry": "false"}, "", now=NOON).retry


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 26 Nov 2026 12:00:07 GMT"}, 7.0),
        ({"retry-after": "Thu, 26 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOON) == seconds
