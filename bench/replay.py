"""What a ticket costs, replayed: the plan's token table and its origin's flow at today's prices, beside this project.

This project's set-up tokens and numbers of calls are measured in the demo, with the real Claude Code and a scripted
model; what a real model adds to that is assumed, and printed. Takes about 90 s. A goal that is missed is named;
exit 1 only where the computation itself fails.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "ops"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backlog_ops.domain.conversation import Conversation
from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.pricing import Usage
from backlog_ops.domain.priors import NEXT_ATTEMPT, PRIORS
from backlog_ops.storage.config_file import load_preset, load_prices
from tests.support.measured_demo import Measured, measure

PRICES = load_prices()
TODAY = time.strftime("%Y-%m-%d")
MODELS = load_preset()["llmOps"]["models"]
HAIKU, SONNET, OPUS = (MODELS[tier.value] for tier in (Tier.CHEAP, Tier.BALANCED, Tier.FRONTIER))
FREE = ""
PARENTS = {"Sonnet": SONNET, "Opus": OPUS}
ALL_PARENTS = {**PARENTS, "Haiku": HAIKU}  # Haiku: where the skill is typed with a model of its own
ESCALATED = (SONNET, OPUS)  # an attempt after the first failed verdict, and after the second
TICKETS_OF_A_WAVE = 3

# The plan's table: tokens in and out of a ticket's gates; IMPLEMENT and REVIEW are two calls each.
TOKENIZER = 1.3
TOKENS = {
    "WAVE": (700, 330),
    "PLAN": (5_000, 2_000),
    "IMPLEMENT": (60_000, 10_000),
    "LINT": (2_000, 500),
    "REVIEW": (20_000, 2_000),
    "COMMIT": (1_000, 200),
    "WRITE": (1_000, 670),
}
OF_A_WAVE = ("WAVE", "WRITE")
PLANNED = dict(zip(TOKENS, (FREE, FREE, HAIKU, HAIKU, SONNET, FREE, HAIKU), strict=True))
BEFORE = dict(zip(TOKENS, (SONNET, SONNET, SONNET, HAIKU, HAIKU, HAIKU, SONNET), strict=True))
ROUTINGS = {
    "all on balanced": dict.fromkeys(TOKENS, SONNET),
    "before the plan": BEFORE,
    "the plan": PLANNED,
}

# The origin's flow, counted in the field: a parent that reads, writes prompts and parses; general-purpose agents.
GENERAL = 8_450  # set-up of a general-purpose agent, Claude Code 2.1.330
ORIGIN_PARENT = Conversation(50, 12_500 + 6_040, 450, 150)
ORIGIN_PROMPTS = Usage(output=3_300)  # prompts that the parent writes out once more
ORIGIN_AGENTS = (
    (1, HAIKU, Conversation(30, GENERAL + 6_000, 1_500, 250)),
    (2, SONNET, Conversation(8, GENERAL + 6_000, 1_500, 300)),
    (2, HAIKU, Conversation(4, GENERAL, 500, 200)),
)

# This project: what a real model adds to what is measured.
BRIEF = 5_000  # tokens of a complete plan, read after the set-up
PACKAGE = 6_000  # of a review package
FAILED = 4_000  # what a later attempt's brief holds besides: the findings
PARENT_OUTPUT = 120

GOALS = (  # issue D; dollars
    ("alone", "interactive alone", 0, 0.10),
    ("wave", "in a wave of three", 0, 0.07),
    ("headless", "headless", 0, 0.055),
    ("alone", "alone, one escalation", 1, 0.26),
)


def main() -> int:
    found = measure(TODAY)
    print(f"replay: list prices of {PRICES.date} on {TODAY}; dollars a ticket\n")
    print_plan()
    print_origin()
    alone, in_terminal = found["headless"], found["terminal"]
    print_measured(alone, in_terminal)
    for title, as_scripted in (("a real model's work, assumed", False), ("the demo's script, as it worked", True)):
        print_ours(title, alone, in_terminal, as_scripted)
    return 0


# -- pricing


def known(cost: int | None) -> int:
    if cost is None:
        raise SystemExit("bench/replay.py: a model of the preset has no price")
    return cost


def price(conversation: Conversation, model: str) -> int:
    return known(conversation.cost(PRICES, model, TODAY))


def flat(gate: str, model: str, share: float = 1.0) -> int:
    """A gate as the plan counts it: nothing cached, no set-up, no parent."""
    if model == FREE:
        return 0
    tokens_in, tokens_out = (round(count * TOKENIZER * share) for count in TOKENS[gate])
    return known(PRICES.cost(model, Usage(input=tokens_in, output=tokens_out), TODAY))


def plan_cost(routing: Mapping[str, str], tickets: int, escalations: int) -> float:
    """An escalation is one more call of IMPLEMENT and REVIEW each, half of what the table has for two."""
    once = sum(flat(gate, model) / (tickets if gate in OF_A_WAVE else 1) for gate, model in routing.items())
    return once + sum(
        flat(gate, model, share=0.5) for model in ESCALATED[:escalations] for gate in ("IMPLEMENT", "REVIEW")
    )


def origin_cost(parent: str) -> int:
    agents = sum(count * price(agent, model) for count, model, agent in ORIGIN_AGENTS)
    return agents + price(ORIGIN_PARENT, parent) + known(PRICES.cost(parent, ORIGIN_PROMPTS, TODAY))


def agents_cost(driver: Measured, escalations: int, as_scripted: bool) -> int:
    """Haiku implements, Sonnet reviews; then the same once more, with the findings, on Sonnet and on Opus."""
    first, review, again = driver.implementer, driver.reviewer, driver.implementer
    if not as_scripted:
        first, review = assumed(first, review)
        again = replace(NEXT_ATTEMPT, set_up=again.set_up + BRIEF + FAILED)
    later = sum(price(again, model) + price(review, model) for model in ESCALATED[:escalations])
    return price(first, HAIKU) + price(review, SONNET) + later


def assumed(implementer: Conversation, reviewer: Conversation) -> tuple[Conversation, Conversation]:
    """A real model's work on a measured set-up."""
    work, looks = PRIORS[Gate.IMPLEMENT].usual, PRIORS[Gate.REVIEW].usual
    return (
        replace(work, set_up=implementer.set_up + BRIEF),
        replace(looks, set_up=reviewer.set_up + PACKAGE),
    )


