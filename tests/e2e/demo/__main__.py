"""python -m tests.e2e.demo [--json FILE]: exit 0 when everything holds at the end, 1 with what does not.

The same backlog twice: once by `backlog-ops run`, once by the skill in a terminal. --json writes what was found,
for the tests.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.e2e.demo.bill import billed
from tests.e2e.demo.checks import CHECKS
from tests.e2e.demo.script import local_model
from tests.e2e.demo.stage import PROMPT, Driver, headless, terminal
from tests.e2e.harness.request import Req
from tests.e2e.harness.run_claude import ROOT
from tests.support.ollama_standin import OllamaStandin

KEPT = ROOT / ".deps" / "demo"  # the reports stay there until the next demo

FIRST_LINE = "A script stands in for the models here; the engine, git, the tests and Claude Code are real."


@dataclass
class Found:
    """`problems` by check, empty when everything held; `first_calls`: set-up tokens by role."""

    problems: dict[str, str] = field(default_factory=dict)
    first_calls: dict[str, list[int]] = field(default_factory=dict)
    parent_calls: int = 0
    results: tuple[str, list[str]] = ("", [])


def first_calls(calls: Iterable[Req]) -> dict[str, list[int]]:
    """Set-up tokens of every agent's first call, by role: what a ticket costs before any work is done."""
    found: dict[str, list[int]] = {"implementer": [], "reviewer": []}
    for call in calls:
        if call.tools and call.turn == 0:
            found["implementer" if "Bash" in call.tools else "reviewer"].append(call.set_up_tokens)
    return found


def play(what: str, driver: Driver, ollama: OllamaStandin) -> Found:
    """Run the backlog, show what came of it, and check it."""
    print(f"\n== {what}\n", flush=True)
    with driver(ollama) as stage:
        print("\n$ git log\n")
        print(stage.git("log", "--format=%h %s", "--shortstat", "--reverse", f"{stage.start}..main"))
        found = Found(first_calls=first_calls(stage.calls), parent_calls=len(stage.parent_calls))
        found.results = stage.results()
        page = KEPT / f"report-{driver.__name__}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        print(f"\n$ backlog-ops report --html {page.relative_to(ROOT)}\n")
        print(stage.command("report", "--html", str(page)))
        print("\nWhat the scripted API billed (list prices):\n")
        print(f"gates           {len(stage.calls):>3} calls  ${dollars(stage.calls)}")
        if stage.parent_calls:
            print(f"parent session  {len(stage.parent_calls):>3} calls  ${dollars(stage.parent_calls)}")
            safety = stage.safety_calls
            print(f"auto mode       {len(safety):>3} calls  ${dollars(safety)}  (the host's own safety checks)")
        print("\nFirst calls, before any work (request bytes / 4):\n")
        for role, tokens in found.first_calls.items():
            print(f"{role:<12} {max(tokens, default=0):,} tokens")
        print("\nWhat has to hold:\n")
        for check in CHECKS:
            problem = check(stage)
            print(f"{'NO ' if problem else 'yes'}  {check.__doc__}" + (f"\n     found: {problem}" if problem else ""))
            if problem:
                found.problems[check.__name__] = problem
    return found


def dollars(calls: Iterable[Req]) -> str:
    return f"{sum(bill.nanousd for bill in billed(calls).values()) / 1e9:.4f}"


def main() -> int:
    print(FIRST_LINE, flush=True)
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.demo", description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    try:
        with OllamaStandin(local_model) as ollama:
            found = {
                "headless": play("backlog-ops run", headless, ollama),
                "terminal": play(f"claude    and in it: {PROMPT}", terminal, ollama),
            }
    except FileNotFoundError as error:
        sys.exit(f"demo: {error}")
    same = found["headless"].results == found["terminal"].results
    print(f"\n{'yes' if same else 'NO '}  Both ways end with the same tree and the same messages.")
    if options.json:
        told = {name: asdict(one) for name, one in found.items()}
        options.json.write_text(json.dumps({"drivers": told, "same": same}), encoding="utf-8")
    return int(not same or any(one.problems for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
