"""Receipts of Claude Code sessions: the calls of a run's sub-agents, and those of the parent that drives it.

    session   a call of a sub-agent, tied to ticket and gate through its action
    parent    a call of the parent itself, or of a sub-agent it started for the run without an action's marker; such
              calls belong to the run and to the wave that was at work, and to no ticket

The parent's conversation may be about other things besides: only what belongs to the run is booked (`_Signs`). The
message id keeps a call from being booked twice, whoever reads which file how often.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backlog_ops.domain.pricing import iso_day
from backlog_ops.domain.shapes import as_object, as_objects, as_text
from backlog_ops.money import ledger
from backlog_ops.money.balance import Balance, balance, calls_of_session, host_counts
from backlog_ops.money.conversations import AGENT_TOOLS, OwnedCall, Reading, read_on
from backlog_ops.money.host_files import find_conversation, subagents_in
from backlog_ops.money.ledger import Receipt
from backlog_ops.money.transcripts import ModelCall, text_of
from backlog_ops.run import agent_rows, session_rows
from backlog_ops.run.actions import marked_action
from backlog_ops.run.context import Context
from backlog_ops.run.model_check import asked_model, tags_of
from backlog_ops.run.rows import Action, SessionAgent

GIVE_UP_SECONDS = 600.0  # a transcript that has not become complete by then never will

_SKILL = "backlog:backlog-implementer"
_COMMAND = re.compile(  # as a command, not as a word that is looked for
    r"""(?:^|[;&|(])\s*(?:'[^']*backlog-ops'|"[^"]*backlog-ops"|\S*backlog-ops)\s+(?:start|next|resume|submit)\b"""
)
_NAMED = re.compile(
    r"<tool-use-id>([^<>\s]+)</tool-use-id>|<task-id>([^<>\s]+)</task-id>|<agent-message from=\"([^\"]+)\">"
)


def book(ctx: Context, ended: str = "") -> None:
    """Write a receipt for every call that stands in a transcript by now; a second time is a no-op.

    ended  a session that has come to its end: what its sub-agents wrote is all that they will
    """
    run = ctx.store.open_run()
    grown = [agent for agent in agent_rows.agents_of_run(ctx.store, run.id) if agent.booked] if run else []
    for agent in [*agent_rows.unbooked(ctx.store), *grown]:
        _book_agent(ctx, agent_rows.identified(ctx.store, agent), ended)
    conversations = _conversations(ctx, ended)
    for session, path in conversations.items():
        _book_parent(ctx, session, path)
    for session, started in session_rows.unseen_calls(ctx.store).items():
        if session in conversations:
            _book_helpers(ctx, session, conversations[session], started, ended)


# -- sub-agents with an action


def _book_agent(ctx: Context, agent: SessionAgent, ended_session: str) -> None:
    size, touched = size_and_time(agent.transcript)
    if agent.booked and size <= agent.booked:
        return  # one that was asked to go on after its end has grown
    last_sign = max(touched, agent.ended_at or 0.0)
    over = agent.ended_at is not None and _is_over(ctx, last_sign)
    ended = False
    if agent.transcript is not None:
        mark = session_rows.mark(ctx.store, agent.transcript)
        final = over or agent.session == ended_session
        reading = read_on(agent.transcript, mark, owner=f"a{agent.action}", final=final)
        if reading.mark != mark:
            action = ctx.store.action(agent.action)
            wave = ctx.store.ticket(action.run, action.ticket).wave
            receipts = [_agents_receipt(ctx, agent, action, wave, owned.call) for owned in reading.calls]
            _keep(ctx, agent.transcript, agent.session, agent.agent_id, reading, receipts)
        ended = agent.ended_at is not None and reading.mark.last_word
    if over or ended:
        agent_rows.mark_booked(ctx.store, agent, size)


def size_and_time(transcript: Path | None) -> tuple[int, float]:
    """Bytes, and Unix seconds of the last change; zeros where there is none."""
    try:
        found = transcript.stat() if transcript else None
    except OSError:
        found = None
    return (found.st_size, found.st_mtime) if found else (0, 0.0)


