"""Sessions: what they were told, and their sub-agents as typed rows. Guards add rows with SQL of their own
(scripts/ops/hooks).
"""

from __future__ import annotations

from pathlib import Path

from backlog_ops.domain.gates import Tier
from backlog_ops.money.host_files import subagents_in
from backlog_ops.run.rows import Action, SessionAgent, agent_of
from backlog_ops.run.store import Store

CLOCK_SLACK_SECONDS = 60.0

_OF_RUN = "SELECT agent.* FROM agent JOIN action ON action.number = agent.action WHERE action.run = ?"


def agents_of_run(store: Store, run_id: str) -> list[SessionAgent]:
    return [agent_of(row) for row in store.rows(f"{_OF_RUN} ORDER BY started_at", run_id)]


def at_work(store: Store, run_id: str) -> list[SessionAgent]:
    """Those whose end nobody has seen yet."""
    return [agent_of(row) for row in store.rows(f"{_OF_RUN} AND agent.ended_at IS NULL ORDER BY started_at", run_id)]


def agents_on(store: Store, action_number: int) -> list[SessionAgent]:
    rows = store.rows("SELECT * FROM agent WHERE action = ? ORDER BY started_at", action_number)
    return [agent_of(row) for row in rows]


def agent_by_call(store: Store, tool_use_id: str) -> SessionAgent | None:
    rows = store.rows("SELECT * FROM agent WHERE tool_use_id = ?", tool_use_id)
    return agent_of(rows[0]) if rows else None


def agent_by_id(store: Store, session: str, agent_id: str) -> SessionAgent | None:
    rows = store.rows("SELECT * FROM agent WHERE session = ? AND agent_id = ?", session, agent_id)
    return agent_of(rows[0]) if rows else None


def unbooked(store: Store) -> list[SessionAgent]:
    """Those of any run whose transcript is not all in the ledger yet."""
    return [agent_of(row) for row in store.rows("SELECT * FROM agent WHERE booked = 0 ORDER BY started_at")]


def add_unguarded(
    store: Store, action: Action, *, call: str, session: str, transcripts: str, agent_id: str, parent_model: str | None
) -> None:
    """A sub-agent that was found in a session's files and that no guard had seen start. It counts as started the way
    its action said.
    """
    with store.transaction() as db:
        db.execute(
            "INSERT OR IGNORE INTO agent (tool_use_id, action, session, transcripts, agent_id, parent_model,"
            " asked_model, guarded, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
            (
                call,
                action.number,
                session,
                transcripts,
                agent_id,
                parent_model,
                None if action.tier is Tier.FRONTIER else action.host_model,
                store.clock(),
            ),
        )


def note_host(store: Store, agent: SessionAgent, agent_id: str | None, resolved_model: str | None) -> SessionAgent:
    """What the host says of a sub-agent when it begins or ends; what is known already stays."""
    with store.transaction() as db:
        db.execute(
            "UPDATE agent SET agent_id = coalesce(agent_id, ?), resolved_model = coalesce(resolved_model, ?)"
            " WHERE tool_use_id = ?",
            (agent_id, resolved_model, agent.tool_use_id),
        )
    return agent_by_call(store, agent.tool_use_id) or agent


def identified(store: Store, agent: SessionAgent) -> SessionAgent:
    """With the id that the host gave it, as soon as its files tell."""
    if agent.agent_id is not None:
        return agent
    for found in subagents_in(Path(agent.transcripts), agent.started_at - CLOCK_SLACK_SECONDS):
        if found.tool_use_id == agent.tool_use_id:
            return note_host(store, agent, found.agent_id, None)
    return agent


def runs_of_session(store: Store, session: str) -> dict[str, str]:
    """The id of each sub-agent of a session's, and the call that started it → the run it is of."""
    sql = (
        "SELECT agent.agent_id, agent.tool_use_id, action.run FROM agent"
        " JOIN action ON action.number = agent.action WHERE agent.session = ?"
    )
    return {str(name): str(row["run"]) for row in store.rows(sql, session) for name in row[:2] if name}


def end(store: Store, agent: SessionAgent, cause: str | None, hands_in: bool) -> None:
    """A sub-agent has ended, and with it its action if it is still open: git and the files are looked at next.

    Without `hands_in` the action stays open: the sub-agent was taken away, and another one goes on with it. Only the
    first word of an end counts: a late one must not hand in what another sub-agent is at work on by then.
    """
    # A host that cuts a text may cut a character in two; no half of one can be stored.
    cause = cause.encode("utf-8", "backslashreplace").decode() if cause else cause
    with store.transaction() as db:
        now = store.clock()
        ended = db.execute(
            "UPDATE agent SET ended_at = ?, cause = ? WHERE tool_use_id = ? AND ended_at IS NULL",
            (now, cause, agent.tool_use_id),
        )
        if hands_in and ended.rowcount == 1:
            db.execute(
                "UPDATE action SET state = 'handed-in', cause = ?, ended_at = ? WHERE number = ? AND state = 'open'",
                (cause, now, agent.action),
            )


def release(store: Store, agent: SessionAgent, at: float) -> float:
    """Let the ended sub-agents of a session go at one instant (Unix seconds): the parent is woken once for all.

    Whoever asks first decides; returns what was decided for this one.
    """
    with store.transaction() as db:
        db.execute(
            "UPDATE agent SET released_at = ? WHERE session = ? AND ended_at IS NOT NULL AND released_at IS NULL",
            (at, agent.session),
        )
        row = db.execute("SELECT released_at FROM agent WHERE tool_use_id = ?", (agent.tool_use_id,)).fetchone()
    return float(row[0] or at)


def mark_booked(store: Store, agent: SessionAgent, size: int) -> None:
    """Its transcript of so many bytes is complete and in the ledger; a longer one is looked at again."""
    with store.transaction() as db:
        db.execute("UPDATE agent SET booked = ? WHERE tool_use_id = ?", (max(1, size), agent.tool_use_id))


def is_first_wake(store: Store, agent: SessionAgent) -> bool:
    """Whether the parent hears for the first time that this one has ended; from now on it has."""
    with store.transaction() as db:
        sql = "UPDATE agent SET woke = 1 WHERE tool_use_id = ? AND woke = 0"
        return db.execute(sql, (agent.tool_use_id,)).rowcount == 1


def note_asked(store: Store, run_id: str, session: str) -> None:
    """A session has asked where a run stands, and is told now."""
    with store.transaction() as db:
        db.execute(
            "INSERT INTO telling (session, run, at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at",
            (session, run_id, store.clock()),
        )


def may_tell(store: Store, run_id: str, agent: SessionAgent) -> bool:
    """Whether the session of a sub-agent that has ended is still to be told where the run stands, once for all that
    ended together; from now on it is.
    """
    with store.transaction() as db:
        sql = (
            "INSERT INTO telling (session, run, at) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET at = excluded.at WHERE telling.at < ?"
        )
        now = store.clock()
        return db.execute(sql, (agent.session, run_id, now, agent.ended_at or now)).rowcount == 1


def was_told_since(store: Store, run_id: str, moment: float) -> bool:
    """Whether some session was told where the run stands at or after a moment (Unix seconds)."""
    return bool(store.rows("SELECT 1 FROM telling WHERE run = ? AND at >= ?", run_id, moment))
