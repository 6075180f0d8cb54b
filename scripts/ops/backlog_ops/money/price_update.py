"""`backlog-ops prices update`: what a price map changes in the table in force, and where that is kept.

A new price of a known model holds from the day of the update on, so that older calls keep what they cost. What
looks wrong is refused and named, model by model; the model keeps its price. docs/prices.md tells the rules.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from backlog_ops.domain.pricing import Price, PriceTable, Rates
from backlog_ops.domain.text import hint, quote
from backlog_ops.errors import UsageError
from backlog_ops.money.litellm_map import PriceMap, price_of
from backlog_ops.storage.config_file import load_own_prices, load_prices, own_prices_file

JUMP = 10  # a rate so many times the one before, or that part of it, is a slip of a decimal point until accepted
LONGEST_ID = 100
ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:@/[]")


@dataclass
class Update:
    """What an update does, each list in the order of the map."""

    day: str  # ISO date
    source: str
    changed: list[tuple[str, Price, Price]] = field(default_factory=list)  # model, what it cost, what it costs
    new: list[tuple[str, Price]] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)  # models that only the table in force knows
    refused: list[str] = field(default_factory=list)  # one line each: where, which model, why

    @property
    def found_prices(self) -> bool:
        return bool(self.changed or self.new or self.same)

    def table(self) -> PriceTable:
        """What is new, alone."""
        prices = {model: (price,) for model, price in self.new}
        prices.update({model: (price,) for model, _, price in self.changed})
        aliases = {f"{model}[1m]": model for model, _ in self.new}  # the host's name for it with the long context
        return PriceTable(self.day, prices, aliases, source=self.source)


def compare(table: PriceTable, found: PriceMap, day: str, accepted: Collection[str] = ()) -> Update:
    """What `found` changes in `table` on ISO date `day`. Models in `accepted` may change in unlikely ways.

    Raises UsageError where `found` names no Claude model, or none of that name in `accepted`, or `table` is of a
    later day.
    """
    if day < table.date:
        raise UsageError(f"the table in force is of {table.date}, and today is {day}: is the clock right?")
    models = dict(found.claude_models())
    if not models:
        raise UsageError(f"{found.place}: no chat model of the provider anthropic in it: this is no LiteLLM price map")
    for name in accepted:
        if name not in models:
            raise UsageError(f"--accept {quote(name)}: {found.place} names no such model{hint(name, models)}")
    update = Update(day, found.name)
    for model, prices in _prices(table, found, day, update).items():
        if len(set(map(_substance, prices.values()))) > 1:
            names = " and ".join(sorted(prices))
            update.refused.append(f"{found.place}: {names} are one model here and cost differently there")
            continue
        was, price = table.price(model, day), next(iter(prices.values()))
        doubts = [] if set(accepted) & {model, *prices} or was is None else _doubts(price, was, table.prices[model])
        if doubts:
            reasons = "; ".join(doubts)
            update.refused.append(f"{found.place}: {model}: {reasons}; if that is right: --accept {next(iter(prices))}")
        elif was is None:
            update.new.append((model, price))
        elif _is_same(price, was):
            update.same.append(model)
        else:
            update.changed.append((model, was, price))
    named = {table.aliases.get(name, name) for name in models}
    update.unlisted += [model for model in table.prices if model not in named]
    return update


def _prices(table: PriceTable, found: PriceMap, day: str, update: Update) -> dict[str, dict[str, Price]]:
    """Model as the table calls it → the names it has in the map, each with its price there."""
    prices: dict[str, dict[str, Price]] = {}
    for name, entry in found.claude_models():
        price, problems = price_of(entry, day, found.name)
        is_name = 0 < len(name) <= LONGEST_ID and ID_CHARACTERS.issuperset(name)
        if not is_name:
            problems.append("this is no name of a model")
        if price is None or problems:
            update.refused.append(f"{found.place}: {name if is_name else quote(name)}: {'; '.join(problems)}")
        else:
            prices.setdefault(table.aliases.get(name, name), {})[name] = price
    return prices


def _substance(price: Price) -> tuple[Rates, int | None, Rates | None]:
    return price.rates, price.long_above, price.long_rates


def _is_same(price: Price, was: Price) -> bool:
    """A map that is silent about batches changes nothing about them."""
    return _substance(price) == _substance(was) and price.batch_factor in (None, was.batch_factor)


def _doubts(price: Price, was: Price, dated: Collection[Price]) -> list[str]:
    """Why `price` may well be wrong, though it is a price."""
    doubts = []
    pairs = [(price.rates, was.rates)]
    if price.long_rates is not None and was.long_rates is not None:
        pairs.append((price.long_rates, was.long_rates))
    for new, old in pairs:
        if any(_is_jump(a, b) for a, b in zip(new.in_order(), old.in_order(), strict=True)):
            doubts.append(f"a rate is {JUMP} times what it was, or a {JUMP}th of it")
            break
    if was.long_rates is not None and price.long_rates is None:
        doubts.append("long prompts cost no more than short ones any longer")
    if _substance(price) != _substance(was) and any(_substance(price) == _substance(old) for old in dated):
        doubts.append(f"this is what it cost before {was.since}: an old price map?")
    rates = price.rates
    if not rates.cache_read <= rates.input <= rates.cache_write_5m <= rates.cache_write_1h:
        doubts.append("reading from the cache costs more than reading, or writing to it less")
    return doubts


def _is_jump(new: Decimal, old: Decimal) -> bool:
    return new >= old * JUMP or new * JUMP <= old


def keep(environ: Mapping[str, str], update: Update) -> Path:
    """Write the user's own table: what earlier updates added, unless the plugin's table is newer, and this one."""
    own, shipped = load_own_prices(environ), load_prices()
    added = update.table()
    table = own.overlaid_by(added) if own is not None and own.date >= shipped.date else added
    file = own_prices_file(environ)
    _write_atomically(file, json.dumps(table.to_json(), indent=1) + "\n")
    return file


def _write_atomically(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".models-", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
