"""What a call bills: four characters a token, and a prefix cache per model as the API keeps one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
UNCACHED_TAIL = 4  # tokens after the last cache breakpoint, as real answers show them


def tokens(value: Any) -> int:
    written = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return max(1, (len(written) + 3) // 4)


def _as_cached(value: Any) -> Any:
    """`value` as the cache compares it: without breakpoints, and content given as a string as one block of text."""
    if isinstance(value, dict):
        unmarked = {key: _as_cached(inner) for key, inner in value.items() if key != "cache_control"}
        if "role" in unmarked and isinstance(unmarked.get("content"), str):
            unmarked["content"] = [{"type": "text", "text": unmarked["content"]}]
        return unmarked
    if isinstance(value, list):
        return [_as_cached(inner) for inner in value]
    return value


class UsageModel:
    """Remembers the prefixes it has billed. A request without `cache_control` is neither cached nor read."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()  # (model, hash of a prefix)
        self._lock = threading.Lock()

    @staticmethod
    def _parts(body: Json) -> list[Any]:
        leading = [body[key] for key in ("tools", "system") if body.get(key)]
        return [_as_cached(part) for part in (*leading, *body.get("messages", []))]

    def count(self, body: Json) -> int:
        """Prompt tokens of a request, whatever is cached."""
        return sum(tokens(part) for part in self._parts(body))

    def usage(self, body: Json, blocks: Sequence[Json]) -> Json:
        """The `usage` object of the answer `blocks` to the request `body`."""
        marks = json.dumps(body)
        fresh, read = self._split(body) if '"cache_control"' in marks else (self.count(body), 0)
        created = max(0, fresh - UNCACHED_TAIL) if '"cache_control"' in marks else 0
        hour = created if '"ttl": "1h"' in marks else 0
        return {
            "input_tokens": fresh - created,
            "cache_creation_input_tokens": created,
            "cache_read_input_tokens": read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": created - hour,
                "ephemeral_1h_input_tokens": hour,
            },
            "output_tokens": sum(tokens(block) for block in blocks),
            "service_tier": "standard",
        }

    def _split(self, body: Json) -> tuple[int, int]:
        """(tokens not seen before, tokens of the longest prefix seen before); remembers every prefix."""
        model, digest, total, read = str(body.get("model", "")), hashlib.sha256(), 0, 0
        with self._lock:
            for part in self._parts(body):
                digest.update(json.dumps(part, sort_keys=True).encode())
                total += tokens(part)
                key = (model, digest.hexdigest())
                if key in self._seen:
                    read = total
                self._seen.add(key)
        return total - read, read
