"""Wave plans: which tickets run side by side, in which order (rules.md, "WAVE_PLAN").

A model may propose a plan; `check_wave_plan` alone decides whether it is one. `plan_waves` needs no model and
its plans always pass that check.
"""

from __future__ import annotations

import contextlib
import graphlib
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backlog_ops.domain.settings import Backlog
from backlog_ops.domain.text import quote
from backlog_ops.domain.tickets import Ticket
from backlog_ops.domain.wave_demands import PLANNABLE, Claims, Demands, demands_of

_ID = {"type": "string", "minLength": 1, "maxLength": 64}
_WHY = {"type": "string", "maxLength": 200}
# Bounds end a local model's grammar; they stay far below the 2,000 repetitions that llama.cpp accepts.
_MOST_TICKETS = 100

WAVE_PLAN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["waves", "skipped"],
    "properties": {
        "waves": {
            "type": "array",
            "maxItems": _MOST_TICKETS,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["wave", "tickets"],
                "properties": {
                    "wave": {"type": "integer", "minimum": 1, "maximum": _MOST_TICKETS},
                    "tickets": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 3,
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["id", "subagent_type", "rationale"],
                            "properties": {
                                "id": _ID,
                                "subagent_type": {"type": "string", "minLength": 1, "maxLength": 40},
                                "rationale": _WHY,
                            },
                        },
                    },
                },
            },
        },
        "skipped": {
            "type": "array",
            "maxItems": _MOST_TICKETS,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["id", "reason"],
                "properties": {"id": _ID, "reason": _WHY},
            },
        },
    },
}


@dataclass(frozen=True)
class Slot:
    id: str
    subagent_type: str
    rationale: str


@dataclass(frozen=True)
class Skipped:
    id: str
    reason: str


@dataclass(frozen=True)
class WavePlan:
    waves: tuple[tuple[Slot, ...], ...]
    skipped: tuple[Skipped, ...]
    numbers: tuple[int, ...] | None = None  # as the answer numbered its waves; None: by their place


def parse_wave_plan(answer: Mapping[str, Any]) -> WavePlan:
    """A schema-valid WAVE_PLAN answer as a value, nothing corrected."""
    return WavePlan(
        tuple(
            tuple(Slot(slot["id"], slot["subagent_type"], slot["rationale"]) for slot in wave["tickets"])
            for wave in answer["waves"]
        ),
        tuple(Skipped(skip["id"], skip["reason"]) for skip in answer["skipped"]),
        tuple(wave["wave"] for wave in answer["waves"]),
    )


def check_wave_plan(
    plan: WavePlan, tickets: Sequence[Ticket], completed: Collection[str], rules: Backlog
) -> tuple[str, ...]:
    """Why `plan` must be rejected, one reason each; empty: it breaks no rule of rules.md, "WAVE_PLAN".

    `tickets` are all to be planned (each id once), `completed` the ids in completed/. A ticket may be skipped
    only where its status keeps it back, or a dependency is neither completed nor in any wave of the plan.
    What "apart" and "first" mean for files: `wave_demands`.
    """
    by_id = _by_id(tickets)
    demands = demands_of(tuple(by_id.values()), rules.shared_files)
    waves = [[slot.id for slot in wave] for wave in plan.waves]
    wave_of: dict[str, int] = {}
    for number, wave in enumerate(waves, 1):
        for name in wave:
            wave_of.setdefault(name, number)
    return (
        *_misnumbered(plan, rules.max_slots),
        *_miscounted([*(name for wave in waves for name in wave), *(s.id for s in plan.skipped)], by_id),
        *(reason for number, wave in enumerate(waves, 1) for reason in _meetings(number, wave, demands)),
        *_out_of_order(wave_of, by_id, completed, demands),
        *_needlessly_skipped(plan, wave_of, by_id, completed),
    )


def _by_id(tickets: Sequence[Ticket]) -> dict[str, Ticket]:
    """In one order, whatever the order of `tickets`."""
    return {ticket.id: ticket for ticket in sorted(tickets, key=lambda ticket: ticket.id)}


