"""Where the demo plays: a scratch repository, a HOME of its own, both stand-ins on loopback, one real run."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.demo.script import claude, local_model
from tests.e2e.harness.request import Req
from tests.e2e.harness.run_claude import BASE_ENVIRONMENT, GIT_CONFIG, ROOT, find_claude
from tests.e2e.harness.stub_anthropic import StubServer
from tests.support.ollama_standin import OllamaStandin

PROJECT = Path(__file__).with_name("project")
LAUNCHER = ROOT / "bin" / "backlog-ops"
WHEELS = ROOT / ".deps" / "wheels"
RUN_SECONDS = 300.0  # a run takes about 20; after this it is ended
END_SECONDS = 20.0


@dataclass(frozen=True)
class Stage:
    """`start` is the commit the backlog was begun on."""

    home: Path
    repo: Path
    environment: dict[str, str]
    api: StubServer
    start: str

    @property
    def calls(self) -> Sequence[Req]:
        """What reached the scripted Messages API, in order."""
        return self.api.calls

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.repo,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.rstrip("\n")

    def run_backlog(self) -> int:
        """`backlog-ops run` to its end, its progress on our stdout; the exit code."""
        process = subprocess.Popen(
            [str(LAUNCHER), "run"], cwd=self.repo, env=self.environment, stdin=subprocess.DEVNULL
        )
        try:
            return process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it ends its own children
            return process.wait(END_SECONDS)
        finally:
            process.kill()

    def run_project_tests(self) -> subprocess.CompletedProcess[str]:
        config = json.loads((self.repo / "backlog.config.json").read_text(encoding="utf-8"))
        command = config["qualityGates"]["testCommand"].split()
        return subprocess.run(command, cwd=self.repo, env=self.environment, check=False, capture_output=True, text=True)

    def rows(self, query: str) -> list[sqlite3.Row]:
        """A query on the database that the run left; nothing where it left none."""
        found = list(self.home.glob(".local/state/backlog-ops/*/state.db"))
        if not found:
            return []
        with closing(sqlite3.connect(found[0])) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(query).fetchall()


@contextmanager
def staged(root: Path) -> Iterator[Stage]:
    """The stage in the empty folder `root`. Raises FileNotFoundError where there is no Claude Code."""
    binary = find_claude()
    if binary is None:
        raise FileNotFoundError("no claude: set CLAUDE_BIN or run `make deps`")
    home, programs, repo = root / "home", root / "bin", root / "tally"
    for folder in (home, programs):
        folder.mkdir()
    (home / ".gitconfig").write_text(GIT_CONFIG, encoding="utf-8")
    (programs / "claude").symlink_to(binary.absolute())
    with StubServer(claude, record=root / "api.jsonl") as api, OllamaStandin(local_model) as ollama:
        environment = {
            **BASE_ENVIRONMENT,
            "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "ANTHROPIC_BASE_URL": api.base_url,
            **offline(),
        }
        _make_repository(repo, ollama.base_url)
        stage = Stage(home, repo, environment, api, start="")
        for arguments in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "chore: start")):
            stage.git(*arguments)
        yield Stage(home, repo, environment, api, start=stage.git("rev-parse", "HEAD"))


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


def _make_repository(repo: Path, ollama_url: str) -> None:
    shutil.copytree(PROJECT, repo, ignore=shutil.ignore_patterns("__pycache__"))
    path = repo / "backlog.config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["llmOps"] = {"ollama": {"baseURL": ollama_url}}
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
