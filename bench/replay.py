"""What a ticket costs, replayed: the plan's token table and its origin's flow at today's prices, beside this project.

This project's set-up tokens and numbers of calls are measured with the real Claude Code and a scripted model: the
demo's backlog headless and in a terminal, and small ones with `claude -p`. What a real model adds to that is assumed,
and printed. Takes about a minute. A goal that is missed is named; exit 1 only where the computation itself fails.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "ops"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backlog_ops.domain.conversation import Conversation
from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.pricing import Usage
from backlog_ops.domain.priors import NEXT_ATTEMPT, PRIORS
from backlog_ops.storage.config_file import load_preset, load_prices
from tests.support.measured_demo import Measured, ParentSession, measure, silence
from tests.support.measured_session import ON_FRONTIER, Sessions, measure_sessions

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
SAID = 40  # the parent's one line beside each list

GOALS = (  # issue D; dollars
    ("alone", 1, 0, 0.10),
    ("in a wave of three", TICKETS_OF_A_WAVE, 0, 0.07),
    ("alone, one escalation", 1, 1, 0.26),
)
HEADLESS_GOAL = 0.055
ONLY_LINT = "one escalation, failed in LINT"  # nobody reviews the attempt that failed


def main() -> int:
    with silence(), ThreadPoolExecutor() as pool:
        small, demo = pool.submit(measure_sessions), pool.submit(measure, TODAY)
        sessions, found = small.result(), demo.result()
    headless, drivers = found["headless"], drivers_of(found["terminal"], sessions)
    print(f"replay: list prices of {PRICES.date} on {TODAY}; dollars a ticket\n")
    print_plan()
    print_origin()
    print_measured(headless, drivers, sessions)
    for title, as_scripted in (("a real model's work, assumed", False), ("the scripts, as they worked", True)):
        print_ours(title, headless, drivers, sessions, as_scripted)
    return 0


def drivers_of(terminal: Measured, sessions: Sessions) -> dict[str, Measured]:
    return {"terminal": terminal, "terminal, no auto mode": sessions.no_auto_mode, "-p": sessions.foreground}


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


def reviewer_of(driver: Measured, as_scripted: bool) -> Conversation:
    return driver.reviewer if as_scripted else assumed(driver.implementer, driver.reviewer)[1]


def assumed(implementer: Conversation, reviewer: Conversation) -> tuple[Conversation, Conversation]:
    """A real model's work on a measured set-up."""
    work, looks = PRIORS[Gate.IMPLEMENT].usual, PRIORS[Gate.REVIEW].usual
    return (
        replace(work, set_up=implementer.set_up + BRIEF),
        replace(looks, set_up=reviewer.set_up + PACKAGE),
    )


def parent_of(driver: Measured, name: str, sessions: Sessions) -> ParentSession:
    if driver.parent is None:
        raise SystemExit("bench/replay.py: a driver without a parent")
    return driver.parent.with_more_set_up(sessions.haiku_set_up) if name == "Haiku" else driver.parent


def parent_cost(parent: ParentSession, model: str, tickets: int, escalations: int, lint: int = 0) -> float:
    """A ticket's share; `lint`: calls more, for attempts that failed in LINT."""
    work = parent.at_work(tickets, escalations)
    return price(replace(work, calls=work.calls + lint, output=work.output + SAID), model) / tickets


def ticket_cost(
    driver: Measured, name: str, tickets: int, escalations: int, sessions: Sessions, scripted: bool
) -> float:
    parent = parent_cost(parent_of(driver, name, sessions), ALL_PARENTS[name], tickets, escalations)
    return agents_cost(driver, escalations, scripted) + parent + summary_cost(tickets)


def lint_cost(driver: Measured, name: str, sessions: Sessions, scripted: bool) -> float:
    """Alone, with one escalation of an attempt that no reviewer has seen."""
    parent = parent_of(driver, name, sessions)
    lint = sessions.calls_more_lint * parent.more_calls // parent_of(sessions.foreground, name, sessions).more_calls
    agents = agents_cost(driver, 1, scripted) - price(reviewer_of(driver, scripted), SONNET)
    return agents + parent_cost(parent, ALL_PARENTS[name], 1, 0, lint) + summary_cost(1)


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


