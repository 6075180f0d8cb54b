"""What was asked and what answered: whether an action's work came from the routed model."""

from __future__ import annotations

from backlog_ops.domain.host_models import answers_for, family, is_same
from backlog_ops.run import agent_rows
from backlog_ops.run.context import Context
from backlog_ops.run.rows import Action, SessionAgent


def wrong_model(ctx: Context, action: Action) -> str | None:
    """By the ledger: which model answered an action instead of the routed one, and why; None where it was the routed
    one, and where nobody knows: an agent that died before its first answer, a session that keeps no transcripts.
    """
    configured = ctx.settings.llm_ops.models.by_tier[action.tier]
    agents = agent_rows.agents_on(ctx.store, action.number)
    by_id = {agent.agent_id: agent for agent in agents if agent.agent_id}
    headless = []
    for row in ctx.store.receipts_of(action):
        answered, agent = row["answered_model"], by_id.get(row["agent"])
        if answered is None:
            continue
        if agent is None:
            headless.append(answered)
        elif not _is_answer(ctx, action, agent, answered):
            return (
                f"asked for {agent.asked_model or asked_model(ctx, action, agent)}, {answered} answered ({_why(agent)})"
            )
    # One bill holds all models of a process, the host's own side calls too.
    if headless and not any(is_same(one, configured) or family(one) == family(configured) for one in headless):
        return f"asked for {configured}, {headless[0]} answered"
    for agent in agents:
        resolved = agent.resolved_model
        if resolved and not _is_answer(ctx, action, agent, resolved):
            asked = agent.asked_model or asked_model(ctx, action, agent)
            return f"asked for {asked}, the host chose {resolved} ({_why(agent)})"
    return None


def _is_answer(ctx: Context, action: Action, agent: SessionAgent, answered: str) -> bool:
    configured = ctx.settings.llm_ops.models.by_tier[action.tier]
    return answers_for(answered, agent.asked_model, configured, agent.parent_model, agent.resolved_model)


def _why(agent: SessionAgent) -> str:
    """Why the host did not do as it was told, as far as that can be seen."""
    if agent.overrides:
        return f"{agent.overrides} is set"
    if not agent.guarded:
        return "no guard saw its call: hooks are off, or it is a fork or a Workflow agent"
    return "the host did not obey: availableModels, a policy or a gateway"


def asked_model(ctx: Context, action: Action, agent: SessionAgent) -> str:
    """The model id that was meant: the tier's, or the parent's own where the sub-agent was to inherit it."""
    configured = ctx.settings.llm_ops.models.by_tier[action.tier]
    return configured if agent.asked_model else agent.parent_model or configured


def tags_of(ctx: Context, action: Action, agent: SessionAgent, answered: str) -> dict[str, str]:
    """What the receipt of a call says of how it was routed."""
    tags = {"asked": agent.asked_model or "inherit"}
    if not agent.guarded:
        tags["guard"] = "none"
    if not _is_answer(ctx, action, agent, answered):
        tags["not_obeyed"] = _why(agent)
    return tags
