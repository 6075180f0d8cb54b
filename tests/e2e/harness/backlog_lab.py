"""`backlog-ops run` on a scratch repository: the real engine, git and Claude Code; only the models are scripted.

    with BacklogLab(Models(), ["T-1"], cache=folder) as lab:
        ran = lab.run()
        assert ran.exit_code == 0, ran.explain()

No local model can be reached: text gates go to the scripted API too, commit messages come from the template.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.demo.stage import LAUNCHER, offline
from tests.e2e.harness.agents import Models
from tests.e2e.harness.rules import Scenario
from tests.e2e.harness.run_claude import Lab
from tests.e2e.harness.run_record import Run
from tests.e2e.harness.stub_anthropic import StubServer
from tests.e2e.harness.terminal import Terminal
from tests.support.lab import CONFIG, ticket_text

RUN_SECONDS = 60.0


@dataclass(frozen=True)
class Ran:
    """A `backlog-ops` command that has ended; `leftovers`: processes of the lab that outlived it."""

    exit_code: int
    stdout: str
    stderr: str
    leftovers: list[str]

    def explain(self) -> str:
        return f"exit {self.exit_code}\n{self.stderr}\n{self.stdout}\nleft over: {self.leftovers or 'nothing'}"


class BacklogLab(Lab):
    """
    tickets       ids, or id → text
    llm_ops       sections of `llmOps` in the configuration; `config`: other sections of it
    cache         where the engine's own Python environment is kept, shared by labs
    folder        of the repository, relative to the lab's root
    launcher      of the plugin that runs
    claude        the program, where it is not find_claude()'s
    """

    def __init__(
        self,
        models: Models,
        tickets: Iterable[str] | Mapping[str, str] = ("T-1",),
        *,
        cache: Path,
        llm_ops: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str | None] | None = None,
        folder: str = "repo",
        launcher: Path = LAUNCHER,
        plugin_dirs: Iterable[Path] = (),
        claude: Path | None = None,
    ) -> None:
        texts = tickets if isinstance(tickets, Mapping) else {name: ticket_text(name) for name in tickets}
        whole = {**CONFIG, **(config or {}), "llmOps": {**CONFIG["llmOps"], **(llm_ops or {})}}
        self.models = models
        self.launcher = launcher
        self.api = StubServer(models)
        super().__init__(
            {
                "backlog.config.json": json.dumps(whole),
                "src/readme.txt": "hello\n",
                **{f"tickets/pending/{name}.md": text for name, text in texts.items()},
                **(files or {}),
            },
            environment={
                "ANTHROPIC_BASE_URL": self.api.base_url,
                "XDG_CACHE_HOME": str(cache),
                "CLAUDE_CODE_MAX_RETRIES": "0",
                **offline(),
                **(environment or {}),
            },
            folder=folder,
            plugin_dirs=plugin_dirs,
            claude=claude,
        )
        self.extra.setdefault("CLAUDE_BIN", str(self.claude_bin))
        self.start = self.git("rev-parse", "HEAD").strip()

    def __enter__(self) -> BacklogLab:
        self.api.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._end_leftovers()
        self.api.__exit__()
        super().__exit__()

    # -- running

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """`backlog-ops ARGUMENTS`, started."""
        return subprocess.Popen(
            [str(self.launcher), *arguments],
            cwd=self.repo,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str], seconds: float = RUN_SECONDS) -> Ran:
        """Wait for a command that was begun."""
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            stderr += f"\nENDED BY THE LAB after {seconds:g} s"
        return Ran(process.returncode, stdout, stderr, self._end_leftovers())

    def run(self, *arguments: str) -> Ran:
        """`backlog-ops run ARGUMENTS` to its end."""
        return self.end(self.begin("run", *arguments))

    def processes(self) -> list[int]:
        """The process ids of everything that runs in this lab."""
        return list(self._tagged())

    def claudes(self) -> list[int]:
        """The process ids of every `claude` of this lab that is running."""
        mine = str(self.claude_bin)
        return [pid for pid, command in self._tagged().items() if command.startswith(mine)]

    def wait_until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Raises TimeoutError when it does not come true."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s")
            time.sleep(0.02)

    def session(self, prompt: str, *arguments: str, scenario: Scenario, timeout: float = RUN_SECONDS) -> Run:
        """`claude -p` with the plugin: a parent session, in a namespace with a scripted API of its own."""
        self.extra.pop("ANTHROPIC_BASE_URL", None)
        return self.claude(prompt, *arguments, scenario=scenario, timeout=timeout)

    def terminal(self, scenario: Scenario, *arguments: str) -> Terminal:
        """The same in a terminal."""
        self.extra.pop("ANTHROPIC_BASE_URL", None)
        return Terminal(self, scenario, *arguments)

    # -- what came of it

    def rows(self, query: str) -> list[sqlite3.Row]:
        """A query on the database of the runs."""
        (path,) = self.home.glob(".local/state/backlog-ops/*/state.db")
        with closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query).fetchall()

    def agent_receipts(self) -> list[sqlite3.Row]:
        return self.rows("SELECT * FROM ledger WHERE source = 'claude-cli' ORDER BY at")

    def session_receipts(self) -> list[dict[str, Any]]:
        """One for each call of a session's sub-agents."""
        return [dict(row) for row in self.rows("SELECT * FROM ledger WHERE source = 'session' ORDER BY at")]

    def ticket(self, name: str = "T-1") -> sqlite3.Row:
        (row,) = self.rows(f"SELECT * FROM ticket WHERE id = '{name}'")
        return row

    def step(self, name: str = "T-1") -> str | None:
        """Where a ticket stands; None before there is a run."""
        try:
            return str(self.ticket(name)["step"])
        except (ValueError, sqlite3.OperationalError):  # no database, table or row yet
            return None

    def commits(self) -> list[str]:
        """Subjects of what main is ahead by, oldest first."""
        return self.git("log", "--reverse", "--format=%s", f"{self.start}..main").splitlines()
