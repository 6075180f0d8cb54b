"""How long a `backlog-ops next` takes that has nothing to do: a run is open, three actions wait for the parent.

Median of 15 through bin/backlog-ops, as a parent session calls it: `next: 0.08 s (limit 0.15 s)`, exit 1 over it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "ops"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.lab import Lab, ticket_text
from tests.support.scratch_home import scratch_home

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = ROOT / "bin" / "backlog-ops"
REPEATS = 15
LIMIT_SECONDS = 0.15  # issue A, "Speed"
TICKETS = ("T-1", "T-2", "T-3")  # one wave


def main() -> int:
    with scratch_home() as home:
        # No text model answers, so every ticket waits for a sub-agent that plans it.
        lab = Lab.make(home / "repo", {f"{name}.md": ticket_text(name) for name in TICKETS})
        opened = call(lab.top, "start")
        seconds = median_seconds(lab.top, opened)
        subprocess.run([LAUNCHER, "abort"], cwd=lab.top, check=True, stdout=subprocess.DEVNULL)
    print(f"next: {seconds:.2f} s (limit {LIMIT_SECONDS:g} s)")
    return 0 if seconds <= LIMIT_SECONDS else 1


def median_seconds(top: Path, opened: dict[str, object]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        answer = call(top, "next")
        times.append(time.perf_counter() - began)
        if answer != opened or len(opened["actions"]) != len(TICKETS):
            raise SystemExit(f"bench/next.py: not three open actions: {answer}")
    return statistics.median(times)


def call(top: Path, command: str) -> dict[str, object]:
    done = subprocess.run([LAUNCHER, command], cwd=top, check=True, capture_output=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    sys.exit(main())
