"""Files that sub-agents hand in: read with suspicion, judged by schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_BYTES = 2_000_000


def read_json(path: Path, schema: Mapping[str, Any]) -> tuple[Any, str | None]:
    """(value, None) for a schema-valid JSON file, else (None, one line that says what is wrong)."""
    if path.is_symlink() or not path.is_file():
        return None, f"{path.name} is missing"
    if path.stat().st_size > MAX_BYTES:
        return None, f"{path.name} is larger than {MAX_BYTES} bytes"
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return None, f"{path.name} is not JSON: {str(error)[:200]}"
    from jsonschema import Draft202012Validator

    wrong = next(Draft202012Validator(schema).iter_errors(value), None)
    if wrong is not None:
        where = ".".join(str(part) for part in wrong.absolute_path) or "the object"
        return None, f"{path.name}: {where}: {wrong.message[:200]}"
    return value, None
