"""What is dear to find out is found once, whichever of pytest's workers needs it first."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def once(folder: Path, name: str, find: Callable[[], Json]) -> Json:
    """What `find` found, kept as JSON in a folder that the workers share; the others wait for it."""
    kept = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(find()), encoding="utf-8")
    found: Json = json.loads(kept.read_text(encoding="utf-8"))
    return found
