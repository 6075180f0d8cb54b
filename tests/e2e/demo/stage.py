"""Where the demo plays: a scratch repository, a HOME of its own, both stand-ins on loopback, two real drivers.

headless()   `backlog-ops run`, from a shell
terminal()   `/backlog:backlog-implementer`, typed into Claude Code
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.demo.script import claude
from tests.e2e.harness.parent_session import Parent, is_safety_check
from tests.e2e.harness.request import Req
from tests.e2e.harness.run_claude import ROOT, Lab
from tests.e2e.harness.stub_anthropic import StubServer
from tests.e2e.harness.terminal import Terminal
from tests.support.ollama_standin import OllamaStandin

PROJECT = Path(__file__).with_name("project")
LAUNCHER = ROOT / "bin" / "backlog-ops"
WHEELS = ROOT / ".deps" / "wheels"
RUN_SECONDS = 300.0  # a run takes about 20; after this it is ended
END_SECONDS = 20.0
PROMPT = "/backlog:backlog-implementer"


@dataclass
class Stage:
    """`start` is the commit the backlog was begun on; `questions`: screens that asked the person for something."""

    lab: Lab
    api: StubServer
    start: str
    questions: list[str] = field(default_factory=list)

    @property
    def repo(self) -> Path:
        return self.lab.repo

    @property
    def calls(self) -> Sequence[Req]:
        """What the plugin's gates cost: what reached the scripted Messages API but for the parent session's calls."""
        others = [*self.parent_calls, *self.safety_calls]
        return [call for call in self.api.calls if call not in others]

    @property
    def parent_calls(self) -> Sequence[Req]:
        return [call for call in self.api.calls if "Agent" in call.tools and not call.agent_id]

    @property
    def safety_calls(self) -> Sequence[Req]:
        """What auto mode asks about each sub-agent that ends."""
        return [call for call in self.api.calls if is_safety_check(call)]

    def git(self, *arguments: str) -> str:
        return self.lab.git(*arguments).rstrip("\n")

    def run_project_tests(self) -> subprocess.CompletedProcess[str]:
        config = json.loads((self.repo / "backlog.config.json").read_text(encoding="utf-8"))
        command = config["qualityGates"]["testCommand"].split()
        return subprocess.run(
            command, cwd=self.repo, env=self.lab.environ(), check=False, capture_output=True, text=True
        )

    def command(self, *arguments: str) -> str:
        """What a `backlog-ops` command prints."""
        words = [str(LAUNCHER), *arguments]
        done = subprocess.run(
            words, cwd=self.repo, env=self.lab.environ(), check=False, stdout=subprocess.PIPE, text=True, timeout=60
        )
        return done.stdout.rstrip()

    def rows(self, query: str) -> list[sqlite3.Row]:
        """A query on the database that the run left; nothing where it left none."""
        found = list(self.lab.home.glob(".local/state/backlog-ops/*/state.db"))
        if not found:
            return []
        with closing(sqlite3.connect(found[0])) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query).fetchall()

    def results(self) -> tuple[str, list[str]]:
        """The tree at the end and every commit's message: the same, whoever drove."""
        messages = self.git("log", "--format=%B%x00", f"{self.start}..main").split("\0")
        return self.git("rev-parse", "main^{tree}"), sorted(filter(None, map(str.strip, messages)))


Driver = Callable[[OllamaStandin], AbstractContextManager[Stage]]


@contextmanager
def headless(ollama: OllamaStandin) -> Iterator[Stage]:
    """A stage after `backlog-ops run`, its progress on our stdout. Raises FileNotFoundError without Claude Code."""
    with StubServer(claude) as api, _lab(ollama) as lab:
        lab.extra["ANTHROPIC_BASE_URL"] = api.base_url
        stage = Stage(lab, api, lab.git("rev-parse", "HEAD").strip())
        _show_quote(stage)
        process = subprocess.Popen([str(LAUNCHER), "run"], cwd=lab.repo, env=lab.environ(), stdin=subprocess.DEVNULL)
        try:
            process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it ends its own children
            process.wait(END_SECONDS)
        finally:
            process.kill()
        yield stage


@contextmanager
def terminal(ollama: OllamaStandin) -> Iterator[Stage]:
    """A stage after the skill has done the same in a terminal of its own."""
    with _lab(ollama) as lab:
        start = lab.git("rev-parse", "HEAD").strip()
        with Terminal(lab, Parent(claude)) as session:
            session.type(PROMPT)
            session.wait_until(lambda: session.shows("● Done: "), RUN_SECONDS)
            print("\n".join(line.rstrip() for line in session.screen().splitlines() if line.strip()), flush=True)
            session.type("/exit")  # the host's own count of the session is written at its end
            session.wait_until(session.has_ended, END_SECONDS)
            stage = Stage(lab, session.server, start, session.questions)
        yield stage


def _show_quote(stage: Stage) -> None:
    """What a person sees before anything is spent."""
    print(f"$ backlog-ops quote\n\n{stage.command('quote')}\n\n$ backlog-ops run\n", flush=True)


def _lab(ollama: OllamaStandin) -> Lab:
    files = {
        path.relative_to(PROJECT).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(PROJECT.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    config = {**json.loads(files["backlog.config.json"]), "llmOps": {"ollama": {"baseURL": ollama.base_url}}}
    files["backlog.config.json"] = json.dumps(config, indent=2) + "\n"
    cache = {"XDG_CACHE_HOME": str(ROOT / ".deps" / "demo-cache"), **offline()}
    # Not in a network namespace: the local model's stand-in is out here.
    lab = Lab(files, plugin_dirs=[ROOT], environment=cache, isolate=False, folder="tally")
    lab.extra["CLAUDE_BIN"] = str(lab.claude_bin)
    return lab


def offline() -> dict[str, str]:
    """Where `make deps` left the packages, the engine's own environment is built from them, without an index."""
    if not any(WHEELS.glob("*.whl")):
        return {}
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(WHEELS),
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(WHEELS),
    }
