"""WAVE_PLAN and SUMMARY: the two gates that concern a whole wave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.routing import entry_tier
from backlog_ops.domain.tickets import Ticket
from backlog_ops.domain.waves import WavePlan, check_wave_plan, parse_wave_plan, plan_waves
from backlog_ops.run import wave_rows
from backlog_ops.run.backlog import completed_ids, first_committed
from backlog_ops.run.context import Context
from backlog_ops.run.prompts import summary_prompt, wave_plan_prompt
from backlog_ops.run.rows import Run, TicketState
from backlog_ops.run.steps import Step
from backlog_ops.run.text_gates import ask_gate

# More tickets than a small model can order without losing one; the deterministic planner has no such limit.
MOST_TICKETS_FOR_A_MODEL = 60


def plan_the_waves(ctx: Context, run: Run) -> None:
    """Model → check → deterministic planner; whatever answers, no plan that breaks a rule is accepted."""
    _make_branch(ctx, run)
    tickets = [ctx.parsed(state) for state in ctx.store.tickets(run.id)]
    completed = sorted(completed_ids(ctx.top, ctx.settings))
    plan, source = _ask(ctx, run, tickets, completed)
    if plan is None:
        ages = first_committed(ctx.git, ctx.settings)
        added = {ticket.id: ages[ticket.path] for ticket in tickets if ticket.path in ages}
        plan = plan_waves(tickets, completed, added, ctx.settings.backlog)
    waves = [[slot.id for slot in wave] for wave in plan.waves]
    said = f"WAVE_PLAN · {len(waves)} waves for {len(tickets)} tickets · {source}"
    wave_rows.set_waves(ctx.store, run.id, waves, {skip.id: skip.reason for skip in plan.skipped}, source, said)


def _make_branch(ctx: Context, run: Run) -> None:
    if ctx.git.commit_of(run.ref) is None:
        must_not_exist = "0" * len(run.base_commit)
        ctx.git.move_ref(run.ref, run.base_commit, must_not_exist, f"backlog: run {run.id}")


def _ask(ctx: Context, run: Run, tickets: Sequence[Ticket], completed: Sequence[str]) -> tuple[WavePlan | None, str]:
    if len(tickets) == 1:
        return None, "deterministic planner (one ticket)"
    if len(tickets) > MOST_TICKETS_FOR_A_MODEL:
        return None, f"deterministic planner (more than {MOST_TICKETS_FOR_A_MODEL} tickets)"

    def problem(_text: str, answer: Any) -> str | None:
        problems = check_wave_plan(parse_wave_plan(answer), tickets, completed, ctx.settings.backlog)
        return "; ".join(problems[:5]) or None

    prompt = wave_plan_prompt(tickets, completed, ctx.settings.backlog.max_slots)
    tier = entry_tier(Gate.WAVE_PLAN, ctx.settings.llm_ops.routing)
    answer, line = ask_gate(ctx, run, Gate.WAVE_PLAN, tier, prompt, accept=problem)
    if answer is None:
        return None, f"deterministic planner ({line})"
    return parse_wave_plan(answer.parsed or {}), line


def close_wave(ctx: Context, run: Run) -> None:
    """SUMMARY of the wave that ended: prose from the cheap tier, the facts alone without it."""
    states = ctx.store.tickets(run.id, run.wave)
    facts = {
        "project": ctx.project,
        "wave": run.wave,
        "tickets": [_facts(state) for state in states],
        "cost": str(ctx.store.spent(run.id)),
    }
    tier = entry_tier(Gate.SUMMARY, ctx.settings.llm_ops.routing)
    answer, line = ask_gate(ctx, run, Gate.SUMMARY, tier, summary_prompt(facts))
    done = sum(state.step is Step.DONE for state in states)
    heading = f"wave {run.wave}: {done} of {len(states)} done"
    summary = f"{heading}. {answer.text.strip()}" if answer else f"{heading}."
    wave_rows.close_wave(
        ctx.store, run.id, run.wave, summary, f"SUMMARY · {heading} · {line if answer else 'facts alone'}"
    )


def _facts(state: TicketState) -> dict[str, Any]:
    subject = (state.message or "").splitlines()[:1]
    return {
        "id": state.id,
        "title": state.title,
        "result": state.step.value,
        "reason": state.reason,
        "attempts": state.attempt,
        "commit": subject[0] if subject and state.step is Step.DONE else None,
    }
