"""What will be spent, before it is: estimates from the user's own history, else from priors that say so.

Every estimate is a set of samples: what tickets of the same kind have cost, or five that the priors make up, of which
one is escalated. P50 and P90 are samples, not formulas: half, or nine in ten, cost no more. docs/costs.md explains it.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backlog_ops.domain import priors
from backlog_ops.domain.budget import Expected
from backlog_ops.domain.conversation import Conversation
from backlog_ops.domain.gates import Gate, TicketStatus, Tier
from backlog_ops.domain.pricing import PriceTable
from backlog_ops.domain.priors import PRIORS
from backlog_ops.domain.routing import History, entry_tier, route
from backlog_ops.domain.settings import Settings
from backlog_ops.money.history import Kind, PastTicket, action_costs, parent_costs, past_tickets

if TYPE_CHECKING:  # parsing a ticket needs YAML: 15 ms that estimates of single actions do not pay
    from backlog_ops.domain.tickets import Ticket

FEWEST_SAMPLES = 5
DRAWS = 1_000  # of a total: enough that its P90 moves by less than the samples themselves are worth
PRIORS_SAY = "priors"


@dataclass(frozen=True)
class GateQuote:
    gate: Gate
    tier: Tier  # that it starts on
    model: str
    expected: Expected | None  # None: the model has no price


@dataclass(frozen=True)
class TicketQuote:
    id: str
    kind: Kind
    gates: tuple[GateQuote, ...]
    expected: Expected | None
    basis: str  # priors, or which tickets of the past, and how many


@dataclass(frozen=True)
class Quote:
    tickets: tuple[TicketQuote, ...]
    waves: int
    around: Expected | None  # what no ticket is charged with: WAVE_PLAN, and a SUMMARY each wave
    total: Expected  # of all that is known
    unknown: int  # tickets whose cost is not: not in `total`
    parent_wave: int | None  # what a parent session adds each wave, where one drives: not in `total`


def action_expected(
    connection: sqlite3.Connection,
    settings: Settings,
    prices: PriceTable,
    gate: Gate,
    tier: Tier,
    on: str,
) -> Expected | None:
    """What one action of `gate` on `tier` takes, on ISO date `on`.

    From the newest actions of the same kind, of which there must be five; else from the prior. None: the model has no
    price. A `free` gate is counted as what its fallback costs; COMMIT and LINT have none and cost nothing.
    """
    paid = paid_tier(gate, tier)
    if paid is None:
        return Expected(0, 0)
    model, prior = settings.llm_ops.models.by_tier[paid], PRIORS[gate]
    known = action_costs(connection, gate, paid, model)
    if len(known) >= FEWEST_SAMPLES:
        return Expected(quantile(known, 0.5), quantile(known, 0.9))
    usual, high = prior.usual.cost(prices, model, on), prior.high.cost(prices, model, on)
    return None if usual is None or high is None else Expected(usual, high)


def paid_tier(gate: Gate, tier: Tier) -> Tier | None:
    """Whose price a gate can come to: `free` falls back to `cheap` (rules.md, "Gates"); None: it is never paid."""
    if gate is Gate.LINT or (gate is Gate.COMMIT and tier is Tier.FREE):
        return None
    return Tier.CHEAP if tier is Tier.FREE else tier


def quantile(samples: Sequence[int], share: float) -> int:
    """The smallest sample that at least `share` of all samples do not exceed (nearest rank)."""
    return sorted(samples)[max(0, math.ceil(share * len(samples) - 1e-9) - 1)]


def quote(
    connection: sqlite3.Connection,
    settings: Settings,
    prices: PriceTable,
    tickets: Sequence[Ticket],
    waves: int,
    on: str,
) -> Quote:
    """What implementing `tickets` in so many waves will cost, at the prices of ISO date `on`. Asks no model; the
    same history gives the same quote.
    """
    quoting = _Quoting(settings, prices, on, past_tickets(connection, settings))
    found = [quoting.ticket(ticket) for ticket in tickets]
    around = quoting.around(len(tickets), waves)
    known = [samples for samples in [around, *(one.samples for one in found)] if samples]
    return Quote(
        tickets=tuple(one.quoted for one in found),
        waves=waves,
        around=_expected(around),
        total=total_of(known),
        unknown=sum(one.samples is None for one in found),
        parent_wave=quoting.parent_wave(parent_costs(connection)),
    )


def save_quote(connection: sqlite3.Connection, run: str, quoted: Quote, at: float) -> None:
    """Keep what a run's tickets were expected to cost, to be compared with what they did; a second time is a no-op."""
    connection.executemany(
        "INSERT OR IGNORE INTO quote (run, ticket, p50_nanousd, p90_nanousd, basis, at) VALUES (?, ?, ?, ?, ?, ?)",
        [(run, one.id, one.expected.p50, one.expected.p90, one.basis, at) for one in quoted.tickets if one.expected],
    )


