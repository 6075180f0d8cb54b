"""What a call costs: token counts times dated prices, in integer nano-dollars.

One US dollar per million tokens is 1,000 nano-dollars per token, so list prices stay exact. A model or a
date without a price costs `None`: unknown, never 0. Data: `config/models.json` (sources named there).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

NANO_PER_TOKEN_AT_1_USD_PER_MTOK = 1_000


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more calls in five disjoint buckets; `input` excludes everything cached."""

    input: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def prompt(self) -> int:
        """All tokens the model read: what long-context steps are measured against."""
        return self.input + self.cache_write_5m + self.cache_write_1h + self.cache_read

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.cache_write_5m + other.cache_write_5m,
            self.cache_write_1h + other.cache_write_1h,
            self.cache_read + other.cache_read,
            self.output + other.output,
        )


@dataclass(frozen=True)
class Rates:
    """US dollars per million tokens."""

    input: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    output: Decimal

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rates:
        return cls(
            *(Decimal(str(data[key])) for key in ("input", "cacheWrite5m", "cacheWrite1h", "cacheRead", "output"))
        )

    def nanousd(self, usage: Usage) -> int:
        dollars_per_mtok = (
            self.input * usage.input
            + self.cache_write_5m * usage.cache_write_5m
            + self.cache_write_1h * usage.cache_write_1h
            + self.cache_read * usage.cache_read
            + self.output * usage.output
        )
        return int((dollars_per_mtok * NANO_PER_TOKEN_AT_1_USD_PER_MTOK).to_integral_value(ROUND_HALF_UP))


@dataclass(frozen=True)
class Price:
    """A model's rates from one date on, with the step for long prompts where there is one."""

    since: str  # ISO date
    rates: Rates
    long_above: int | None = None  # prompt tokens; above it the whole request costs `long_rates`
    long_rates: Rates | None = None


@dataclass(frozen=True)
class PriceTable:
    date: str  # ISO date on which the table was last checked
    prices: Mapping[str, tuple[Price, ...]]  # model id → prices, oldest first
    aliases: Mapping[str, str]  # dated or short id → the id that carries the prices

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PriceTable:
        prices: dict[str, tuple[Price, ...]] = {}
        aliases: dict[str, str] = {}
        for model, entry in data["models"].items():
            dated = []
            for price in entry["prices"]:
                step = price.get("longContext")
                dated.append(
                    Price(
                        price["since"],
                        Rates.from_json(price),
                        step["abovePromptTokens"] if step else None,
                        Rates.from_json(step) if step else None,
                    )
                )
            prices[model] = tuple(sorted(dated, key=lambda price: price.since))
            aliases.update(dict.fromkeys(entry.get("aliases", ()), model))
        return cls(data["date"], prices, aliases)

    def cost(self, model: str, usage: Usage, on: str) -> int | None:
        """Nano-dollars of ONE call on ISO date `on`; None when the model has no price for that day.

        Not for a sum of calls: the long-context step looks at one prompt.
        """
        price = self._price(model, on)
        if price is None:
            return None
        if price.long_above is not None and price.long_rates is not None and usage.prompt > price.long_above:
            return price.long_rates.nanousd(usage)
        return price.rates.nanousd(usage)

    def cost_of_calls(self, model: str, usage: Usage, on: str) -> int | None:
        """Nano-dollars of several calls of which only the sum is known; None also where one of them may have
        passed the long-context step: the sum does not tell.
        """
        price = self._price(model, on)
        if price is None or (price.long_above is not None and usage.prompt > price.long_above):
            return None
        return price.rates.nanousd(usage)

    def _price(self, model: str, on: str) -> Price | None:
        dated = [p for p in self.prices.get(self.aliases.get(model, model), ()) if p.since <= on]
        return dated[-1] if dated else None
