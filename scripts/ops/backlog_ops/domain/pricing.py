"""What a call costs: token counts times dated prices, in integer nano-dollars.

One US dollar per million tokens is 1,000 nano-dollars per token, so list prices stay exact. A model or a
date without a price costs `None`: unknown, never 0. Data: `config/models.json` (sources named there), and what
`backlog-ops prices update` adds to it (docs/prices.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from backlog_ops.domain.gates import Tier


def iso_day(at: float) -> str:
    """The UTC day of Unix seconds: the one that prices are looked up for."""
    return datetime.fromtimestamp(at, timezone.utc).date().isoformat()


NANO_PER_TOKEN_AT_1_USD_PER_MTOK = 1_000
MAX_AGE_DAYS = 90  # prices changed that often: models.json has three changes of the autumn of 2026


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

    def __sub__(self, other: Usage) -> Usage:
        """The difference, bucket by bucket; negative where `other` has more."""
        return Usage(
            self.input - other.input,
            self.cache_write_5m - other.cache_write_5m,
            self.cache_write_1h - other.cache_write_1h,
            self.cache_read - other.cache_read,
            self.output - other.output,
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input,
            self.cache_write_5m + other.cache_write_5m,
            self.cache_write_1h + other.cache_write_1h,
            self.cache_read + other.cache_read,
            self.output + other.output,
        )


RATE_KEYS = ("input", "cacheWrite5m", "cacheWrite1h", "cacheRead", "output")


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
        """Raises KeyError or ArithmeticError where a rate is missing or none, ValueError where it is below 0."""
        rates = cls(*(Decimal(str(data[key])) for key in RATE_KEYS))
        if not all(rate.is_finite() and rate >= 0 for rate in rates.in_order()):
            raise ValueError(f"a price that cannot be: {rates}")
        return rates

    def to_json(self) -> dict[str, int | float]:
        return {key: _number(rate) for key, rate in zip(RATE_KEYS, self.in_order(), strict=True)}

    def in_order(self) -> tuple[Decimal, ...]:
        """In the order of RATE_KEYS."""
        return self.input, self.cache_write_5m, self.cache_write_1h, self.cache_read, self.output

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
    batch_factor: Decimal | None = None  # what part of every rate a call in a batch costs; None: not known
    source: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Price:
        step, factor = data.get("longContext"), data.get("batchFactor")
        return cls(
            _iso_day(data["since"]),
            Rates.from_json(data),
            int(step["abovePromptTokens"]) if step else None,
            Rates.from_json(step) if step else None,
            Decimal(str(factor)) if factor is not None else None,
            str(data.get("source", "")),
        )

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"since": self.since, "source": self.source, **self.rates.to_json()}
        if self.batch_factor is not None:
            found["batchFactor"] = _number(self.batch_factor)
        if self.long_above is not None and self.long_rates is not None:
            found["longContext"] = {"abovePromptTokens": self.long_above, **self.long_rates.to_json()}
        return found


@dataclass(frozen=True)
class PriceTable:
    date: str  # ISO date on which the table was last checked
    prices: Mapping[str, tuple[Price, ...]]  # model id → prices, oldest first
    aliases: Mapping[str, str]  # dated or short id → the id that carries the prices
    tiers: Mapping[str, Tier] = field(default_factory=dict)  # model id → the tier it is made for
    source: str = ""
    not_covered: tuple[str, ...] = ()  # what is billed otherwise than this table says, in words

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PriceTable:
        """Raises LookupError, TypeError, ValueError, AttributeError or ArithmeticError where `data` is none."""
        models = data["models"]
        aliases: dict[str, str] = {}
        for model, entry in models.items():
            aliases.update(dict.fromkeys(entry.get("aliases", ()), model))
        return cls(
            _iso_day(data["date"]),
            {model: _by_day(map(Price.from_json, entry["prices"])) for model, entry in models.items()},
            aliases,
            {model: Tier(entry["tier"]) for model, entry in models.items() if "tier" in entry},
            str(data.get("source", "")),
            tuple(data.get("notCovered", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """Dates, prices and aliases: all that an update adds to a table."""
        models: dict[str, Any] = {}
        for model, prices in self.prices.items():
            names = [alias for alias, meant in self.aliases.items() if meant == model]
            models[model] = {"aliases": names, "prices": [price.to_json() for price in prices]}
        return {"date": self.date, "source": self.source, "models": models}

    def overlaid_by(self, newer: PriceTable) -> PriceTable:
        """This table with the models and prices of `newer` added: of two for the same day, those of `newer` hold."""
        prices = dict(self.prices)
        for model, added in newer.prices.items():
            prices[model] = _by_day((*self.prices.get(model, ()), *added))
        aliases = {**newer.aliases, **self.aliases}
        return replace(self, date=newer.date, source=newer.source, prices=prices, aliases=aliases)

    def canonical(self, model: str) -> str:
        """The id that carries the prices: without a variant such as `[1m]`, and without a date."""
        plain = self.aliases.get(model, model)
        return plain if plain in self.prices else self.aliases.get(model.partition("[")[0], model.partition("[")[0])

    def cost(self, model: str, usage: Usage, on: str) -> int | None:
        """Nano-dollars of ONE call on ISO date `on`; None when the model has no price for that day.

        Not for a sum of calls: the long-context step looks at one prompt.
        """
        price = self.price(model, on)
        if price is None:
            return None
        if price.long_above is not None and price.long_rates is not None and usage.prompt > price.long_above:
            return price.long_rates.nanousd(usage)
        return price.rates.nanousd(usage)

    def cost_of_calls(self, model: str, usage: Usage, on: str) -> int | None:
        """Nano-dollars of several calls of which only the sum is known; None also where one of them may have
        passed the long-context step: the sum does not tell.
        """
        price = self.price(model, on)
        if price is None or (price.long_above is not None and usage.prompt > price.long_above):
            return None
        return price.rates.nanousd(usage)

    def price(self, model: str, on: str) -> Price | None:
        """What `model`, by any of its names, costs on ISO date `on`."""
        dated = [p for p in self.prices.get(self.aliases.get(model, model), ()) if p.since <= on]
        return dated[-1] if dated else None

    def age_days(self, on: str) -> int:
        """Days from the last check to ISO date `on`; below 0 where the clock is behind the table."""
        return (date.fromisoformat(on) - date.fromisoformat(self.date)).days

    def warning(self, on: str) -> str | None:
        """One line that says on ISO date `on` that the table is too old, if it is."""
        age = self.age_days(on)
        if age <= MAX_AGE_DAYS:
            return None
        return f"the prices are {age} days old ({self.date}); `backlog-ops prices update --from F` renews them"


def _by_day(prices: Iterable[Price]) -> tuple[Price, ...]:
    by_day = {price.since: price for price in prices}
    return tuple(by_day[day] for day in sorted(by_day))


def _iso_day(text: str) -> str:
    """Dates are compared as text, so only the long form will do. Raises ValueError."""
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError(f"not a date such as 2026-11-23: {text}")
    return text


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)
