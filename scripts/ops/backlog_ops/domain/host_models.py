"""Claude Code's names for models: the aliases its Agent tool takes, and whether the model that answered is the one.

A model id names its family (`claude-haiku-5-5`, `claude-sonnet-5[1m]`); the alias is that family.
"""

from __future__ import annotations

from collections.abc import Mapping

from backlog_ops.domain.gates import Tier

_WEAKEST_FIRST = ("haiku", "sonnet", "opus", "fable")
_BY_RULE = {Tier.CHEAP: "haiku", Tier.BALANCED: "sonnet", Tier.FRONTIER: "opus"}  # rules.md, "Tiers"


def family(model: str) -> str | None:
    """The alias a model id belongs to; None for names that tell none, such as a gateway's own."""
    return next((alias for alias in _WEAKEST_FIRST if alias in model.lower()), None)


def alias_for(tier: Tier, models: Mapping[Tier, str]) -> str:
    """What `model:` says to get a tier: the family of its configured model. Never for `free`, which has no tools.

    For `frontier` it is what is named where inheriting would be a step down (`must_name_frontier`).
    """
    return family(models[tier]) or _BY_RULE[tier]


def must_name_frontier(parent: str | None) -> bool:
    """Whether a parent on this model is weaker than `balanced`, so that inheriting from it would be a step down."""
    return parent is not None and family(parent) == "haiku"


def is_same(one: str, other: str) -> bool:
    """`[1m]` is the same model with more room."""
    return one.removesuffix("[1m]") == other.removesuffix("[1m]")


def answers_for(answered: str, alias: str | None, configured: str, parent: str | None, resolved: str | None) -> bool:
    """Whether `answered` is what was asked for.

    alias       that the sub-agent was started with; None: it was to inherit `parent`
    configured  model id of the tier
    resolved    what the host said it made of the alias, where it said anything
    """
    if alias is None:
        return is_same(answered, parent) if parent else family(answered) != "haiku"
    if is_same(answered, configured):
        return True
    told = family(answered)
    return told == alias if told else resolved is not None and is_same(answered, resolved)
