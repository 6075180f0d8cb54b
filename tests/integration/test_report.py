"""`report` and `stats` as people and machines type them, on a ledger with runs in it and on an empty one."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backlog_ops.domain.pricing import Usage
from tests.support.books import HAIKU, NOON, SONNET, Books
from tests.support.lab import Lab, one

HOSTILE = "\x1b]0;owned\x07\x1b[31m<b>'red'\u202e [bold]no[/bold]"


@pytest.fixture
def lab(tmp_path):
    return one(tmp_path)


@pytest.fixture
def books(lab):
    """T-1 done after an escalation, T-2 parked, a parent's call and one by hand."""
    books = Books(lab.context().store.connection)
    books.run("r1", "T-1", "T-2", attempt=2)
    books.connection.execute("UPDATE ticket SET title = ?, step = 'parked', attempt = 1 WHERE id = 'T-2'", (HOSTILE,))
    books.attempt("r1", "T-1", 1, "cheap", failed="LINT")
    books.attempt("r1", "T-1", 2, "balanced", rule="fails>=1")
    books.attempt("r1", "T-2", 1, "cheap", failed="REVIEW")
    for ticket, model, cost, attempt in (("T-1", HAIKU, 10, 1), ("T-1", SONNET, 200, 2), ("T-2", HAIKU, 30, 1)):
        books.call(model, cost * 10**6, run="r1", wave=1, ticket=ticket, gate="IMPLEMENT", attempt=attempt)
    books.call(None, None, run="r1", wave=1, ticket="T-2", gate="REVIEW", attempt=1, outcome="failed", usage=None)
    books.parent("r1", 1, 8 * 10**6)
    books.call(cost=2 * 10**6, source="llm_call")
    return books


def as_json(lab: Lab, *words: str) -> dict:
    return json.loads(lab.cli(*words, "--format", "json").stdout)


def as_csv(lab: Lab, *words: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(lab.cli(*words, "--format", "csv").stdout)))


# -- the report in the terminal


def test_the_report_tells_what_was_spent_and_what_an_accepted_ticket_cost(lab, books):
    shown = lab.cli("report").stdout
    assert "spent $0.2500 + 1 of unknown cost in 6 calls" in shown
    assert "an accepted ticket cost $0.2480 + 1 of unknown cost: 1 accepted, 1 parked, 0 open" in shown


def test_the_report_has_every_table(lab, books):
    shown = lab.cli("report").stdout
    for title in (
        *("Cost per ticket, by gate", "By gate", "By model", "By wave", "By source", "Asked and answered"),
        *(
            "Escalations",
            "First-pass yield",
            "Against the routing before: unknown",
            "Computed, not measured:",
            "Budget",
        ),
    ):
        assert title in shown


def test_a_ticket_is_shown_with_its_share_of_the_parent_apart(lab, books):
    line = next(line for line in lab.cli("report", "--by", "ticket").stdout.splitlines() if line.startswith("T-1"))
    assert line.split() == ["T-1", "Do", "T-1", "done", "2", "$0.2100", "–", "$0.0040", "$0.2140"]


def test_one_dimension_is_one_table(lab, books):
    shown = lab.cli("report", "--by", "model").stdout
    assert "By model" in shown
    assert "By gate" not in shown
    assert re.search(rf"{SONNET} +1 +330 +40 +\$0\.2000 +80%", shown)


def test_nothing_that_a_ticket_says_steers_the_terminal(lab, books):
    for words in (["report"], ["report", "--by", "ticket", "--format", "csv"], ["report", "--format", "json"]):
        shown = lab.cli(*words).stdout
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "[bold]no[/bold]" in lab.cli("report").stdout


def test_a_terminal_gets_bold_and_NO_COLOR_takes_colours_away(lab, books):  # noqa: N802
    books.connection.execute("UPDATE run SET max_nanousd = 1")

    def on_a_terminal(**environ: str) -> str:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "backlog_ops", "report", "--by", "gate"]
        source = str(Path(__file__).resolve().parents[2] / "scripts" / "ops")
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "PYTHONPATH": source, **environ}
        with subprocess.Popen(command, cwd=lab.top, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            shown = b""
            while True:
                try:
                    more = os.read(ours, 65_536)
                except OSError:  # Linux says so where nobody writes any more
                    break
                if not more:
                    break
                shown += more
            process.wait(timeout=60)
        os.close(ours)
        return shown.decode()

    assert "\x1b[1m" in on_a_terminal()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", on_a_terminal(NO_COLOR="1"))


# -- the page


def test_the_page_is_written_and_its_place_is_told(lab, books, tmp_path):
    file = tmp_path / "page.html"
    done = lab.cli("report", "--html", str(file))
    assert done.stdout.splitlines()[-1] == f"page: {file}"
    assert "<script>" not in HOSTILE and "T-1" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["", "missing/page.html"])
def test_a_page_that_cannot_be_written_is_told_in_one_line(lab, books, tmp_path, place):
    done = lab.cli("report", "--html", str(tmp_path / place))
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"backlog-ops: --html .*: cannot be written: .+\n", done.stderr)


# -- for machines


