"""What the state machine itself adds to a step: the engine's time without git, the project's commands and the agents.

Six tickets in waves of three, one rejected once: `steps: 9.1 ms (limit 20 ms)`, exit 1 over it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts" / "ops"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backlog_ops.run.gates import lint, merge
from backlog_ops.run.git import Git
from tests.support.lab import APPROVED, REJECTED, Lab, ScriptedAgents, ticket_text
from tests.support.scratch_home import scratch_home

LIMIT_MS = 20.0  # issue C, "Speed"
TICKETS = [f"T-{number}" for number in range(1, 7)]


class Apart:
    """Seconds spent in what is not the state machine; what is called inside a call counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            self._depth += 1
            try:
                return function(*args, **options)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.perf_counter() - began

        return call


def main() -> int:
    with scratch_home() as home:
        lab = Lab.make(home / "repo", {f"{name}.md": ticket_text(name) for name in TICKETS})
        lab.agents.verdict = lambda ticket, attempt: REJECTED if (ticket, attempt) == ("T-1", 1) else APPROVED
        apart = Apart()
        Git.run = apart.timed(Git.run)  # type: ignore[method-assign]
        ScriptedAgents.__call__ = apart.timed(ScriptedAgents.__call__)  # type: ignore[method-assign]
        for module in (lint, merge):
            module.run_in_worktree = apart.timed(module.run_in_worktree)
        lint.find_secrets = apart.timed(lint.find_secrets)
        began = time.perf_counter()
        run = lab.run(jobs=1)
        seconds = time.perf_counter() - began
        store = lab.context().store
        steps = store.rows("SELECT count(*) FROM journal WHERE run = ?", run.id)[0][0]
        done = sum(state.step.value == "done" for state in store.tickets(run.id))
    if done != len(TICKETS):
        raise SystemExit(f"bench/steps.py: {done} of {len(TICKETS)} tickets done")
    each = (seconds - apart.seconds) / steps * 1000
    print(f"steps: {each:.1f} ms (limit {LIMIT_MS:g} ms) · {steps} steps, {seconds / steps * 1000:.0f} ms with all")
    return 0 if each <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
