"""Who could be asked for a tier, in which order, and what is missing where somebody cannot be."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.settings import LlmOps
from backlog_ops.llm.transport import is_loopback
from backlog_ops.llm.types import Provider

_FALLBACKS = {
    Tier.FREE: (Tier.FREE, Tier.CHEAP, Tier.BALANCED),
    Tier.CHEAP: (Tier.CHEAP, Tier.BALANCED),
    Tier.BALANCED: (Tier.BALANCED,),
    Tier.FRONTIER: (Tier.FRONTIER,),
}

ANTHROPIC_BASE_URL = "https://api.anthropic.com"
OLLAMA, GATEWAY, ANTHROPIC, CLAUDE_CLI = "ollama", "gateway", "anthropic", "claude-cli"


class Step(NamedTuple):
    """One provider for one tier."""

    tier: Tier
    provider: str  # ollama | gateway | anthropic | claude-cli
    model: str
    where: str  # base URL or path
    skip: str | None = None  # why it cannot be asked, and what to set


def chain_of(tier: Tier, fallback: bool = True) -> tuple[Tier, ...]:
    """The tiers that may answer for `tier` (contracts.md: the same order as the gateway's fallbacks)."""
    return _FALLBACKS[tier] if fallback else (tier,)


def resolve(tiers: Sequence[Tier], ops: LlmOps, environ: Mapping[str, str], offline: bool = False) -> list[Step]:
    """Every step of the chain in the order in which they are asked. Calls nothing.

    `free` is always Ollama itself: behind a gateway nobody could tell whether it stayed local.
    """
    found: list[Step] = []
    for tier in tiers:
        if tier is Tier.FREE:
            elsewhere = offline and not is_loopback(ops.ollama_base_url)
            skip = "--offline forbids it: llmOps.ollama.baseURL is another machine" if elsewhere else None
            found.append(Step(tier, OLLAMA, ops.models.by_tier[tier], ops.ollama_base_url, skip))
        else:
            found += _remote_steps(tier, ops, environ, "--offline forbids it" if offline else None)
    return found


def _remote_steps(tier: Tier, ops: LlmOps, environ: Mapping[str, str], forbidden: str | None) -> list[Step]:
    model = ops.models.by_tier[tier]
    steps = []
    if ops.gateway.base_url:
        steps.append(Step(tier, GATEWAY, tier.value, ops.gateway.base_url, forbidden))
    base_url = environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC_BASE_URL
    no_key = None if _key(environ) else "no key for the API; set ANTHROPIC_API_KEY"
    steps.append(Step(tier, ANTHROPIC, model, base_url, forbidden or no_key))
    claude = find_claude(environ)
    no_claude = None if claude else "no `claude` on the PATH; install Claude Code or set CLAUDE_BIN"
    steps.append(Step(tier, CLAUDE_CLI, model, claude or "claude", forbidden or no_claude))
    return steps


def find_claude(environ: Mapping[str, str]) -> str | None:
    """The CLI: `CLAUDE_BIN`, else `claude` in an absolute folder of the PATH."""
    named = environ.get("CLAUDE_BIN")
    if named:
        return os.path.abspath(named) if os.access(named, os.X_OK) else None  # agents run in another folder
    for folder in environ.get("PATH", "").split(os.pathsep):
        candidate = os.path.join(folder, "claude")
        if os.path.isabs(folder) and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return None


def _key(environ: Mapping[str, str]) -> str:
    return environ.get("ANTHROPIC_API_KEY", "").strip()  # a file's last line end often comes with it


def provider_of(step: Step, ops: LlmOps, environ: Mapping[str, str]) -> Provider:
    # Imported one by one: a call to a local model must not pay for the parts that it does not use.
    if step.provider == OLLAMA:
        from backlog_ops.llm.ollama import Ollama

        return Ollama(step.where)
    if step.provider == GATEWAY:
        from backlog_ops.llm.gateway import Gateway

        key = environ.get(ops.gateway.api_key_env, "").strip()
        return Gateway(step.where, key, ops.models.by_tier[step.tier])
    if step.provider == ANTHROPIC:
        from backlog_ops.llm.anthropic import Anthropic

        return Anthropic(step.where, _key(environ))
    from backlog_ops.llm.claude_cli import ClaudeCli

    return ClaudeCli(step.where, environ)
