"""python -m tests.e2e.demo [--keep] [--json FILE]: exit 0 when everything holds at the end, 1 with what does not.

--keep leaves the scratch folder; --json writes what was found, for the tests.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.demo.checks import CHECKS
from tests.e2e.demo.stage import Stage, staged
from tests.e2e.harness.request import Req

FIRST_LINE = "A script stands in for the models here; the engine, git, the tests and Claude Code are real."


def first_calls(calls: Iterable[Req]) -> dict[str, list[int]]:
    """Set-up tokens of every agent's first call, by role: what a ticket costs before any work is done."""
    found: dict[str, list[int]] = {"implementer": [], "reviewer": []}
    for call in calls:
        if call.tools and call.turn == 0:
            found["implementer" if "Bash" in call.tools else "reviewer"].append(call.set_up_tokens)
    return found


def play(stage: Stage) -> dict[str, str]:
    """Run the backlog, show what came of it, and check it; what does not hold, by the name of the check."""
    print(f"\n$ backlog-ops run    (in {stage.repo})\n", flush=True)
    code = stage.run_backlog()
    problems = {"exit_code": f"backlog-ops run ended with exit code {code}"} if code else {}
    print("\n$ git log\n")
    print(stage.git("log", "--format=%h %s", "--shortstat", "--reverse", f"{stage.start}..main"))
    print("\nFirst calls, before any work (request bytes / 4):\n")
    for role, tokens in first_calls(stage.calls).items():
        print(f"{role:<12} {max(tokens, default=0):,} tokens")
    print("\nWhat has to hold:\n")
    for check in CHECKS:
        problem = check(stage)
        print(f"{'NO ' if problem else 'yes'}  {check.__doc__}" + (f"\n     found: {problem}" if problem else ""))
        if problem:
            problems[check.__name__] = problem
    return problems


def main() -> int:
    print(FIRST_LINE, flush=True)
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="backlog-demo-")).resolve()
    try:
        with staged(root) as stage:
            problems = play(stage)
            if options.json:
                found = {"problems": problems, "first_calls": first_calls(stage.calls)}
                options.json.write_text(json.dumps(found), encoding="utf-8")
    except FileNotFoundError as error:
        sys.exit(f"demo: {error}")
    finally:
        if options.keep:
            print(f"\nKept in {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
