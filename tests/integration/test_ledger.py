"""The ledger in its database: only ever added to, each call once, sums that stay right, whoever writes at once."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backlog_ops.domain.pricing import Usage
from backlog_ops.money.ledger import (
    Receipt,
    Spent,
    correct_estimate,
    correction,
    record,
    record_all,
    spent,
    spread_output,
)
from backlog_ops.storage.config_file import load_prices
from backlog_ops.storage.database import connect, transaction
from backlog_ops.storage.locations import PLUGIN_ROOT

SONNET = "claude-sonnet-5-5"
NOON = 1_795_521_600.0  # 2026-11-24
DAY = "2026-11-24"
PRICES = load_prices()
USAGE = Usage(input=10, output=20)
TOKENS = ("input", "cache_write_5m", "cache_write_1h", "cache_read", "output")


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    return connect(tmp_path / "state.db")


def receipt(key: str = "k1", usage: Usage | None = USAGE, **fields: Any) -> Receipt:
    model = fields.get("answered_model", SONNET)
    cost = PRICES.cost(model, usage, DAY) if usage and model else None
    made = Receipt(
        key=key,
        at=NOON,
        source="session",
        asked_tier="balanced",
        asked_model=SONNET,
        provider="claude-code",
        answered_model=SONNET,
        usage=usage,
        cost_nanousd=cost,
        price_date=PRICES.date,
        latency_ms=5,
        outcome="answered",
        run="r1",
        wave=1,
        ticket="T-1",
        gate="IMPLEMENT",
        attempt=1,
        session="s1",
    )
    return replace(made, **fields)


def estimate(key: str, output: int = 1, **fields: Any) -> Receipt:
    return receipt(key, Usage(input=100, cache_read=5_000, output=output), tags={"estimate": "output"}, **fields)


def rows(db: sqlite3.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in db.execute("SELECT * FROM ledger ORDER BY key")]


def totals(db: sqlite3.Connection, table: str = "ledger") -> tuple[int, ...]:
    """(cost, tokens bucket by bucket), summed up."""
    cost = "cost_nanousd" if table == "ledger" else "nanousd"
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in (cost, *TOKENS))
    return tuple(db.execute(f"SELECT {sums} FROM {table}").fetchone())


# -- added to, and nothing else


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET cost_nanousd = 0",
        "UPDATE ledger SET tags = '{}' WHERE key = 'k1'",
        "DELETE FROM ledger",
        "INSERT OR REPLACE INTO ledger SELECT * FROM ledger",
        "REPLACE INTO ledger (key, at, source, asked_tier, asked_model, provider, cost_nanousd, latency_ms, outcome)"
        " VALUES ('k1', 0, 's', 't', 'm', 'p', 0, 0, 'answered')",
        "INSERT INTO ledger SELECT * FROM ledger WHERE true ON CONFLICT DO UPDATE SET cost_nanousd = 0",
    ],
)
def test_no_statement_changes_or_removes_a_row(db, statement):
    record(db, receipt())
    before, tallied = rows(db), totals(db, "tally")
    try:
        db.execute(statement)
    except sqlite3.IntegrityError as error:
        assert "append-only" in str(error)
    assert (rows(db), totals(db, "tally")) == (before, tallied)


def test_the_same_call_a_second_time_changes_nothing(db):
    assert record(db, receipt())
    before = rows(db)
    assert not record(db, receipt(usage=Usage(input=999), cost_nanousd=999))
    assert rows(db) == before


def test_many_are_recorded_in_their_order_and_only_the_new_ones_count(db):
    record(db, receipt("k2"))
    assert record_all(db, [receipt("k1"), receipt("k2", cost_nanousd=7), receipt("k3"), receipt("k3")]) == 2
    assert [row["key"] for row in rows(db)] == ["k1", "k2", "k3"]


def test_what_was_not_committed_is_not_there(db, tmp_path):
    with pytest.raises(ZeroDivisionError), transaction(db):
        record(db, receipt())
        raise ZeroDivisionError
    assert rows(connect(tmp_path / "state.db")) == []


@pytest.mark.parametrize("text", ["größer", "a'b\"c", "</script>", "x" * 5_000, "\x00\x1b"])
def test_any_text_is_kept_as_it_is(db, text):
    record(db, receipt(ticket=text, tags={"asked": text}))
    (row,) = rows(db)
    assert (row["ticket"], json.loads(row["tags"])) == (text, {"asked": text})


# -- sums


def test_what_is_not_known_is_no_zero(db):
    record_all(db, [receipt("k1", cost_nanousd=5_000_000), receipt("k2", None), receipt("k3", cost_nanousd=0)])
    assert spent(db, "r1") == Spent(5_000_000, 1)
    assert str(spent(db, "r1")) == "$0.0050 + 1 of unknown cost"


def test_a_ticket_is_charged_with_its_own_calls_and_a_run_with_all_of_its(db):
    others = [receipt("k2", ticket="T-2"), receipt("k3", ticket=None, source="parent"), receipt("k4", run="r2")]
    record_all(db, [receipt(), *others])
    one = receipt().cost_nanousd
    assert one is not None
    assert [spent(db, "r1").nanousd, spent(db, "r1", "T-1").nanousd, spent(db, "r9").nanousd] == [3 * one, one, 0]


# -- estimates


def test_a_correction_brings_the_sums_to_what_is_known_now(db):
    record(db, estimate("k1"))
    right = receipt("k1", Usage(input=100, cache_read=5_000, output=700))
    correct_estimate(db, right)
    assert right.usage is not None
    assert totals(db) == (right.cost_nanousd, *(getattr(right.usage, name) for name in TOKENS))


def test_a_correction_is_for_what_its_call_was_for_and_names_it(db):
    record(db, estimate("k1", escalation_rule="fails>=1", agent="a1"))
    correct_estimate(db, receipt("k1", Usage(input=100, cache_read=5_000, output=700)))
    call, repair = rows(db)
    assert (repair["key"], repair["source"], json.loads(repair["tags"])["corrects"]) == (
        "k1/correction",
        "correction",
        "k1",
    )
    same = (
        "run",
        "wave",
        "ticket",
        "gate",
        "attempt",
        "asked_model",
        "answered_model",
        "escalation_rule",
        "session",
        "agent",
    )
    assert {name: repair[name] for name in same} == {name: call[name] for name in same}


def test_an_estimate_is_corrected_once(db):
    record(db, estimate("k1"))
    for output in (700, 700, 900):
        correct_estimate(db, receipt("k1", Usage(input=100, cache_read=5_000, output=output)))
    assert totals(db)[-1] == 700


@pytest.mark.parametrize(
    ("booked", "later"),
    [
        (receipt("k1"), receipt("k1", Usage(input=10, output=700))),
        (estimate("k1", 20), receipt("k1", Usage(input=100, cache_read=5_000, output=20))),
        (estimate("k1", 20), receipt("k1", Usage(input=100, cache_read=5_000, output=7))),
        (estimate("k1"), estimate("k1", 700)),
        (estimate("k1"), receipt("k1", None)),
        (estimate("k1"), receipt("k2", Usage(output=700))),
    ],
    ids=["no estimate", "the same", "less", "another estimate", "nothing known", "another call"],
)
def test_nothing_else_is_corrected(db, booked, later):
    record(db, booked)
    correct_estimate(db, later)
    assert len(rows(db)) == 1


def test_a_correction_of_a_call_without_a_price_is_no_second_call_of_unknown_cost(db):
    record(db, estimate("k1", answered_model="nobody-1", cost_nanousd=None))
    correct_estimate(db, receipt("k1", Usage(input=100, output=700), answered_model="nobody-1", cost_nanousd=None))
    assert len(rows(db)) == 2
    assert spent(db, "r1") == Spent(0, 1)


def test_a_correction_may_take_something_back(db):
    record(db, estimate("k1", 900))
    (row,) = db.execute("SELECT * FROM ledger").fetchall()
    less = Usage(input=100, cache_read=5_000, output=400)
    record(db, correction(row, less, PRICES.cost(SONNET, less, DAY), "the bill says so", NOON))
    assert totals(db)[0] == PRICES.cost(SONNET, less, DAY)
    assert totals(db)[-1] == 400


@settings(max_examples=25)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 2_000))
def test_what_the_host_counts_more_is_spread_to_the_token_and_to_the_nano_dollar(empty, outputs, more):
    with undone(empty):
        record_all(empty, [estimate(f"k{number}", output) for number, output in enumerate(outputs)])
        before = totals(empty)
        found = spread_output(empty, [f"k{number}" for number in range(len(outputs))], more, PRICES, NOON)
        after = totals(empty)
        assert after[-1] == before[-1] + more
        assert after[0] == before[0] + sum(one.cost_nanousd or 0 for one in found)
        assert after[0] - before[0] == PRICES.cost(SONNET, Usage(output=more), DAY)
        shares = [one.usage.output for one in found if one.usage]
        assert len(shares) == len(outputs) and max(shares) - min(shares) <= 1


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> sqlite3.Connection:
    """One for many examples: making a database takes longer than all else in them."""
    return connect(tmp_path_factory.mktemp("ledger") / "state.db")


@contextmanager
def undone(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def test_a_call_that_is_nobodys_here_keeps_its_share(db):
    record(db, estimate("k1"))
    (found,) = spread_output(db, ["k1", "k2"], 50, PRICES, NOON)
    assert (found.key, found.usage) == ("k1/correction", Usage(output=25))


def test_a_call_that_has_been_put_right_before_is_left_as_it_is(db):
    record_all(db, [estimate("k1"), estimate("k2")])
    correct_estimate(db, receipt("k1", Usage(input=100, cache_read=5_000, output=700)))
    assert [one.key for one in spread_output(db, ["k1", "k2"], 50, PRICES, NOON)] == ["k2/correction"]


def test_a_call_without_a_price_has_none_for_what_it_lacked_either(db):
    record(db, estimate("k1", cost_nanousd=None))
    (found,) = spread_output(db, ["k1"], 50, PRICES, NOON)
    assert found.usage == Usage(output=50)
    assert spent(db, "r1") == Spent(0, 1)


def test_the_same_count_of_the_host_a_second_time_adds_nothing(db):
    record_all(db, [estimate("k1"), estimate("k2")])
    spread_output(db, ["k1", "k2"], 50, PRICES, NOON)
    before = rows(db)
    assert spread_output(db, ["k1", "k2"], 50, PRICES, NOON) == []
    assert rows(db) == before


def test_what_came_since_gets_what_the_host_counts_since(db):
    record(db, estimate("k1"))
    spread_output(db, ["k1"], 50, PRICES, NOON)
    record(db, estimate("k2"))
    spread_output(db, ["k1", "k2"], 80, PRICES, NOON)
    assert [row["output"] for row in rows(db)] == [1, 50, 1, 30]


# -- the tally, which reports are read from


def test_the_tally_has_the_same_sums_as_the_ledger(db):
    record_all(db, [receipt("k1"), receipt("k2", ticket=None, run=None), estimate("k3"), receipt("k4", None)])
    spread_output(db, ["k3"], 50, PRICES, NOON)
    record(db, receipt("k1"))
    assert totals(db, "tally") == totals(db)
    calls, unknown, estimated = db.execute("SELECT sum(calls), sum(unknown), sum(estimated) FROM tally").fetchone()
    assert (calls, unknown, estimated) == (4, 1, 0)


# -- many writers

WRITER = """
import sys
from pathlib import Path
from backlog_ops.domain.pricing import Usage
from backlog_ops.money.ledger import Receipt, record, record_all
from backlog_ops.storage.database import connect, transaction

