"""What a report says, as values: counted once (counting.py), shown on a terminal, as a page, as JSON and as CSV.

Money is integer nano-dollars. A sum never takes an unknown cost as 0: it says how many calls are not in it.
Every ledger row of the period is in exactly one of `tickets` (by gate), `parent` and `elsewhere`: together they are
`total`, and so are `by_gate`, `by_model`, `by_wave`, `by_run` and `by_source`, each by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from backlog_ops.domain.attempts import LocalModelStats as LocalModelStats
from backlog_ops.money.cube import Amount as Amount
from backlog_ops.money.cube import sum_of as sum_of
from backlog_ops.money.ledger import Spent


class Slice(NamedTuple):
    """One gate, model, run or source, and what its calls cost together."""

    name: str  # "–": the rows do not say
    amount: Amount


@dataclass(frozen=True)
class TicketCost:
    """A ticket over all its runs and attempts in the period, parked ones too."""

    id: str
    title: str  # "" where no run knew the ticket; any text: escape it
    state: str  # done | parked | the step it stands at | "" where no run knew it
    reason: str  # why it is parked, else ""
    runs: tuple[str, ...]
    wave: int | None  # in its last run
    attempts: int  # IMPLEMENT attempts, in all runs of the period
    gates: tuple[Slice, ...]  # in the order of the gates
    own: Amount  # the sum of `gates`
    shared_nanousd: int  # its equal share of what the parent session cost in its waves: not in `own`

    @property
    def accepted(self) -> bool:
        return self.state == "done"

    @property
    def full_nanousd(self) -> int:
        return self.own.nanousd + self.shared_nanousd


@dataclass(frozen=True)
class WaveCost:
    run: str  # "–": outside any run
    wave: int | None  # None: before or beside the waves
    tickets: int
    amount: Amount  # the parent's calls included
    parent: Amount


@dataclass(frozen=True)
class Answered:
    """Who was asked, and who answered."""

    asked_tier: str
    asked_model: str
    provider: str
    answered_model: str  # "–": nobody answered, or nobody said who
    as_asked: bool | None  # None: nobody answered, or nobody said who
    amount: Amount


@dataclass(frozen=True)
class Escalation:
    """IMPLEMENT attempts on a higher tier than the one before, which failed a gate."""

    from_tier: str
    to_tier: str
    failed_gate: str  # "–": no verdict; the attempt ended without work
    rule: str
    count: int
    amount: Amount  # what those attempts cost, all gates


@dataclass(frozen=True)
class Fallback:
    """Calls that were made because the one before them in their chain was of no use."""

    gate: str
    answered_model: str
    cause: str  # any text: escape it
    amount: Amount


@dataclass(frozen=True)
class Yield:
    """Of what entered a gate for the first time, how much passed it."""

    gate: str  # "all gates": from the first attempt to the commit
    model: str  # that wrote what was judged; of text gates: that was asked
    passed: int
    tried: int

    @property
    def share(self) -> float | None:
        return self.passed / self.tried if self.tried else None


@dataclass(frozen=True)
class Acceptance:
    """What a ticket costs that ends as a commit, with all that failed on the way."""

    accepted: int
    parked: int
    open: int
    spent: Amount  # all of the period that was spent on tickets and their runs, parked ones and the parent too

    @property
    def nanousd_each(self) -> int | None:
        """None where nothing was accepted. A lower bound where `spent` has calls of unknown cost."""
        return round(self.spent.nanousd / self.accepted) if self.accepted else None


@dataclass(frozen=True)
class SavingsLine:
    gate: str
    tier: str  # of the counterfactual
    model: str
    actual: Amount
    counterfactual_nanousd: int | None  # None: a price is not known


@dataclass(frozen=True)
class Savings:
    """The same tokens at the prices of another routing: arithmetic, nothing measured."""

    assumption: str  # is shown wherever a number of this is
    lines: tuple[SavingsLine, ...]

    @property
    def actual(self) -> Amount:
        return sum_of(line.actual for line in self.lines)

    @property
    def counterfactual_nanousd(self) -> int | None:
        known = [line.counterfactual_nanousd for line in self.lines if line.counterfactual_nanousd is not None]
        return sum(known) if len(known) == len(self.lines) else None

    @property
    def saved_nanousd(self) -> int | None:
        """Negative where it cost more; None where a cost or a price is not known, or there is nothing to compare."""
        other = self.counterfactual_nanousd
        return None if other is None or not self.lines or self.actual.unknown_calls else other - self.actual.nanousd


@dataclass(frozen=True)
class BudgetUse:
    """What is used of a limit of llmOps.budget."""

    what: str  # "run r-20261123-0901", "today", "ticket BUG-001"
    spent: Spent
    limit_nanousd: int
    warn_at_percent: int

    @property
    def percent(self) -> float | None:
        return 100 * self.spent.nanousd / self.limit_nanousd if self.limit_nanousd else None

    @property
    def is_warning(self) -> bool:
        return self.spent.nanousd * 100 >= self.limit_nanousd * self.warn_at_percent


@dataclass(frozen=True)
class Unattributed:
    """What the host counts for a session beyond its transcripts: never spread over tickets, not in `total`."""

    session: str
    nanousd: int | None  # None: one of its models has no price here
    repriced_nanousd: int | None = None  # what the host's own prices add to ours, for the tokens that are known


@dataclass(frozen=True)
class Figures:
    project: str
    made_at: float  # Unix seconds
    since: float | None  # None: from the first row on
    price_date: str  # ISO: of the price table in force
    notes: tuple[str, ...]  # what a reader has to know: an old price table, rows that are left out
    total: Amount
    tickets: tuple[TicketCost, ...]  # the dearest first
    parent: Amount  # calls of parent sessions, booked to the run
    elsewhere: tuple[Slice, ...]  # rows of no ticket, by gate: WAVE_PLAN, SUMMARY, calls by hand
    by_gate: tuple[Slice, ...]  # the parent's calls as "parent"
    by_model: tuple[Slice, ...]  # the model that answered
    by_wave: tuple[WaveCost, ...]  # the newest last; many older ones may be one line
    by_run: tuple[Slice, ...]  # the same
    by_source: tuple[Slice, ...]  # who made the call (docs/ledger.md)
    answered: tuple[Answered, ...]
    escalations: tuple[Escalation, ...]
    by_rule: tuple[Slice, ...]  # the routing rule that decided the tier, where one did
    fallbacks: tuple[Fallback, ...]
    yields: tuple[Yield, ...]
    acceptance: Acceptance
    savings: Savings
    budget: tuple[BudgetUse, ...]
    unattributed: tuple[Unattributed, ...]
    local_model_stats: LocalModelStats

    @property
    def is_empty(self) -> bool:
        return not self.by_source

    def dearest(self, most: int) -> tuple[tuple[TicketCost, ...], int, Amount]:
        """The `most` dearest tickets, how many more there are, and what those cost together."""
        rest = self.tickets[most:]
        return self.tickets[:most], len(rest), sum_of(ticket.own for ticket in rest)


PARENT_SHARE = (
    "What the parent session cost in a wave is shared out equally over the tickets of that wave; what it cost before "
    "or beside the waves, over all tickets of the run."
)
