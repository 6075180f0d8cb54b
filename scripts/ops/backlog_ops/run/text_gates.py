"""Text gates: a prompt, the tiers that may answer, a receipt for every call."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.errors import BacklogError
from backlog_ops.llm.chain import ask
from backlog_ops.llm.types import Answer, Attempt, ChainError, Prompt
from backlog_ops.run.budget import may_pay
from backlog_ops.run.context import Context
from backlog_ops.run.receipts import receipt
from backlog_ops.run.rows import Run, TicketState

Accept = Callable[[str, Any], str | None]

# Who is asked when a gate's tier cannot answer (rules.md, "Gates"). COMMIT never reaches a paid model.
_FALLBACK = {Tier.FREE: (Tier.FREE, Tier.CHEAP)}


def tiers_for(gate: Gate, tier: Tier) -> Sequence[Tier]:
    return (tier,) if gate is Gate.COMMIT else _FALLBACK.get(tier, (tier,))


def ask_gate(
    ctx: Context,
    run: Run,
    gate: Gate,
    tier: Tier,
    prompt: Prompt,
    *,
    ticket: TicketState | None = None,
    accept: Accept | None = None,
    rule: str | None = None,
) -> tuple[Answer | None, str]:
    """(answer, one line about it). The answer is None when nobody gave a usable one; the line then says why."""
    tiers = tiers_for(gate, tier)
    if ticket is None and not may_pay(ctx, run, gate):
        tiers = [one for one in tiers if one is Tier.FREE]
        if not tiers:
            return None, "the budget is spent"
    call = f"{run.id}/{ticket.id if ticket else '-'}/{gate}/{secrets.token_hex(8)}"
    earlier: list[Attempt] = []

    def book(attempt: Attempt) -> None:
        earlier.append(attempt)
        if not attempt.reached_model:
            return
        ctx.store.record(
            receipt(
                attempt,
                key=f"{call}/{len(earlier)}",
                at=ctx.clock(),
                source="engine",
                run=run.id,
                wave=(ticket.wave if ticket else run.wave) or None,
                ticket=ticket.id if ticket else None,
                gate=gate.value,
                attempt=max(1, ticket.attempt) if ticket else None,
                fallback_cause=earlier[-2].summary() if len(earlier) > 1 else None,
                escalation_rule=rule,
            )
        )

    try:
        answer = ask(
            prompt,
            tiers,
            ctx.settings.llm_ops,
            environ=ctx.environ,
            prices=ctx.prices,
            accept=accept,
            on_attempt=book,
        )
    except ChainError as error:
        return None, first_line(error)
    last = answer.attempts[-1]
    return answer, f"{last.tier} · {last.answered_model or last.asked_model} · {last.latency_ms / 1000:.1f} s"


def first_line(error: BacklogError) -> str:
    return error.message.splitlines()[0] if error.message else type(error).__name__
