"""The sub-agents of a parent session: found and watched.

Hooks report them as they begin and end. Where hooks are off, cut or killed, the host's own files say the same a
little later: which sub-agent had which marker, whether it has ended, and which model answered each of its calls.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from backlog_ops.errors import RunStateError
from backlog_ops.money.host_files import find_subagents_folder, subagent, subagents_in
from backlog_ops.money.transcripts import Transcript, call_result, first_prompt, last_model, read_transcript
from backlog_ops.run import agent_rows
from backlog_ops.run.actions import marked_action, session_agent_name
from backlog_ops.run.agent_rows import CLOCK_SLACK_SECONDS
from backlog_ops.run.context import Context
from backlog_ops.run.pauses import limit_of_cause, pause
from backlog_ops.run.rows import Run, SessionAgent
from backlog_ops.run.session_receipts import GIVE_UP_SECONDS, book, size_and_time
from backlog_ops.storage.liveness import is_alive
from backlog_ops.storage.locations import PLUGIN_ROOT

QUIET_SECONDS = 2.0  # a transcript of an older host that has said its last word and rests so long is complete
LAG_SECONDS = 0.5  # the last lines of a transcript may come 0.2 s after the word that a sub-agent has ended
LAG_POLL_SECONDS = 0.05


def own_session(ctx: Context) -> str:
    """The Claude Code session this command was called from; "" outside any."""
    return ctx.environ.get("CLAUDE_CODE_SESSION_ID", "")


def look(ctx: Context, run: Run) -> None:
    """Bring what is known of a run's sub-agents up to date from the files of their sessions, and book their calls."""
    _discover(ctx, run, own_session(ctx))
    for agent in watch(ctx, run):
        answer = call_result(Path(agent.transcripts).parent.with_suffix(".jsonl"), agent.tool_use_id)
        if answer is not None and not answer.launched:
            if agent.agent_id is None or answer.taken_away:  # a call that the host refused is nobody's attempt
                agent_rows.end(ctx.store, agent, answer.error or None, hands_in=False)
            else:
                note_end(ctx, agent, answer.error or None)
    book(ctx)


def watch(ctx: Context, run: Run) -> list[SessionAgent]:
    """Those at work, without those whose end can be seen from here."""
    for agent in agent_rows.at_work(ctx.store, run.id):
        _look_for_end(ctx, agent)
    return agent_rows.at_work(ctx.store, run.id)


def note_end(ctx: Context, agent: SessionAgent, cause: str | None = None, by_itself: bool = False) -> None:
    """It has ended, and its action with it. Where nobody names a `cause`, its transcript may: older hosts call
    completed what an API error has ended, all hosts what a turn limit has, unless they say that it ended `by_itself`.
    A usage limit pauses the run instead.
    """
    known = agent_rows.identified(ctx.store, agent)
    most_turns = None if cause or by_itself else _turn_limit_of(ctx, known)
    seen = _to_its_end(known, most_turns)
    why = cause or seen.error or None
    _size, said_at = size_and_time(known.transcript)
    limit = limit_of_cause(seen.error or why, said_at or ctx.clock()) if why else None
    if limit is not None:  # nobody's failure: the action stays open
        pause(ctx, ctx.store.action(agent.action).run, limit)
    cut = f"its limit of {most_turns} turns was reached" if seen.was_cut(most_turns) else None
    agent_rows.end(ctx.store, known, why or cut, hands_in=limit is None)


def _to_its_end(agent: SessionAgent, most_turns: int | None) -> Transcript:
    """Its transcript; where a turn limit may have ended it, as soon as its last lines are there."""
    if agent.transcript is None:
        return Transcript("", (), False, "")
    waits = most_turns is not None and agent.ended_at is None
    deadline = time.monotonic() + (LAG_SECONDS if waits else 0.0)
    while True:
        seen = read_transcript(agent.transcript)
        if seen.said_last_word or seen.was_cut(most_turns) or time.monotonic() >= deadline:
            return seen
        time.sleep(LAG_POLL_SECONDS)