def _misnumbered(plan: WavePlan, max_slots: int) -> Iterator[str]:
    if plan.numbers is not None and plan.numbers != tuple(range(1, len(plan.waves) + 1)):
        yield "the waves are not numbered 1, 2, 3 … in their order"
    for number, wave in enumerate(plan.waves, 1):
        if not wave:
            yield f"wave {number} is empty"
        if len(wave) > max_slots:
            yield f"wave {number} holds {len(wave)} tickets, more than {max_slots}"


def _miscounted(named: Sequence[str], by_id: Mapping[str, Ticket]) -> Iterator[str]:
    for name, count in Counter(named).items():
        if name not in by_id:
            yield f"{quote(name)} is no ticket of this backlog"
        elif count > 1:
            yield f"{name} stands in the plan {count} times"
    for name in sorted(by_id.keys() - set(named)):
        yield f"{name} is missing from the plan"


def _meetings(number: int, wave: Sequence[str], demands: Demands) -> Iterator[str]:
    """Tickets of one wave that must be apart; each is compared with the claims of all before it at once."""
    holders: dict[str, str] = {}
    users: dict[str, str] = {}
    for name in dict.fromkeys(wave):
        claims = demands.claims.get(name)
        if claims is None:
            continue
        met = [(claim, other) for claim in claims.held for other in (holders.get(claim) or users.get(claim),)]
        met += [(claim, holders.get(claim)) for claim in claims.used]
        collisions = sorted((claim, other) for claim, other in met if other)
        if collisions:
            claim, other = collisions[0]
            yield f"wave {number}: {other} and {name} meet in {claim}"
        holders.update(dict.fromkeys(claims.held, name))
        users.update(dict.fromkeys(claims.used, name))


def _out_of_order(
    wave_of: Mapping[str, int], by_id: Mapping[str, Ticket], completed: Collection[str], demands: Demands
) -> Iterator[str]:
    for name, wave in wave_of.items():
        ticket = by_id.get(name)
        if ticket is None:
            continue
        if ticket.status not in PLANNABLE:
            yield f"{name} in wave {wave} has the status {ticket.status}"
        for needed in ticket.depends_on:
            if needed not in completed and wave_of.get(needed, math.inf) >= wave:
                yield f"{name} in wave {wave} depends on {needed}, which is in no earlier wave and not completed"
        for creator in sorted(demands.creators[name]):
            if wave_of.get(creator, 0) > wave:
                yield f"{name} in wave {wave} uses a file that {creator} creates in a later wave"


def _needlessly_skipped(
    plan: WavePlan, wave_of: Mapping[str, int], by_id: Mapping[str, Ticket], completed: Collection[str]
) -> Iterator[str]:
    for skip in plan.skipped:
        ticket = by_id.get(skip.id)
        if ticket is None or ticket.status not in PLANNABLE:
            continue
        if all(needed in completed or needed in wave_of for needed in ticket.depends_on):
            yield f"{skip.id} is skipped, though the plan can meet all that it depends on"


def plan_waves(
    tickets: Sequence[Ticket], completed: Collection[str], added: Mapping[str, float], rules: Backlog
) -> WavePlan:
    """Every ticket in the first wave that the more important ones before it leave open.

    Importance: priority critical > high > medium > low, then the oldest, then the id; a ticket is placed only
    after those it depends on and those whose new files it uses. `added` gives the Unix seconds at which a
    ticket's file was first committed; one without counts as the newest. The same input, in any order, gives
    the same plan.
    """
    by_id = _by_id(tickets)
    demands = demands_of(tuple(by_id.values()), rules.shared_files)
    doable = _doable(by_id, completed)
    earlier = {name: _predecessors(by_id[name], demands, doable) for name in sorted(doable)}
    calendar = _Calendar(rules.max_slots)
    wave_of: dict[str, int] = {}
    waves: defaultdict[int, list[Slot]] = defaultdict(list)
    for name in _by_importance(earlier, by_id, added):
        first = 1 + max((wave_of[other] for other in earlier[name]), default=0)
        wave_of[name] = calendar.book(demands.claims[name], first)
        waves[wave_of[name]].append(Slot(name, "implementer", _rationale(by_id[name], earlier[name])))
    return WavePlan(
        tuple(tuple(waves[number]) for number in sorted(waves)),
        tuple(Skipped(t.id, _why_skipped(t, doable, completed)) for t in by_id.values() if t.id not in doable),
    )


