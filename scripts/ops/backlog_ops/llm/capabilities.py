"""What each Claude model accepts, so that swapping one for another never yields an HTTP 400.

Data: `capabilities` of each model in config/models.json. A model that is not listed gets the parameters that
every model takes and no others.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from backlog_ops.storage.locations import PLUGIN_ROOT


class Thinking(enum.Enum):
    """How a model is kept from thinking before a text answer; thoughts count as output tokens."""

    DISABLED = "disabled"  # send thinking.type = disabled
    BETWEEN_TOOLS = "between_tools"  # the nearest there is: without tools it does not think
    ALWAYS = "always"  # cannot be turned off
    NONE = "none"  # does not think unless asked: send nothing


@dataclass(frozen=True)
class Capabilities:
    sampling: bool  # accepts temperature
    json_schema: bool  # accepts output_config.format
    thinking: Thinking
    context_tokens: int
    max_output_tokens: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Capabilities:
        return cls(
            sampling=data["sampling"],
            json_schema=data["jsonSchema"],
            thinking=Thinking(data["thinking"]),
            context_tokens=data["contextTokens"],
            max_output_tokens=data["maxOutputTokens"],
        )


UNKNOWN = Capabilities(
    sampling=False,
    json_schema=False,
    thinking=Thinking.NONE,
    context_tokens=200_000,
    max_output_tokens=8_192,
)


def capabilities_of(model: str) -> Capabilities:
    return _table().get(model, UNKNOWN)


@cache
def _table() -> Mapping[str, Capabilities]:
    models = json.loads((PLUGIN_ROOT / "config" / "models.json").read_text(encoding="utf-8"))["models"]
    return {
        name: Capabilities.from_json(entry["capabilities"])
        for model, entry in models.items()
        for name in (model, *entry.get("aliases", ()))
    }
