"""What the guards add to a session's tool calls: medians of 200 runs of hook.sh each, outside a run and inside one.

Outside, and inside on what a guard judges most: the call that starts a sub-agent, its Write, its `check`. In turns,
so that a busy moment falls on all alike. Milliseconds beside their limits; exit 1 over one of them.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "ops"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backlog_ops.domain.gates import Gate
from tests.support.hook_events import Event, Host, Stage, apart
from tests.support.lab import one

REPEATS = 200
OUTSIDE_LIMIT_MS = 25.0
INSIDE_LIMIT_MS = 80.0


class Measured(NamedTuple):
    what: str
    best_ms: float
    median_ms: float
    limit_ms: float

    def __str__(self) -> str:
        verdict = "ok" if self.is_within else "TOO SLOW"
        measured = f"{self.median_ms:6.1f} ms (best {self.best_ms:.1f})"
        return f"guard {self.what:20} {measured:24} limit {self.limit_ms:.0f} ms   {verdict}"

    @property
    def is_within(self) -> bool:
        return self.median_ms <= self.limit_ms


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, apart(Path(folder) / "home"):
        measured = measure(Path(folder), REPEATS)
    for each in measured:
        print(each)
    return 0 if all(each.is_within for each in measured) else 1


def measure(folder: Path, repeats: int) -> list[Measured]:
    """Every guard outside a run and inside one, in repositories below `folder`."""
    outside = Host.of(one(folder / "outside").top)
    stage = Stage.set(folder / "inside", Gate.IMPLEMENT)
    calls = [("outside a run", outside, name, event) for name, event in outside_a_run(outside).items()]
    calls += [("inside a run", stage.host, name, event) for name, event in inside_a_run(stage).items()]
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for times, (where, host, name, event) in zip(seconds, calls, strict=True):
            said = host.hook(name, event)
            if not (said.is_silent if where == "outside a run" else said.is_allowed):
                raise SystemExit(f"bench/guards.py: {name} {where}: {said}")
            times.append(said.seconds)
    limits = {"outside a run": OUTSIDE_LIMIT_MS, "inside a run": INSIDE_LIMIT_MS}
    return [
        Measured(f"{name} {where}", min(times) * 1000, statistics.median(times) * 1000, limits[where])
        for times, (where, _, name, _) in zip(seconds, calls, strict=True)
    ]


def outside_a_run(host: Host) -> dict[str, Event]:
    agent = host.sub_agent("Find all unused imports.")
    return {
        "agent": host.agent_call("Find all unused imports."),
        "write": agent.tool("Write", file_path=str(host.top / "src" / "T-1.txt"), content="hello"),
        "bash": agent.tool("Bash", command="git status"),
    }


def inside_a_run(stage: Stage) -> dict[str, Event]:
    check = stage.brief.read_text(encoding="utf-8").partition("Check command: ")[2].splitlines()[0]
    return {
        # The same call again is answered again, which makes it one that can be measured.
        "agent": {**stage.host.agent_call(stage.action["prompt"], model="opus"), "tool_use_id": stage.agent.call},
        "write": stage.agent.tool("Write", file_path=str(stage.worktree / "src" / "T-1.txt"), content="hello"),
        "bash": stage.agent.tool("Bash", command=f"{check} 2>&1 | tail -20"),
    }


if __name__ == "__main__":
    sys.exit(main())
