"""What a session has cost by the host's own count, beside what its transcripts hold.

The host counts calls that stand in no transcript (auto mode's safety checks, titles), and older ones count output that
their transcripts have only the beginning of. Its figures come from the `cost-state` line at the end of a conversation
(since 2.1.330) or from the result of `claude -p --output-format json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from backlog_ops.domain.pricing import PriceTable, Usage, iso_day
from backlog_ops.domain.shapes import as_object
from backlog_ops.money.claude_usage import usage_of_cli
from backlog_ops.money.conversations import Mark, read_on
from backlog_ops.money.transcripts import ModelCall


class HostCount(NamedTuple):
    usage: Usage
    nanousd: int


@dataclass(frozen=True)
class Balance:
    """Nano-dollars; None where one of the models has no price of ours."""

    host: int
    transcripts: int | None  # at our prices
    missing: Mapping[str, Usage]  # tokens a model, that the host counts beyond them; negative: the reverse
    beyond: Mapping[str, int]  # what those cost, at our prices where they tell

    @property
    def unattributed(self) -> int | None:
        return None if self.transcripts is None else sum(self.beyond.values())

    @property
    def repriced(self) -> int | None:
        """What the host's prices add to ours, for the same tokens."""
        return None if self.transcripts is None else self.host - self.transcripts - sum(self.beyond.values())

    def corrected(self, model: str) -> Balance:
        """Where a transcript has the beginnings of the answers: nothing of the model is beyond it."""
        known = None if self.transcripts is None else self.transcripts + self.beyond[model]
        rest = {name: cost for name, cost in self.beyond.items() if name != model}
        return replace(self, transcripts=known, beyond=rest)


def host_counts(counted: Mapping[str, Any], prices: PriceTable) -> dict[str, HostCount]:
    """`modelUsage` of a result or of a cost-state line, by model."""
    found: dict[str, HostCount] = {}
    for name, entry in as_object(counted.get("modelUsage")).items():
        usage, dollars = usage_of_cli(as_object(entry)), as_object(entry).get("costUSD")
        cost = round(dollars * 1e9) if isinstance(dollars, int | float) and 0 <= dollars < 1e6 else 0
        model = prices.canonical(name)
        before = found.get(model, HostCount(Usage(), 0))
        found[model] = HostCount(before.usage + usage, before.nanousd + cost)
    return found


def calls_of_session(conversation: Path) -> list[ModelCall]:
    """Every answer of a session and of its sub-agents, once each."""
    files = [conversation, *conversation.with_suffix("").rglob("agent-*.jsonl")]
    found: dict[str, ModelCall] = {}
    for path in files:
        for call, _owner in read_on(path, Mark(), owner="anybody", final=True).calls:
            before = found.get(call.message_id)
            if before is None or before.usage.output < call.usage.output:
                found[call.message_id] = call
    return list(found.values())


def balance(host: Mapping[str, HostCount], calls: Iterable[ModelCall], prices: PriceTable, day: str) -> Balance:
    """Each call at the prices of its own day; `day`, an ISO date, is for what has none."""
    usage: dict[str, Usage] = {}
    cost: dict[str, int | None] = {}
    for call in calls:
        model = prices.canonical(call.model)
        usage[model] = usage.get(model, Usage()) + call.usage
        known, more = cost.get(model, 0), prices.cost(model, call.usage, iso_day(call.at) if call.at else day)
        cost[model] = None if known is None or more is None else known + more
    gaps = {model: count.usage - usage.get(model, Usage()) for model, count in host.items()}
    missing = {model: gap for model, gap in gaps.items() if gap != Usage()}
    beyond = {
        model: _beyond(model, host[model], cost.get(model) or 0, missing[model], prices, day) for model in missing
    }
    ours = None if None in cost.values() else sum(one or 0 for one in cost.values())
    return Balance(sum(count.nanousd for count in host.values()), ours, missing, beyond)


def _beyond(model: str, count: HostCount, ours: int, missing: Usage, prices: PriceTable, day: str) -> int:
    """What tokens that stand in no transcript cost: at our prices, else by the host's own figure for the model."""
    if missing.prompt >= 0 and missing.output >= 0:
        priced = prices.cost_of_calls(model, missing, day)
        if priced is not None:
            return priced
    return count.nanousd - ours
