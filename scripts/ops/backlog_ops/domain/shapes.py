"""Reading JSON that another program wrote: whatever shape it has, nothing here raises."""

from __future__ import annotations

import json
from typing import Any

_MOST_TOKENS = 10**12  # of one call; more is no count, and SQLite's integers have an end


def parse_object(content: bytes | str) -> dict[str, Any] | None:
    """The JSON object in `content`; None where there is none."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: Any) -> int:
    """A number of tokens; 0 for anything that cannot be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_TOKENS else 0
