"""A run that stands in the database alone, without a repository, and a session beside it as the host writes it down.

paper = PaperRun.begin(folder, "T-1", "T-2")    # wave 1, both at IMPLEMENT
action = paper.action("T-1")
session = Session.of(paper)                     # it has asked where the run stands
session.prompt("Go on.", skill=True)
session.says(OPUS, run("backlog-ops next"))
paper.receipts()                                # once all that is there has been booked
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate, Tier
from backlog_ops.domain.settings import Settings
from backlog_ops.money.host_files import config_folder
from backlog_ops.run import agent_rows
from backlog_ops.run.context import Context
from backlog_ops.run.git import Git
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.session_receipts import book
from backlog_ops.run.steps import Step
from backlog_ops.run.store import Store
from backlog_ops.run.wave_rows import set_waves
from backlog_ops.storage.config_file import load_prices
from tests.support.hook_events import answer, append, timestamp
from tests.support.lab import ticket_text
from tests.support.llm import config

_NUMBERS = itertools.count(1)  # no two prompts or calls of a test process share an id
PRICES = load_prices()
SKILL = "backlog:backlog-implementer"


@dataclass(frozen=True)
class PaperRun:
    ctx: Context
    id: str

    @classmethod
    def begin(
        cls,
        folder: Path,
        *ids: str,
        clock: Callable[[], float] = time.time,
        max_nanousd: int | None = None,
        waves: tuple[tuple[str, ...], ...] | None = None,
        **llm_ops: Mapping[str, Any],
    ) -> PaperRun:
        """Another one in the same `folder` follows on the first; `llm_ops` as for tests.support.llm.config."""
        ids = ids or ("T-1",)
        ctx = Context(
            git=Git(folder),
            store=Store(folder / "state.db", clock),
            settings=Settings.from_json(config(**llm_ops)),
            environ={**os.environ, "CLAUDE_CONFIG_DIR": str(folder / "claude")},
            prices=PRICES,
            clock=clock,
            state_folder=folder,
        )
        run_id = f"r{next(_NUMBERS)}"
        begun = Run(run_id, "open", clock(), str(folder), "main", "0" * 40, "backlog/r", 0, None, max_nanousd, None)
        ctx.store.begin(begun, [_ticket(run_id, name) for name in ids])
        set_waves(ctx.store, run_id, waves or (ids,), {}, "given", "")
        paper = cls(ctx, run_id)
        for name in (waves or (ids,))[0]:
            paper.at(name, Step.IMPLEMENT)
        return paper

    @property
    def run(self) -> Run:
        return self.ctx.store.run(self.id)

    def ticket(self, name: str = "T-1") -> TicketState:
        return self.ctx.store.ticket(self.id, name)

    def at(self, name: str, step: Step, **changes: Any) -> TicketState:
        """The ticket stands there now."""
        return self.ctx.store.update_ticket(self.ticket(name), step=step, **changes)

    def end(self) -> None:
        assert self.ctx.store.end_run(self.id, "aborted", "over")

    def action(
        self, name: str = "T-1", gate: Gate = Gate.IMPLEMENT, attempt: int = 1, tier: Tier = Tier.CHEAP
    ) -> Action:
        """One that an agent is asked for."""
        ticket = self.ticket(name)
        made = self.ctx.store.add_action(ticket, gate, attempt, tier, "entry")
        self.ctx.store.open_actions(ticket, [self.ctx.opening(ticket, made, Path("/brief.md"), None)], [])
        return self.ctx.store.action(made.number)

    def told(self) -> list[str]:
        return [event.text for event in self.ctx.store.events(self.id)]

    def receipts(self, clock: Callable[[], float] | None = None) -> list[dict[str, Any]]:
        """The run's rows in the ledger, once everything that is there has been booked."""
        book(replace(self.ctx, clock=clock) if clock else self.ctx)
        return [dict(row) for row in self.ctx.store.receipts(self.id)]

    def booked(self, source: str = "parent") -> list[str]:
        """The message ids of its calls from this source, as they were made."""
        return [row["key"].removeprefix("claude/") for row in self.receipts() if row["source"] == source]


def _ticket(run: str, name: str) -> TicketState:
    unset = [*("wave", "reason", "worktree", "base_commit", "plan"), *("work_tree", "note", "approved_tree", "message")]
    nothing: dict[str, Any] = dict.fromkeys([*unset, "commit_id"])
    text = ticket_text(name)
    return TicketState(
        run=run, id=name, path=f"{name}.md", title=name, text=text, step=Step.WAITING, attempt=0, fails=0, **nothing
    )


