"""`stats.localModelStats` of one run, from its rows."""

from __future__ import annotations

from typing import Any

from backlog_ops.domain.attempts import TicketAttempts
from backlog_ops.domain.attempts import local_model_stats as count
from backlog_ops.run.rows import TicketState
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Store


def local_model_stats(store: Store, run_id: str) -> dict[str, Any]:
    return count(_attempts(store, ticket) for ticket in store.tickets(run_id)).to_json()


def _attempts(store: Store, ticket: TicketState) -> TicketAttempts:
    failed = {verdict.attempt: verdict.gate.value for verdict in store.verdicts(ticket) if not verdict.passed}
    return TicketAttempts(store.implement_tiers(ticket), failed, ticket.attempt if ticket.step is Step.DONE else None)
