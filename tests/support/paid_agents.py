"""Scripted agents whose calls are in the ledger when they hand in, as `claude -p` books them.

lab = lab_with(tmp_path, "T-1", "T-2", agents=PaidAgents(price=lambda ctx, action: CENT), perRunUsd=0.1)
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backlog_ops.domain.pricing import Usage
from backlog_ops.money.ledger import Receipt, record
from backlog_ops.run.context import Context
from backlog_ops.run.rows import Action
from tests.support.hand_driven import several
from tests.support.lab import CONFIG, Lab, ScriptedAgents

DOLLAR = 1_000_000_000  # nano-dollars
CENT = DOLLAR // 100

_keys = itertools.count()


def call(nanousd: int, usage: Usage | None = None, **values: Any) -> Receipt:
    """A call that cost so much."""
    fields: dict[str, Any] = {
        "key": f"call/{next(_keys)}",
        "at": time.time(),
        "source": "claude-cli",
        "asked_tier": "cheap",
        "asked_model": "claude-haiku-5-5",
        "provider": "claude-code",
        "answered_model": "claude-haiku-5-5",
        "usage": usage or Usage(),
        "cost_nanousd": nanousd,
        "price_date": None,
        "latency_ms": 1,
        "outcome": "answered",
    }
    return Receipt(**{**fields, **values})


@dataclass
class PaidAgents(ScriptedAgents):
    """`price`: what an action costs in nano-dollars; `tokens`: what it takes."""

    price: Callable[[Context, Action], int] = lambda _ctx, _action: 0
    tokens: Callable[[Action], Usage] = lambda _action: Usage()

    def __call__(self, ctx: Context, action: Action) -> str | None:
        cause = super().__call__(ctx, action)
        owner = {"run": action.run, "ticket": action.ticket, "gate": action.gate.value, "attempt": action.attempt}
        record(ctx.store.connection, call(self.price(ctx, action), self.tokens(action), wave=1, **owner))
        return cause


def lab_with(folder: Path, *ids: str, agents: ScriptedAgents | None = None, **budget: float) -> Lab:
    """A repository with these tickets (T-1); `budget`: the values of llmOps.budget that are not the preset's."""
    lab = several(folder, *ids, config={"llmOps": {**CONFIG["llmOps"], "budget": budget}})
    lab.agents = agents or PaidAgents()
    return lab


def spent(lab: Lab) -> int:
    """Nano-dollars, by the ledger."""
    return int(lab.context().store.rows("SELECT coalesce(sum(cost_nanousd), 0) FROM ledger")[0][0])