@dataclass
class Session:
    """A session that has asked where a run stands, so that its conversation is looked at."""

    paper: PaperRun
    id: str
    prompt_id: str = ""
    skill: bool = False  # the turn is the skill's: the host says so in each of its answers
    at: float | None = None  # Unix seconds of the lines to come; None: the time they are written
    newest: str = field(default="", init=False)

    @classmethod
    def of(cls, paper: PaperRun) -> Session:
        session = cls(paper, f"5e55-{next(_NUMBERS):06}")
        agent_rows.note_asked(paper.ctx.store, paper.id, session.id)
        return session

    @property
    def transcript(self) -> Path:
        return config_folder(self.paper.ctx.environ) / "projects" / "-project" / f"{self.id}.jsonl"

    @property
    def subagents(self) -> Path:
        return self.transcript.with_suffix("") / "subagents"

    def write(self, line: Mapping[str, Any], path: Path | None = None) -> None:
        stamp = timestamp(self.paper.ctx.clock() if self.at is None else self.at)
        append(path or self.transcript, {"timestamp": stamp, "sessionId": self.id, **line})

    def prompt(self, text: str = "Hello.", skill: bool = False, **line: Any) -> None:
        """A turn begins: of a person, or with `origin` of the host."""
        self.prompt_id, self.skill = f"p{next(_NUMBERS)}", skill
        self.write({"type": "user", "promptId": self.prompt_id, "message": {"role": "user", "content": text}, **line})

    def hears(self, text: str = "done", **line: Any) -> None:
        """The result of a tool."""
        content = [{"type": "tool_result", "tool_use_id": "toolu_x", "content": [{"type": "text", "text": text}]}]
        message = {"role": "user", "content": content}
        self.write({"type": "user", "promptId": self.prompt_id, "message": message, **line})

    def says(
        self,
        model: str,
        *tools: Mapping[str, Any],
        stop: str | None = "",
        agent: str | None = None,
        early: int | None = None,
        **usage: int,
    ) -> str:
        """One answer, a line for each of its blocks, of the session or of a sub-agent; returns its message id.

        early   output tokens that all its lines name, and no reason to stop, as an older host writes them
        """
        message = answer(model, stop if stop != "" else "tool_use" if tools else "end_turn", **usage)
        if early is not None:
            message = {**message, "stop_reason": None, "usage": {**message["usage"], "output_tokens": early}}
        path = self.subagents / f"agent-{agent}.jsonl" if agent else None
        line = {"type": "assistant", **({"attributionSkill": SKILL} if self.skill and not agent else {})}
        for block in tools or [{"type": "text", "text": "said"}]:
            self.write({**line, "message": {**message, "content": [block]}}, path)
        self.newest = str(message["id"])
        return self.newest

    def agent(self, name: str, call: str, action: Action | None = None, finished: bool = False) -> str:
        """The host's files of a sub-agent; with an action the database knows that it works on it."""
        self.subagents.mkdir(parents=True, exist_ok=True)
        meta = {"toolUseId": call, "requestShape": "background", **({"finished": True} if finished else {})}
        (self.subagents / f"agent-{name}.meta.json").write_text(json.dumps(meta), encoding="utf-8")
        if not (self.subagents / f"agent-{name}.jsonl").exists():
            prompt = {"type": "user", "promptId": "p", "message": {"role": "user", "content": "Do it."}}
            self.write(prompt, self.subagents / f"agent-{name}.jsonl")
        if action is not None:
            agent_rows.add_unguarded(
                self.paper.ctx.store,
                action,
                call=call,
                session=self.id,
                transcripts=str(self.subagents),
                agent_id=name,
                parent_model=None,
            )
        return name

    def ends(self, **model_usage: Mapping[str, Any]) -> None:
        """The host writes down what it counts."""
        self.write({"type": "cost-state", "modelUsage": {name.replace("_", "-"): c for name, c in model_usage.items()}})


def run(command: str) -> dict[str, Any]:
    """A command that an answer asks for."""
    return {"type": "tool_use", "id": f"toolu_{next(_NUMBERS)}", "name": "Bash", "input": {"command": command}}


def start(prompt: str, call: str = "", name: str = "Agent") -> dict[str, Any]:
    """A sub-agent that an answer asks for."""
    given = {"description": "work", "prompt": prompt, "subagent_type": "general-purpose"}
    return {"type": "tool_use", "id": call or f"toolu_{next(_NUMBERS)}", "name": name, "input": given}
