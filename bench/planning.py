"""How long planning takes: `python bench/planning.py` prints one line a measurement, exits 1 over a limit.

Planning is what the engine does without a model: `plan_waves`, then `check_wave_plan` on its result. The
backlogs are generated: tickets of about 2 kB with files in 200 folders, dependencies, lockfiles, new files and
imports of them; and the worst case for a greedy planner, where every ticket touches one file.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts" / "ops"))

from backlog_ops.domain.settings import Backlog, TicketValidation
from backlog_ops.domain.tickets import Ticket, parse_ticket, validate_backlog
from backlog_ops.domain.waves import check_wave_plan, plan_waves

LIMITS = {1_000: 1.0, 10_000: 5.0}  # tickets → seconds
STRICT = TicketValidation(require_acceptance_criteria=True, require_affected_files=True, max_bytes=262_144)
RULES = Backlog("tickets", 3, ("**/package-lock.json", "**/poetry.lock", "**/uv.lock", "**/migrations/**"))
PROSE = "The service reads its settings once and keeps them; nothing else may change while a request runs. " * 12


def ticket_text(number: int, dice: random.Random) -> bytes:
    earlier = [f"T-{dice.randrange(number)}" for _ in range(dice.choice((0, 0, 1, 2)))] if number else []
    rows = [f"| `src/area{dice.randrange(200)}/part{dice.randrange(50)}.py` | modify |" for _ in range(2)]
    rows.append(f"| tests/area{dice.randrange(200)}/test_{number}.py | create |")
    if number % 5 == 0:
        rows.append(f"| src/area{number % 200}/fresh{number}.py | create |")
    if number % 20 == 0:
        rows.append("| web/package-lock.json | modify |")
    used = number // 5 * 5
    lines = [
        *("---", f"id: T-{number}", f"title: Change number {number}", "tags: [bench]"),
        f"priority: {dice.choice(('low', 'medium', 'high', 'critical'))}",
        f"depends_on: [{', '.join(earlier)}]",
        *("---", "## Context", PROSE, "## Description", f"from area{used % 200}.fresh{used} import thing", PROSE),
        *("## Acceptance Criteria", "- [ ] AC-1: it works", "- [ ] AC-2: it is tested"),
        *("## Affected Files", "| File | Action |", "|---|---|", *rows, "## Test Strategy", "Unit tests.", ""),
    ]
    return "\n".join(lines).encode()


def meeting_text(number: int, _dice: random.Random) -> bytes:
    return (
        f"---\nid: T-{number}\ntitle: T\naffected_files: [src/one.py]\n---\n"
        "## Acceptance Criteria\n- [ ] AC-1: it works\n"
    ).encode()


def measure(label: str, limit: float | None, work: Callable[[], object]) -> bool:
    """Run `work` once, print its time, and say whether it kept its limit."""
    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    print(f"{label}: {seconds:.2f} s" + (f" (limit {limit:g} s)" if limit else ""), flush=True)
    return limit is None or seconds <= limit


def plan_and_check(tickets: Sequence[Ticket]) -> None:
    ages = {ticket.id: float(place) for place, ticket in enumerate(tickets)}
    plan = plan_waves(tickets, (), ages, RULES)
    reasons = check_wave_plan(plan, tickets, (), RULES)
    if reasons or plan.skipped:
        raise SystemExit(f"the plan is wrong: {[*reasons, *plan.skipped][:3]}")


def measure_backlog(kind: str, size: int, write: Callable[[int, random.Random], bytes]) -> bool:
    dice = random.Random(size)
    files = [write(number, dice) for number in range(size)]
    tickets: list[Ticket] = []

    def parse() -> None:
        for number, data in enumerate(files):
            ticket, problems = parse_ticket(f"tickets/pending/{number}.md", data, STRICT)
            if ticket is None or problems:
                raise SystemExit(f"a generated ticket is wrong: {problems}")
            tickets.append(ticket)

    measure(f"parsing {size} {kind}", None, parse)
    measure(f"validating {size} {kind}", None, lambda: validate_backlog(tickets, ()))
    return measure(f"planning {size} {kind}", LIMITS[size], lambda: plan_and_check(tickets))


def main() -> int:
    kept = [
        measure_backlog(kind, size, write)
        for size in LIMITS
        for kind, write in (("tickets", ticket_text), ("tickets that all touch one file", meeting_text))
    ]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
