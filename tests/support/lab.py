"""A scratch repository with tickets, and agents that are Python functions instead of `claude -p`.

The engine, git, SQLite and the configured commands are the real ones. No text model is reachable here, so plans
come from an agent, commit messages from the template and waves from the deterministic planner.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate
from backlog_ops.run.context import Context
from backlog_ops.run.engine import work
from backlog_ops.run.git import Git
from backlog_ops.run.opening import open_run
from backlog_ops.run.rows import Action, Run, TicketState
from backlog_ops.run.store import Store
from backlog_ops.storage.config_file import load_prices, require_settings
from backlog_ops.storage.locations import state_folder

CHECK = ["sh", "-c", "! grep -rq BROKEN src"]  # it is run a thousand times: nothing starts sooner
CONFIG: dict[str, Any] = {
    "version": "1.0",
    "project": {"name": "scratch"},
    "qualityGates": {"testCommand": CHECK},
    "llmOps": {"ollama": {"baseURL": "http://127.0.0.1:9"}},  # the discard port: refused at once
}
# A `claude` of this machine must not answer in place of a text model.
NO_CLAUDE = {"CLAUDE_BIN": "/nonexistent/claude"}


def ticket_text(ticket_id: str, files: tuple[str, ...] = (), **fields: Any) -> str:
    """A valid ticket; `fields` are further frontmatter values, JSON being YAML."""
    files = files or (f"src/{ticket_id}.txt",)
    matter = {"id": ticket_id, "title": f"Do {ticket_id}", "status": "pending", "affected_files": list(files), **fields}
    lines = [f"{key}: {json.dumps(value)}" for key, value in matter.items()]
    body = ["## Description", f"Write the file of {ticket_id}.", "", "## Acceptance Criteria"]
    return "\n".join(
        ["---", *lines, "---", *body, "- [ ] AC-1: the file is there", "", "## Test Strategy", "Look.", ""]
    )


Implement = Callable[[Path, str, int], None]
APPROVED: dict[str, Any] = {"verdict": "APPROVED", "findings": []}
REJECTED: dict[str, Any] = {"verdict": "CHANGES_REQUESTED", "findings": []}


def write_own_file(worktree: Path, ticket_id: str, attempt: int) -> None:
    (worktree / "src").mkdir(exist_ok=True)
    (worktree / "src" / f"{ticket_id}.txt").write_text(f"{ticket_id} {attempt}\n")


@dataclass
class ScriptedAgents:
    """What the sub-agents do. Replace a field to script a failure; `seen` lists the actions in order."""

    implement: Implement = write_own_file
    verdict: Callable[[str, int], Any] = lambda _ticket, _attempt: APPROVED
    plan_files: Callable[[str], list[str | tuple[str, str]]] = lambda ticket: [f"src/{ticket}.txt"]
    questions: Callable[[str], tuple[str, ...]] = lambda _ticket: ()
    investigate: Callable[[str], Any] = lambda _ticket: {"answers": [], "open": [{"question": "?", "why": "who knows"}]}
    cause: Callable[[Action], str | None] = lambda _action: None
    seen: list[Action] = field(default_factory=list)

    def __call__(self, ctx: Context, action: Action) -> str | None:
        self.seen.append(action)
        cause = self.cause(action)
        if cause:
            return cause
        brief = Path(action.brief).read_text(encoding="utf-8")
        worktree = Path(_field(brief, "Worktree"))
        if action.gate is Gate.IMPLEMENT:
            self.implement(worktree, action.ticket, action.attempt)
        elif action.gate is Gate.REVIEW:
            answer = self.verdict(action.ticket, action.attempt)
            if isinstance(answer, dict):
                answer = {"tree": _field(brief, "Tree"), **answer}
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            Path(_field(brief, "Verdict file")).write_bytes(data)
        elif action.gate is Gate.INVESTIGATE:
            Path(_field(brief, "Answer file")).write_text(json.dumps(self.investigate(action.ticket)))
        else:
            Path(_field(brief, "Answer file")).write_text(json.dumps(self._plan(action.ticket)))
        return None

    def _plan(self, ticket_id: str) -> dict[str, Any]:
        named = [file if isinstance(file, tuple) else (file, "create") for file in self.plan_files(ticket_id)]
        files = [{"path": path, "action": action, "purpose": "it"} for path, action in named]
        return {
            "files": files,
            "interfaces": [],
            "tests": ["look"],
            "steps": ["write"],
            "open_questions": list(self.questions(ticket_id)),
        }

    def tiers(self, gate: Gate) -> list[str]:
        return [action.tier.value for action in self.seen if action.gate is gate]


@dataclass
class Lab:
    top: Path
    git: Git
    agents: ScriptedAgents = field(default_factory=ScriptedAgents)

    @classmethod
    def make(cls, folder: Path, tickets: Mapping[str, str], config: Mapping[str, Any] | None = None) -> Lab:
        """A repository in `folder` with these tickets (file name → text) committed on `main`."""
        lab = cls(folder, Git(folder))
        folder.mkdir(parents=True, exist_ok=True)
        lab._plain_git("init", "-q", "-b", "main")
        lab.write("backlog.config.json", json.dumps({**CONFIG, **(config or {})}))
        lab.write("src/readme.txt", "hello\n")
        for name, text in tickets.items():
            lab.write(f"tickets/pending/{name}", text)
        lab.commit("start")
        return lab

    def write(self, path: str, text: str) -> Path:
        target = self.top / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def commit(self, message: str) -> str:
        self._plain_git("add", "-A")
        self._plain_git("commit", "-q", "-m", message)
        return self._plain_git("rev-parse", "HEAD").strip()

    def _plain_git(self, *args: str) -> str:
        """As a person runs it: without the processes that mind the engine's own, and so in a third of the time."""
        return subprocess.run(["git", *args], cwd=self.top, check=True, stdout=subprocess.PIPE, text=True).stdout

    def context(self) -> Context:
        folder = state_folder(os.environ, self.top / ".git")
        return Context(
            git=self.git,
            store=Store(folder / "state.db", time.time),
            settings=require_settings(os.environ, self.top),
            environ={**os.environ, **NO_CLAUDE},
            prices=load_prices(),
            clock=time.time,
            state_folder=folder,
        )

    def run(self, *ids: str, jobs: int = 3, max_nanousd: int | None = None) -> Run:
        """A whole run with the scripted agents."""
        ctx = self.context()
        run = open_run(ctx, ids, max_nanousd)
        work(ctx, run.id, jobs, self.agents)
        return ctx.store.run(run.id)

    def states(self) -> dict[str, TicketState]:
        store = self.context().store
        run = store.last_run()
        return {state.id: state for state in store.tickets(run.id)} if run else {}

    def log(self, ref: str = "main") -> list[str]:
        return self.git.text("log", "--format=%s", ref).splitlines()

    def cli(self, *args: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        """`backlog-ops ARGS` in the repository, as its own process."""
        main = Path(__file__).resolve().parents[2] / "scripts" / "ops" / "backlog_ops" / "__main__.py"
        return subprocess.run(
            [sys.executable, str(main), *args],
            cwd=self.top,
            env={**os.environ, **NO_CLAUDE, **environ},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _field(brief: str, name: str) -> str:
    found = re.search(rf"^{name}: (.+)$", brief, re.MULTILINE)
    assert found, f"the brief has no line {name}:"
    return found.group(1)


def one(tmp_path: Path, config: Mapping[str, Any] | None = None, **fields: Any) -> Lab:
    """A repository with one ticket, T-1."""
    return Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1", **fields)}, config)
