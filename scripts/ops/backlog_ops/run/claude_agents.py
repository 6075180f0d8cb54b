"""Agent gates without a parent session: `claude -p`, one process a gate, with exactly the tools the gate needs.

The prompt goes in on stdin, the system prompt and the settings as files; what may be read and written is named
rule by rule and everything else is denied without asking. The bill is `result.modelUsage`, exact to the token.

An agent outlives the engine that started it (agent_process.py): one that is found at work, or done, is taken over.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backlog_ops.domain.gates import Gate
from backlog_ops.domain.pricing import Usage, iso_day
from backlog_ops.domain.shapes import as_object, as_text
from backlog_ops.domain.usage_limits import UsageLimit
from backlog_ops.errors import UnreachableError
from backlog_ops.llm.steps import find_claude
from backlog_ops.money.claude_usage import result_of_cli, usage_of_cli
from backlog_ops.money.ledger import Receipt
from backlog_ops.run.actions import agent_name, check_command, prompt_line, request_command
from backlog_ops.run.agent_process import AgentProcess
from backlog_ops.run.budget import agents_limit
from backlog_ops.run.commands import STOP_CHECK_SECONDS
from backlog_ops.run.context import Context
from backlog_ops.run.pauses import LimitReachedError, limit_of_cause
from backlog_ops.run.processes import StoppedError, without_git_bindings
from backlog_ops.run.rows import Action
from backlog_ops.run.session_agents import turn_limit
from backlog_ops.storage.locations import PLUGIN_ROOT

# Only what the gate asked for may shape it: no hooks, no CLAUDE.md (the brief names the rule files), no git advice.
_SETTINGS = {"claudeMdExcludes": ["**"], "disableAllHooks": True, "includeGitInstructions": False}
_ENVIRONMENT = {
    "BACKLOG_CHILD": "1",  # this plugin's own hooks exit at once
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "ENABLE_TOOL_SEARCH": "false",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_RETRY_WATCHDOG": "0",  # with 1 the host waits for the reset of a usage limit, in silence
}
_DEFAULTS = {"CLAUDE_CODE_MAX_RETRIES": "4"}  # after 8 s of an overloaded API the attempt is over
_TOOLS = {Gate.IMPLEMENT: "Read,Edit,Write,Bash"}
_TOOLS_TO_WRITE_ONE_FILE = "Read,Write"
_IN_AN_ANSWER = "aborted_streaming"  # the host's word for where it was ended; else between answers, in a tool


@dataclass(frozen=True)
class _End:
    """How an agent ended. `cause`: why its work is worthless, or None; `cut_off`: before it came to an end itself."""

    cause: str | None
    cut_off: bool
    limit: UsageLimit | None = None


class ClaudeAgents:
    """Runs agent actions. Raises UnreachableError at once when there is no `claude` to run."""

    def __init__(self, ctx: Context) -> None:
        binary = find_claude(ctx.environ)
        if binary is None:
            raise UnreachableError(
                "claude: not found; install Claude Code (npm install -g @anthropic-ai/claude-code) or set CLAUDE_BIN"
            )
        self._binary = binary

    def __call__(self, ctx: Context, action: Action) -> str | None:
        """Run one action to its end, book what it cost, and say why it is worthless, or None.

        Raises StoppedError when the run is stopped meanwhile, LimitReachedError when a usage limit ended it.
        """
        agent = AgentProcess.of(action)
        ticket = ctx.store.ticket(action.run, action.ticket)
        if agent.was_started:  # by an engine that was stopped or killed: what it has done is not bought again
            if agent.is_running:
                ctx.say(ticket, f"{action.gate} #{action.attempt}: its agent from before is still at work")
            end = _see_out(ctx, action, agent)
            if not end.cut_off and end.limit is None:
                return end.cause
        if ctx.store.action(action.number).state != "open":  # parked or aborted while it was waited for
            return None
        if action.hand_in:
            Path(action.hand_in).unlink(missing_ok=True)  # the host refuses to write over a file nobody has read
        agent.start(
            self._argv(ctx, action),
            cwd=ctx.worktree_path(ticket),
            env={**_DEFAULTS, **without_git_bindings(ctx.environ), **_ENVIRONMENT, **_bash_limits(ctx)},
            prompt=prompt_line(action),
        )
        end = _see_out(ctx, action, agent)
        if end.limit is not None:
            raise LimitReachedError(end.limit)
        return end.cause

    def _argv(self, ctx: Context, action: Action) -> list[str]:
        folder = Path(action.brief).parent
        system, settings = folder / "system.md", folder / "settings.json"
        system.write_text(agent_prompt(agent_name(action.gate)), encoding="utf-8")
        ticket = ctx.store.ticket(action.run, action.ticket)
        # Rules stand in the settings file: on --allowedTools a path with parentheses would not match.
        allowed = {"permissions": {"allow": allowed_tools(action, ctx.worktree_path(ticket))}}
        settings.write_text(json.dumps({**_SETTINGS, **allowed}), encoding="utf-8")
        limit = agents_limit(ctx, ticket, action) / 1e9
        turns = turn_limit(agent_name(action.gate))
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
            f"{max(limit, 0.000001):.6f}",
            *(["--max-turns", str(turns)] if turns else []),
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


def _see_out(ctx: Context, action: Action, agent: AgentProcess) -> _End:
    """Wait for an agent's end, or bring it about when its time is up or the run is stopped; book its bill."""
    limit = ctx.settings.llm_ops.timeouts.agent
    deadline, timed_out = time.monotonic() + limit, False
    while not agent.wait(STOP_CHECK_SECONDS):
        timed_out = time.monotonic() >= deadline
        if timed_out or ctx.stopping.is_set():
            agent.end()
            break
    stdout, stderr = agent.output()
    result = result_of_cli(stdout)
    _book(ctx, action, agent, result)
    cut_off = result is None or str(result.get("terminal_reason")).startswith("aborted")
    if cut_off and ctx.stopping.is_set():
        raise StoppedError(f"{action.id}: stopped before the agent's end")
    if cut_off and timed_out:
        return _End(f"no end after {limit:g} s (llmOps.timeouts.agentSeconds)", cut_off)
    cause = _worthless(result, agent.exit_code, stderr)
    status = result.get("api_error_status") if result else None
    said_at = agent.started_at + agent.seconds
    return _End(cause, cut_off, limit_of_cause(cause, said_at, status) if cause else None)


