"""What the same tokens had cost on another routing: the one that was usual before (docs/plans, "Sonnet writes, Haiku
reviews"), at the prices of each day. Arithmetic with an assumption, nothing measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.pricing import PriceTable, Usage
from backlog_ops.money.cube import Amount, Profile, sum_of
from backlog_ops.report.figures import Savings, SavingsLine

BASELINE: Mapping[Gate, Tier] = {
    Gate.WAVE_PLAN: Tier.BALANCED,
    Gate.PLAN: Tier.BALANCED,
    Gate.IMPLEMENT: Tier.BALANCED,
    Gate.LINT: Tier.CHEAP,
    Gate.REVIEW: Tier.CHEAP,
    Gate.COMMIT: Tier.CHEAP,
    Gate.SUMMARY: Tier.BALANCED,
}
_ANSWERS = ("answered", "corrected")

SUMMED = frozenset({"claude-cli"})  # sources whose rows hold all calls of an agent


def savings(
    profiles: Iterable[tuple[Profile, Amount]], prices: PriceTable, models: Mapping[Tier, str], today: str
) -> Savings:
    """`profiles` of the gates of BASELINE against their tokens on its tiers, with the configured `models`."""
    by_gate: dict[str, list[tuple[Profile, Amount]]] = {}
    for profile, amount in profiles:
        by_gate.setdefault(profile.gate, []).append((profile, amount))
    lines = [
        _line(gate, tier, models[tier], by_gate[gate.value], prices, today)
        for gate, tier in BASELINE.items()
        if gate.value in by_gate
    ]
    return Savings(_assumption(models), tuple(lines))


def _line(
    gate: Gate, tier: Tier, model: str, rows: list[tuple[Profile, Amount]], prices: PriceTable, today: str
) -> SavingsLine:
    by_day: dict[tuple[str, bool], list[Amount]] = {}
    for profile, amount in rows:
        if profile.outcome in _ANSWERS:
            by_day.setdefault((profile.day or today, profile.source in SUMMED), []).append(amount)
    costs = [_cost(prices, model, sum_of(amounts), *key) for key, amounts in by_day.items()]
    known = [cost for cost in costs if cost is not None]
    other = sum(known) if len(known) == len(costs) else None
    return SavingsLine(gate.value, tier.value, model, sum_of(amount for _, amount in rows), other)


def _cost(prices: PriceTable, model: str, amount: Amount, day: str, is_summed: bool) -> int | None:
    """Nano-dollars of so many calls of average size: of a sum nobody knows which one passed a price step. Rows that are
    sums themselves are priced below that step.
    """
    if is_summed:
        price = prices.price(model, day)
        return price.rates.nanousd(amount.usage) if price else None
    calls = max(1, amount.calls)
    each = Usage(*(count // calls for count in amount[4:]))
    rest = Usage(*(count - count // calls * (calls - 1) for count in amount[4:]))
    one, last = prices.cost(model, each, day), prices.cost(model, rest, day)
    return None if one is None or last is None else one * (calls - 1) + last


def _assumption(models: Mapping[Tier, str]) -> str:
    cheap = ", ".join(gate.value for gate, tier in BASELINE.items() if tier is Tier.CHEAP)
    return (
        f"Computed, not measured: the same answers with the same tokens, failed attempts included, if {cheap} had been "
        f"on {models[Tier.CHEAP]} and all other gates on {models[Tier.BALANCED]}, at the list prices of each day. "
        "Every call is taken to be of average size, those of `backlog-ops run`'s agents below the price step of long "
        "prompts, and tokens count as the model that answered counts them. The "
        "parent session and calls of no gate are left out on both sides. Whether those models would have needed fewer "
        "attempts or more, nobody knows."
    )
