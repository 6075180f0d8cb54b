"""Agent gates without a parent session: `claude -p`, one process a gate, with exactly the tools the gate needs.

The prompt goes in on stdin, the system prompt and the settings as files; what may be read and written is named
rule by rule and everything else is denied without asking. The bill is `result.modelUsage`, exact to the token.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate
from backlog_ops.errors import UnreachableError
from backlog_ops.llm.claude_usage import usage_of_cli
from backlog_ops.llm.steps import find_claude
from backlog_ops.money.ledger import Receipt
from backlog_ops.run.actions import agent_name, check_command, prompt_line
from backlog_ops.run.commands import end_group
from backlog_ops.run.context import Context
from backlog_ops.run.progress import budget_left
from backlog_ops.run.store import Action
from backlog_ops.storage.locations import PLUGIN_ROOT

INTERRUPT_GRACE_SECONDS = 5.0

# Only what the gate asked for may shape it: no hooks, no CLAUDE.md (the brief names the rule files), no git advice.
_SETTINGS = {"claudeMdExcludes": ["**"], "disableAllHooks": True, "includeGitInstructions": False}
_ENVIRONMENT = {
    "BACKLOG_CHILD": "1",  # this plugin's own hooks exit at once
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "ENABLE_TOOL_SEARCH": "false",
    "CLAUDE_CODE_MAX_RETRIES": "4",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}
_TOOLS = {Gate.IMPLEMENT: "Read,Edit,Write,Bash"}
_TOOLS_TO_WRITE_ONE_FILE = "Read,Write"


class ClaudeAgents:
    """Runs agent actions. Raises UnreachableError at once when there is no `claude` to run."""

    def __init__(self, ctx: Context) -> None:
        binary = find_claude(ctx.environ)
        if binary is None:
            raise UnreachableError(
                "claude: not found; install Claude Code (npm install -g @anthropic-ai/claude-code) or set CLAUDE_BIN"
            )
        self._binary = binary
        self._running: set[subprocess.Popen[bytes]] = set()

    def __call__(self, ctx: Context, action: Action) -> str | None:
        """Run one action to its end, book what it cost, and say why it is worthless, or None."""
        if action.hand_in:
            Path(action.hand_in).unlink(missing_ok=True)  # the host refuses to write over a file nobody has read
        started = time.monotonic()
        process = subprocess.Popen(
            self._argv(ctx, action),
            cwd=ctx.worktree_path(ctx.store.ticket(action.run, action.ticket)),
            env={**ctx.environ, **_ENVIRONMENT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._running.add(process)
        try:
            stdout, stderr, timed_out = self._converse(ctx, process, prompt_line(action))
        finally:
            self._running.discard(process)
            end_group(process)
        result = _result(stdout)
        self._book(ctx, action, result, round((time.monotonic() - started) * 1000))
        if timed_out:
            return f"no end after {ctx.settings.llm_ops.timeouts.agent:g} s (llmOps.timeouts.agentSeconds)"
        return _worthless(result, process.returncode, stderr)

    def interrupt(self) -> None:
        """Ask every running agent to stop and report its bill; called from the thread that got Ctrl-C."""
        for process in list(self._running):
            _send(process, signal.SIGINT)

    def _converse(self, ctx: Context, process: subprocess.Popen[bytes], prompt: str) -> tuple[bytes, bytes, bool]:
        try:
            return *process.communicate(prompt.encode(), timeout=ctx.settings.llm_ops.timeouts.agent), False
        except subprocess.TimeoutExpired:
            # SIGINT makes it print what it cost so far; SIGTERM would lose that.
            _send(process, signal.SIGINT)
        try:
            return *process.communicate(timeout=INTERRUPT_GRACE_SECONDS), True
        except subprocess.TimeoutExpired:
            end_group(process)
            return *process.communicate(), True

    def _argv(self, ctx: Context, action: Action) -> list[str]:
        folder = Path(action.brief).parent
        system, settings = folder / "system.md", folder / "settings.json"
        system.write_text(agent_prompt(agent_name(action.gate)), encoding="utf-8")
        ticket = ctx.store.ticket(action.run, action.ticket)
        # Rules stand in the settings file: on --allowedTools a path with parentheses would not match.
        allowed = {"permissions": {"allow": allowed_tools(action, ctx.worktree_path(ticket))}}
        settings.write_text(json.dumps({**_SETTINGS, **allowed}), encoding="utf-8")
        left = budget_left(ctx, ctx.store.run(action.run), ticket) / 1e9
        return [
            self._binary,
            "-p",
            "--model",
            ctx.settings.llm_ops.models.by_tier[action.tier],
            "--system-prompt-file",
            str(system),
            "--output-format",
            "json",
            "--no-session-persistence",
            "--max-budget-usd",
            f"{max(left, 0.0001):.4f}",
            "--permission-mode",
            "dontAsk",
            "--setting-sources",
            "user",
            "--settings",
            str(settings),
            "--strict-mcp-config",
            "--disable-slash-commands",
            "--tools",
            _TOOLS.get(action.gate, _TOOLS_TO_WRITE_ONE_FILE),
        ]

    def _book(self, ctx: Context, action: Action, result: Mapping[str, Any], latency_ms: int) -> None:
        """One receipt a model that answered; one of unknown cost where the process left no bill."""
        models: Mapping[str, Any] = result.get("modelUsage") or {}
        ticket = ctx.store.ticket(action.run, action.ticket)
        session = result.get("session_id") or f"no-bill-{ctx.clock()}"
        outcome = "answered" if result and not result.get("is_error") else "failed"
        for model, used in models.items() or [(None, None)]:
            ctx.store.record(
                Receipt(
                    key=f"{action.run}/{action.id}/{session}/{model}",
                    at=ctx.clock(),
                    source="claude-cli",
                    asked_tier=action.tier.value,
                    asked_model=ctx.settings.llm_ops.models.by_tier[action.tier],
                    provider="claude-cli",
                    answered_model=model,
                    usage=usage_of_cli(used) if used else None,
                    cost_nanousd=round(used["costUSD"] * 1e9) if used else None,
                    price_date=None,  # the host's own list price, per call: right where a prompt passed a price step
                    latency_ms=latency_ms,
                    outcome=outcome,
                    run=action.run,
                    wave=ticket.wave,
                    ticket=action.ticket,
                    gate=action.gate.value,
                    attempt=action.attempt,
                    escalation_rule=action.rule,
                )
            )


def allowed_tools(action: Action, worktree: Path) -> list[str]:
    """Permission rules, all absolute (`//`): what is not named here is denied. `Edit` rules cover Write too."""
    own_files = f"Read({_rule_path(Path(action.brief).parent)}/**)"
    if action.gate is Gate.IMPLEMENT:
        check = check_command(action)
        return [own_files, f"Edit({_rule_path(worktree)}/**)", f"Bash({check})", f"Bash({check} *)"]
    return [own_files, f"Edit({_rule_path(Path(action.hand_in or ''))})"]


def _rule_path(path: Path) -> str:
    # Brackets are character classes in a rule; nothing else needs an escape.
    return "/" + re.sub(r"([\[\]])", r"\\\1", str(path))


def agent_prompt(name: str) -> str:
    """The body of agents/<name>.md, without its frontmatter: the same words as in Claude Code."""
    text = (PLUGIN_ROOT / "agents" / f"{name}.md").read_text(encoding="utf-8")
    return text.split("\n---\n", 1)[1].strip() + "\n"


def _result(stdout: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(stdout)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _worthless(result: Mapping[str, Any], code: int | None, stderr: bytes) -> str | None:
    if not result:
        said = stderr.decode("utf-8", "replace").strip().splitlines()
        return f"claude ended with exit code {code} and no result{': ' + said[-1][:200] if said else ''}"
    if not result.get("is_error") and code == 0:
        return None
    errors = result.get("errors") or [result.get("result") or result.get("subtype") or f"exit code {code}"]
    return f"{result.get('terminal_reason') or 'error'}: {str(errors[0]).splitlines()[0][:300]}"


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