def end_agents(ctx: Context, actions: Iterable[Action]) -> None:
    """End the agents that are at work on these actions, whoever started them, and book their bills."""
    for action in actions:
        agent = AgentProcess.of(action)
        if agent.was_started:
            agent.end()
            _book(ctx, action, agent, result_of_cli(agent.output()[0]))


def _book(ctx: Context, action: Action, agent: AgentProcess, result: Mapping[str, Any] | None) -> None:
    """One receipt a model that answered; one of unknown cost where the process left no bill, and for the answer in
    the middle of which it was ended: the host counts whole ones.

    An agent seen twice is booked once: the keys are the same.
    """
    bill = result or {}
    session = as_text(bill.get("session_id")) or f"no-bill-{agent.started_at}"
    failed = _receipt(ctx, action, agent, f"{session}/None", failed=True)
    models = as_object(bill.get("modelUsage"))
    for model, used in models.items():
        usage = usage_of_cli(used)
        cost, price_date = _cost(ctx, model, used, usage)
        receipt = _receipt(ctx, action, agent, f"{session}/{model}", failed=bool(bill.get("is_error")))
        ctx.store.record(replace(receipt, answered_model=model, usage=usage, cost_nanousd=cost, price_date=price_date))
    if not models:  # without an answer from any model the host says 0
        ctx.store.record(replace(failed, cost_nanousd=_nanousd(bill.get("total_cost_usd"))))
    if bill.get("terminal_reason") == _IN_AN_ANSWER:
        tags = {"unbilled": "ended in the middle of an answer"}
        ctx.store.record(replace(failed, key=f"{failed.key}/unbilled", tags=tags))


