"""Rows about Claude Code sessions: how far their transcripts are read, which runs they drove, what the host counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from pathlib import Path

from backlog_ops.money.balance import Balance
from backlog_ops.money.conversations import Mark, Reading
from backlog_ops.run.store import Store

_MOST_SESSIONS = 50  # the newest: older ones have nothing to add


def mark(store: Store, path: Path) -> Mark:
    rows = store.rows("SELECT done, state FROM transcript WHERE path = ?", str(path))
    return Mark.from_json(rows[0]["done"], rows[0]["state"]) if rows else Mark()


def keep_within(db: sqlite3.Connection, path: Path, session: str, agent_id: str | None, reading: Reading) -> None:
    """Note how far a transcript is in the ledger, and which sub-agents were started in what was read."""
    db.execute(
        "INSERT INTO transcript (path, session, agent, done, state) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET done = excluded.done, state = excluded.state",
        (str(path), session, agent_id, reading.mark.done, reading.mark.state()),
    )
    db.executemany(
        "INSERT OR IGNORE INTO started_call (tool_use_id, session, owner) VALUES (?, ?, ?)",
        [(call, session, owner) for call, owner in reading.started.items()],
    )


def sessions(store: Store) -> list[str]:
    """Those that drove a run lately, by their sub-agents or by asking where it stands."""
    sql = (
        "SELECT session, max(at) AS newest FROM (SELECT session, started_at AS at FROM agent"
        " UNION ALL SELECT session, at FROM telling) GROUP BY session ORDER BY newest DESC LIMIT ?"
    )
    return [str(row["session"]) for row in store.rows(sql, _MOST_SESSIONS)]


def conversations(store: Store) -> dict[str, Path]:
    """Session → its main conversation, where that is known."""
    known = {
        str(row["session"]): Path(row["path"])
        for row in store.rows("SELECT session, path FROM transcript WHERE agent IS NULL")
    }
    folders = store.rows("SELECT DISTINCT session, transcripts FROM agent")
    beside = {str(row["session"]): _beside(Path(row["transcripts"])) for row in folders}
    lately = set(sessions(store))
    return {session: path for session, path in {**beside, **known}.items() if session in lately}


def _beside(subagents: Path) -> Path:
    """The conversation of the session whose sub-agents lie there: …/<session>/subagents[/workflows/<run>]."""
    top = next((folder for folder in (subagents, *subagents.parents) if folder.name == "subagents"), subagents)
    return top.parent.with_suffix(".jsonl")


def runs(store: Store) -> tuple[tuple[str, float, float | None], ...]:
    """(id, begin, end) of every run, oldest first."""
    rows = store.rows("SELECT id, created_at, ended_at FROM run ORDER BY created_at")
    return tuple((row["id"], row["created_at"], row["ended_at"]) for row in rows)


def wave_at(store: Store, run_id: str, at: float) -> int | None:
    """The wave that was at work then: that of the newest action, else the first."""
    sql = (
        "SELECT ticket.wave FROM action JOIN ticket ON ticket.run = action.run AND ticket.id = action.ticket"
        " WHERE action.run = ?1 AND action.brief <> '' ORDER BY action.created_at > ?2,"
        " CASE WHEN action.created_at > ?2 THEN action.number ELSE -action.number END LIMIT 1"
    )
    rows = store.rows(sql, run_id, at)
    return int(rows[0][0]) if rows and rows[0][0] is not None else None


def unseen_calls(store: Store) -> dict[str, dict[str, str]]:
    """Agent calls made for a run that started no sub-agent of an action: session → call → owner."""
    found: dict[str, dict[str, str]] = {}
    for row in store.rows("SELECT * FROM started_call WHERE tool_use_id NOT IN (SELECT tool_use_id FROM agent)"):
        found.setdefault(row["session"], {})[row["tool_use_id"]] = row["owner"]
    return found


def forget_calls(store: Store, calls: Collection[str]) -> None:
    if calls:
        with store.transaction() as db:
            db.executemany("DELETE FROM started_call WHERE tool_use_id = ?", [(call,) for call in calls])


def told_since(store: Store, at: float) -> list[str]:
    """Sessions that have asked where the open run stands, or one that has ended since then."""
    sql = "SELECT DISTINCT session FROM telling JOIN run ON run.id = telling.run WHERE ended_at IS NULL OR ended_at > ?"
    return [str(row["session"]) for row in store.rows(sql, at)]


def keep_account_within(db: sqlite3.Connection, session: str, at: float, found: Balance) -> None:
    db.execute(
        "INSERT OR REPLACE INTO session_cost (session, at, host_nanousd, transcripts_nanousd, unattributed_nanousd,"
        " repriced_nanousd) VALUES (?, ?, ?, ?, ?, ?)",
        (session, at, found.host, found.transcripts, found.unattributed, found.repriced),
    )
