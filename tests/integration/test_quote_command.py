"""`backlog-ops quote`: what a backlog will cost, read from the same files and database that a run uses."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.money.ledger import Receipt
from tests.support.lab import CONFIG, Lab, ticket_text


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    tickets = {
        "a.md": ticket_text("BUG-1"),
        "b.md": ticket_text("SEC-2", tags=["SECURITY"]),
        "c.md": ticket_text("FEAT-3", status="blocked"),
    }
    return Lab.make(tmp_path / "repo", tickets)


def quoted(lab: Lab, *ids: str) -> dict[str, Any]:
    done = lab.cli("quote", *ids, "--format", "json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_ticket_that_a_run_would_take_up_is_quoted_by_gate(lab: Lab) -> None:
    answer = quoted(lab)
    gates = {ticket["id"]: [gate["gate"] for gate in ticket["gates"]] for ticket in answer["tickets"]}
    usual = ["PLAN", "IMPLEMENT", "REVIEW", "COMMIT"]
    assert gates == {"BUG-1": usual, "SEC-2": usual}
    assert answer["left_out"] == {"FEAT-3": "blocked: its status says so"}
    assert answer["total"]["p50_nanousd"] <= answer["total"]["p90_nanousd"]


def test_named_tickets_are_quoted_alone(lab: Lab) -> None:
    assert [ticket["id"] for ticket in quoted(lab, "SEC-2")["tickets"]] == ["SEC-2"]


def test_the_table_says_what_it_rests_on_and_how_good_such_quotes_were(lab: Lab) -> None:
    shown = lab.cli("quote").stdout
    lines = shown.splitlines()
    assert lines[0].split() == ["ticket", "gate", "tier", "model", "P50", "P90", "basis"]
    assert lines[2].split()[0] == "BUG-1" and lines[2].endswith("priors")
    assert "budget: $20.0000 a run, $2.0000 a ticket, $50.0000 a day, of which $0.0000 is spent" in shown
    assert "past quotes: none has ended yet" in shown
    assert "left out: FEAT-3: blocked" in shown


def test_the_same_backlog_has_the_same_quote_each_time(lab: Lab) -> None:
    assert lab.cli("quote").stdout == lab.cli("quote").stdout


def test_a_quote_opens_no_run_and_books_nothing(lab: Lab) -> None:
    quoted(lab)
    store = lab.context().store
    assert store.last_run() is None
    assert store.rows("SELECT count(*) FROM ledger")[0][0] == 0
    assert not (lab.top / ".backlog-ops").exists()


def test_a_ticket_that_will_not_fit_its_budget_is_warned_about(tmp_path: Path) -> None:
    config = {**CONFIG, "llmOps": {**CONFIG["llmOps"], "budget": {"perTicketUsd": 0.01, "perRunUsd": 0.02}}}
    done = Lab.make(tmp_path / "repo", {"a.md": ticket_text("BUG-1")}, config).cli("quote")
    assert "warning: BUG-1: P50 $0." in done.stderr and "llmOps.budget.perTicketUsd ($0.0100)" in done.stderr
    assert "warning: all: P50 $0." in done.stderr and "llmOps.budget.perRunUsd ($0.0200)" in done.stderr


def test_what_is_left_of_the_days_budget_is_warned_about_too(tmp_path: Path) -> None:
    config = {**CONFIG, "llmOps": {**CONFIG["llmOps"], "budget": {"perDayUsd": 1.0}}}
    lab = Lab.make(tmp_path / "repo", {"a.md": ticket_text("BUG-1")}, config)
    store, now = lab.context().store, time.time()
    store.record(replace(_receipt("old", "BUG-0", 5_000_000_000), key="last week", at=now - 7 * 86_400))
    assert "perDayUsd" not in lab.cli("quote").stderr
    store.record(replace(_receipt("old", "BUG-0", 999_000_000), at=now))
    assert "is more than the $0.0010 that is left today of llmOps.budget.perDayUsd ($1.0000)" in lab.cli("quote").stderr


def test_a_model_without_a_price_is_shown_as_unknown(tmp_path: Path) -> None:
    config = {**CONFIG, "llmOps": {**CONFIG["llmOps"], "models": {"balanced": "claude-next"}}}
    lab = Lab.make(tmp_path / "repo", {"a.md": ticket_text("BUG-1")}, config)
    ticket = quoted(lab)["tickets"][0]
    assert ticket["p50_nanousd"] is None
    assert {gate["gate"] for gate in ticket["gates"] if gate["p50_nanousd"] is None} == {"IMPLEMENT", "REVIEW"}
    assert "+ 1 tickets of unknown cost" in lab.cli("quote").stdout


def test_what_past_runs_have_cost_replaces_the_priors(tmp_path: Path) -> None:
    lab = Lab.make(tmp_path / "repo", {f"{n}.md": ticket_text(f"BUG-{n}") for n in range(1, 6)})
    run = lab.run()
    store = lab.context().store
    for name, state in lab.states().items():
        assert state.step.value == "done"
        store.record(_receipt(run.id, name, 7_000_000))
    lab.write("tickets/pending/9.md", ticket_text("BUG-9"))
    lab.commit("one more")
    ticket = quoted(lab)["tickets"][0]
    assert (ticket["id"], ticket["basis"]) == ("BUG-9", "your last 5: fix, 1–2 files, complexity medium")
    assert ticket["p50_nanousd"] == 7_000_000


def _receipt(run: str, ticket: str, nanousd: int) -> Receipt:
    return Receipt(
        key=f"test/{ticket}",
        at=0.0,
        source="claude-cli",
        asked_tier="cheap",
        asked_model="claude-haiku-5-5",
        provider="claude-cli",
        answered_model="claude-haiku-5-5",
        usage=None,
        cost_nanousd=nanousd,
        price_date=None,
        latency_ms=1,
        outcome="answered",
        run=run,
        ticket=ticket,
        gate="IMPLEMENT",
        attempt=1,
    )


def test_an_unknown_ticket_is_a_wrong_usage(lab: Lab) -> None:
    done = lab.cli("quote", "BUG-7")
    assert (done.returncode, done.stdout) == (2, "")
    assert "BUG-7: no such ticket in tickets/pending" in done.stderr


def test_broken_tickets_are_named_before_any_number(lab: Lab) -> None:
    lab.write("tickets/pending/d.md", ticket_text("BUG-4", priority="urgent"))
    done = lab.cli("quote")
    assert (done.returncode, done.stdout) == (1, "")
    assert "tickets/pending/d.md:" in done.stderr
