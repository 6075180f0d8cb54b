"""What past actions and tickets have cost: the samples that estimates are made of, and how good past quotes were.

Only what was asked of the models that are configured now counts: another model takes other tokens at other prices.
`frontier` is an exception, as it may be the model of whoever's session it was. What is of unknown cost is no sample.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.settings import Settings

if TYPE_CHECKING:  # parsing a ticket needs YAML: 15 ms that estimates of single actions do not pay
    from backlog_ops.domain.tickets import Ticket

NEWEST_ACTIONS = 20
ACTIONS_LOOKED_AT = 5_000  # so that a gate or tier that is rare costs no search through years of them
NEWEST_TICKETS = 300
NEWEST_RUNS = 20
SIZES = ((2, "1–2 files"), (5, "3–5 files"))  # up to so many files
LARGE = "6 files or more"

# Several actions of one attempt (reviewers side by side, one that died and its successor) share their bill.
_ACTION_COSTS = """
WITH newest AS (
    SELECT run, ticket, attempt FROM action
    WHERE number > (SELECT coalesce(max(number), 0) FROM action) - :looked_at
      AND gate = :gate AND tier = :tier AND state = 'closed'
    ORDER BY number DESC LIMIT :newest
), attempts AS (
    SELECT run, ticket, attempt, count(*) AS actions FROM newest GROUP BY run, ticket, attempt
)
SELECT sum(cost_nanousd) / actions AS cost, actions FROM attempts CROSS JOIN ledger USING (run, ticket, attempt)
WHERE gate = :gate AND asked_tier = :tier AND (:any_model OR asked_model = :model)
GROUP BY run, ticket, attempt HAVING count(*) = count(cost_nanousd)
"""

_TICKETS = """
SELECT run, id, path, text,
       (SELECT tier FROM action WHERE action.run = ticket.run AND action.ticket = ticket.id AND gate = 'IMPLEMENT'
        ORDER BY number LIMIT 1) AS starts
FROM ticket WHERE step IN ('done', 'parked') ORDER BY run DESC, position DESC LIMIT ?
"""

_TICKET_COSTS = """
SELECT gate, asked_tier, asked_model, sum(cost_nanousd) AS cost, count(*) - count(cost_nanousd) AS unknown
FROM ledger WHERE run = ? AND ticket = ? GROUP BY gate, asked_tier, asked_model
"""

_PARENT_COSTS = """
SELECT sum(cost_nanousd) FROM (SELECT id AS run FROM run ORDER BY created_at DESC LIMIT ?) CROSS JOIN ledger USING (run)
WHERE ticket IS NULL AND source = 'parent' GROUP BY run, wave HAVING count(*) = count(cost_nanousd)
"""

_QUOTED = """
SELECT p50_nanousd, p90_nanousd, sum(cost_nanousd) AS actual
FROM (SELECT quote.* FROM quote JOIN ticket ON ticket.run = quote.run AND ticket.id = quote.ticket
      WHERE step IN ('done', 'parked') ORDER BY at DESC LIMIT ?) AS quoted
