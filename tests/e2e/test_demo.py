"""The demo: a real backlog becomes reviewed commits, and its ledger is what the API billed, whoever drives."""

import pytest

from tests.e2e.conftest import DemoRun
from tests.e2e.demo.checks import CHECKS, Check

DRIVERS = ("headless", "terminal")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_holds_at_the_end_of_the_demo(demo: DemoRun, driver: str, check: Check) -> None:
    problems = demo.drivers[driver]["problems"]
    assert check.__name__ not in problems, f"{problems[check.__name__]}\n\n{demo.output}"


def test_both_drivers_end_with_the_same_tree_and_the_same_messages(demo: DemoRun) -> None:
    assert demo.same, [demo.drivers[driver]["results"] for driver in DRIVERS]


def test_the_demo_exits_0(demo: DemoRun) -> None:
    assert demo.exit_code == 0, demo.output


def test_the_first_line_of_the_demo_says_that_a_script_stands_in_for_the_models(demo: DemoRun) -> None:
    assert "script stands in for the models" in demo.output.splitlines()[0]


def test_the_demo_says_that_haiku_failed_and_sonnet_took_over(demo: DemoRun) -> None:
    assert "Haiku failed on BUG-001 at LINT. Escalated to Sonnet." in demo.output


def test_the_demo_shows_what_each_way_costs(demo: DemoRun) -> None:
    assert demo.output.count("\ngates ") == 2
    assert demo.output.count("\nparent session ") == 1
