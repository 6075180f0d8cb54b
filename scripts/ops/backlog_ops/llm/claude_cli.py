"""The user's own `claude -p` as a text model: for people with a subscription and no API key.

Slim: no tools, our system prompt, no MCP servers, no customizations; about 500 tokens beside the prompt
instead of 29,000. The prompt goes in on stdin and the system prompt in a private file: nothing of either
stands on an argv. `max_tokens` and `temperature` cannot be passed on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backlog_ops.domain.shapes import as_count, as_object, as_text
from backlog_ops.llm.anthropic import stop_failure
from backlog_ops.llm.redact import shown
from backlog_ops.llm.structured import with_schema_in_words
from backlog_ops.llm.types import Allowance, AttemptError, Call, Outcome, Reply, Spent
from backlog_ops.money.claude_usage import result_of_cli, usage_of_cli

MAX_ARGUMENT_BYTES = 100_000  # Linux takes 131,072 in one argument
_DEFAULT_SYSTEM = "Answer the user's message."  # without any, the CLI sends its own, 27,000 characters long


class ClaudeCli:
    def __init__(self, binary: str, environ: Mapping[str, str]) -> None:
        self._binary = binary
        self._environ = {
            # Twice is enough here: whoever is next in the chain may be quicker.
            "CLAUDE_CODE_MAX_RETRIES": "2",
            **environ,
            "BACKLOG_CHILD": "1",  # this plugin's own hooks leave at once
            "CLAUDE_CODE_SAFE_MODE": "1",  # nor do the user's hooks, plugins or CLAUDE.md take part
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    def call(self, call: Call, allowance: Allowance, on_text: Callable[[str], None]) -> Reply:
        schema = json.dumps(call.schema) if call.schema is not None else ""
        if len(schema) > MAX_ARGUMENT_BYTES:
            call, schema = with_schema_in_words(call), ""
        with tempfile.TemporaryDirectory(prefix="backlog-ops-") as folder:  # only its owner may enter
            system = Path(folder, "system.txt")
            system.write_text(call.system or _DEFAULT_SYSTEM, encoding="utf-8", errors="replace")
            arguments = ["-p", "--model", call.model, "--output-format", "json", "--no-session-persistence"]
            arguments += ["--strict-mcp-config", "--tools", "", "--system-prompt-file", str(system)]
            arguments += ["--json-schema", schema] if schema else []
            done = self._run(arguments, _conversation(call), folder, allowance.seconds_to(allowance.share))
        return self._reply(done, call)

    def _run(
        self, arguments: list[str], prompt: str, folder: str, seconds: float
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            process = subprocess.Popen(
                [self._binary, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=self._environ,
                start_new_session=True,
            )
        except OSError as error:
            detail = f"{self._binary} does not start ({error.strerror}); set CLAUDE_BIN"
            raise AttemptError(Outcome.UNREACHABLE, detail, closes_endpoint=True) from None
        with process:
            try:
                out, err = process.communicate(prompt.encode("utf-8", "replace"), timeout=seconds)
            except subprocess.TimeoutExpired:
                detail = f"no answer within {seconds:.3g} s"
                raise AttemptError(Outcome.TIMEOUT, detail, closes_endpoint=True) from None
            finally:
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)  # its own session: itself and its children
        return subprocess.CompletedProcess(self._binary, process.returncode, out, err)

    def _reply(self, done: subprocess.CompletedProcess[bytes], call: Call) -> Reply:
        result = result_of_cli(done.stdout)
        if result is None:
            said = shown(done.stderr.decode("utf-8", "replace"), call.texts(), self._keys())
            raise AttemptError(Outcome.BROKEN, f"exit {done.returncode} without a result: {said or 'no message'}")
        spent = _spent(result, call.model)
        if result.get("is_error") or done.returncode != 0:
            raise self._error(result, call, spent)
        failed = stop_failure(as_text(result.get("stop_reason")) or "end_turn")
        if failed is not None and "structured_output" not in result:
            failed.spent = spent
            raise failed
        if "structured_output" in result:
            return Reply(json.dumps(result["structured_output"], ensure_ascii=False), spent)
        return Reply(as_text(result.get("result")), spent)

    def _error(self, result: Mapping[str, Any], call: Call, spent: Spent) -> AttemptError:
        message, status = as_text(result.get("result")), as_count(result.get("api_error_status"))
        said = shown(message or as_text(result.get("subtype")), call.texts(), self._keys())
        if result.get("stop_reason") == "refusal":
            return AttemptError(Outcome.REFUSED, "the model declined", spent=spent)
        if "output token maximum" in message:
            return AttemptError(Outcome.CUT, said, spent=spent)
        if result.get("terminal_reason") == "prompt_too_long":
            return AttemptError(Outcome.TOO_LARGE, said, spent=spent)
        if "/login" in message or status in (401, 403):
            detail = f"{said}; log in (`claude`, then /login) or set ANTHROPIC_API_KEY"
            return AttemptError(Outcome.REJECTED, detail, closes_endpoint=True)
        if status == 429 or "limit" in message:  # it has waited and tried again itself
            return AttemptError(Outcome.LIMITED, said, spent=spent, closes_endpoint=True)
        if result.get("subtype") == "error_max_structured_output_retries":
            return AttemptError(Outcome.INVALID, said, spent=spent)
        if 400 <= status < 500:
            return AttemptError(Outcome.REJECTED, said, spent=spent)
        return AttemptError(Outcome.BROKEN, said, spent=spent)

    def _keys(self) -> list[str]:
        names = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
        return [self._environ.get(name, "") for name in names]


def _conversation(call: Call) -> str:
    """All turns as one text: `-p` knows only one."""
    first, *later = call.turns
    named = {"assistant": "Your answer was:", "user": "The user says to that:"}
    return "\n\n".join([first.text, *(f"{named[turn.role]}\n{turn.text}" for turn in later)])


def _spent(result: Mapping[str, Any], asked: str) -> Spent:
    by_model = {name: usage_of_cli(as_object(counts)) for name, counts in as_object(result.get("modelUsage")).items()}
    if not by_model:
        return Spent()
    served = asked if asked in by_model else max(by_model, key=lambda name: by_model[name].output)
    return Spent(served, by_model[served])