def _is_over(ctx: Context, last_sign: float) -> bool:
    """Whether an answer that is not complete by now never will be."""
    return ctx.clock() - last_sign >= GIVE_UP_SECONDS


def _agents_receipt(ctx: Context, agent: SessionAgent, action: Action, wave: int | None, call: ModelCall) -> Receipt:
    base = _for_action(_receipt(ctx, call, "session", agent.session), action, wave, agent.agent_id)
    tags = {**base.tags, **tags_of(ctx, action, agent, call.model)}
    return replace(base, asked_model=asked_model(ctx, action, agent), tags=tags)


def _for_action(receipt: Receipt, action: Action, wave: int | None, agent_id: str | None) -> Receipt:
    return replace(
        receipt,
        asked_tier=action.tier.value,
        run=action.run,
        wave=wave,
        ticket=action.ticket,
        gate=action.gate.value,
        attempt=action.attempt,
        escalation_rule=action.rule,
        agent=agent_id,
    )


def key_of(call: ModelCall) -> str:
    """Of its receipt."""
    return f"claude/{call.message_id}"


def _receipt(ctx: Context, call: ModelCall, source: str, session: str) -> Receipt:
    """What is true of a call whoever it was for."""
    at = call.at or ctx.clock()
    cost = None if call.unlisted else ctx.prices.cost(call.model, call.usage, iso_day(at))
    return Receipt(
        key=key_of(call),
        at=at,
        source=source,
        asked_tier="parent",
        asked_model=call.model,
        provider="claude-code",
        answered_model=call.model,
        usage=call.usage,
        cost_nanousd=cost,
        price_date=None if cost is None else ctx.prices.date,
        latency_ms=call.latency_ms,
        outcome="answered",
        session=session,
        tags={
            **({} if call.complete else {"estimate": "output"}),
            **({"unlisted": call.unlisted} if call.unlisted else {}),
        },
    )


def _keep(
    ctx: Context, path: Path, session: str, agent_id: str | None, reading: Reading, receipts: Iterable[Receipt]
) -> None:
    """Receipts and the place up to which they were read: both or neither."""
    with ctx.store.transaction() as db:
        for receipt in receipts:
            if not ledger.record(db, receipt):
                ledger.correct_estimate(db, receipt)
        session_rows.keep_within(db, path, session, agent_id, reading)


# -- the parent


@dataclass(frozen=True)
class _Signs:
    """How a line of a main conversation shows that its turn is about a run.

    agents  id, or the call that started it → run
    """

    ctx: Context
    agents: Mapping[str, str]
    runs: tuple[tuple[str, float, float | None], ...]  # (id, Unix seconds of its begin and of its end), oldest first

    def __call__(self, line: Mapping[str, Any], turn_at: float) -> str:
        content = as_object(line.get("message")).get("content")
        if line.get("type") == "user":
            named = _NAMED.findall(text_of(content)) if not as_objects(content) or line.get("origin") else []
            return next((self.agents[name] for match in named for name in match if name in self.agents), "")
        calls = [block for block in as_objects(content) if block.get("type") == "tool_use"]
        for call in calls:
            given = as_object(call.get("input"))
            number = marked_action(as_text(given.get("prompt"))) if call.get("name") in AGENT_TOOLS else None
            rows = self.ctx.store.rows("SELECT run FROM action WHERE number = ?", number) if number else []
            if rows:
                return str(rows[0]["run"])
        drives = any(_COMMAND.search(as_text(as_object(call.get("input")).get("command"))) for call in calls)
        return self._run_at(turn_at) if drives or as_text(line.get("attributionSkill")) == _SKILL else ""

    def _run_at(self, turn_at: float) -> str:
        """The run that was open in a turn that began then, or that the turn itself has opened."""
        for run, _began, ended in self.runs:
            if ended is None or ended >= turn_at:
                return run
        return ""


def _conversations(ctx: Context, ended: str) -> dict[str, Path]:
    """The main conversations of sessions that have, or had, to do with a run. One that is not known yet is looked for
    until its run has been over for a while, and once when it has `ended`: a session need not leave any.
    """
    found = session_rows.conversations(ctx.store)
    told = session_rows.told_since(ctx.store, ctx.clock() - GIVE_UP_SECONDS)
    for session in sorted({*told, ended} - {""}):
        if session not in found and (path := find_conversation(ctx.environ, session)) is not None:
            found[session] = path
    return found


