"""What guards read of the run's database, and the one row they write: who works on which action.

Plain SQL on the tables of storage/migrations.py: importing the engine's own store would take longer than the
guard. A test holds both to the same tables.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import re
import shlex
import sqlite3
import time
from typing import Any
from urllib.parse import quote

from guards import Event

MARKER = re.compile(r"\[backlog:\s{0,9}([^\]\s]{0,99})\s{0,9}\]")
BUSY_SECONDS = 2.0
LAUNCHER = os.path.join(os.path.realpath(os.path.join(os.path.dirname(__file__), "../../../..")), "bin/backlog-ops")
NEXT = f"{shlex.quote(LAUNCHER)} next"


class RunState:
    """The database at `path`, opened when it is first asked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    @property
    def db(self) -> sqlite3.Connection:
        """Raises sqlite3.Error; never makes a file."""
        if self._connection is None:
            uri = f"file:{quote(self.path)}?mode=rw"
            self._connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
        return self._connection

    def action(self, name: str) -> sqlite3.Row | None:
        """The action `a17` of the open run; None for any other."""
        if not re.fullmatch("a[0-9]{1,15}", name):
            return None
        sql = "SELECT action.* FROM action JOIN run ON run.id = action.run WHERE number = ? AND run.state = 'open'"
        row: sqlite3.Row | None = self.db.execute(sql, (int(name[1:]),)).fetchone()
        return row

    def worker(self, number: int) -> sqlite3.Row | None:
        """The sub-agent that is at work on an action."""
        sql = "SELECT * FROM agent WHERE action = ? AND ended_at IS NULL ORDER BY started_at DESC LIMIT 1"
        row: sqlite3.Row | None = self.db.execute(sql, (number,)).fetchone()
        return row

    def action_of(self, event: Event) -> sqlite3.Row | None:
        """The action that the sub-agent behind a tool call works on; None for everybody else's sub-agents.

        The event has its id only. The host keeps beside its transcript which call started it, and that call came
        through the guard; one that did not (a fork, a Workflow) still has the marker in its first line.
        """
        base = subagent_base(event)
        if base is None:
            return None
        call = _json(f"{base}.meta.json").get("toolUseId")
        sql = (
            "SELECT action.* FROM action JOIN agent ON agent.action = action.number JOIN run ON run.id = action.run"
            " WHERE agent.tool_use_id = ? AND run.state = 'open'"
        )
        row: sqlite3.Row | None = self.db.execute(sql, (call,)).fetchone()
        return row or self._by_marker(f"{base}.jsonl")

    def _by_marker(self, transcript: str) -> sqlite3.Row | None:
        found = MARKER.search(_first_prompt(transcript))
        return self.action(found[1]) if found else None

    def is_in_work_folder(self, target: str) -> bool:
        """Whether a file, all links followed, lies where the open run has its briefs, hand-ins and worktrees."""
        row = self.db.execute("SELECT top FROM run WHERE state = 'open'").fetchone()
        return row is not None and target.startswith(
            os.path.realpath(os.path.join(row["top"], ".backlog-ops")) + os.sep
        )

    def begin(self, call: str, action: sqlite3.Row, **columns: Any) -> bool:
        """Note that a sub-agent starts on an action; False where another one is at work on it.

        The same call may ask twice: a plugin that is loaded twice has its hooks twice.
        """
        columns = {"tool_use_id": call, "action": action["number"], "guarded": 1, "started_at": time.time(), **columns}
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        done = self.db.execute(
            f"INSERT INTO agent ({names}) SELECT {marks} FROM action JOIN run ON run.id = action.run"
            " WHERE number = ? AND action.state = 'open' AND run.state = 'open'"
            " AND NOT EXISTS (SELECT 1 FROM agent WHERE action = ? AND ended_at IS NULL)",
            (*columns.values(), action["number"], action["number"]),
        )
        if done.rowcount == 1:
            return True
        worker = self.worker(action["number"])
        return worker is not None and bool(worker["tool_use_id"] == call)

    def take_back(self, call: str) -> None:
        """Undo `begin`: the call was denied after all."""
        self.db.execute("DELETE FROM agent WHERE tool_use_id = ? AND agent_id IS NULL", (call,))

    def headless_driver(self) -> bool:
        """Whether `backlog-ops run` is at work on this repository's run right now."""
        try:
            with open(os.path.join(os.path.dirname(self.path), "driver.lock"), "rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read(100).startswith(b"backlog-ops run")
        except OSError:
            pass
        return False


def subagent_base(event: Event) -> str | None:
    """Path and name, without its ending, of the files that the host keeps of a sub-agent."""
    agent, transcript = event.get("agent_id"), event.get("transcript_path")
    if not isinstance(agent, str) or not isinstance(transcript, str) or "/" in agent:
        return None
    folder = f"{transcript.removesuffix('.jsonl')}/subagents"
    if not os.path.exists(f"{folder}/agent-{agent}.meta.json"):  # a Workflow's agents have a folder of their own
        for path in glob.glob(f"{glob.escape(folder)}/workflows/*/agent-{glob.escape(agent)}.meta.json"):
            return path.removesuffix(".meta.json")
    return f"{folder}/agent-{agent}"


def _first_prompt(transcript: str) -> str:
    """What a sub-agent was asked; "" where its transcript does not tell."""
    message = _json(transcript).get("message")
    content = message.get("content") if isinstance(message, dict) else None
    blocks = content if isinstance(content, list) else [{"text": content}]
    return "\n".join(str(block.get("text")) for block in blocks if isinstance(block, dict))


def _json(path: str) -> dict[str, Any]:
    """The object in the first line of a file."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.readline())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
