"""The gate engine: does whatever comes next and needs no agent, until only agents are waited for.

Three drivers use it: `backlog-ops run` (agents through `claude -p`), and `start`/`next` (agents through the
parent session), whose long work goes on in a detached worker. One driver at a time: `driver_lock.py`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, Protocol

from backlog_ops.errors import BacklogError
from backlog_ops.run import wave_gates
from backlog_ops.run.closing import finish
from backlog_ops.run.context import Context
from backlog_ops.run.gates import commit, implement, lint, plan, review
from backlog_ops.run.gates.outcome import park
from backlog_ops.run.processes import StoppedError
from backlog_ops.run.progress import action_of, has_work, open_action_of, over_budget
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.session_agents import wrong_model
from backlog_ops.run.steps import Step
from backlog_ops.run.text_gates import first_line

GateStep = Callable[[Context, Run, TicketState], None]
_STEPS: dict[Step, GateStep] = {
    Step.PREPARE: plan.prepare,
    Step.PLAN: plan.step,
    Step.IMPLEMENT: implement.step,
    Step.LINT: lint.step,
    Step.REVIEW: review.step,
    Step.COMMIT: commit.step,
    Step.MERGE: commit.merge,
}


class AgentRunner(Protocol):
    """Runs one agent action to its end and says why it is worthless, or None. Raises StoppedError."""

    def __call__(self, ctx: Context, action: Action) -> str | None: ...


def work(ctx: Context, run_id: str, jobs: int, agents: AgentRunner | None) -> None:
    """Go on with a run until it has ended or, without `agents`, until only agents are waited for."""
    while True:
        run = ctx.store.run(run_id)
        if run.state != "open" or ctx.stopping.is_set():
            return
        if run.wave == 0:
            wave_gates.plan_the_waves(ctx, run)
            continue
        wave = ctx.store.tickets(run_id, run.wave)
        if not wave:
            finish(ctx, run)
            return
        if all(ticket.step.is_final for ticket in wave):
            wave_gates.close_wave(ctx, run)
            continue
        _work_on_wave(ctx, run, wave, jobs, agents)
        if agents is None and not has_work(ctx, ctx.store.run(run_id)):
            return


def _work_on_wave(ctx: Context, run: Run, wave: list[TicketState], jobs: int, agents: AgentRunner | None) -> None:
    """Side by side: agents and test commands are what takes the time."""
    pool = ThreadPoolExecutor(max_workers=max(1, min(jobs, len(wave))))
    try:
        futures = [pool.submit(_work_on_ticket, ctx, run, ticket.id, agents) for ticket in wave]
        for future in futures:
            future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _work_on_ticket(ctx: Context, run: Run, ticket_id: str, agents: AgentRunner | None) -> None:
    while not ctx.stopping.is_set() and ctx.store.run(run.id).state == "open":
        ticket = ctx.store.ticket(run.id, ticket_id)
        if ticket.step.is_final:
            return
        action = open_action_of(ctx, ticket)
        over = over_budget(ctx, run, ticket)
        if over:
            park(ctx, ticket, over, action)
        elif action is None:
            _guarded(ctx, ticket, _step, run, ticket)
        elif agents is None:
            return
        else:
            _guarded(ctx, ticket, _run_agent, agents, action)


def _step(ctx: Context, run: Run, ticket: TicketState) -> None:
    """What comes next for a ticket; what another model than the routed one handed in is not even looked at."""
    action = action_of(ctx, ticket)
    wrong = wrong_model(ctx, action) if action is not None and action.state == "handed-in" else None
    if wrong and ctx.settings.llm_ops.mismatch_fails:
        park(ctx, ticket, f"{wrong}; mend that, or set llmOps.onModelMismatch to warn", action)
        return
    if wrong:
        ctx.say(ticket, f"warning: {wrong}")
    _STEPS[ticket.step](ctx, run, ticket)


def _run_agent(ctx: Context, agents: AgentRunner, action: Action) -> None:
    ctx.store.hand_in(action, agents(ctx, action))


_Arguments = ParamSpec("_Arguments")


def _guarded(
    ctx: Context,
    ticket: TicketState,
    step: Callable[Concatenate[Context, _Arguments], None],
    *args: _Arguments.args,
    **options: _Arguments.kwargs,
) -> None:
    """One step. What goes wrong in it parks this ticket and no other; what is stopped stays where it was."""
    try:
        step(ctx, *args, **options)
    except StoppedError:
        return
    except BacklogError as error:
        reason = first_line(error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"internal error at {ticket.step}: {type(error).__name__}: {error} ({where.name}:{where.lineno})"
    else:
        return
    ticket = ctx.store.ticket(ticket.run, ticket.id)
    if not ticket.step.is_final and not ctx.stopping.is_set():
        park(ctx, ticket, reason, open_action_of(ctx, ticket))
