"""The gate engine: does whatever comes next and needs no agent, until only agents are waited for.

Three drivers use it: `backlog-ops run` (agents through `claude -p`), and `start`/`next` (agents through the
parent session), whose long work goes on in a detached worker. One driver at a time: `driver_lock.py`.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Concatenate, ParamSpec, Protocol

from backlog_ops.errors import BacklogError, SurroundingsError
from backlog_ops.run import wave_gates, worktrees
from backlog_ops.run.budget import admit_step, exhausted
from backlog_ops.run.claude_agents import end_agents
from backlog_ops.run.closing import finish
from backlog_ops.run.context import Context
from backlog_ops.run.gates import commit, implement, investigate, lint, merge, plan, review
from backlog_ops.run.gates.outcome import park
from backlog_ops.run.journal import DELIVER, MOST_CUTS
from backlog_ops.run.model_check import wrong_model
from backlog_ops.run.pauses import LimitReachedError, pause, resumed
from backlog_ops.run.processes import StoppedError
from backlog_ops.run.progress import (
    actions_of,
    has_work,
    is_paused,
    open_actions_of,
    waits_for_others,
    waits_for_person,
)
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.session_receipts import book
from backlog_ops.run.spikes import answer_about, hold, spike
from backlog_ops.run.steps import Step
from backlog_ops.run.store import OvertakenError
from backlog_ops.run.surroundings import surroundings_problem
from backlog_ops.run.text_gates import first_line

BUDGET_POLL_SECONDS = 0.2

GateStep = Callable[[Context, Run, TicketState], None]
_STEPS: dict[Step, GateStep] = {
    Step.PREPARE: plan.prepare,
    Step.INVESTIGATE: investigate.step,
    Step.PLAN: plan.step,
    Step.IMPLEMENT: implement.step,
    Step.LINT: lint.step,
    Step.REVIEW: review.step,
    Step.COMMIT: commit.step,
    Step.MERGE: merge.step,
}


class AgentRunner(Protocol):
    """Runs one agent action to its end and says why it is worthless, or None. Raises StoppedError."""

    def __call__(self, ctx: Context, action: Action) -> str | None: ...


def work(ctx: Context, run_id: str, jobs: int, agents: AgentRunner | None) -> None:
    """Go on with a run until it has ended, a person is asked or a usage limit is reached; without `agents`, until
    only agents are waited for. Raises SurroundingsError when the machine does not let it go on.
    """
    while True:
        run = ctx.store.run(run_id)
        if run.state != "open" or ctx.stopping.is_set() or not resumed(ctx, run):
            return
        wave = ctx.store.tickets(run_id, run.wave)
        if any(not ticket.step.is_final for ticket in wave):
            _work_on_wave(ctx, run, wave, jobs, agents)
            now = ctx.store.run(run_id)
            if waits_for_person(ctx, now) is not None or (agents is None and not has_work(ctx, now)):
                return
            if waits_for_others(ctx.store, now):  # such as for what a call beside the run may cost
                ctx.stopping.wait(BUDGET_POLL_SECONDS)
            continue
        with contextlib.suppress(OvertakenError):  # aborted meanwhile
            _step_of_run(ctx, run, wave)
        if waits_for_person(ctx, run) is not None:
            return


def _step_of_run(ctx: Context, run: Run, wave: list[TicketState]) -> None:
    """What comes next for the run as a whole: no ticket has work, or its wave is not even planned."""
    if run.wave == 0:
        ctx.store.begin_step(run, "plan-waves")
        wave_gates.plan_the_waves(ctx, run)
    elif wave:
        ctx.store.begin_step(run, "close-wave")
        wave_gates.close_wave(ctx, run)
    else:
        ctx.store.begin_step(run, DELIVER)
        finish(ctx, run)


def _work_on_wave(ctx: Context, run: Run, wave: list[TicketState], jobs: int, agents: AgentRunner | None) -> None:
    """Side by side: agents and test commands are what takes the time."""
    pool = ThreadPoolExecutor(max_workers=max(1, min(jobs, len(wave))))
    try:
        futures = [pool.submit(_work_on_ticket, ctx, run, ticket.id, agents) for ticket in wave]
        for future in as_completed(futures):
            future.result()
    except SurroundingsError:
        ctx.stopping.set()  # the others meet the same trouble, later and for money
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _work_on_ticket(ctx: Context, run: Run, ticket_id: str, agents: AgentRunner | None) -> None:
    while not ctx.stopping.is_set():
        now = ctx.store.run(run.id)
        if now.state != "open" or is_paused(ctx, now):
            return
        ticket = ctx.store.ticket(run.id, ticket_id)
        if ticket.step.is_final or ticket.held is not None:
            return
        waited_for = open_actions_of(ctx, ticket)
        over = exhausted(ctx, run, ticket)
        admission = None if over or waited_for else admit_step(ctx, run, ticket)
        if admission and admission.waits:
            if agents is None:
                return
            ctx.stopping.wait(BUDGET_POLL_SECONDS)  # others of the wave hold what it needs, and are at work
        elif over or (admission and admission.reason):
            _out_of_budget(ctx, ticket, over or (admission.reason if admission else ""), waited_for)
        elif not waited_for:
            _guarded(ctx, ticket, _step, run, ticket)
        elif agents is None:
            return
        else:
            _run_agents(ctx, ticket, agents, waited_for)


def _out_of_budget(ctx: Context, ticket: TicketState, reason: str, at_work: list[Action]) -> None:
    with contextlib.suppress(OvertakenError):
        park(ctx, ticket, f"{reason}; the ticket has cost {ctx.store.spent(ticket.run, ticket.id)}", at_work)
        end_agents(ctx, at_work)


def _step(ctx: Context, run: Run, ticket: TicketState) -> None:
    """What comes next for a ticket; what another model than the routed one handed in is not even looked at."""
    cuts = ctx.store.begin_step(run, ticket.step.value, ticket)
    worktrees.clear_locks(ctx, ticket)
    if cuts >= MOST_CUTS:
        park(ctx, ticket, f"the engine was killed {cuts} times at {ticket.step}; does that need too much memory?")
        return
    handed_in = actions_of(ctx, ticket)
    if handed_in:
        book(ctx)
    wrong = next(filter(None, (wrong_model(ctx, action) for action in handed_in)), None)
    if wrong and ctx.settings.llm_ops.mismatch_fails:
        park(ctx, ticket, f"{wrong}; mend that, or set llmOps.onModelMismatch to warn", handed_in)
        return
    if wrong:
        ctx.say(ticket, f"warning: {wrong}")
    if _is_held_for(ctx, ticket, handed_in):
        return
    _STEPS[ticket.step](ctx, run, ticket)


def _is_held_for(ctx: Context, ticket: TicketState, handed_in: list[Action]) -> bool:
    """Whether what was handed in cost so much that a person is asked, or has said no."""
    found = spike(ctx, ticket, handed_in)
    said = answer_about(ctx, ticket, handed_in) if found else None
    if found and said is None:
        hold(ctx, ticket, handed_in, found)
    elif found and said == "no":
        park(ctx, ticket, f"budget: {found}; you said no", handed_in)
    return found is not None and said != "yes"


def _run_agents(ctx: Context, ticket: TicketState, agents: AgentRunner, actions: list[Action]) -> None:
    """Side by side, such as several reviewers of one diff."""
    if len(actions) == 1:
        _guarded(ctx, ticket, _run_agent, agents, actions[0])
        return
    with ThreadPoolExecutor(max_workers=len(actions)) as pool:
        futures = [pool.submit(_guarded, ctx, ticket, _run_agent, agents, action) for action in actions]
        for future in futures:
            future.result()


def _run_agent(ctx: Context, agents: AgentRunner, action: Action) -> None:
    try:
        cause = agents(ctx, action)
    except LimitReachedError as reached:  # nobody's failure: the action stays open
        pause(ctx, action.run, reached.limit)
        return
    ctx.store.hand_in(action, cause)


_Arguments = ParamSpec("_Arguments")


def _guarded(
    ctx: Context,
    ticket: TicketState,
    step: Callable[Concatenate[Context, _Arguments], None],
    *args: _Arguments.args,
    **options: _Arguments.kwargs,
) -> None:
    """One step. What goes wrong in it parks this ticket and no other; what is stopped stays where it was.

    Raises SurroundingsError where the machine is the trouble, not the ticket: that stops the run as it is.
    """
    try:
        step(ctx, *args, **options)
    except (StoppedError, OvertakenError):
        ctx.store.stop_step(ticket)
        return
    except Exception as error:
        trouble = surroundings_problem(error)
        if trouble is not None:
            with contextlib.suppress(Exception):  # no kill; where it cannot be noted, it counts as one
                ctx.store.stop_step(ticket)
            raise SurroundingsError(trouble) from error
        reason = _reason(ticket, error)
    else:
        return
    ticket = ctx.store.ticket(ticket.run, ticket.id)
    if not ticket.step.is_final and not ctx.stopping.is_set():
        with contextlib.suppress(OvertakenError):
            park(ctx, ticket, reason, open_actions_of(ctx, ticket))


def _reason(ticket: TicketState, error: Exception) -> str:
    if isinstance(error, BacklogError):
        return first_line(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"internal error at {ticket.step}: {type(error).__name__}: {error} ({where.name}:{where.lineno})"