def test_the_exports_carry_the_names_of_the_conventions(lab, books):
    row = next(row for row in as_csv(lab, "report", "--by", "call") if row["gen_ai.response.model"] == SONNET)
    assert {name: row[name] for name in row if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": SONNET,
        "gen_ai.response.model": SONNET,
        "gen_ai.usage.input_tokens": "330",
        "gen_ai.usage.cache_read.input_tokens": "300",
        "gen_ai.usage.cache_creation.input_tokens": "20",
        "gen_ai.usage.output_tokens": "40",
        "gen_ai.conversation.id": "",
        "gen_ai.agent.id": "",
    }


def test_an_unknown_cost_is_null_in_json_and_empty_in_csv(lab, books):
    calls = json.loads(lab.cli("report", "--by", "call", "--format", "json").stdout)
    assert [call["backlog.cost_nanousd"] for call in calls].count(None) == 1
    assert [row["backlog.cost_nanousd"] for row in as_csv(lab, "report", "--by", "call")].count("") == 1


def test_the_rows_add_up_to_the_totals(lab, books):
    report = as_json(lab, "report")["report"]
    calls = as_csv(lab, "report", "--by", "call")
    spent = sum(int(call["backlog.cost_nanousd"] or 0) for call in calls)
    assert report["total"]["backlog.cost_nanousd"] == spent == 250 * 10**6
    for by in ("gate", "model", "wave", "run", "source"):
        assert sum(row["backlog.cost_nanousd"] for row in report[f"by_{by}"]) == spent
        if by not in ("run", "source"):
            assert sum(int(row["backlog.cost_nanousd"]) for row in as_csv(lab, "report", "--by", by)) == spent


def test_the_json_report_has_what_the_terminal_shows(lab, books):
    report = as_json(lab, "report")["report"]
    assert report["acceptance"]["nanousd_each"] == 248 * 10**6
    assert report["savings"]["saved_nanousd"] is None
    assert report["savings"]["assumption"].startswith("Computed, not measured: ")
    assert [line["failed_gate"] for line in report["escalations"]] == ["LINT"]
    assert {ticket["backlog.ticket"]: ticket["backlog.parent_cost_nanousd"] for ticket in report["by_ticket"]} == {
        "T-1": 4 * 10**6,
        "T-2": 4 * 10**6,
    }


def test_a_cell_that_a_spreadsheet_would_compute_is_a_text(lab, books):
    for title in ("=1+1", "+1", "-1", "@x", "\t=1"):
        books.connection.execute("UPDATE ticket SET title = ? WHERE id = 'T-1'", (title,))
        cells = {row["backlog.ticket"]: row["backlog.title"] for row in as_csv(lab, "report")}
        assert cells["T-1"][0] in "' "


# -- stats


def test_stats_as_json_has_the_numbers_of_the_plan(lab, books):
    assert as_json(lab, "stats")["stats"]["localModelStats"] == {
        "totalAttempts": 2,
        "successCount": 0,
        "escalatedToCloud": 1,
        "failuresByType": {"LINT": 1},
    }


def test_stats_say_what_passed_each_gate_the_first_time(lab, books):
    shown = lab.cli("stats").stdout
    assert "below balanced: 0/2 attempts committed, 1 escalated" in shown
    assert re.search(rf"LINT +{HAIKU} +1/2 +50%", shown)
    rows = [tuple(row.values()) for row in as_csv(lab, "stats")]
    assert ("failuresByType.LINT", "", "", "1", "") in rows
    assert ("firstPass", "LINT", HAIKU, "1", "2") in rows


def test_nothing_of_nothing_is_a_dash(lab):
    assert "below balanced: – attempts committed, 0 escalated" in lab.cli("stats").stdout


# -- empty, or asked wrongly


def test_an_empty_ledger_says_so_everywhere(lab, tmp_path):
    assert "there is nothing to add up" in lab.cli("report").stdout
    assert as_json(lab, "report")["report"]["by_ticket"] == []
    assert as_csv(lab, "report", "--by", "gate") == as_csv(lab, "report") == as_csv(lab, "report", "--by", "call") == []
    assert lab.cli("report", "--html", str(tmp_path / "page.html")).returncode == 0


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "-1d", "99999999d", "20261123", "2999-01-01", ""])
def test_a_period_that_is_none_is_refused(lab, since):
    done = lab.cli("report", f"--since={since}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"backlog-ops: --since {since}: ")


def test_a_period_leaves_out_what_was_before_it(lab, books):
    books.call(cost=5, at=NOON - 400 * 86_400, source="llm_call")
    assert as_json(lab, "report", "--since", "2026-11-24")["report"]["total"]["backlog.cost_nanousd"] == 250 * 10**6
    assert as_json(lab, "report", "--since", "9999d")["report"]["total"]["backlog.cost_nanousd"] == 250 * 10**6 + 5


def test_the_rows_themselves_are_no_table_for_a_terminal(lab, books):
    done = lab.cli("report", "--by", "call")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--format csv" in done.stderr


def test_huge_and_negative_counts_break_no_report(lab, books):
    books.call(cost=10**17, usage=Usage(10**15, -5, 0, 10**15, 10**15), run="r1", ticket="T-1", gate="PLAN")
    books.call(cost=-(10**17), usage=Usage(-1, 0, 0, -(10**15), 0), run="r1", ticket="T-1", gate="PLAN")
    for form in ("text", "json", "csv"):
        assert lab.cli("report", "--format", form).returncode == 0
