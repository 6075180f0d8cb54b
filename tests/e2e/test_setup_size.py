"""What an agent costs before it does any work: the first call's bytes, at four a token."""

import sys

import pytest

from tests.e2e.conftest import DemoRun

LIMITS = {"implementer": 3_300, "reviewer": 1_900}


@pytest.mark.parametrize("role", LIMITS)
def test_the_first_call_carries_little_set_up(demo: DemoRun, role: str, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = demo.drivers["headless"]["first_calls"][role]
    with capsys.disabled():  # a number to watch, in passing runs too
        print(f"\nfirst call, {role}: {max(tokens):,} tokens, limit {LIMITS[role]:,}", file=sys.stderr)
    assert max(tokens) <= LIMITS[role]
