"""On the real Claude Code: what stands in the ledger is what the scripted API billed, whoever made the call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import shared_folder
from tests.e2e.harness.backlog_lab import BacklogLab
from tests.e2e.harness.parent_session import SKILL, Parent, ended_well, failing, models
from tests.e2e.harness.run_claude import ROOT
from tests.support.once import once
from tests.support.session_books import (
    UNATTRIBUTED,
    WithHelpers,
    ask_a_model,
    bill,
    by_model,
    cost,
    ledger,
    read_all_again,
    settle,
    time_passes,
    transcripts,
)

Found = dict[str, Any]
NO_SPIKES = {"budget": {"spikeFactor": 0}}  # set-up is most of what these small agents cost
OUTPUT, NANOUSD = 4, 5  # where they stand in a sum of calls
WHOSE = "SELECT DISTINCT source, ticket, gate, attempt, answered_model FROM ledger WHERE agent IS NOT NULL"
DEARER = "claude-sonnet-5"  # on 2.1.197


def account(lab: BacklogLab) -> Found:
    """What the host has counted of the one session, beside its transcripts."""
    return dict(lab.rows("SELECT * FROM session_cost")[0])


def nanousd(dollars: float) -> int:
    return round(dollars * 1e9)


# -- a session: several sub-agents, one of them started by another, one ticket escalated, slow streams


@pytest.fixture(scope="module")
def skill(claude_bin: Path, prepared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    def play() -> Found:
        parent = WithHelpers(models(implement=failing(1)), pace=0.05)
        with BacklogLab(
            parent.models, ("T-1", "T-2"), cache=prepared_cache, plugin_dirs=[ROOT], llm_ops=NO_SPIKES
        ) as lab:
            asked = ask_a_model(lab)
            run = lab.session(SKILL, scenario=parent)
            ended_well(run)
            return {
                "billed": {**bill(run.calls), **asked},
                "booked": ledger(lab),
                "host": nanousd(run.result["total_cost_usd"]),
                "depth": run.result["subagent_stats"]["max_depth"],
                "account": account(lab),
                "whose": [
                    list(row)
                    for row in lab.rows(
                        "SELECT DISTINCT source, ticket, gate, attempt, answered_model FROM ledger"
                        " WHERE agent IS NOT NULL"
                    )
                ],
                "readings": [read_all_again(lab) for _ in range(3)],
            }

    return once(shared_folder(tmp_path_factory), "receipts-skill", play)


def test_every_call_is_booked_to_its_source_as_the_api_billed_it(skill: Found) -> None:
    assert set(skill["billed"]) == {"session", "parent", "engine", "llm_call"}
    assert skill["booked"] == skill["billed"]


def test_the_receipts_of_a_session_are_its_total_cost_to_the_nano_dollar(skill: Found) -> None:
    assert cost(skill["booked"], "session", "parent") == skill["host"]
    assert (skill["account"]["unattributed_nanousd"], skill["account"]["repriced_nanousd"]) == (0, 0)


def test_a_sub_agent_of_a_sub_agent_is_booked_to_the_run_and_to_no_ticket(skill: Found) -> None:
    assert skill["depth"] == 2
    helpers = sorted(row[1:] for row in skill["whose"] if row[0] == "parent")
    assert helpers == [[None, None, None, "claude-haiku-5-5"], [None, None, None, "claude-sonnet-5-5"]]


def test_each_attempt_of_an_escalated_ticket_has_its_own_receipts(skill: Found) -> None:
    attempts = sorted(row[3:] for row in skill["whose"] if row[:3] == ["session", "T-1", "IMPLEMENT"])
    assert attempts == [[1, "claude-haiku-5-5"], [2, "claude-sonnet-5-5"]]


def test_transcripts_that_are_read_three_times_from_their_start_add_nothing(skill: Found) -> None:
    first, second, third = skill["readings"]
    assert first == second == third
    assert first[1] == cost(skill["booked"], *skill["booked"])


# -- the same on a host that writes sub-agents' output down before it is known, and has another price for a model


@pytest.fixture(scope="module")
def older(older_claude: Path, prepared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    def play() -> Found:
        parent = WithHelpers(models(), pace=0.2)
        with BacklogLab(
            parent.models, cache=prepared_cache, plugin_dirs=[ROOT], llm_ops=NO_SPIKES, claude=older_claude
        ) as lab:
            run = lab.session(SKILL, scenario=parent)
            assert (run.exit_code, run.stub_errors) == (0, []), run.explain()
            time_passes(lab)
            settle(lab)
            estimates = lab.rows("SELECT output, tags FROM ledger WHERE agent IS NOT NULL")
            found = {
                "billed": bill(run.calls),
                "host": nanousd(run.result["total_cost_usd"]),
                "before": ledger(lab),
                "estimates": [[row["output"], json.loads(row["tags"]).get("estimate")] for row in estimates],
            }
            result = lab.root / "result.json"
            result.write_text(json.dumps(run.result), encoding="utf-8")
            told = [lab.end(lab.begin("reconcile", str(result))).stdout for _ in range(2)]
            return {**found, "told": told, "after": ledger(lab), "account": account(lab)}

    return once(shared_folder(tmp_path_factory), "receipts-older", play)


def test_what_went_in_is_exact_where_the_output_is_not_known(older: Found) -> None:
    sums = {book: by_model(older[book], "session", "parent", "engine") for book in ("billed", "before")}
    assert sums["before"].keys() == sums["billed"].keys()
    for model, billed in sums["billed"].items():
        assert sums["before"][model][:OUTPUT] == billed[:OUTPUT], model


def test_every_count_that_came_too_early_is_marked_as_an_estimate(older: Found) -> None:
    early = {estimate for output, estimate in older["estimates"] if output == 1}
    assert early == {"output"}


def test_a_hosts_own_result_puts_the_estimates_right_to_the_token(older: Found) -> None:
    sources = ("session", "parent", "engine", "correction")
    assert by_model(older["after"], *sources) == by_model(older["billed"], *sources)
    assert older["after"]["correction"]


def test_a_host_with_another_price_differs_by_that_price_and_the_difference_is_named(older: Found) -> None:
    ours = by_model(older["billed"], "session", "parent")
    dearer = ours[DEARER][NANOUSD] // 2  # 3 and 15 dollars a million instead of 2 and 10, and so on for the rest
    assert older["host"] == cost(older["billed"], "session", "parent") + dearer
    assert (older["account"]["unattributed_nanousd"], older["account"]["repriced_nanousd"]) == (0, dearer)
    assert f"${dearer / 1e9:.4f} is the difference between its prices and ours" in older["told"][0]


def test_the_same_result_a_second_time_changes_nothing(older: Found) -> None:
    assert older["told"][0] == older["told"][1]


# -- a terminal in auto mode: the host asks a model about every sub-agent, and writes that nowhere down


@pytest.fixture(scope="module")
def terminal(claude_bin: Path, tmux: Path, prepared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    def play() -> Found:
        parent = Parent(models())
        with BacklogLab(parent.models, cache=prepared_cache, plugin_dirs=[ROOT], llm_ops=NO_SPIKES) as lab:
            with lab.terminal(parent, "--permission-mode", "auto") as window:
                window.type(SKILL)
                window.wait_until(lambda: window.shows("● Done: "))
                window.type("/exit")
                window.wait_until(window.has_ended)
                calls, errors = window.calls, window.server.errors
            assert not errors, errors
            settle(lab)
            return {"billed": bill(calls), "booked": ledger(lab), "host": host_total(lab), "account": account(lab)}

    return once(shared_folder(tmp_path_factory), "receipts-terminal", play)


def host_total(lab: BacklogLab) -> int:
    """What the host itself wrote at the session's end."""
    lines = [
        line for path in transcripts(lab) for line in path.read_text("utf-8").splitlines() if '"cost-state"' in line
    ]
    return nanousd(json.loads(lines[-1])["totalCostUSD"])


def test_a_terminals_receipts_are_what_the_api_billed(terminal: Found) -> None:
    assert terminal["booked"] == {name: sums for name, sums in terminal["billed"].items() if name != UNATTRIBUTED}


def test_what_stands_in_no_transcript_is_unattributed_and_the_rest_is_the_hosts_total(terminal: Found) -> None:
    beyond = cost(terminal["billed"], UNATTRIBUTED)
    assert beyond > 0
    assert terminal["account"]["unattributed_nanousd"] == beyond
    assert cost(terminal["booked"], "session", "parent") + beyond == terminal["host"]
