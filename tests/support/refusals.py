"""Commands that are refused: one line on stderr, an exit code, and everything as it was.

assert refused(lab, "start") == "HEAD is detached: check out the branch the commits should land on"
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from tests.support.lab import Lab


def state_of(lab: Lab) -> dict[str, object]:
    """All that a refused command must leave as it is."""
    if not (lab.top / ".git").exists():
        return {"files": sorted(str(path) for path in lab.top.rglob("*"))}
    return {
        "refs": lab.git.text("for-each-ref"),
        "HEAD": (lab.top / ".git" / "HEAD").read_text(),
        "status": lab.git.text("status", "--porcelain", "--ignored"),
        "worktrees": lab.git.worktrees(),
        "work folder": (lab.top / ".backlog-ops").is_dir(),
        "runs": runs_of(),
    }


def databases() -> list[Path]:
    """The run databases of this test's home."""
    return list((Path(os.environ["HOME"]) / ".local/state/backlog-ops").glob("*/state.db"))


def runs_of() -> list[tuple[str, str]]:
    for path in databases():
        with contextlib.closing(sqlite3.connect(path)) as database, contextlib.suppress(sqlite3.DatabaseError):
            return database.execute("SELECT id, state FROM run").fetchall()
    return []


def refused(lab: Lab, *args: str, code: int = 1, details: Sequence[str] = (), **environ: str) -> str:
    """The line that `backlog-ops ARGS` ends with; it changes nothing, prints nothing else, has no traceback."""
    before = state_of(lab)
    done = lab.cli(*args, **environ)
    line, *rest = done.stderr.splitlines()
    assert (done.returncode, done.stdout, [detail.strip() for detail in rest]) == (code, "", list(details))
    assert state_of(lab) == before
    assert re.match(r"backlog-ops( \w+)?: ", line)
    return line.partition(": ")[2]