def total_of(samples: Sequence[Sequence[int]]) -> Expected:
    """The sum of one cost from each set of samples, drawn at random 1,000 times, each by itself; the seed is fixed."""
    dice = random.Random(0)
    totals = [0] * DRAWS
    for costs, count in sorted(Counter(tuple(sorted(one)) for one in samples).items()):
        for draw in range(DRAWS):
            totals[draw] += sum(dice.choices(costs, k=count))
    return Expected(quantile(totals, 0.5), quantile(totals, 0.9))


@dataclass(frozen=True)
class _Found:
    quoted: TicketQuote
    samples: tuple[int, ...] | None


class _Quoting:
    """One quote: what all of its tickets are compared with, and the prices of its day."""

    def __init__(self, settings: Settings, prices: PriceTable, on: str, past: Sequence[PastTicket]) -> None:
        self._ops, self._prices, self._on, self._past = settings.llm_ops, prices, on, past
        self._reviewers = settings.review_pipeline.reviewers
        self._alike: dict[Kind, tuple[Sequence[PastTicket], str]] = {}

    def ticket(self, ticket: Ticket) -> _Found:
        tiers = {gate: self._tier(gate, ticket, History()) for gate in _gates(ticket)}
        kind = Kind.of(ticket, tiers[Gate.IMPLEMENT])
        alike, basis = self._like(kind)
        gates: dict[Gate, tuple[int, ...] | None]
        if alike:
            gates = {gate: _costs(alike, gate) for gate in dict.fromkeys([*tiers, *_seen(alike)])}
        else:
            gates = self._priors(ticket, tiers)
        samples = _added(list(gates.values()))
        quoted = tuple(
            GateQuote(gate, tier, self._ops.models.by_tier[tier], _expected(costs))
            for gate, costs in gates.items()
            for tier in [tiers.get(gate) or entry_tier(gate, self._ops.routing)]
        )
        return _Found(TicketQuote(ticket.id, kind, quoted, _expected(samples), basis), samples)

    def around(self, tickets: int, waves: int) -> tuple[int, ...] | None:
        """WAVE_PLAN, where there is anything to plan, and the SUMMARY of each wave."""
        plan = self._text(Gate.WAVE_PLAN, entry_tier(Gate.WAVE_PLAN, self._ops.routing))
        summary = self._text(Gate.SUMMARY, entry_tier(Gate.SUMMARY, self._ops.routing))
        return _added([*([plan] if tickets > 1 else []), *[summary] * waves])

    def _like(self, kind: Kind) -> tuple[Sequence[PastTicket], str]:
        """(tickets of the past that `kind` is compared with, what they are); none: there are too few."""
        if kind not in self._alike:
            self._alike[kind] = ((), PRIORS_SAY)
            same_start = [past for past in self._past if past.kind.starts is kind.starts]
            for words in kind.wider():
                alike = [past for past in same_start if past.kind.holds(words)]
                if len(alike) >= FEWEST_SAMPLES:
                    named = ", ".join(words) or f"all that start on {kind.starts}"
                    self._alike[kind] = (alike, f"your last {len(alike)}: {named}")
                    break
        return self._alike[kind]

    # -- priors: five samples each, of which the last is the ticket that is escalated

    def _priors(self, ticket: Ticket, tiers: Mapping[Gate, Tier]) -> dict[Gate, tuple[int, ...] | None]:
        failed = History(quality_gate_fails=1, attempts=1)
        found: dict[Gate, tuple[int, ...] | None] = {}
        for gate, tier in tiers.items():
            if gate is Gate.IMPLEMENT:
                again = route(gate, ticket.tags, ticket.complexity, failed, self._ops.routing).tier
                found[gate] = self._implement(tier, again)
            elif gate is Gate.REVIEW:
                again = self._tier(gate, ticket, failed)
                found[gate] = self._review(tier, again)
            else:
                found[gate] = self._text(gate, tier)
        return found

    def _implement(self, tier: Tier, again: Tier | None) -> tuple[int, ...] | None:
        prior = PRIORS[Gate.IMPLEMENT]
        first = self._cost(prior.usual, tier)
        escalated = _sum(first, self._cost(priors.NEXT_ATTEMPT, again)) if again else self._cost(prior.high, tier)
        return _five(first, escalated)

    def _review(self, tier: Tier, again: Tier) -> tuple[int, ...] | None:
        first, second = (
            _sum(*(self._cost(PRIORS[Gate.REVIEW].usual, max(on, one.least_tier or on)) for one in self._reviewers))
            for on in (tier, again)
        )
        return _five(first, _sum(first, second))

    def _text(self, gate: Gate, tier: Tier) -> tuple[int, ...] | None:
        """A local model costs nothing, unless it cannot be reached and the next one is asked."""
        paid = paid_tier(gate, tier)
        costly = self._cost(PRIORS[gate].usual, paid) if paid else 0
        return _five(0 if tier is Tier.FREE else costly, costly)

    def parent_wave(self, known: Sequence[int]) -> int | None:
        """What a parent session adds in a wave: the median of those known, else a prior on the frontier model."""
        if len(known) >= FEWEST_SAMPLES:
            return quantile(known, 0.5)
        return self._cost(priors.PARENT, Tier.FRONTIER)

    def _tier(self, gate: Gate, ticket: Ticket, history: History) -> Tier:
        decided = route(gate, ticket.tags, ticket.complexity, history, self._ops.routing).tier
        return decided or entry_tier(gate, self._ops.routing)

    def _cost(self, conversation: Conversation, tier: Tier) -> int | None:
        return conversation.cost(self._prices, self._ops.models.by_tier[tier], self._on)


