"""What Claude Code and the Messages API say of a call: results, and token counts in disjoint buckets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backlog_ops.domain.pricing import Usage
from backlog_ops.domain.shapes import as_count, as_object, as_objects


def usage_of_message(counts: Mapping[str, Any]) -> Usage:
    """`usage` of a Messages API response; cache writes of no named lifetime are 5-minute ones."""
    written = as_count(counts.get("cache_creation_input_tokens"))
    long_lived = min(as_count(as_object(counts.get("cache_creation")).get("ephemeral_1h_input_tokens")), written)
    return Usage(
        input=as_count(counts.get("input_tokens")),
        cache_write_5m=written - long_lived,
        cache_write_1h=long_lived,
        cache_read=as_count(counts.get("cache_read_input_tokens")),
        output=as_count(counts.get("output_tokens")),
    )


def usage_of_cli(counts: Mapping[str, Any]) -> Usage:
    """One model's entry of `modelUsage` in a result of the Claude Code CLI."""
    written = as_count(counts.get("cacheCreationInputTokens"))
    long_lived = min(as_count(counts.get("cacheCreationEphemeral1hInputTokens")), written)
    return Usage(
        input=as_count(counts.get("inputTokens")),
        cache_write_5m=written - long_lived,
        cache_write_1h=long_lived,
        cache_read=as_count(counts.get("cacheReadInputTokens")),
        output=as_count(counts.get("outputTokens")),
    )


def result_of_cli(stdout: bytes) -> dict[str, Any] | None:
    """The result event; with `verbose` in the user's settings the CLI prints a list of all events."""
    try:
        printed = json.loads(stdout)
    except (ValueError, RecursionError):
        return None
    events = as_objects(printed if isinstance(printed, list) else [printed])
    return next((event for event in reversed(events) if event.get("type") == "result"), None)