def parent_calls(calls_a_round: float, escalations: int) -> int:
    """A list of implementers, one of reviewers, the same for each escalation, and the last word."""
    return round(calls_a_round * (2 + 2 * escalations)) + 1


def parent_cost(driver: Measured, parent: str, tickets: int, escalations: int, calls_a_round: float) -> float:
    growth = driver.growth_alone if tickets == 1 else driver.growth_of_three
    calls = parent_calls(calls_a_round, escalations)
    return price(Conversation(calls, driver.parent_set_up, growth, PARENT_OUTPUT), parent) / tickets


def summary_cost(tickets: int) -> float:
    return price(PRIORS[Gate.SUMMARY].usual, HAIKU) / tickets


# -- printing


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        first, *others = (
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        print("  " + "  ".join([first, *others]))
    print()


def dollars(nanousd: float) -> str:
    return f"${nanousd / 1e9:.3f}"


HEAD = ("", "0 escalations", "1", "2")


def print_plan() -> None:
    print("The plan's token table (gates only, nothing cached, no parent, no set-up; headless is the same as alone)")
    print(f"  assumed: tokens × {TOKENIZER:g} for the 5.x tokenizer; WAVE and WRITE are shared in a wave of three; an")
    print("  escalation is half of IMPLEMENT ×2 and half of REVIEW ×2, the first on Sonnet 5.5, the second on Opus 5.5")
    print_table(
        HEAD,
        [
            (f"{name}, {where}", *(dollars(plan_cost(routing, tickets, e)) for e in range(3)))
            for name, routing in ROUTINGS.items()
            for where, tickets in (("alone or headless", 1), ("in a wave of three", TICKETS_OF_A_WAVE))
        ],
    )


def print_origin() -> None:
    print("The origin's flow, parent and set-up included (numbers of calls as counted in the field, not measured here)")
    print(
        f"  assumed: {ORIGIN_PARENT.calls} parent calls of {ORIGIN_PARENT.set_up:,} tokens,"
        f" +{ORIGIN_PARENT.growth} a call;"
    )
    print(f"  general-purpose agents with {GENERAL:,} tokens of set-up: 30 calls of Haiku, 2×8 of Sonnet, 2×4 of Haiku")
    for name, parent in PARENTS.items():
        print(f"  parent {name:<6} {dollars(origin_cost(parent))}")
    print()


def print_measured(alone: Measured, in_terminal: Measured) -> None:
    print("This project, measured in the demo (request bytes / 4; real Claude Code, scripted model)")
    for name, driver in (("headless", alone), ("terminal", in_terminal)):
        for role, agent in (("implementer", driver.implementer), ("reviewer", driver.reviewer)):
            print(
                f"  {name}: {role:<11} {agent.set_up:>6,} tokens of set-up · {agent.calls} calls"
                f" · +{agent.growth:,} a call · {agent.output} out a call"
            )
    t = in_terminal
    print(
        f"  terminal: parent      {t.parent_set_up:>6,} tokens of set-up · {t.parent_calls} calls for {t.rounds} lists"
        f" ({t.calls_a_round:g} a list, and the last) · +{t.growth_alone:,} a call alone,"
        f" +{t.growth_of_three:,} with three"
    )
    each = t.safety_nanousd / max(t.safety_calls, 1)
    print(
        f"  terminal: auto mode's own safety checks: {t.safety_calls} calls, {dollars(t.safety_nanousd)}"
        f" ({dollars(each)} each): the host's, not in the figures below\n"
    )


def print_ours(title: str, alone: Measured, in_terminal: Measured, as_scripted: bool) -> None:
    print(f"This project: {title}")
    if not as_scripted:
        work, looks = PRIORS[Gate.IMPLEMENT].usual, PRIORS[Gate.REVIEW].usual
        print(
            f"  assumed: implementer {work.calls} calls, {BRIEF:,} tokens of brief, +{work.growth:,} a call,"
            f" {work.output} out; later attempts {NEXT_ATTEMPT.calls} calls, {FAILED:,} more"
        )
        print(f"  reviewer {looks.calls} calls, {PACKAGE:,} tokens of package, +{looks.growth}, {looks.output} out;")
    print(
        f"  assumed: parent {PARENT_OUTPUT} tokens out a call; PLAN, WAVE_PLAN and COMMIT on the local model,"
        " SUMMARY on Haiku;"
    )
    print("  caches written for 5 minutes, none shared between agents; foreground: one parent call a list, as")
    print("  tests/e2e/test_session.py holds")
    costs: dict[tuple[str, str], list[float]] = {}
    for name, parent in ALL_PARENTS.items():
        for where, tickets in (("alone", 1), ("wave", TICKETS_OF_A_WAVE)):
            for kind, a_round in (("", in_terminal.calls_a_round), ("foreground ", 1.0)):
                costs[name, kind + where] = [
                    agents_cost(in_terminal, e, as_scripted)
                    + parent_cost(in_terminal, parent, tickets, e, a_round)
                    + summary_cost(tickets)
                    for e in range(3)
                ]
    costs["", "headless"] = [agents_cost(alone, e, as_scripted) + summary_cost(1) for e in range(3)]
    rows = [
        (f"parent {name}, {_where(mode)}", *map(dollars, row))
        for (name, mode), row in costs.items()
        if mode != "headless"
    ]
    print_table(HEAD, [*rows, ("no parent, headless", *map(dollars, costs["", "headless"]))])
    print_shares(in_terminal, as_scripted)
    print_goals(costs)


def print_shares(driver: Measured, as_scripted: bool) -> None:
    """What it would take to reach a goal that is missed."""
    implementer, reviewer = driver.implementer, driver.reviewer
    if not as_scripted:
        implementer, reviewer = assumed(implementer, reviewer)
    parts = [("implementer, Haiku", price(implementer, HAIKU)), ("reviewer, Sonnet", price(reviewer, SONNET))]
    parts += [
        (f"parent, {name}", round(parent_cost(driver, parent, 1, 0, driver.calls_a_round)))
        for name, parent in ALL_PARENTS.items()
    ]
    print("  alone in a terminal: " + " · ".join(f"{name} {dollars(cost)}" for name, cost in parts) + "\n")


def _where(mode: str) -> str:
    place = "in a wave of three" if mode.endswith("wave") else "alone"
    return f"{place}, {'foreground (-p)' if mode.startswith('foreground') else 'terminal'}"


def print_goals(costs: Mapping[tuple[str, str], Sequence[float]]) -> None:
    for mode, words, escalations, limit in GOALS:
        for name in PARENTS if mode != "headless" else ("",):
            cost = costs[name, mode][escalations]
            met = "met   " if cost <= limit * 1e9 else "MISSED"
            who = "no parent" if mode == "headless" else f"parent {name}, terminal"
            print(f"  {met} {words}, {who}: {dollars(cost)} (goal {limit:g})")
    print()


if __name__ == "__main__":
    sys.exit(main())
