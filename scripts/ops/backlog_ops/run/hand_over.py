"""What `start`, `next` and `resume` print: the actions for a parent session, as JSON (contracts.md, "Actions")."""

from __future__ import annotations

import math
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.host_models import must_name_frontier
from backlog_ops.errors import RunStateError
from backlog_ops.money.host_files import find_subagents_folder
from backlog_ops.money.transcripts import last_model
from backlog_ops.run import agent_rows
from backlog_ops.run.actions import LAUNCHER, description, prompt_line, session_agent_name
from backlog_ops.run.agent_process import AgentProcess
from backlog_ops.run.context import Context
from backlog_ops.run.driver_lock import RUN, DrivenError, holder
from backlog_ops.run.marks import sync_mark
from backlog_ops.run.pauses import clock_time
from backlog_ops.run.progress import has_work, is_paused, run_limit, waits_for_person
from backlog_ops.run.rows import Action, Question, Run, SessionAgent
from backlog_ops.run.session_agents import look, own_session, watch
from backlog_ops.run.steps import Step

POLL_SECONDS = 0.05
BARRIER_POLL_SECONDS = 0.1
PATIENT_POLL_SECONDS = 1.0
LOOK_SECONDS = 5.0
RELEASE_SECONDS = 0.3  # longer than the others of a list need to see that it is over
WAIT_SECONDS = 5  # what a parent is told to wait when the engine's own work takes longer


def hand_over(ctx: Context, run: Run, limit_seconds: float, patient: bool = False) -> dict[str, Any]:
    """Let the detached worker do what needs no parent, at most `limit_seconds`; then the actions that are open.

    Long work goes on in the worker and is found by the next call. `patient`: while only sub-agents are at work, wait
    for them as long, so that a parent need not ask again and again. Raises DrivenError while `backlog-ops run` is at
    work: its agents are its own, and nobody may be told to do the same a second time.
    """
    busy = holder(ctx.state_folder)
    if busy is not None and busy.startswith(RUN):
        raise DrivenError(busy)
    deadline = time.monotonic() + limit_seconds
    while True:
        look(ctx, run)
        _pick_up_files(ctx, run)
        run = advance(ctx, run, deadline)
        answer = describe(ctx, run)
        if not (patient and _waits(answer) and not is_paused(ctx, run) and time.monotonic() < deadline):
            break
        time.sleep(PATIENT_POLL_SECONDS)
    session = own_session(ctx)
    if session:  # a hook that hands over later need not say the same again
        agent_rows.note_asked(ctx.store, run.id, session)
    if run.state != "open":
        from backlog_ops.run.closing import tidy  # 14 ms that an open run's `next` does not pay

        tidy(ctx)
    sync_mark(ctx)
    return answer


def hand_over_once(ctx: Context, agent: SessionAgent, limit_seconds: float) -> dict[str, Any] | None:
    """For a hook, at the end of a sub-agent: where the run stands once the engine has nothing to do; None while
    others of its session are at work, and where the session has been told since.
    """
    run = ctx.store.run(ctx.store.action(agent.action).run)
    if watching(ctx, run, agent.session):
        return None
    _pick_up_files(ctx, run)
    run = advance(ctx, run, time.monotonic() + limit_seconds)
    over = run.state != "open" and ctx.store.open_run() is not None  # the session has begun another one since
    told = not over and agent_rows.may_tell(ctx.store, run.id, agent)
    sync_mark(ctx)
    return describe(ctx, run) if told else None


def _waits(answer: Mapping[str, Any]) -> bool:
    return any(action["do"] == "wait" for action in answer["actions"])


def hold(ctx: Context, agent: SessionAgent, limit_seconds: float) -> None:
    """Wait until no sub-agent of this one's session is at work and the engine has done what their ends made possible;
    then until the instant at which all of them are let go.
    """
    run = ctx.store.run(ctx.store.action(agent.action).run)
    deadline = time.monotonic() + limit_seconds
    looked_at = time.monotonic()
    while time.monotonic() < deadline:
        run = advance(ctx, run, deadline)
        if time.monotonic() - looked_at >= LOOK_SECONDS:  # one whose end no hook has seen must not hold the others
            look(ctx, run)
            looked_at = time.monotonic()
        if not watching(ctx, run, agent.session) and not (run.state == "open" and has_work(ctx, run)):
            at = agent_rows.release(ctx.store, agent, ctx.clock() + RELEASE_SECONDS)
            time.sleep(min(max(0.0, at - ctx.clock()), RELEASE_SECONDS))
            return
        time.sleep(BARRIER_POLL_SECONDS)


