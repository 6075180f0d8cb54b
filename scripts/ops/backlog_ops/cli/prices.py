"""`prices`: the table in force, and `prices update`, which renews it. Neither needs a repository."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from backlog_ops.domain.pricing import Price, PriceTable, Rates
from backlog_ops.domain.text import one_line
from backlog_ops.errors import EXIT_FINDINGS, EXIT_OK, UsageError
from backlog_ops.money.litellm_map import read_map
from backlog_ops.money.price_update import Update, compare, keep
from backlog_ops.storage.config_file import MODELS_FILE, load_own_prices, load_prices, own_prices_file

HEADINGS = ("model", "tier", "since", "input", "write 5m", "write 1h", "read", "output", "batch")
COLUMNS_OF_WORDS = 3  # the others are numbers


def prices(args: argparse.Namespace) -> int:
    today = datetime.now(timezone.utc).date().isoformat()
    if args.what == "update":
        return _update(args, today)
    if args.source is not None or args.dry_run or args.accept:
        raise UsageError("--from, --dry-run and --accept belong to `backlog-ops prices update`")
    table = load_prices(os.environ)
    warn_of_age(table, today)
    if args.format == "json":
        print(json.dumps(_as_json(table, today), ensure_ascii=False))
    else:
        _print_table(table, today)
    return EXIT_OK


def warn_of_age(table: PriceTable, today: str) -> None:
    """One line on stderr where the prices are old; for every command that shows money."""
    warning = table.warning(today)
    if warning is not None:
        print(f"backlog-ops: warning: {warning}", file=sys.stderr)


def _files(table: PriceTable) -> list[Path]:
    """Where `table` comes from."""
    own = load_own_prices(os.environ)
    return [MODELS_FILE, own_prices_file(os.environ)] if own is not None and own.date == table.date else [MODELS_FILE]


def _as_json(table: PriceTable, today: str) -> dict[str, Any]:
    models = []
    for model, dated in table.prices.items():
        tier = table.tiers.get(model)
        names = [alias for alias, meant in table.aliases.items() if meant == model]
        shown = [price.to_json() for price in dated]
        models.append({"id": model, "tier": tier and tier.value, "aliases": names, "prices": shown})
    return {
        "date": table.date,
        "ageDays": table.age_days(today),
        "warning": table.warning(today),
        "source": table.source,
        "files": list(map(str, _files(table))),
        "unit": "US dollars per million tokens",
        "notCovered": table.not_covered,
        "models": models,
    }


def _print_table(table: PriceTable, today: str) -> None:
    rows: list[Sequence[str]] = [HEADINGS]
    for model, dated in table.prices.items():
        price, tier = table.price(model, today) or dated[-1], table.tiers.get(model)
        factor = "" if price.batch_factor is None else f"× {_plain(price.batch_factor)}"
        rows.append((model, tier.value if tier else "", price.since, *_numbers(price.rates), factor))
        if price.long_above is not None and price.long_rates is not None:
            rows.append((f"  > {price.long_above:,} tokens", "", "", *_numbers(price.long_rates), factor))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if number < COLUMNS_OF_WORDS else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    print()
    print("US dollars per million tokens. Above a prompt's limit, the whole request costs the second line.")
    print(f"table of {table.date}, {table.age_days(today)} day(s) old: {one_line(table.source, 400)}")
    for file in _files(table):
        print(f"file: {file}")
    for words in table.not_covered:
        print(f"not covered: {one_line(words, 200)}")


def _numbers(rates: Rates) -> list[str]:
    return [_plain(rate) for rate in rates.in_order()]


def _plain(number: Decimal) -> str:
    """At least two decimals, as prices are written, and all there are."""
    return f"{number:.2f}" if number == round(number, 2) else f"{number.normalize():f}"


def _update(args: argparse.Namespace, today: str) -> int:
    if args.source is None:
        raise UsageError("`prices update` needs --from F: a LiteLLM price map, a wheel of it, or an installed package")
    update = compare(load_prices(os.environ), read_map(args.source, os.environ), today, args.accept)
    file = keep(os.environ, update) if update.found_prices and not args.dry_run else None
    if args.format == "json":
        print(json.dumps(_update_json(update, file), ensure_ascii=False))
    else:
        _print_update(update, file, args.dry_run)
    for line in update.refused:
        print(f"backlog-ops: refused: {line}", file=sys.stderr)
    return EXIT_FINDINGS if update.refused else EXIT_OK


def _update_json(update: Update, file: Path | None) -> dict[str, Any]:
    return {
        "date": update.day,
        "source": update.source,
        "written": str(file) if file else None,
        "changed": [{"id": model, "was": was.to_json(), "is": price.to_json()} for model, was, price in update.changed],
        "new": [{"id": model, "is": price.to_json()} for model, price in update.new],
        "same": update.same,
        "unlisted": update.unlisted,
        "refused": update.refused,
    }


def _print_update(update: Update, file: Path | None, is_dry_run: bool) -> None:
    for model, was, price in update.changed:
        print(f"changed: {model} from {update.day} on: {'; '.join(_differences(was, price))}")
    for model, price in update.new:
        print(f"new: {model}: {_summary(price.rates)}")
    if update.unlisted:
        print(f"not in the map, as before: {', '.join(update.unlisted)}")
    counts = f"{len(update.changed)} changed, {len(update.new)} new, {len(update.same)} the same"
    print(f"{counts}, {len(update.refused)} refused")
    if file is not None:
        print(f"wrote {file}: prices checked on {update.day}")
    else:
        print(f"nothing was written{': this was --dry-run' if is_dry_run else ''}")


def _differences(was: Price, price: Price) -> list[str]:
    found = []
    if was.rates != price.rates:
        names = HEADINGS[COLUMNS_OF_WORDS:]
        pairs = zip(names, was.rates.in_order(), price.rates.in_order(), strict=False)
        found += [f"{name} ${_plain(old)} → ${_plain(new)}" for name, old, new in pairs if old != new]
    if (was.long_above, was.long_rates) != (price.long_above, price.long_rates):
        above = f"above {price.long_above:,} tokens" if price.long_above is not None else "no longer"
        found.append(f"long prompts: {above} {_summary(price.long_rates) if price.long_rates else ''}".rstrip())
    if was.batch_factor != price.batch_factor:
        factor = price.batch_factor
        found.append(f"batch {'unknown' if factor is None else f'× {_plain(factor)}'}")
    return found


def _summary(rates: Rates) -> str:
    return f"input ${_plain(rates.input)}, output ${_plain(rates.output)}"
