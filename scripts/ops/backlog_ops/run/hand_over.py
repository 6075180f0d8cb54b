"""What `start`, `next` and `resume` print: the actions for a parent session, as JSON (contracts.md, "Actions")."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Tier
from backlog_ops.errors import RunStateError
from backlog_ops.run.actions import LAUNCHER, agent_name, prompt_line
from backlog_ops.run.agent_process import AgentProcess
from backlog_ops.run.context import Context
from backlog_ops.run.driver_lock import RUN, DrivenError, holder
from backlog_ops.run.progress import has_work, run_limit
from backlog_ops.run.rows import Action, Run
from backlog_ops.run.steps import Step

POLL_SECONDS = 0.05
WAIT_SECONDS = 5  # what a parent is told to wait when the engine's own work takes longer


def hand_over(ctx: Context, run: Run, limit_seconds: float) -> dict[str, Any]:
    """Let the detached worker do what needs no parent, at most `limit_seconds`; then the actions that are open.

    Long work goes on in the worker and is found by the next call. Raises DrivenError while `backlog-ops run` is at
    work: its agents are its own, and nobody may be told to do the same a second time.
    """
    busy = holder(ctx.state_folder)
    if busy is not None and busy.startswith(RUN):
        raise DrivenError(busy)
    _pick_up_files(ctx, run)
    deadline = time.monotonic() + limit_seconds
    worker: _Worker | None = None
    while run.state == "open" and has_work(ctx, run):
        if worker is not None and worker.process.poll():
            raise RunStateError(f"the engine's worker failed ({worker.said()}); `backlog-ops next` tries again")
        if (worker is None or worker.process.poll() is not None) and holder(ctx.state_folder) is None:
            worker = _Worker.spawn(ctx, run)
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
        run = ctx.store.run(run.id)
    return describe(ctx, ctx.store.run(run.id))


def _pick_up_files(ctx: Context, run: Run) -> None:
    """A sub-agent without Bash hands in by writing its file."""
    for action in ctx.store.actions(run.id, "open"):
        if action.hand_in and Path(action.hand_in).is_file():
            ctx.store.hand_in(action)


@dataclass(frozen=True)
class _Worker:
    """The engine in a process and session of its own: it outlives the command that started it."""

    process: subprocess.Popen[bytes]
    log: Path
    log_start: int  # what earlier workers said ends here

    @classmethod
    def spawn(cls, ctx: Context, run: Run) -> _Worker:
        log = ctx.state_folder / "worker.log"
        with open(log, "ab") as out:
            start = out.tell()
            process = subprocess.Popen(
                [str(LAUNCHER), "worker", run.id],
                cwd=ctx.top,
                env=dict(ctx.environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            return cls(process, log, start)

    def said(self) -> str:
        """Its last line, else how it ended."""
        lines = self.log.read_bytes()[self.log_start :].decode("utf-8", "replace").split("\n")
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), f"exit {self.process.returncode}")


def describe(ctx: Context, run: Run) -> dict[str, Any]:
    """The run as the parent sees it: one line to say and a list of things to do."""
    said = {"run": run.id, "wave": run.wave, "say": headline(ctx, run)}
    if run.state != "open":
        return {**said, "actions": [{"do": "done", "summary": run.summary or f"run {run.id} was {run.state}"}]}
    # Agents that a killed `backlog-ops run` left at work are waited for: nobody may do the same a second time.
    actions = [_agent(ctx, a) for a in ctx.store.actions(run.id, "open") if not AgentProcess.of(a).is_at_work]
    return {**said, "actions": actions or [{"do": "wait", "seconds": WAIT_SECONDS}]}


def _agent(ctx: Context, action: Action) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": action.id,
        "do": "agent",
        "ticket": action.ticket,
        "gate": action.gate.value,
        "attempt": action.attempt,
        "subagent_type": f"backlog:{agent_name(action.gate)}",
    }
    if action.tier is not Tier.FRONTIER:  # absent: the sub-agent inherits the parent's model
        answer["model"] = action.tier.host_model
    return {
        **answer,
        "run_in_background": False,
        "description": f"{action.ticket} {action.gate} #{action.attempt}",
        "prompt": prompt_line(action),
    }


_DOING = {
    Step.PREPARE: "preparing",
    Step.PLAN: "planning",
    Step.IMPLEMENT: "implementing",
    Step.LINT: "in lint",
    Step.REVIEW: "in review",
    Step.COMMIT: "committing",
    Step.MERGE: "merging",
    Step.DONE: "done",
    Step.PARKED: "parked",
}


def headline(ctx: Context, run: Run) -> str:
    """`wave 1 of 2 · 2 implementing · $0.04 of $5.00`"""
    waves = ctx.store.last_wave(run.id)
    counts = ctx.store.step_counts(run.id, run.wave if run.state == "open" else None)
    parts = [f"wave {min(run.wave, waves)} of {waves}" if waves else "planning waves"]
    parts += [f"{counts[step]} {_DOING.get(step, step.value)}" for step in Step if step in counts]
    parts.append(f"{ctx.store.spent(run.id)} of ${run_limit(ctx, run) / 1e9:.2f}")
    return " · ".join(parts)