def watching(ctx: Context, run: Run, session: str) -> list[SessionAgent]:
    """The sub-agents of a session that are at work."""
    return [agent for agent in watch(ctx, run) if agent.session == session]


def advance(ctx: Context, run: Run, deadline: float) -> Run:
    """Let the worker go on until only agents are waited for, or the deadline (monotonic seconds) is there."""
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
    return ctx.store.run(run.id)


def _pick_up_files(ctx: Context, run: Run) -> None:
    """A sub-agent without Bash hands in by writing its file; while it is at work it may write it again.

    Inside a session whose sub-agents can be seen, a file without one is nobody's: tests that models wrote could lay
    it there.
    """
    at_work = {agent.action for agent in agent_rows.at_work(ctx.store, run.id)}
    seen = {agent.action for agent in agent_rows.agents_of_run(ctx.store, run.id)}
    all_are_seen = find_subagents_folder(ctx.environ, own_session(ctx)) is not None
    for action in ctx.store.actions(run.id, "open"):
        somebodys = action.number in seen or not all_are_seen
        if somebodys and action.hand_in and Path(action.hand_in).is_file() and action.number not in at_work:
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
    if is_paused(ctx, run):
        return {**said, "actions": [_pause(ctx, run)]}
    asked = waits_for_person(ctx, run)
    if asked is not None:
        return {**said, "actions": [_ask(asked)]}
    open_actions = ctx.store.actions(run.id, "open")
    at_work = {agent.action for agent in agent_rows.at_work(ctx.store, run.id)}
    # Agents that a killed `backlog-ops run` left at work are waited for: nobody may do the same a second time.
    at_work |= {action.number for action in open_actions if AgentProcess.of(action).is_at_work}
    actions = [_agent(ctx, action) for action in open_actions if action.number not in at_work]
    return {**said, "actions": actions or [_wait(ctx, run, sorted(at_work))]}


def _pause(ctx: Context, run: Run) -> dict[str, Any]:
    """The session is under the same limit as its sub-agents: it says so and stops; the run goes on later."""
    until = run.paused_until or 0.0
    return {
        "do": "wait",
        "seconds": max(1, math.ceil(until - ctx.clock())),
        "why": f"usage limit until {clock_time(until)}: {run.paused_why}",
        "until": clock_time(until),
    }


def _ask(asked: Question) -> dict[str, Any]:
    answers = {said: f"{shlex.quote(str(LAUNCHER))} submit {asked.id} --answer {said}" for said in ("yes", "no")}
    return {"id": asked.id, "do": "ask", "question": asked.text, "answers": answers}


def _wait(ctx: Context, run: Run, at_work: Sequence[int]) -> dict[str, Any]:
    waiting: dict[str, Any] = {"do": "wait", "seconds": WAIT_SECONDS}
    if at_work:
        waiting["why"] = f"sub-agents at work on {', '.join(f'a{number}' for number in at_work)}"
        if any(agent.host_pid is None for agent in agent_rows.at_work(ctx.store, run.id)):
            # An older host does not say whether its session is still there. A person's decision: it starts them again.
            lost = f"{shlex.quote(str(LAUNCHER))} next --lost"
            waiting["why"] += f"; should they be gone, the person may run `{lost}`"
    return waiting


def _agent(ctx: Context, action: Action) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": action.id,
        "do": "agent",
        "ticket": action.ticket,
        "gate": action.gate.value,
        "attempt": action.attempt,
        "subagent_type": f"backlog:{session_agent_name(action.gate, action.tier)}",
    }
    if action.tier is not Tier.FRONTIER or must_name_frontier(_parent_model(ctx)):  # else it inherits
        answer["model"] = action.host_model
    return {
        **answer,
        "run_in_background": False,
        "description": description(action),
        "prompt": prompt_line(action),
    }


def _parent_model(ctx: Context) -> str | None:
    """What answered last in the session that asks; None outside any, and at its very first call."""
    folder = find_subagents_folder(ctx.environ, own_session(ctx))
    return last_model(folder.parent.with_suffix(".jsonl")) if folder else None


_DOING = {
    Step.PREPARE: "preparing",
    Step.INVESTIGATE: "investigating",
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
    parts = [f"paused until {clock_time(run.paused_until)}"] if run.paused_until and is_paused(ctx, run) else []
    parts.append(f"wave {min(run.wave, waves)} of {waves}" if waves else "planning waves")
    parts += [f"{counts[step]} {_DOING.get(step, step.value)}" for step in Step if step in counts]
    parts.append(f"{ctx.store.spent(run.id)} of ${run_limit(ctx, run) / 1e9:.2f}")
    return " · ".join(parts)
