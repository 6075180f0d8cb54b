"""What each model is sent follows from config/models.json, so that no alias ever yields a 400."""

from backlog_ops.domain.gates import Tier
from backlog_ops.llm.capabilities import UNKNOWN, Thinking, capabilities_of
from tests.support.llm import ops


def test_every_configured_claude_model_is_in_the_table() -> None:
    models = ops().models.by_tier
    assert all(capabilities_of(models[tier]) is not UNKNOWN for tier in (Tier.CHEAP, Tier.BALANCED, Tier.FRONTIER))


def test_a_dated_id_has_the_capabilities_of_its_model() -> None:
    assert capabilities_of("claude-haiku-4-5-20251001") == capabilities_of("claude-haiku-4-5")


def test_an_unknown_model_is_sent_nothing_that_it_could_refuse() -> None:
    unknown = capabilities_of("claude-tomorrow-9")
    assert (unknown.sampling, unknown.json_schema, unknown.thinking) == (False, False, Thinking.NONE)