def _doable(by_id: Mapping[str, Ticket], completed: Collection[str]) -> frozenset[str]:
    """The tickets whose dependencies are completed or can all be planned before them."""
    ready = {t.id: [d for d in t.depends_on if d not in completed] for t in by_id.values() if t.status in PLANNABLE}
    sorter = graphlib.TopologicalSorter(ready)
    with contextlib.suppress(graphlib.CycleError):
        sorter.prepare()  # after a cycle it still hands out all that no cycle blocks
    doable: set[str] = set()
    # A dependency that is no ready ticket is handed out too, but never reported done: it blocks what needs it.
    while batch := [name for name in sorter.get_ready() if name in ready]:
        doable.update(batch)
        sorter.done(*batch)
    return frozenset(doable)


def _predecessors(ticket: Ticket, demands: Demands, doable: frozenset[str]) -> frozenset[str]:
    return doable.intersection((*ticket.depends_on, *demands.creators[ticket.id]))


def _by_importance(
    earlier: Mapping[str, Collection[str]], by_id: Mapping[str, Ticket], added: Mapping[str, float]
) -> Iterator[str]:
    sorter = graphlib.TopologicalSorter(earlier)
    sorter.prepare()
    heap: list[tuple[int, float, str]] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(heap, (-by_id[name].priority.rank, added.get(name, math.inf), name))
        name = heapq.heappop(heap)[-1]
        yield name
        sorter.done(name)


def _rationale(ticket: Ticket, earlier: Collection[str]) -> str:
    names = sorted(earlier)
    more = " …" if len(names) > 2 else ""
    return f"{ticket.priority} priority" + (f", after {', '.join(names[:2])}{more}" if names else "")


def _why_skipped(ticket: Ticket, doable: Collection[str], completed: Collection[str]) -> str:
    if ticket.status not in PLANNABLE:
        return f"its status is {ticket.status}"
    missing = next(name for name in ticket.depends_on if name not in completed and name not in doable)
    return f"depends on {missing}, which is neither completed nor in this plan"


class _FreeWaves:
    """Waves that are still free, as a forest of jumps over the taken ones: near-constant time a question."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def first(self, wave: int) -> int:
        """The first free wave from `wave` on."""
        end = wave
        while end in self._next:
            end = self._next[end]
        while wave != end:
            self._next[wave], wave = end, self._next[wave]
        return end

    def take(self, wave: int) -> None:
        self._next.setdefault(wave, wave + 1)


class _Calendar:
    """Which waves have a slot left, and for each claim which waves nobody holds, or not even uses, it in."""

    def __init__(self, max_slots: int) -> None:
        self._max_slots = max_slots
        self._taken_slots: Counter[int] = Counter()
        self._open = _FreeWaves()
        self._unheld: defaultdict[str, _FreeWaves] = defaultdict(_FreeWaves)
        self._unused: defaultdict[str, _FreeWaves] = defaultdict(_FreeWaves)

    def book(self, claims: Claims, earliest: int) -> int:
        """The first wave from `earliest` on that is open to `claims`, which are then entered there."""
        conditions = [
            self._open,
            *(self._unused[claim] for claim in claims.held),
            *(self._unheld[claim] for claim in claims.used),
        ]
        wave, later = earliest, 0
        while (later := max(condition.first(wave) for condition in conditions)) != wave:
            wave = later
        self._taken_slots[wave] += 1
        if self._taken_slots[wave] == self._max_slots:
            self._open.take(wave)
        for claim in claims.held:
            self._unheld[claim].take(wave)
        for claim in claims.held | claims.used:
            self._unused[claim].take(wave)
        return wave
