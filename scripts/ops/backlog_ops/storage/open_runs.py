"""A mark for every work tree with something a hook has to look after, found with `test -f` alone.

    $XDG_STATE_HOME/backlog-ops/open/<absolute path of the work tree>/run
        line 1: the Python that runs the guards     line 2: the database

Nothing inside a repository decides what a hook executes: a checkout could bring its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from backlog_ops.storage.locations import state_base


def mark_path(environ: Mapping[str, str], top: Path) -> Path:
    return state_base(environ) / "open" / str(top).lstrip("/") / "run"


def set_mark(environ: Mapping[str, str], top: Path, python: str, database: Path) -> None:
    """Whole or not at all; a line is enough for every path but one with a line break, which stays unmarked."""
    content = f"{python}\n{database}\n"
    path = mark_path(environ, top)
    if content.count("\n") > 2 or "\n" in str(top) or (path.is_file() and path.read_text() == content):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"run.{os.getpid()}")
    fresh.write_text(content, encoding="utf-8")
    fresh.replace(path)


def clear_mark(environ: Mapping[str, str], top: Path) -> None:
    """Remove it, and the folders that only it needed."""
    path = mark_path(environ, top)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # another work tree's mark lies there
        for folder in path.parents:
            if folder == state_base(environ):
                return
            folder.rmdir()