def turn_limit(agent_name: str) -> int | None:
    """The `maxTurns` of agents/<name>.md, which the host obeys; None where it has none."""
    head, _, _body = (PLUGIN_ROOT / "agents" / f"{agent_name}.md").read_text(encoding="utf-8").partition("\n---\n")
    found = re.search(r"^maxTurns: (\d+)$", head, re.MULTILINE)
    return int(found[1]) if found else None


def _turn_limit_of(ctx: Context, agent: SessionAgent) -> int | None:
    action = ctx.store.action(agent.action)
    return turn_limit(session_agent_name(action.gate, action.tier))


def _look_for_end(ctx: Context, agent: SessionAgent) -> None:
    known = agent_rows.identified(ctx.store, agent)
    if _has_ended(ctx, known):
        note_end(ctx, known)
    elif known.host_pid is not None and not is_alive(known.host_pid):
        agent_rows.end(ctx.store, known, "its session ended", hands_in=False)


def refuse_beside_a_session(ctx: Context, run: Run) -> None:
    """Raises RunStateError while sub-agents of a session are at work: no worktree has two agents."""
    at_work = watch(ctx, run)
    if at_work:
        names = ", ".join(f"a{agent.action}" for agent in at_work)
        raise RunStateError(
            f"sub-agents of a Claude Code session are at work on {names}: wait for their end, or say that they are "
            "gone with `backlog-ops next --lost`"
        )


def give_up(ctx: Context, run: Run, everybodys: bool = False) -> None:
    """Take it from the person that nobody is at work any more; the actions are open for others.

    Sub-agents of another session that is still there are not taken away from it, unless it is `everybodys` end.
    """
    for agent in agent_rows.at_work(ctx.store, run.id):
        elsewhere = agent.session != own_session(ctx) and agent.host_pid is not None and is_alive(agent.host_pid)
        if everybodys or not elsewhere:
            agent_rows.end(ctx.store, agent, "given up", hands_in=False)


def _discover(ctx: Context, run: Run, session: str) -> None:
    """Add the sub-agents of a session that carry a marker of this run and came past no guard."""
    folder = find_subagents_folder(ctx.environ, session)
    if folder is None:
        return
    known = {
        name for agent in agent_rows.agents_of_run(ctx.store, run.id) for name in (agent.agent_id, agent.tool_use_id)
    }
    for found in subagents_in(folder, run.created_at - CLOCK_SLACK_SECONDS):
        if found.agent_id in known or found.tool_use_id in known:
            continue
        number = marked_action(first_prompt(found.transcript))
        action = ctx.store.find_action(number, run.id) if number is not None else None
        if action is not None:
            agent_rows.add_unguarded(
                ctx.store,
                action,
                call=found.tool_use_id or f"agent-{found.agent_id}",
                session=session,
                transcripts=str(found.transcript.parent),
                agent_id=found.agent_id,
                parent_model=last_model(folder.parent.with_suffix(".jsonl")),
            )


def _has_ended(ctx: Context, agent: SessionAgent) -> bool:
    if agent.agent_id is None or agent.transcript is None:
        return False
    finished = subagent(Path(agent.transcripts), agent.agent_id).finished
    if finished is not None:
        return finished
    try:
        rests = ctx.clock() - agent.transcript.stat().st_mtime
    except OSError:
        return False
    if rests < QUIET_SECONDS:
        return False
    seen = read_transcript(agent.transcript)
    return seen.said_last_word or seen.was_cut(_turn_limit_of(ctx, agent))


def settle(ctx: Context, ended: str = "") -> None:
    """Book what is there, after a look at the sub-agents of ended runs: nobody else watches those any more. `ended`: a
    session that has come to its end.
    """
    for agent in agent_rows.unbooked(ctx.store):
        run = ctx.store.run(ctx.store.action(agent.action).run)
        if agent.ended_at is not None or run.state == "open":
            continue
        _look_for_end(ctx, agent)
        if run.ended_at is not None and ctx.clock() - run.ended_at >= GIVE_UP_SECONDS:
            agent_rows.end(ctx.store, agent, "never seen to end", hands_in=False)
    book(ctx, ended)