CROSS JOIN ledger USING (run, ticket)
GROUP BY run, ticket HAVING count(*) = count(cost_nanousd)
"""


def action_costs(connection: sqlite3.Connection, gate: Gate, tier: Tier, model: str) -> list[int]:
    """Nano-dollars of the newest actions of `gate` on `tier`, those of unknown cost left out; in no order."""
    values = {
        "gate": gate.value,
        "tier": tier.value,
        "model": model,
        "any_model": tier is Tier.FRONTIER,
        "looked_at": ACTIONS_LOOKED_AT,
        "newest": NEWEST_ACTIONS,
    }
    return [row[0] for row in connection.execute(_ACTION_COSTS, values) for _ in range(row[1])]


def parent_costs(connection: sqlite3.Connection) -> list[int]:
    """Nano-dollars of the parent session in each wave of the newest runs that one drove."""
    return [row[0] for row in connection.execute(_PARENT_COSTS, (NEWEST_RUNS,))]


@dataclass(frozen=True)
class Kind:
    """What tickets are compared by."""

    starts: Tier  # of IMPLEMENT, in its first attempt
    type: str  # of a commit: feat, fix, docs, …
    size: str  # by the number of affected files
    complexity: str

    @classmethod
    def of(cls, ticket: Ticket, starts: Tier) -> Kind:
        from backlog_ops.domain.commits import commit_type

        files = len(ticket.affected_files)
        size = next((name for most, name in SIZES if files <= most), LARGE)
        return cls(starts, commit_type(ticket.id, ticket.tags), size, ticket.complexity.value)

    def wider(self) -> Iterator[tuple[str, ...]]:
        """What it has in common with others, most first; where it starts always counts."""
        words = (self.type, self.size, f"complexity {self.complexity}")
        return (words[:count] for count in range(len(words), -1, -1))

    def holds(self, words: tuple[str, ...]) -> bool:
        return (self.type, self.size, f"complexity {self.complexity}")[: len(words)] == words


@dataclass(frozen=True)
class PastTicket:
    kind: Kind
    gates: Mapping[Gate, int]  # nano-dollars

    @property
    def nanousd(self) -> int:
        return sum(self.gates.values())


def past_tickets(connection: sqlite3.Connection, settings: Settings) -> list[PastTicket]:
    """The newest tickets that were implemented, done or parked, whose cost is known; newest first."""
    found = []
    for row in connection.execute(_TICKETS, (NEWEST_TICKETS,)).fetchall():
        gates = _gate_costs(connection, settings, row["run"], row["id"]) if row["starts"] else None
        ticket = _parsed(row["path"], row["text"], settings) if gates else None
        if gates and ticket is not None:
            found.append(PastTicket(Kind.of(ticket, Tier(row["starts"])), gates))
    return found


def _gate_costs(connection: sqlite3.Connection, settings: Settings, run: str, ticket: str) -> dict[Gate, int] | None:
    """None where a cost is unknown, or where a model was asked that is not configured any more."""
    models = settings.llm_ops.models.by_tier
    gates: dict[Gate, int] = {}
    for row in connection.execute(_TICKET_COSTS, (run, ticket)):
        tier = Tier(row["asked_tier"])
        same_model = tier in (Tier.FREE, Tier.FRONTIER) or row["asked_model"] == models[tier]
        if row["unknown"] or not same_model:
            return None
        gate = Gate(row["gate"])
        gates[gate] = gates.get(gate, 0) + row["cost"]
    return gates


def _parsed(path: str, text: str, settings: Settings) -> Ticket | None:
    from backlog_ops.domain.tickets import parse_ticket

    return parse_ticket(path, text.encode("utf-8", "replace"), settings.ticket_validation)[0]


@dataclass(frozen=True)
class Calibration:
    """How past quotes of single tickets turned out."""

    tickets: int
    within_p50: int  # a good quote: half of them
    within_p90: int  # a good quote: nine of ten
    median_ratio: float | None  # what a ticket cost, over its P50; None: no ticket has ended that was quoted above 0


def calibration(connection: sqlite3.Connection) -> Calibration:
    """Of the newest quoted tickets that have ended; those of unknown cost, or that cost nothing, are left out."""
    rows = connection.execute(_QUOTED, (NEWEST_TICKETS,)).fetchall()
    ratios = sorted(row["actual"] / row["p50_nanousd"] for row in rows if row["p50_nanousd"])
    middle = len(ratios) // 2
    return Calibration(
        tickets=len(rows),
        within_p50=sum(row["actual"] <= row["p50_nanousd"] for row in rows),
        within_p90=sum(row["actual"] <= row["p90_nanousd"] for row in rows),
        median_ratio=(ratios[middle] + ratios[~middle]) / 2 if ratios else None,
    )