def _gates(ticket: Ticket) -> list[Gate]:
    """The gates that cost anything, in their order."""
    first = [Gate.INVESTIGATE] if ticket.status is TicketStatus.NEEDS_INVESTIGATION else []
    return [*first, Gate.PLAN, Gate.IMPLEMENT, Gate.REVIEW, Gate.COMMIT]


def _seen(past: Sequence[PastTicket]) -> list[Gate]:
    return [gate for gate in Gate if any(gate in one.gates for one in past)]


def _costs(past: Sequence[PastTicket], gate: Gate) -> tuple[int, ...]:
    return tuple(one.gates.get(gate, 0) for one in past)


def _five(usual: int | None, escalated: int | None) -> tuple[int, ...] | None:
    if usual is None or escalated is None:
        return None
    passed = priors.FIRST_ATTEMPTS_THAT_PASS
    return (usual,) * passed + (escalated,) * (priors.FIRST_ATTEMPTS - passed)


def _sum(*costs: int | None) -> int | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _added(samples: Sequence[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Case by case: the ticket's own cost in each of the cases that its gates' costs are from."""
    known = [one for one in samples if one is not None]
    return tuple(map(sum, zip(*known, strict=True))) if len(known) == len(samples) else None


def _expected(samples: Sequence[int] | None) -> Expected | None:
    return Expected(quantile(samples, 0.5), quantile(samples, 0.9)) if samples else None