def print_measured(headless: Measured, drivers: Mapping[str, Measured], sessions: Sessions) -> None:
    print("This project, measured (request bytes / 4; real Claude Code, scripted model)")
    for name, driver in (("headless", headless), *drivers.items()):
        for role, agent in (("implementer", driver.implementer), ("reviewer", driver.reviewer)):
            print_conversation(name, role, agent)
        if driver.parent:
            print_conversation(name, "parent, one ticket", driver.parent.alone)
            print_conversation(name, "parent, a wave of three", driver.parent.of_three)
            print(f"  {name}: +{driver.parent.more_calls} parent calls for an attempt that its reviewer sends back")
    print(
        f"  -p: +{sessions.calls_more_lint} parent calls for an attempt that LINT sends back;"
        f" a parent on Haiku is told {sessions.haiku_set_up:,} tokens more"
    )
    print(
        f"  -p --model haiku: the {sessions.frontier_agents} agents of a SECURITY ticket ran on {ON_FRONTIER},"
        " those of two others as routed"
    )
    t = drivers["terminal"]
    each = t.safety_nanousd / max(t.safety_calls, 1)
    print(
        f"  terminal: auto mode's own safety checks: {t.safety_calls} calls, {dollars(t.safety_nanousd)}"
        f" ({dollars(each)} each, one an agent): the host's, not in the figures below"
    )
    print(
        "  terminal, no auto mode: `claude --permission-mode default`, which asks no such thing; its wave of three is"
    )
    print("  one ticket's as measured, with the tokens that a list of three takes in -p\n")


def print_conversation(driver: str, role: str, agent: Conversation) -> None:
    print(
        f"  {driver}: {role:<23} {agent.set_up:>6,} tokens of set-up · {agent.calls} calls · +{agent.growth:,} a call"
        f" · {agent.output} out a call"
    )


def print_ours(
    title: str, headless: Measured, drivers: Mapping[str, Measured], sessions: Sessions, as_scripted: bool
) -> None:
    print(f"This project: {title}")
    print_assumptions(as_scripted)
    rows = [
        (f"{driver}, parent {name}, {where}", *(dollars(cost) for cost in costs))
        for driver, found in drivers.items()
        for name in ALL_PARENTS
        for where, tickets in (("alone", 1), ("in a wave of three", TICKETS_OF_A_WAVE))
        for costs in [[ticket_cost(found, name, tickets, e, sessions, as_scripted) for e in range(3)]]
    ]
    alone = [agents_cost(headless, e, as_scripted) + summary_cost(1) for e in range(3)]
    print_table(HEAD, [*rows, ("headless, no parent", *map(dollars, alone))])
    print_shares(drivers, sessions, as_scripted)
    print_goals(drivers, sessions, as_scripted)
    met = "met" if alone[0] <= HEADLESS_GOAL * 1e9 else "MISSED"
    print(f"  headless, no parent: {met} {dollars(alone[0])} (goal {HEADLESS_GOAL:g})\n")


def print_assumptions(as_scripted: bool) -> None:
    if not as_scripted:
        work, looks = PRIORS[Gate.IMPLEMENT].usual, PRIORS[Gate.REVIEW].usual
        print(
            f"  assumed: implementer {work.calls} calls, {BRIEF:,} tokens of brief, +{work.growth:,} a call,"
            f" {work.output} out; later attempts {NEXT_ATTEMPT.calls} calls, {FAILED:,} more"
        )
        print(f"  reviewer {looks.calls} calls, {PACKAGE:,} tokens of package, +{looks.growth}, {looks.output} out;")
    print(f"  assumed: the parent says {SAID} tokens more a call than the scripted one; PLAN, WAVE_PLAN and COMMIT on")
    print(
        "  the local model, SUMMARY on Haiku; caches written for 5 minutes, none shared between agents; an escalation"
    )
    print("  is an attempt that its reviewer sends back: two lists of agents more")


def print_shares(drivers: Mapping[str, Measured], sessions: Sessions, as_scripted: bool) -> None:
    """What it would take to reach a goal that is missed."""
    for where, driver in drivers.items():
        implementer, reviewer = driver.implementer, driver.reviewer
        if not as_scripted:
            implementer, reviewer = assumed(implementer, reviewer)
        parts = [("implementer, Haiku", price(implementer, HAIKU)), ("reviewer, Sonnet", price(reviewer, SONNET))]
        for name, model in ALL_PARENTS.items():
            cost = round(parent_cost(parent_of(driver, name, sessions), model, 1, 0))
            parts.append((f"parent, {name}", cost))
        print(f"  {where}, alone: " + " · ".join(f"{name} {dollars(cost)}" for name, cost in parts))
    print()


def print_goals(drivers: Mapping[str, Measured], sessions: Sessions, as_scripted: bool) -> None:
    """One line a driver and parent, one column a goal."""

    def against(cost: float, limit: float) -> str:
        return f"{'met' if cost <= limit * 1e9 else 'MISSED'} {dollars(cost)}"

    rows = []
    for where, driver in drivers.items():
        for name in ALL_PARENTS:
            costs = [ticket_cost(driver, name, tickets, e, sessions, as_scripted) for _, tickets, e, _ in GOALS]
            cells = [against(cost, goal[-1]) for cost, goal in zip(costs, GOALS, strict=True)]
            lint = against(lint_cost(driver, name, sessions, as_scripted), GOALS[-1][-1])
            rows.append((f"{where}, parent {name}", *cells, lint))
    head = [f"{words} ≤ ${limit:g}" for words, _, _, limit in GOALS]
    print_table(("goals", *head, f"{ONLY_LINT} ≤ ${GOALS[-1][-1]:g}"), rows)


if __name__ == "__main__":
    sys.exit(main())