def _book_parent(ctx: Context, session: str, path: Path) -> None:
    mark, (size, touched) = session_rows.mark(ctx.store, path), size_and_time(path)
    if size != mark.done:
        signs = _Signs(ctx, agent_rows.runs_of_session(ctx.store, session), session_rows.runs(ctx.store))
        reading = read_on(path, mark, sign=signs, final=_is_over(ctx, touched))
        if reading.mark != mark or reading.calls:
            receipts = [_parents_receipt(ctx, owned, session) for owned in reading.calls]
            if reading.cost_state is not None:  # before the mark moves past it: this may be cut off
                with ctx.store.transaction() as db:
                    ledger.record_all(db, receipts)
                settle_account(ctx, session, path, reading.cost_state)
            _keep(ctx, path, session, None, reading, receipts)


def _parents_receipt(ctx: Context, owned: OwnedCall, session: str, agent_id: str | None = None) -> Receipt:
    base = _receipt(ctx, owned.call, "parent", session)
    wave = session_rows.wave_at(ctx.store, owned.owner, base.at)
    return replace(base, run=owned.owner, wave=wave, agent=agent_id)


def _book_helpers(
    ctx: Context, session: str, conversation: Path, started: Mapping[str, str], ended_session: str
) -> None:
    """Sub-agents without a marker that were started for a run: by its parent, or by one of its own sub-agents.

    started  call → owner; calls whose sub-agent is at its end, or that started none, are looked for no more
    """
    over = set(started) if _is_over(ctx, size_and_time(conversation)[1]) else set()
    for found in subagents_in(conversation.with_suffix("") / "subagents"):
        owner = started.get(found.tool_use_id)
        if owner is None:
            continue
        mark = session_rows.mark(ctx.store, found.transcript)
        ended = found.finished is True or _is_over(ctx, size_and_time(found.transcript)[1])
        reading = read_on(found.transcript, mark, owner=owner, final=ended or session == ended_session)
        if reading.mark != mark:
            receipts = [_helpers_receipt(ctx, owned, session, found.agent_id) for owned in reading.calls]
            _keep(ctx, found.transcript, session, found.agent_id, reading, receipts)
        if ended and reading.mark.last_word:
            over.add(found.tool_use_id)
        elif not ended:
            over.discard(found.tool_use_id)
    session_rows.forget_calls(ctx.store, over)


def _helpers_receipt(ctx: Context, owned: OwnedCall, session: str, agent_id: str) -> Receipt:
    """It is for what the one that started it was for: the run, or an action."""
    if not owned.owner.startswith("a"):
        return _parents_receipt(ctx, owned, session, agent_id)
    action = ctx.store.action(int(owned.owner[1:]))
    wave = ctx.store.ticket(action.run, action.ticket).wave
    return _for_action(_receipt(ctx, owned.call, "session", session), action, wave, agent_id)


# -- what the host counts


def settle_account(ctx: Context, session: str, conversation: Path, counted: Mapping[str, Any]) -> Balance:
    """Keep what the host counts beyond the transcripts; where that is output alone, estimates are put right by it.

    counted  with `modelUsage`: a cost-state line, or the result of `claude -p --output-format json`
    """
    calls = calls_of_session(conversation)
    found = balance(host_counts(counted, ctx.prices), calls, ctx.prices, iso_day(ctx.clock()))
    with ctx.store.transaction() as db:
        for model, missing in found.missing.items():
            early = [call for call in calls if not call.complete and ctx.prices.canonical(call.model) == model]
            if early and missing.prompt == 0 and missing.output > 0:  # not beyond the transcripts: written down early
                keys = sorted(key_of(call) for call in early)
                ledger.spread_output(db, keys, missing.output, ctx.prices, ctx.clock())
                found = found.corrected(model)
        session_rows.keep_account_within(db, session, ctx.clock(), found)
    return found
