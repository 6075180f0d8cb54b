"""What the guards add to each tool call of a session: medians of 200 runs of hook.sh, outside a run and inside one.

Each guard judges what it judges most: a call of the Agent tool without a marker, a sub-agent's Write and Bash. In
turns, so that a busy moment falls on all alike. Milliseconds with their limits; exit 1 over one of them.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "ops"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backlog_ops.domain.gates import Gate
from tests.support.hook_events import Event, Host, Stage, apart
from tests.support.lab import one

REPEATS = 200
OUTSIDE_LIMIT_MS = 25.0
INSIDE_LIMIT_MS = 80.0
GUARDS = ("agent", "write", "bash")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, apart(Path(folder) / "home"):
        measured = medians_ms(Path(folder), REPEATS)
    within = [report(*line) for line in measured]
    return 0 if all(within) else 1


def medians_ms(folder: Path, repeats: int) -> list[tuple[str, float, float]]:
    """(what, median, limit) of every guard in both places; needs an environment of its own (`apart`)."""
    outside = Host.of(one(folder / "outside").top)
    stage = Stage.set(folder, Gate.IMPLEMENT)
    calls: list[tuple[str, Host, dict[str, Event], float, str]] = [
        ("outside a run", outside, everyday_outside(outside), OUTSIDE_LIMIT_MS, ""),
        ("inside a run", stage.host, everyday_inside(stage), INSIDE_LIMIT_MS, "allow"),
    ]
    seconds: dict[tuple[str, str], list[float]] = {(where, name): [] for where, *_ in calls for name in GUARDS}
    for _ in range(repeats):
        for where, host, events, _limit, answer in calls:
            for name in GUARDS:
                said = host.hook(name, events[name])
                if (answer if name != "agent" else "") not in said.stdout or (not answer and not said.is_silent):
                    raise SystemExit(f"bench/guards.py: {name} {where} said {said}")
                seconds[where, name].append(said.seconds)
    return [
        (f"{name} {where}", statistics.median(seconds[where, name]) * 1000, limit)
        for where, _, _, limit, _ in calls
        for name in GUARDS
    ]


def everyday_outside(host: Host) -> dict[str, Event]:
    agent = host.sub_agent("Find all TODOs.")
    return {
        "agent": host.agent_call("Find all TODOs."),
        "write": agent.tool("Write", file_path=str(host.top / "src" / "T-1.txt"), content="hello"),
        "bash": agent.tool("Bash", command="git status"),
    }


def everyday_inside(stage: Stage) -> dict[str, Event]:
    check = f"{stage.brief.read_text().partition('Check command: ')[2].splitlines()[0]} 2>&1 | tail -20"
    return {
        "agent": stage.host.agent_call("Find all TODOs."),
        "write": stage.agent.tool("Write", file_path=str(stage.worktree / "src" / "T-1.txt"), content="hello"),
        "bash": stage.agent.tool("Bash", command=check),
    }


def report(what: str, measured_ms: float, limit_ms: float) -> bool:
    within = measured_ms <= limit_ms
    print(f"guard {what:20} {measured_ms:6.1f} ms   limit {limit_ms:.0f} ms   {'ok' if within else 'TOO SLOW'}")
    return within


if __name__ == "__main__":
    # Started by hand in a session of Claude Code, it must not measure that session's settings.
    os.environ.pop("CLAUDE_BIN", None)
    sys.exit(main())
