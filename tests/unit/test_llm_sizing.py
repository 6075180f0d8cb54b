"""Token bounds without a tokenizer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.llm.sizing import tokens_about, tokens_at_least
from tests.support.llm import call


@given(st.text(max_size=300), st.text(max_size=50))
def test_the_lower_bound_is_never_above_the_upper(user: str, system: str) -> None:
    assert tokens_at_least(call(user, system=system)) <= tokens_about(call(user, system=system))


@pytest.mark.parametrize("run", [" " * 6000, "=" * 6000, "x" * 6000, "\n" * 6000])
def test_a_run_of_one_sign_proves_nothing(run: str) -> None:
    assert tokens_at_least(call(run)) <= 1


def test_the_system_prompt_counts() -> None:
    assert tokens_at_least(call("a b c", system="some words " * 100)) > 100