path, writer, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def receipt(key):
    usage = Usage(1, 2, 3, 4, 5)
    return Receipt(key, 1795521600.0, "session", "cheap", "m", "p", "m", usage, 1_000, None, 1, "answered", run="r1")

db = connect(path)
new = 0
for number in range(rows):
    if number % 50:
        new += record(db, receipt(f"{writer}/{number}"))  # a transaction of its own
    else:  # what every writer has seen, as when several read one transcript
        with transaction(db):
            new += record_all(db, [receipt(f"all/{number + more}") for more in range(10)])
print(new)
"""


def test_eight_writers_at_once_lose_nothing_and_count_nothing_twice(tmp_path, python_writing):
    rows_each, shared = 150, 3 * 10
    path = tmp_path / "state.db"
    db = connect(path)
    new = python_writing(WRITER, path, 8, rows_each)
    own = 8 * (rows_each - 3)
    assert sum(new) == own + shared
    assert db.execute("SELECT count(*), sum(cost_nanousd) FROM ledger").fetchone()[:] == (
        own + shared,
        (own + shared) * 1_000,
    )
    assert totals(db, "tally") == totals(db)


@pytest.fixture
def python_writing() -> Callable[[str, Path, int, int], list[int]]:
    """Run a program in so many processes at once; what each has printed."""

    def run(program: str, path: Path, processes: int, rows_each: int) -> list[int]:
        environ = {"PYTHONPATH": str(PLUGIN_ROOT / "scripts" / "ops"), "PATH": "/usr/bin:/bin"}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(path), str(number), str(rows_each)],
                env=environ,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(processes)
        ]
        said = [process.communicate(timeout=60)[0] for process in started]
        assert [process.returncode for process in started] == [0] * processes
        return [int(line) for line in said]

    return run