def _receipt(ctx: Context, action: Action, agent: AgentProcess, key: str, failed: bool) -> Receipt:
    """What is true of all that an agent's process has bought."""
    return Receipt(
        key=f"{action.run}/{action.id}/{key}",
        at=ctx.clock(),
        source="claude-cli",
        asked_tier=action.tier.value,
        asked_model=ctx.settings.llm_ops.models.by_tier[action.tier],
        provider="claude-cli",
        answered_model=None,
        usage=None,
        cost_nanousd=None,
        price_date=None,
        latency_ms=round(agent.seconds * 1000),
        outcome="failed" if failed else "answered",
        run=action.run,
        wave=ctx.store.ticket(action.run, action.ticket).wave,
        ticket=action.ticket,
        gate=action.gate.value,
        attempt=action.attempt,
        escalation_rule=action.rule,
    )


def _cost(ctx: Context, model: str, used: Mapping[str, Any], usage: Usage) -> tuple[int | None, str | None]:
    """(nano-dollars or None, date of our price table or None).

    The host prices call by call, which a sum cannot where a prompt passed a price step; so its figure counts, where
    it says that it is a list price. Older hosts take models they do not know for another: there our table counts.
    """
    if used.get("costBasis") == "list":
        return _nanousd(used.get("costUSD")), None
    cost = ctx.prices.cost_of_calls(model, usage, iso_day(ctx.clock()))
    return cost, None if cost is None else ctx.prices.date


def _nanousd(dollars: object) -> int | None:
    return round(dollars * 1e9) if isinstance(dollars, int | float) else None


def allowed_tools(action: Action, worktree: Path) -> list[str]:
    """Permission rules, all absolute (`//`): what is not named here is denied. `Edit` rules cover Write too."""
    own_files = f"Read({_rule_path(Path(action.brief).parent)}/**)"
    if action.gate is Gate.IMPLEMENT:
        check = check_command(action)
        commands = [f"Bash({check})", f"Bash({check} *)", f"Bash({request_command(action)} *)"]
        return [own_files, f"Edit({_rule_path(worktree)}/**)", *commands]
    return [own_files, f"Edit({_rule_path(Path(action.hand_in or ''))})"]


def _rule_path(path: Path) -> str:
    # Brackets are character classes in a rule; nothing else needs an escape.
    return "/" + re.sub(r"([\[\]])", r"\\\1", str(path))


def _bash_limits(ctx: Context) -> dict[str, str]:
    """The host must not cut the check command off before its own time limits do."""
    gates = ctx.settings.quality_gates
    milliseconds = str(round((gates.timeout_seconds * len(gates.commands()) + 60) * 1000))
    return {"BASH_DEFAULT_TIMEOUT_MS": milliseconds, "BASH_MAX_TIMEOUT_MS": milliseconds}


def agent_prompt(name: str) -> str:
    """The body of agents/<name>.md, without its frontmatter: the same words as in Claude Code."""
    text = (PLUGIN_ROOT / "agents" / f"{name}.md").read_text(encoding="utf-8")
    return text.split("\n---\n", 1)[1].strip() + "\n"


def _worthless(result: Mapping[str, Any] | None, code: int | None, stderr: bytes) -> str | None:
    if result is None:
        said = stderr.decode("utf-8", "replace").strip().splitlines()
        ended = "claude ended" if code is None else f"claude ended with exit code {code}"
        return f"{ended} and no result{': ' + said[-1][:200] if said else ''}"
    if not result.get("is_error") and code in (0, None):
        return None
    errors = result.get("errors") or [result.get("result") or result.get("subtype") or f"exit code {code}"]
    return f"{result.get('terminal_reason') or 'error'}: {' '.join(str(errors[0]).split())[:300]}"
