"""Run the real Claude Code CLI, headless, against the scripted API.

    with Lab(files={"src/a.py": "x = 1\\n"}) as lab:
        run = lab.claude("hello", "--model", "haiku", scenario=script([tool("Bash", command="ls")], "done"))
        assert run.exit_code == 0 and not run.stub_errors, run.explain()

Every run gets an explicit environment (nothing is inherited), a HOME of its own, a scratch git repository as
working folder and, where the kernel allows it, a network namespace that holds nothing but `lo`. Linux only.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.e2e.harness.rules import Scenario, script
from tests.e2e.harness.run_record import Run
from tests.e2e.harness.stub_anthropic import StubServer

ROOT = Path(__file__).resolve().parents[3]
PATH = ":".join(dict.fromkeys([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]))

# Nothing of the caller's environment reaches the CLI, and nothing of the CLI reaches the network.
BASE_ENVIRONMENT = {
    "PATH": PATH,
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "ANTHROPIC_API_KEY": "dummy",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_BUG_COMMAND": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
}
GIT_CONFIG = "[user]\n\tname = Lab\n\temail = lab@example.invalid\n[init]\n\tdefaultBranch = main\n"


def find_claude() -> Path | None:
    """`$CLAUDE_BIN`, else the npm package under .deps, else `claude` on the PATH."""
    named = os.environ.get("CLAUDE_BIN")
    if named:
        return Path(named)
    packaged = sorted((ROOT / ".deps/node_modules/@anthropic-ai").glob("claude-code-*/claude"))
    on_path = shutil.which("claude")
    return packaged[0] if packaged else Path(on_path) if on_path else None


def find_older_claude() -> Path | None:
    """The older npm package under .deps/older, which `make test` fetches."""
    packaged = sorted((ROOT / ".deps/older/node_modules/@anthropic-ai").glob("claude-code-*/claude"))
    return packaged[0] if packaged else None


@dataclass(frozen=True)
class Launched:
    """`leftovers` is filled in at the end: what was still alive then."""

    process: subprocess.Popen[bytes]
    server: StubServer
    isolated: bool
    leftovers: list[str]


class Lab:
    """A HOME and a scratch repository; several runs may share it.

    files         {relative path: text} written into the repository and committed
    plugin_dirs   loaded with --plugin-dir (no install)
    environment   added to the base environment; a None value takes a variable out
    isolate       run in a private network namespace where the kernel allows it
    folder        of the repository, relative to the lab's root
    claude        the program, where it is not find_claude()'s
    """

    def __init__(
        self,
        files: Mapping[str, str] | None = None,
        *,
        plugin_dirs: Iterable[Path] = (),
        environment: Mapping[str, str | None] | None = None,
        isolate: bool = True,
        keep: bool = False,
        folder: str = "repo",
        claude: Path | None = None,
    ) -> None:
        claude = claude or find_claude()
        if claude is None:
            raise FileNotFoundError("no claude: set CLAUDE_BIN or run `make deps`")
        self.claude_bin = claude.absolute()
        self.plugin_dirs = [path.absolute() for path in plugin_dirs]
        self.extra = dict(environment or {})
        self._isolate = isolate
        self._keep = keep
        self._tag = uuid.uuid4().hex
        self._runs = 0
        self.root = Path(tempfile.mkdtemp(prefix="claude-lab-")).resolve()
        self.home, self.repo, self.tmp = (self.root / name for name in ("home", folder, "tmp"))
        for made in (self.home, self.repo, self.tmp):
            made.mkdir(parents=True)
        (self.home / ".gitconfig").write_text(GIT_CONFIG, encoding="utf-8")
        self.git("init", "-q", "-b", "main")
        for name, body in {"README.md": "# scratch\n", **(files or {})}.items():
            path = self.repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "start")

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._keep:
            shutil.rmtree(self.root, ignore_errors=True)

    def environ(self) -> dict[str, str]:
        wanted = {
            **BASE_ENVIRONMENT,
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:@PORT@",
            "HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "LAB_TAG": self._tag,
            **self.extra,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        return subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.repo,
            env=self.environ(),
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    # -- running

    def claude(
        self,
        prompt: str,
        *arguments: str,
        scenario: Scenario,
        cwd: Path | None = None,
        timeout: float = 60.0,
    ) -> Run:
        """`claude -p` with the prompt on stdin and its output as events."""
        argv = ["-p", "--output-format", "stream-json", "--verbose"]
        for folder in self.plugin_dirs:
            argv += ["--plugin-dir", str(folder)]
        return self.exec(*argv, *arguments, scenario=scenario, stdin=prompt, cwd=cwd, timeout=timeout)

    def exec(
        self,
        *arguments: str,
        scenario: Scenario | None = None,
        stdin: str = "",
        cwd: Path | None = None,
        timeout: float = 60.0,
        git_root: Path | None = None,
    ) -> Run:
        """`claude ARGUMENTS` as they stand; "@PORT@" in one is the scripted API's port."""
        self._runs += 1
        files = {name: self.root / f"{name}-{self._runs}" for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_text(stdin, encoding="utf-8")
        start = time.monotonic()
        with files["stdin"].open("rb") as fed, files["stdout"].open("wb") as out, files["stderr"].open("wb") as err:
            program = [str(self.claude_bin), *arguments]
            with self.launched(program, scenario, fed, out, err, cwd, git_root) as launched:
                timed_out = not _ends_within(launched.process, timeout)
        seconds = time.monotonic() - start
        return Run(
            argv=program,
            exit_code=launched.process.returncode,
            timed_out=timed_out,
            seconds=seconds,
            stdout=files["stdout"].read_text(encoding="utf-8", errors="replace"),
            stderr=files["stderr"].read_text(encoding="utf-8", errors="replace"),
            isolated=launched.isolated,
            cwd=cwd or self.repo,
            requests=launched.server.requests,
            stub_errors=launched.server.errors,
            leftovers=launched.leftovers,
        )

    @contextlib.contextmanager
    def launched(
        self,
        program: Sequence[str],
        scenario: Scenario | None,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
        stderr: IO[bytes] | int = subprocess.DEVNULL,
        cwd: Path | None = None,
        git_root: Path | None = None,
    ) -> Iterator[Launched]:
        """A program in the lab's environment and namespace, with the scripted API beside it; ended at the end."""
        environment = self.root / f"env-{uuid.uuid4().hex}"
        environment.write_text(json.dumps(self.environ()), encoding="utf-8")
        ours, theirs = socket.socketpair()
        launcher = [sys.executable, "-I", str(Path(__file__).with_name("_netns_exec.py")), str(theirs.fileno())]
        launcher += ["netns" if self._isolate else "host", str(environment), "--"]
        with ours:
            process = subprocess.Popen(
                [*launcher, *program],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd or self.repo,
                env={"PATH": PATH},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
            theirs.close()
            leftovers: list[str] = []
            try:
                report, descriptors, _, _ = socket.recv_fds(ours, 4096, 1)
                if not descriptors:
                    raise RuntimeError(f"the launcher failed: exit {process.wait(5)}")
                server = StubServer(
                    scenario or script(),
                    sock=socket.socket(fileno=descriptors[0]),
                    record=self.root / f"api-{self._runs}.jsonl",
                    git_root=git_root,
                )
                with server:
                    ours.send(b"g")
                    yield Launched(process, server, json.loads(report)["netns"], leftovers)
                    _end(process)
            finally:
                _end(process)
                leftovers += self._end_leftovers()

    def install_from_git(self, checkout: Path, plugin: str) -> Path:
        """Install `plugin` the way a user does; returns the folder that it was installed into.

        `checkout` is a git work tree with .claude-plugin/marketplace.json, or a plain folder whose files are
        committed first. A marketplace that is a local folder would be loaded in place and would hide files
        that are missing from a clone.
        """
        source = checkout
        if not (checkout / ".git").exists():
            source = self.root / "marketplace"
            shutil.copytree(checkout, source, symlinks=True)
            self.git("init", "-q", "-b", "main", cwd=source)
            self.git("add", "-A", cwd=source)
            self.git("commit", "-q", "-m", "import", cwd=source)
        served = self.root / "served"
        served.mkdir()
        self.git("clone", "-q", "--bare", str(source), str(served / "marketplace.git"))
        manifest = json.loads((checkout / ".claude-plugin/marketplace.json").read_text(encoding="utf-8"))
        market = str(manifest["name"])
        for arguments in (
            ("plugin", "marketplace", "add", "http://127.0.0.1:@PORT@/git/marketplace.git"),
            ("plugin", "install", f"{plugin}@{market}"),
        ):
            run = self.exec(*arguments, git_root=served)
            if run.exit_code != 0:
                raise RuntimeError(run.explain())
        installed = list((self.home / ".claude/plugins/cache" / market / plugin).iterdir())
        if len(installed) != 1:
            raise RuntimeError(f"one installed version expected, found {installed}")
        return installed[0]

    # -- ending what we started, and only that

    def _end_leftovers(self) -> list[str]:
        """Processes that carry this lab's tag in their environment, after a moment to go by themselves."""
        if not self._tagged():
            return []
        time.sleep(0.2)
        left = self._tagged()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return list(left.values())

    def _tagged(self) -> dict[int, str]:
        mark, found = f"LAB_TAG={self._tag}".encode(), {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (folder / "environ").read_bytes().split(b"\0"):
                        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                        found[int(folder.name)] = command.decode("utf-8", "replace").strip()
        return found


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process's own session: politely, then for good."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        _ends_within(process, 3.0)
