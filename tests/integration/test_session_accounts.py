"""Early counts of output, and what the host counts in the end."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from backlog_ops.domain.pricing import Usage
from backlog_ops.run import session_receipts
from backlog_ops.run.session_receipts import GIVE_UP_SECONDS
from tests.support.hook_events import HAIKU, OPUS, SONNET
from tests.support.paper_run import PRICES, PaperRun, run, start


def test_an_early_count_is_an_estimate_until_a_later_line_tells(paper, session):
    session.prompt(skill=True)
    session.says(OPUS, run("ls"), early=1)
    session.hears()
    (row,) = paper.receipts()
    assert (row["output"], json.loads(row["tags"])) == (1, {"estimate": "output"})
    lines = session.transcript.read_bytes().splitlines()
    late = json.loads(lines[1])
    late["message"] |= {"stop_reason": "tool_use", "usage": {**late["message"]["usage"], "output_tokens": 70}}
    session.write(late)
    session.hears()
    call, repair = sorted(paper.receipts(), key=lambda row: row["key"])
    assert (repair["source"], call["output"] + repair["output"]) == ("correction", 70)
    right = PRICES.cost(OPUS, Usage(input=10, output=70), time.strftime("%Y-%m-%d", time.gmtime(call["at"])))
    assert call["cost_nanousd"] + repair["cost_nanousd"] == right


def much_later() -> float:
    return time.time() + GIVE_UP_SECONDS + 1


def test_an_early_count_at_the_end_of_a_session_is_booked_in_the_end(paper, session):
    session.prompt(skill=True)
    session.says(OPUS, early=1)
    assert paper.receipts() == []
    assert [row["output"] for row in paper.receipts(much_later)] == [1]


def test_an_early_count_at_the_end_of_a_helper_is_booked_in_the_end(paper, session):
    """Older hosts do not say whether it has finished."""
    session.prompt(skill=True)
    session.says(OPUS, start("Look around.", "toolu_h1"))
    session.agent("h1", "toolu_h1")
    session.says(HAIKU, agent="h1", early=1)
    assert [row["agent"] for row in paper.receipts()] == [None]
    assert [row["agent"] for row in paper.receipts(much_later)] == [None, "h1"]


def counted(cost: float, tokens_in: int = 0, tokens_out: int = 0) -> dict[str, Any]:
    return {"inputTokens": tokens_in, "outputTokens": tokens_out, "costUSD": cost}


def account(paper: PaperRun) -> dict[str, Any]:
    (row,) = paper.ctx.store.rows("SELECT * FROM session_cost")
    return dict(row)


def priced(model: str, **usage: int) -> int:
    cost = PRICES.cost(model, Usage(**usage), time.strftime("%Y-%m-%d", time.gmtime()))
    assert cost is not None
    return cost


def test_estimates_are_put_right_by_what_the_host_counts(paper, session):
    session.prompt(skill=True)
    for _ in range(3):
        session.says(OPUS, run("ls"), early=1)
    session.hears()
    assert [row["output"] for row in paper.receipts()] == [1, 1, 1]
    session.ends(claude_opus_5_5=counted(priced(OPUS, input=30, output=200) / 1e9, 30, 200))
    rows = paper.receipts()
    assert sum(row["output"] for row in rows) == 200
    assert sum(row["cost_nanousd"] for row in rows) == priced(OPUS, input=30, output=200)
    assert account(paper)["unattributed_nanousd"] == 0


def test_what_the_host_counts_beyond_the_transcripts_is_kept_apart(paper, session):
    """Such as auto mode's safety checks."""
    session.prompt(skill=True)
    session.says(OPUS, output=20)
    checks = counted(priced(SONNET, input=4_000, output=12) / 1e9, 4_000, 12)
    session.ends(claude_opus_5_5=counted(priced(OPUS, input=10, output=20) / 1e9, 10, 20), claude_sonnet_5_5=checks)
    assert sum(row["cost_nanousd"] for row in paper.receipts()) == priced(OPUS, input=10, output=20)
    found = account(paper)
    assert (found["session"], found["unattributed_nanousd"]) == (session.id, priced(SONNET, input=4_000, output=12))
    assert found["repriced_nanousd"] == 0
    assert found["host_nanousd"] == found["transcripts_nanousd"] + found["unattributed_nanousd"]


def test_the_newest_count_of_the_host_is_the_one_that_is_kept(paper, session):
    session.prompt(skill=True)
    session.says(OPUS)
    for more in (0.0, 0.5):
        session.ends(claude_opus_5_5=counted(priced(OPUS, input=10, output=20) / 1e9 + more, 10, 20))
        paper.receipts()
    assert account(paper)["repriced_nanousd"] == 500_000_000


@pytest.mark.parametrize("usage", [None, [], "x", {"claude-opus-5-5": None}, {"claude-opus-5-5": {"costUSD": "x"}}])
def test_a_count_of_the_host_that_makes_no_sense_costs_no_receipt(paper, session, usage):
    session.prompt(skill=True)
    message = session.says(OPUS)
    session.write({"type": "cost-state", "modelUsage": usage})
    assert paper.booked() == [message]


@pytest.mark.parametrize("step", ["settle_account", "_keep"])
def test_a_reading_that_is_cut_off_around_the_account_loses_nothing_and_adds_nothing(paper, session, monkeypatch, step):
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    session.prompt(skill=True)
    for _ in range(3):
        session.says(OPUS, run("ls"), early=1)
    session.hears()
    session.ends(claude_opus_5_5=counted(priced(OPUS, input=30, output=200) / 1e9, 30, 200))
    with monkeypatch.context() as cut:
        cut.setattr(session_receipts, step, cut_off)
        with pytest.raises(KeyboardInterrupt):
            paper.receipts()
    rows = paper.receipts()
    assert (len(rows), sum(row["output"] for row in rows)) == (6, 200)
    assert sum(row["cost_nanousd"] for row in rows) == account(paper)["host_nanousd"]


def test_early_counts_of_calls_beside_the_run_keep_their_share(paper, session):
    """The host counts a whole session; what of it is the run's is put right by its part."""
    session.prompt("Something else?")
    session.says(OPUS, run("ls"), early=1)
    session.hears()
    session.prompt(skill=True)
    session.says(OPUS, run("ls"), early=1)
    session.hears()
    session.ends(claude_opus_5_5=counted(priced(OPUS, input=20, output=202) / 1e9, 20, 202))
    assert sum(row["output"] for row in paper.receipts()) == 101
    assert account(paper)["unattributed_nanousd"] == 0
    assert account(paper)["transcripts_nanousd"] == account(paper)["host_nanousd"]
