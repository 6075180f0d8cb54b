"""LiteLLM price maps, made from a price table: what a map would say that agrees with it.

entries = entries_of(load_prices(), "2026-11-25")
entries["claude-opus-5-5"]["output_cost_per_token"] = 3e-05
file = write_map(tmp_path / "map.json", entries)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backlog_ops.domain.pricing import PriceTable, Rates
from backlog_ops.money.litellm_map import TOKEN_KEYS

MAP = "model_prices_and_context_window_backup.json"
# What else stands in a map: a specification, other makers' models, and Claude sold by others or not for chat.
OTHERS: dict[str, Any] = {
    "sample_spec": {"litellm_provider": "one of …", "mode": "one of …", "input_cost_per_token": 0.0},
    "gpt-other": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06},
    "bedrock/claude-opus-5-5": {"litellm_provider": "bedrock", "mode": "chat", "input_cost_per_token": 4e-06},
    "claude-embed": {"litellm_provider": "anthropic", "mode": "embedding", "input_cost_per_token": 1e-07},
}


def entries_of(table: PriceTable, on: str) -> dict[str, Any]:
    """A map of all models of `table` at their prices on ISO date `on`."""
    entries = dict(OTHERS)
    for model in table.prices:
        price = table.price(model, on)
        assert price is not None
        entry: dict[str, Any] = {"litellm_provider": "anthropic", "mode": "chat", **_costs(price.rates, "")}
        if price.long_above is not None and price.long_rates is not None:
            entry.update(_costs(price.long_rates, f"_above_{price.long_above // 1_000}k_tokens"))
        if price.batch_factor is not None:
            entry.update({f"{key}_batches": entry[key] * float(price.batch_factor) for key in TOKEN_KEYS})
        entries[model] = entry
    return entries


def _costs(rates: Rates, ending: str) -> dict[str, float]:
    return {key + ending: float(rate / 1_000_000) for key, rate in zip(TOKEN_KEYS, rates.in_order(), strict=True)}


def write_map(file: Path, entries: Mapping[str, Any]) -> Path:
    file.write_text(json.dumps(entries), encoding="utf-8")
    return file


def own_prices(date: str, models: Mapping[str, Any] | None = None) -> Path:
    """The user's own table, as `prices update` would have written it on `date`, in this test's home."""
    file = Path(os.environ["HOME"]) / ".local" / "state" / "backlog-ops" / "models.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"date": date, "source": "a test", "models": dict(models or {})}), encoding="utf-8")
    return file
