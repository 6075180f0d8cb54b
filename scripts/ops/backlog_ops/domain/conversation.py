"""What an agent's conversation costs: the tokens of each of its calls, counted as the API caches them.

Every call sends everything said so far again. The first one writes it to the cache; each later one reads what
the one before it sent and writes what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from backlog_ops.domain.pricing import PriceTable, Usage


@dataclass(frozen=True)
class Conversation:
    """All in tokens but `calls`."""

    calls: int
    set_up: int  # the first prompt: system prompt, tools and brief
    growth: int  # by which each later prompt is longer: what was answered, and what a tool then said
    output: int  # of each answer
    cached: bool = True  # False: every prompt is sent as if for the first time, as single calls are

    def usages(self) -> Iterator[Usage]:
        """The tokens of one call after another."""
        for number in range(self.calls):
            prompt = self.set_up + self.growth * number
            if not self.cached:
                yield Usage(input=prompt, output=self.output)
            elif number == 0:
                yield Usage(cache_write_5m=prompt, output=self.output)
            else:
                yield Usage(cache_write_5m=self.growth, cache_read=prompt - self.growth, output=self.output)

    def cost(self, prices: PriceTable, model: str, on: str) -> int | None:
        """Nano-dollars on ISO date `on`, call by call, so that price steps for long prompts count where they
        are passed; None where the model has no price.
        """
        total = 0
        for usage in self.usages():
            cost = prices.cost(model, usage, on)
            if cost is None:
                return None
            total += cost
        return total

    def with_calls(self, calls: int) -> Conversation:
        return replace(self, calls=calls)
