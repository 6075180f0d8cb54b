"""Claude Code as a person sees it: in a terminal of its own (tmux), against the scripted API.

    with Terminal(lab, scenario) as terminal:
        terminal.type("/backlog:backlog-implementer")
        terminal.wait_until(lambda: terminal.shows("All done"))

What happened is read from the recorded requests; the screen tells what a person was asked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.e2e.harness.request import Req
from tests.e2e.harness.rules import Scenario
from tests.e2e.harness.run_claude import Lab
from tests.e2e.harness.stub_anthropic import StubServer

POLL_SECONDS = 0.1
READY_SECONDS = 30.0
WIDTH, HEIGHT = 160, 50
# What the host prints where it waits for a person's yes.
_QUESTION = re.compile(
    r"Do you want to|❯ 1\. Yes|Waiting for permission|needs your (permission|approval)", re.IGNORECASE
)


class Terminal:
    """One session in a window of a tmux server that nobody else uses."""

    def __init__(self, lab: Lab, scenario: Scenario, *arguments: str, cwd: Path | None = None) -> None:
        tmux = shutil.which("tmux")
        if tmux is None:
            raise FileNotFoundError("no tmux: apt install tmux")
        self.lab = lab
        self.questions: list[str] = []  # every screen that asked for a permission
        self._tmux = [tmux, "-S", str(lab.root / "tmux.sock"), "-f", "/dev/null"]
        self._cwd = cwd or lab.repo
        _skip_the_welcome(lab, self._cwd)
        plugins = [word for folder in lab.plugin_dirs for word in ("--plugin-dir", str(folder))]
        self._program = [str(lab.claude_bin), *plugins, *arguments]
        # The server in the foreground: it is ours to end, and its environment is that of every window.
        self._launching = lab.launched([*self._tmux, "-D"], scenario, cwd=self._cwd)
        self.server: StubServer

    def __enter__(self) -> Terminal:
        with ExitStack() as stack:
            self.server = stack.enter_context(self._launching).server
            stack.callback(self._run, "kill-server")
            size = ["-x", str(WIDTH), "-y", str(HEIGHT), "-c", str(self._cwd)]
            # The server may have made its socket and not listen yet.
            self.wait_until(lambda: self._run("new-session", "-d", *size, *self._program).returncode == 0)
            self.wait_until(lambda: "❯" in self.screen(), READY_SECONDS)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def calls(self) -> list[Req]:
        return self.server.calls

    def type(self, words: str) -> None:
        """Type a prompt and send it."""
        self._run("send-keys", "-l", words)
        self.wait_until(lambda: words[-20:] in self.screen())
        self.key("Enter")

    def key(self, name: str) -> None:
        self._run("send-keys", name)

    def screen(self) -> str:
        seen = self._run("capture-pane", "-p", "-J").stdout
        if _QUESTION.search(seen) and (not self.questions or self.questions[-1] != seen):
            self.questions.append(seen)
        return seen

    def shows(self, words: str) -> bool:
        return words in self.screen()

    def has_ended(self) -> bool:
        """Whether the program in the window has come to its end."""
        return self._run("has-session").returncode != 0

    def wait_until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Raises TimeoutError with the last screen when it does not come true."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s; the screen says:\n{self.screen()}")
            self.screen()
            time.sleep(POLL_SECONDS)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # -N: a client that comes too early would start a server of its own, in the caller's environment.
        return subprocess.run([*self._tmux, "-N", *arguments], capture_output=True, text=True, timeout=20, check=False)


def _skip_the_welcome(lab: Lab, folder: Path) -> None:
    """What a person has answered on an earlier day: the theme, the key, the trust in the folder."""
    trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True, "allowedTools": []}
    # Nothing moves on the screen: nobody looks, and drawing it costs more than the rest.
    (lab.home / ".claude").mkdir(exist_ok=True)
    (lab.home / ".claude" / "settings.json").write_text('{"prefersReducedMotion": true}', encoding="utf-8")
    (lab.home / ".claude.json").write_text(
        json.dumps(
            {
                "hasCompletedOnboarding": True,
                "theme": "dark",
                "lastOnboardingVersion": "2.1.330",
                "customApiKeyResponses": {"approved": ["dummy"], "rejected": []},
                "projects": {str(folder): trusted},
            }
        ),
        encoding="utf-8",
    )
