"""What the tests of the model chain share: settings with other addresses, and a clock that does not wait."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from backlog_ops.domain.pricing import PriceTable
from backlog_ops.domain.settings import LlmOps, Settings
from backlog_ops.llm.types import Allowance, Call, Clock, Turn
from backlog_ops.storage.config_file import load_preset, load_prices

PRICES: PriceTable = load_prices()
TODAY = "2026-11-23"


def config(ollama: str | None = None, gateway: str | None = None, **llm_ops: Mapping[str, Any]) -> dict[str, Any]:
    """The preset with other addresses; `llm_ops` merges into its sections: timeouts={"callSeconds": 1}."""
    data = copy.deepcopy(load_preset())
    ops = data["llmOps"]
    if ollama is not None:
        ops["ollama"]["baseURL"] = ollama
    if gateway is not None:
        ops["gateway"]["baseURL"] = gateway
    for section, values in llm_ops.items():
        ops[section].update(values)
    return data


def ops(ollama: str | None = None, gateway: str | None = None, **llm_ops: Mapping[str, Any]) -> LlmOps:
    return Settings.from_json(config(ollama, gateway, **llm_ops)).llm_ops


class RestlessClock:
    """A clock on which it is always TODAY, and whose `sleep` returns at once and is written down."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def clock(self) -> Clock:
        today = datetime.fromisoformat(f"{TODAY}T12:00:00+00:00").timestamp()
        return Clock(wall=lambda: today, sleep=self.slept.append)


def allowance(seconds: float = 10.0, share: float | None = None, **timeouts: float) -> Allowance:
    """Time for one provider call; `timeouts` by their names in the configuration."""
    now = time.monotonic()
    limits = ops(timeouts=timeouts).timeouts
    return Allowance(limits, now + (seconds if share is None else share), now + seconds, Clock())


def call(user: str = "What is it?", model: str = "qwen3:8b", system: str = "", **rest: Any) -> Call:
    return Call(model, system, (Turn("user", user),), **rest)


def nobody(text: str) -> None:
    """For `on_text` where nobody listens."""
