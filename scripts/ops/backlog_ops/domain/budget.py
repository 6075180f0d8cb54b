"""What may be spent next: admitted from what is left, waited for while others hold it, or refused.

Estimate → reserve → dispatch → settle: a step is dispatched only once what it is expected to take is set aside, so that
parallel tickets cannot together spend what is there once. All amounts are nano-dollars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NANO_PER_USD = 1_000_000_000


@dataclass(frozen=True)
class Limit:
    """One budget. `shared`: by the tickets of a wave, so that one may not take all that is left of it."""

    name: str  # such as `the run's $5.00 (--max-usd)`
    most: int
    spent: int
    reserved: int  # by others, for calls that are under way
    shared: bool = True

    @property
    def left(self) -> int:
        return self.most - self.spent - self.reserved


@dataclass(frozen=True)
class Expected:
    """What a cost stays below in half of all cases, and in nine of ten."""

    p50: int
    p90: int


@dataclass(frozen=True)
class Admission:
    """`amount` is set aside for the step; None: it `waits` for others to settle, or is refused; both say why."""

    amount: int | None
    waits: bool = False
    reason: str = ""


def admit(limits: Sequence[Limit], need: Expected | None, sharing: int, what: str) -> Admission:
    """Whether a step may begin, and with how much.

    need     None where nobody knows: then it may have a share of whatever is left
    sharing  tickets that have a claim to what is left of the shared budgets, this one included
    what     for the reason, such as `IMPLEMENT on cheap`
    """
    least = max(1, need.p50) if need else 1
    if need is not None and need.p90 == 0:
        return Admission(0)  # it costs nothing
    tightest = min(limits, key=lambda limit: limit.left)
    if tightest.left >= least:
        wanted = need.p90 if need else least
        shares = [max(wanted, limit.left // max(1, sharing)) if limit.shared else limit.left for limit in limits]
        return Admission(min(tightest.left, *shares))
    takes = f"{what} may take {dollars(need.p50)}" if need else f"{what} costs an unknown amount"
    if all(limit.left + limit.reserved >= least for limit in limits):
        held = f"{dollars(tightest.reserved)} of {tightest.name} is set aside for what is under way"
        return Admission(None, waits=True, reason=f"waits: {takes}, {held}")
    short = min(limits, key=lambda limit: limit.left + limit.reserved)
    left = dollars(max(0, short.left + short.reserved))
    return Admission(None, reason=f"budget: {takes}, {left} is left of {short.name}")


def dollars(nanousd: int) -> str:
    """Rounded to what can be told apart: `$5.00`, `$0.0147`."""
    value = nanousd / NANO_PER_USD
    return f"${value:.2f}" if abs(value) >= 1 or nanousd == 0 else f"${value:.4f}"
