"""What failed before, for whoever tries next: verdicts, attempts that died, and the same of an earlier run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from backlog_ops.domain.gates import Gate
from backlog_ops.run.rows import TicketState
from backlog_ops.run.store import Store


@dataclass(frozen=True)
class Failure:
    heading: str  # such as `Attempt 2, REVIEW`
    detail: str


def earlier_failures(ticket: TicketState) -> list[Failure]:
    """Those that stand in the ticket's own row."""
    return [Failure(**failure) for failure in json.loads(ticket.history)]


def failures_of(store: Store, ticket: TicketState) -> list[Failure]:
    """In the order of the attempts, those of an earlier run first."""
    found = earlier_failures(ticket)
    verdicts = [
        (verdict.attempt, Failure(f"Attempt {verdict.attempt}, {verdict.gate}", verdict.detail))
        for verdict in store.verdicts(ticket)
        if not verdict.passed
    ]
    died = [
        (action.attempt, Failure(f"Attempt {action.attempt} came to no end", action.cause))
        for action in store.actions_of(ticket)
        if action.gate is Gate.IMPLEMENT and action.cause
    ]
    return found + [failure for _, failure in sorted(verdicts + died, key=lambda entry: entry[0])]


def last_failure(store: Store, ticket: TicketState) -> str:
    """One line: what people were told of the attempt that failed last."""
    told = [event.text for event in store.events(ticket.run) if event.ticket == ticket.id]
    failed = [
        text for text in told if text.startswith((f"{Gate.LINT} failed", f"{Gate.REVIEW} failed", "IMPLEMENT att"))
    ]
    return failed[-1] if failed else "nothing was handed in"


def as_history(failures: list[Failure]) -> str:
    """JSON for the ticket's row in the next run."""
    return json.dumps([asdict(failure) for failure in failures], ensure_ascii=False)
