"""Every dollar of the routing design follows from `config/models.json` and the numbers beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.pricing import Usage
from backlog_ops.storage.config_file import load_preset, load_prices
from backlog_ops.storage.locations import PLUGIN_ROOT

PAGE = PLUGIN_ROOT / "docs" / "plans" / "2026-02-19-cost-optimized-model-routing-design.md"
LINES = PAGE.read_text(encoding="utf-8").splitlines()
MODELS = {"Haiku 5.5": "claude-haiku-5-5", "Sonnet 5.5": "claude-sonnet-5-5", "Opus 5.5": "claude-opus-5-5"}
TOKENIZER = Decimal("1.3")
PRICES = load_prices()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def table(first_heading: str) -> list[dict[str, str]]:
    start = next(number for number, line in enumerate(LINES) if line.startswith(f"| {first_heading} |"))
    heading = cells(LINES[start])

    def rows() -> Iterator[dict[str, str]]:
        for line in LINES[start + 2 :]:
            if not line.startswith("|"):
                return
            yield dict(zip(heading, cells(line), strict=True))

    return list(rows())


def number(text: str) -> int:
    return int(text.replace(",", ""))


def price(model: str, usage: Usage) -> Decimal:
    nanousd = PRICES.cost(MODELS[model], usage, PRICES.date)
    assert nanousd is not None
    return Decimal(nanousd) / 10**9


def gate_cost(row: dict[str, str], model: str) -> Decimal:
    tokens = Usage(input=int(TOKENIZER * number(row["in"])), output=int(TOKENIZER * number(row["out"])))
    return price(model, tokens)


def conversation_cost(row: dict[str, str]) -> Decimal:
    calls, base, growth, out = (number(row[key]) for key in ("calls", "base", "growth", "out"))
    first = Usage(cache_write_5m=base, output=out)
    later = [Usage(cache_write_5m=growth, cache_read=base + growth * done, output=out) for done in range(calls - 1)]
    return sum((price(row["model"], usage) for usage in [first, *later]), Decimal(0))


def agree(shown: str, computed: Decimal) -> bool:
    """Whether `shown` is `computed`, rounded to the digits that are shown."""
    digits = shown.removeprefix("$")
    return abs(Decimal(digits) - computed) <= Decimal(5).scaleb(-1 - len(digits.partition(".")[2]))


GATES = table("gate tokens")
CONVERSATIONS = table("conversation")
COSTS = {row["conversation"].split()[0]: conversation_cost(row) for row in CONVERSATIONS}


def evaluate(formula: str) -> Decimal:
    """The formulas of the page: names of conversations, whole numbers, + × / and brackets."""
    expression = formula.replace("×", "*")
    assert re.fullmatch(r"[A-Z0-9+*/() ]+", expression)
    expression = re.sub(r"\b[0-9]+\b", r"D(\g<0>)", expression)
    return Decimal(eval(expression, {"__builtins__": {}, "D": Decimal, **COSTS}))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("row", GATES, ids=[row["gate tokens"] for row in GATES])
def test_a_gate_costs_its_tokens_at_list_price(row: dict[str, str], model: str) -> None:
    assert agree(row[model], gate_cost(row, model))


@pytest.mark.parametrize("row", table("routes compared"), ids=lambda row: row["routes compared"])
def test_a_route_costs_the_sum_of_its_gates(row: dict[str, str]) -> None:
    letters = {"S": "Sonnet 5.5", "H": "Haiku 5.5"}
    by_gate = {gate["gate tokens"]: gate for gate in GATES}
    total = sum(
        (gate_cost(by_gate[gate], letters[letter]) for gate, letter in row.items() if letter in letters), Decimal(0)
    )
    assert agree(row["a ticket"], total)


def test_the_local_tier_is_worth_what_the_page_says() -> None:
    text_gates = [row for row in GATES if row["gate tokens"] in ("WAVE_PLAN", "PLAN", "COMMIT")]
    saved = sum((gate_cost(row, "Haiku 5.5") for row in text_gates), Decimal(0))
    claims = re.findall(r"\$[0-9.]+[0-9](?= a ticket\)| on Haiku: that is its worth)", "\n".join(LINES))
    assert len(claims) == 2
    assert all(agree(claim, saved) for claim in claims)


@pytest.mark.parametrize("row", CONVERSATIONS, ids=[row["conversation"] for row in CONVERSATIONS])
def test_a_conversation_costs_the_sum_of_its_calls(row: dict[str, str]) -> None:
    assert agree(row["$"], conversation_cost(row))


@pytest.mark.parametrize("row", table("a ticket"), ids=lambda row: row["a ticket"])
def test_a_ticket_costs_the_sum_of_its_conversations(row: dict[str, str]) -> None:
    assert agree(row["$"], evaluate(row["is"]))


@pytest.mark.parametrize("row", table("caught by"), ids=lambda row: row["caught by"])
def test_cheap_first_breaks_even_where_the_page_says(row: dict[str, str]) -> None:
    assert agree(row["pass rate"].removesuffix(" %"), 100 * evaluate(row["break-even"]))


def test_the_gate_table_is_the_preset() -> None:
    routing = load_preset()["llmOps"]["routing"]
    entries = [re.match(r"`(\w+)`: (\w+)$", row["starts on"]) for row in table("gate")]
    named = {entry[1]: entry[2] for entry in entries if entry}
    assert named == {key: tier for key, tier in routing.items() if key.startswith("entryModel")}


def test_the_tier_table_is_the_preset() -> None:
    (column,) = [key for key in table("alias")[0] if "llmOps.models" in key]
    shown: dict[str, Any] = {row["alias"].strip("`"): row[column].strip("`") for row in table("alias")}
    assert shown == load_preset()["llmOps"]["models"]
    assert list(shown) == [tier.value for tier in Tier]


def test_the_second_line_says_that_the_design_is_implemented() -> None:
    assert LINES[0].startswith("# ")
    assert LINES[1] == "**Status**: Implemented"
    assert len(LINES) <= 200
