"""The host's names for models: which alias asks for a tier, and whether what answered was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backlog_ops.domain.gates import Tier
from backlog_ops.domain.host_models import alias_for, answers_for, family, is_same, must_name_frontier

HAIKU, SONNET, OPUS, FABLE = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-fable-5-2"
MODELS = {Tier.FREE: "qwen3:8b", Tier.CHEAP: HAIKU, Tier.BALANCED: SONNET, Tier.FRONTIER: OPUS}
ALIASES = ("haiku", "sonnet", "opus", "fable")


@pytest.mark.parametrize(
    ("model", "alias"),
    [
        (HAIKU, "haiku"),
        (f"{SONNET}[1m]", "sonnet"),
        ("us.anthropic.claude-opus-5-5-v1:0", "opus"),
        ("Claude-Fable-5-2", "fable"),
        ("claude-haiku-4-5-20251001", "haiku"),
        ("opus", "opus"),
        ("my-gateways-own-name", None),
        ("qwen3:8b", None),
        ("", None),
    ],
)
def test_a_models_id_names_its_family(model, alias):
    assert family(model) == alias


@pytest.mark.parametrize(("tier", "alias"), [(Tier.CHEAP, "haiku"), (Tier.BALANCED, "sonnet"), (Tier.FRONTIER, "opus")])
def test_a_tier_is_asked_for_by_the_family_of_its_model(tier, alias):
    assert alias_for(tier, MODELS) == alias
    assert alias_for(tier, {**MODELS, tier: FABLE}) == "fable"


@pytest.mark.parametrize(("tier", "alias"), [(Tier.CHEAP, "haiku"), (Tier.BALANCED, "sonnet"), (Tier.FRONTIER, "opus")])
def test_a_tier_whose_models_name_tells_nothing_is_asked_for_by_the_rules_alias(tier, alias):
    assert alias_for(tier, {**MODELS, tier: "my-gateways-own-name"}) == alias


@given(st.text())
def test_an_alias_is_always_one_that_the_host_takes(model):
    assert alias_for(Tier.CHEAP, {**MODELS, Tier.CHEAP: model}) in ALIASES


@pytest.mark.parametrize(
    ("parent", "must"),
    [(HAIKU, True), ("claude-haiku-4-5-20251001", True), (SONNET, False), (OPUS, False), (FABLE, False), (None, False)],
)
def test_the_frontier_is_named_where_inheriting_it_would_be_a_step_down(parent, must):
    assert must_name_frontier(parent) is must


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (OPUS, OPUS, True),
        (OPUS, f"{OPUS}[1m]", True),
        (f"{OPUS}[1m]", OPUS, True),
        (OPUS, "claude-opus-4-8", False),
        (OPUS, SONNET, False),
    ],
)
def test_more_room_makes_no_other_model(one, other, same):
    assert is_same(one, other) is same


@pytest.mark.parametrize(
    ("answered", "alias", "configured", "resolved", "meant"),
    [
        # what was configured, in whatever name
        (HAIKU, "haiku", HAIKU, None, True),
        (f"{HAIKU}[1m]", "haiku", HAIKU, None, True),
        ("my-small-one", "haiku", "my-small-one", None, True),
        # another one of the family: the host's own idea of the alias
        ("claude-haiku-4-5-20251001", "haiku", HAIKU, None, True),
        ("claude-haiku-4-5-20251001", "haiku", "my-small-one", None, True),
        # another family, whatever the host says it made of the alias
        (SONNET, "haiku", HAIKU, None, False),
        (OPUS, "haiku", HAIKU, OPUS, False),
        (HAIKU, "sonnet", SONNET, None, False),
        # a name that tells no family: the host's word decides
        ("my-small-one", "haiku", HAIKU, "my-small-one", True),
        ("my-small-one", "haiku", HAIKU, "another", False),
        ("my-small-one", "haiku", HAIKU, None, False),
    ],
)
def test_what_answers_a_named_model(answered, alias, configured, resolved, meant):
    assert answers_for(answered, alias, configured, OPUS, resolved) is meant


@pytest.mark.parametrize(
    ("answered", "parent", "meant"),
    [
        (OPUS, OPUS, True),
        (OPUS, f"{OPUS}[1m]", True),
        (f"{OPUS}[1m]", OPUS, True),
        (SONNET, SONNET, True),
        ("my-large-one", "my-large-one", True),
        (SONNET, OPUS, False),
        (OPUS, SONNET, False),
        ("claude-opus-4-8", OPUS, False),
        (OPUS, None, True),
        (SONNET, None, True),
        ("my-large-one", None, True),
        (HAIKU, None, False),
    ],
)
def test_what_answers_one_that_inherits(answered, parent, meant):
    assert answers_for(answered, None, OPUS, parent, None) is meant


@given(st.sampled_from([HAIKU, SONNET, OPUS, FABLE]), st.sampled_from(ALIASES))
def test_a_model_answers_for_its_own_family_and_for_no_other(answered, alias):
    configured = {"haiku": HAIKU, "sonnet": SONNET, "opus": OPUS, "fable": FABLE}[alias]
    assert answers_for(answered, alias, configured, OPUS, None) is (family(answered) == alias)
