"""What a report adds up: every row once, unknown costs as unknown, the parent apart, corrections as corrections."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.pricing import Usage
from backlog_ops.report.baseline import BASELINE
from backlog_ops.report.figures import Figures, sum_of
from backlog_ops.storage.migrations import MIGRATIONS
from tests.support.books import DAY, HAIKU, NOON, OPUS, QWEN, SONNET, Books

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def books(tmp_path):
    found = Books.at(tmp_path / "state.db")
    yield found
    found.connection.close()


def in_ledger(books: Books) -> int:
    return int(books.connection.execute("SELECT coalesce(sum(cost_nanousd), 0) FROM ledger").fetchone()[0])


def sums(figures: Figures) -> dict[str, int]:
    """Every table that is to add up to the ledger."""
    tables = {name: getattr(figures, name) for name in ("by_gate", "by_model", "by_wave", "by_run", "by_source")}
    found = {name: sum_of(line.amount for line in lines).nanousd for name, lines in tables.items()}
    elsewhere = sum_of(part.amount for part in figures.elsewhere).nanousd
    found["tickets"] = sum_of(ticket.own for ticket in figures.tickets).nanousd + figures.parent.nanousd + elsewhere
    return {
        **found,
        "answered": sum_of(pair.amount for pair in figures.answered).nanousd,
        "total": figures.total.nanousd,
    }


# -- sums


def test_an_empty_ledger_has_figures_too(books):
    figures = books.figures()
    assert (figures.is_empty, figures.total.calls, figures.tickets) == (True, 0, ())
    assert figures.acceptance.nanousd_each is None
    assert figures.savings.saved_nanousd is None


def test_the_gates_of_a_ticket_stand_in_the_order_of_the_gates(books):
    books.run("r1", "T-1")
    for gate, cost in (("REVIEW", 3), ("IMPLEMENT", 2), ("PLAN", 1), ("IMPLEMENT", 20)):
        books.call(cost=cost, run="r1", wave=1, ticket="T-1", gate=gate, attempt=1)
    ticket = books.figures().tickets[0]
    assert [(part.name, part.amount.nanousd) for part in ticket.gates] == [
        ("PLAN", 1),
        ("IMPLEMENT", 22),
        ("REVIEW", 3),
    ]
    assert (ticket.own.nanousd, ticket.own.calls, ticket.state) == (26, 4, "done")


def test_an_unknown_cost_is_counted_and_not_summed(books):
    books.run("r1", "T-1")
    books.call("some-model", None, run="r1", ticket="T-1", gate="IMPLEMENT")
    books.call(cost=7, run="r1", ticket="T-1", gate="IMPLEMENT")
    figures = books.figures()
    assert str(figures.total.spent) == "$0.0000 + 1 of unknown cost"
    assert figures.tickets[0].own[:3] == (2, 7, 1)


def test_a_correction_changes_the_sums_and_is_no_call(books):
    books.run("r1", "T-1")
    place = {"run": "r1", "ticket": "T-1", "gate": "IMPLEMENT", "attempt": 1}
    key = books.call(cost=100, usage=Usage(10, 0, 0, 0, 1), tags={"estimate": "output"}, **place)
    books.call(cost=5, tags={"estimate": "output"}, **place)
    assert books.figures().total[:4] == (2, 105, 0, 2)
    books.correct(key, Usage(10, 0, 0, 0, 90), 140)
    total = books.figures().total
    assert total[:4] == (2, 145, 0, 1)
    assert total.output == 130


def test_what_the_parent_cost_is_shared_over_the_tickets_of_its_wave_to_the_nano_dollar(books):
    books.run("r1", "T-1", "T-2", "T-3")
    books.parent("r1", 1, 100)
    figures = books.figures()
    assert [(ticket.id, ticket.shared_nanousd) for ticket in figures.tickets] == [("T-1", 34), ("T-2", 33), ("T-3", 33)]
    assert [ticket.own.nanousd for ticket in figures.tickets] == [0, 0, 0]
    assert (figures.parent.nanousd, figures.by_gate[0].name) == (100, "parent")


def test_what_the_parent_cost_before_the_waves_is_shared_over_all_tickets_of_the_run(books):
    books.run("r1", "T-1", "T-2")
    books.connection.execute("UPDATE ticket SET wave = 2 WHERE id = 'T-2'")
    books.parent("r1", None, 10)
    books.parent("r1", 2, 4)
    assert {ticket.id: ticket.shared_nanousd for ticket in books.figures().tickets} == {"T-1": 5, "T-2": 9}


def test_a_correction_of_a_parents_call_is_the_parents(books):
    books.run("r1", "T-1")
    key = books.call(OPUS, 10, source="parent", run="r1", wave=1, tags={"estimate": "output"})
    books.correct(key, Usage(10, 20, 0, 300, 400), 25)
    figures = books.figures()
    assert (figures.parent.nanousd, figures.tickets[0].shared_nanousd, figures.elsewhere) == (25, 25, ())


def test_a_ticket_of_two_runs_is_one_ticket_with_all_it_cost(books):
    books.run("r1", "T-1", step="parked", reason="gates failed", attempt=2)
    books.run("r2", "T-1", attempt=1)
    books.call(cost=70, run="r1", ticket="T-1", gate="IMPLEMENT")
    books.call(cost=30, run="r2", ticket="T-1", gate="IMPLEMENT")
    (ticket,) = books.figures().tickets
    assert (ticket.runs, ticket.state, ticket.reason, ticket.attempts) == (("r1", "r2"), "done", "", 3)
    assert ticket.own.nanousd == 100


def test_a_call_by_hand_for_a_ticket_no_run_knows_is_that_tickets(books):
    books.call(cost=9, source="llm_call", ticket="T-9")
    books.call(cost=1, source="llm_call")
    figures = books.figures()
    assert [(t.id, t.state, t.own.nanousd, t.gates[0].name) for t in figures.tickets] == [("T-9", "", 9, "–")]
    assert [(part.name, part.amount.nanousd) for part in figures.elsewhere] == [("–", 1)]
    assert (figures.acceptance.open, figures.acceptance.accepted) == (0, 0)


COSTS = st.one_of(st.none(), st.integers(0, 10**12))
CALLS = st.lists(
    st.tuples(
        st.sampled_from([HAIKU, SONNET, QWEN, None]),
        COSTS,
        st.sampled_from(["session", "engine", "claude-cli", "llm_call", "parent"]),
        st.sampled_from([None, "r1", "r2"]),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([None, "T-1", "T-2", "T-3"]),
        st.sampled_from([None, "PLAN", "IMPLEMENT", "REVIEW", "own-gate"]),
    ),
    max_size=25,
)


@given(calls=CALLS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_table_adds_up_to_the_ledger(tmp_path_factory, calls):
    books = Books.at(tmp_path_factory.mktemp("books") / "state.db")
    books.run("r1", "T-1", "T-2")
    books.run("r2", "T-2", wave=2)
    for model, cost, source, run, wave, ticket, gate in calls:
        books.call(model, cost, source=source, run=run, wave=wave, ticket=ticket, gate=gate)
    figures = books.figures()
    assert set(sums(figures).values()) == {in_ledger(books)}
    assert figures.total.unknown_calls == sum(cost is None for _, cost, *_ in calls)
    books.connection.close()


def test_many_older_runs_and_waves_become_one_line_each(books):
    for number in range(5):
        books.run(f"r{number}", f"T-{number}")
        books.call(cost=10**number, run=f"r{number}", wave=1, ticket=f"T-{number}", gate="PLAN")
    books.call(cost=7, source="llm_call")
    figures = books.figures(most_lines=3)
    assert [(part.name, part.amount.nanousd) for part in figures.by_run] == [
        *(("3 older runs", 111), ("r3", 1_000), ("r4", 10_000), ("–", 7)),
    ]
    assert [(wave.run, wave.tickets) for wave in figures.by_wave] == [
        *(("3 older waves", 3), ("r3", 1), ("r4", 1), ("–", 0)),
    ]
    assert set(sums(figures).values()) == {in_ledger(books)}


def test_a_second_receipt_of_a_call_adds_nothing(books):
    books.call(cost=5, key="claude/msg_a")
    books.call(cost=5, key="claude/msg_a")
    assert (books.figures().total.calls, books.figures().total.nanousd) == (1, 5)


def test_an_older_ledger_is_added_up_when_the_database_is_brought_up_to_date(tmp_path):
    path = tmp_path / "state.db"
    old = Books.at(path)
    old.run("r1", "T-1")
    old.call(cost=11, run="r1", ticket="T-1", gate="PLAN")
    old.call("x", None, tags={"estimate": "output"})
    expected = [tuple(row) for row in old.connection.execute("SELECT * FROM tally")]
    for statement in ("DROP TRIGGER ledger_is_tallied", "DROP TABLE tally"):
        old.connection.execute(statement)
    script = MIGRATIONS[3]
    for start, end in (("CREATE TABLE tally", "CREATE TRIGGER ledger_is_tallied"), ("INSERT INTO tally SELECT", None)):
        begin = script.index(start)
        statement = script[begin : script.index(end)] if end else script[begin : script.index(";", begin)]
        old.connection.execute(statement)
    assert [tuple(row) for row in old.connection.execute("SELECT * FROM tally")] == expected
    old.connection.close()


# -- the period


def test_a_period_holds_the_rows_of_its_days_and_the_runs_they_are_of(books):
    books.run("r1", "T-1", at=NOON - 3 * DAY)
    books.run("r2", "T-2", at=NOON - 3 * DAY)
    books.run("r3", "T-3", at=NOON)
    books.call(cost=1, at=NOON - 3 * DAY, run="r1", ticket="T-1", gate="PLAN")
    books.call(cost=2, at=NOON - DAY, run="r2", ticket="T-2", gate="PLAN", fallback_cause="free ollama q: cut: x")
    figures = books.figures(since="2026-11-23")
    assert (figures.total.nanousd, [ticket.id for ticket in figures.tickets]) == (2, ["T-2", "T-3"])
    assert figures.since == NOON - 1.5 * DAY
    assert set(sums(figures).values()) == {2}


def test_a_clock_that_jumped_loses_no_cost(books):
    for at in (-1e15, 0.0, NOON, 1e15):
        books.call(cost=1, at=at)
    assert books.figures().total.nanousd == 4
    assert books.figures(since="2026-11-01").total.nanousd in (1, 2)


# -- who answered


def test_another_model_than_the_one_asked_for_stands_out(books):
    books.call(HAIKU)
    books.call(f"{HAIKU}[1m]", asked_model=HAIKU)
    books.call(SONNET, asked_model=HAIKU)
    books.call(None, None, outcome="failed")
    pairs = {(pair.asked_model, pair.answered_model): pair.as_asked for pair in books.figures().answered}
    assert pairs == {
        (HAIKU, HAIKU): True,
        (HAIKU, f"{HAIKU}[1m]"): True,
        (HAIKU, SONNET): False,
        (HAIKU, "–"): None,
    }


def test_fallbacks_are_counted_by_who_had_been_asked_and_how_that_ended(books):
    for cause in ("invalid: not JSON (900 ms)", "invalid: no object (12 ms, 3 tokens in)", "cut (8 ms)"):
        books.call(cost=2, gate="PLAN", fallback_cause=f"free ollama {QWEN}: {cause}")
    found = [(line.gate, line.cause, line.amount.calls) for line in books.figures().fallbacks]
    assert found == [("PLAN", f"free ollama {QWEN}: invalid", 2), ("PLAN", f"free ollama {QWEN}: cut", 1)]


# -- attempts


def test_an_escalation_names_the_gate_that_failed_and_what_it_cost(books):
    books.run("r1", "T-1", attempt=2)
    books.attempt("r1", "T-1", 1, "cheap", failed="REVIEW")
    books.attempt("r1", "T-1", 2, "balanced", rule="fails>=1")
    books.call(HAIKU, 10, run="r1", ticket="T-1", gate="IMPLEMENT", attempt=1, escalation_rule="entry")
    books.call(SONNET, 200, run="r1", ticket="T-1", gate="IMPLEMENT", attempt=2, escalation_rule="fails>=1")
    figures = books.figures()
    (line,) = figures.escalations
    assert (line.from_tier, line.to_tier, line.failed_gate, line.rule, line.count) == (
        *("cheap", "balanced", "REVIEW"),
        *("fails>=1", 1),
    )
    assert line.amount.nanousd == 200
    assert {part.name: part.amount.nanousd for part in figures.by_rule} == {"entry": 10, "fails>=1": 200}
    assert figures.local_model_stats.to_json() == {
        **{"totalAttempts": 1, "successCount": 0, "escalatedToCloud": 1},
        "failuresByType": {"REVIEW": 1},
    }


def test_the_first_pass_yield_counts_first_attempts_by_the_model_that_wrote_them(books):
    books.run("r1", "T-1", attempt=2)
    books.run("r2", "T-2", attempt=1)
    books.run("r3", "T-3", attempt=1, history='["failed before"]')
    books.attempt("r1", "T-1", 1, "cheap", failed="LINT")
    books.attempt("r1", "T-1", 2, "balanced")
    books.attempt("r2", "T-2", 1, "cheap")
    books.attempt("r3", "T-3", 1, "cheap", failed="LINT")
    for run, ticket in (("r1", "T-1"), ("r2", "T-2"), ("r3", "T-3")):
        books.call(HAIKU, run=run, ticket=ticket, gate="IMPLEMENT", attempt=1)
    found = {(line.gate, line.model): (line.passed, line.tried) for line in books.figures().yields}
    assert found == {
        ("IMPLEMENT", HAIKU): (2, 2),
        ("LINT", HAIKU): (1, 2),
        ("REVIEW", HAIKU): (1, 1),
        ("all gates", HAIKU): (1, 2),
    }


def test_a_text_gate_is_passed_by_an_answer_of_use(books):
    books.call(QWEN, 0, source="engine", gate="PLAN", outcome="invalid")
    books.call(HAIKU, 5, source="engine", gate="PLAN")
    found = {(line.gate, line.model): (line.passed, line.tried) for line in books.figures().yields}
    assert found == {("PLAN", QWEN): (0, 1), ("PLAN", HAIKU): (1, 1)}


# -- what it comes to


def test_an_accepted_ticket_bears_what_failed_and_what_the_parent_cost(books):
    books.run("r1", "T-1")
    books.run("r2", "T-2", step="parked")
    books.call(cost=100, run="r1", ticket="T-1", gate="IMPLEMENT")
    books.call(cost=40, run="r2", ticket="T-2", gate="IMPLEMENT")
    books.parent("r1", 1, 10)
    books.call(cost=1_000, source="llm_call")  # for nothing of a backlog
    acceptance = books.figures().acceptance
    assert (acceptance.accepted, acceptance.parked, acceptance.nanousd_each) == (1, 1, 150)


def test_savings_are_the_same_tokens_on_the_routing_before_at_list_prices(books):
    books.run("r1", "T-1")
    usage = Usage(1_000, 0, 0, 0, 100)
    books.call(HAIKU, 150_000, usage=usage, run="r1", ticket="T-1", gate="IMPLEMENT")
    books.call(SONNET, 3_000_000, usage=usage, run="r1", ticket="T-1", gate="REVIEW")
    savings = books.figures().savings
    # Sonnet 5.5: 1,000 × $2 + 100 × $10 a million; Haiku 5.5: a tenth of a dollar, half a dollar
    assert {line.gate: line.counterfactual_nanousd for line in savings.lines} == {
        "IMPLEMENT": 3_000_000,
        "REVIEW": 150_000,
    }
    assert savings.saved_nanousd == 0
    assert savings.assumption.startswith("Computed, not measured: ")


def test_savings_are_unknown_where_a_cost_is(books):
    books.call("x", None, run="r1", ticket="T-1", gate="IMPLEMENT")
    assert books.figures().savings.saved_nanousd is None


def test_calls_the_baseline_would_not_have_made_are_not_priced_on_it(books):
    books.call(QWEN, 0, source="engine", run="r1", gate="PLAN", outcome="invalid", usage=Usage(10**6))
    assert books.figures().savings.counterfactual_nanousd == 0


def test_the_baseline_is_the_one_that_the_plan_names():
    plan = next((ROOT / "docs" / "plans").glob("*routing*.md")).read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in plan.splitlines() if line.startswith("|")]
    gates = next(row for row in rows if row[0] == "routes compared")[1:-1]
    letters = next(row for row in rows if row[0] == "Sonnet writes, Haiku reviews")[1:-1]
    named = {Gate(gate): {"S": "balanced", "H": "cheap"}[letter] for gate, letter in zip(gates, letters, strict=True)}
    assert named == {gate: tier.value for gate, tier in BASELINE.items()}


def test_the_budget_shows_the_run_its_dearest_ticket_and_the_day(books):
    books.run("r1", "T-1", "T-2")
    books.call(cost=900_000_000, run="r1", ticket="T-2", gate="IMPLEMENT")
    books.call(cost=100_000_000, run="r1", ticket="T-1", gate="IMPLEMENT")
    books.call(cost=10**9, at=NOON - DAY)
    uses = books.figures(perTicketUsd=1, perRunUsd=20, perDayUsd=2, warnAtPercent=80).budget
    assert [(use.what, use.percent, use.is_warning) for use in uses] == [
        ("run r1", 5.0, False),
        ("ticket T-2", 90.0, True),
        ("today", 50.0, False),
    ]


def test_what_no_transcript_holds_is_shown_and_never_spread(books):
    books.run("r1", "T-1")
    books.connection.execute(
        "INSERT INTO session_cost VALUES ('s1', ?, 100, 60, 40, 2), ('s2', ?, 9, 9, 0, 0)", (NOON,) * 2
    )
    figures = books.figures()
    assert [(part.session, part.nanousd, part.repriced_nanousd) for part in figures.unattributed] == [("s1", 40, 2)]
    assert figures.total.nanousd == 0


def test_an_old_price_table_is_a_note(books):
    assert books.figures(now=NOON).notes == ()
    assert "days old" in books.figures(now=NOON + 120 * DAY).notes[0]


def test_figures_are_counted_from_one_state_of_the_database(books, tmp_path):
    """Another process books a call while they are counted: it is in all tables or in none."""
    books.call(cost=1)
    other, statements = Books.at(tmp_path / "state.db"), []

    def meanwhile(statement: str) -> None:
        statements.append(statement)
        if len(statements) == 4:
            other.call(cost=10, key="claude/msg_meanwhile")

    books.connection.set_trace_callback(meanwhile)
    assert set(sums(books.figures()).values()) == {1}
    books.connection.set_trace_callback(None)
    assert set(sums(books.figures()).values()) == {11}
    other.connection.close()


def test_the_ledger_cannot_be_made_to_differ_from_its_sums(books):
    books.call(cost=5)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        books.connection.execute("UPDATE ledger SET cost_nanousd = 6")
    assert books.figures().total.nanousd == 5
