"""`claude -p` as a text model: with the real CLI, and with a program in its place for what is rare."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from backlog_ops.domain.pricing import Usage
from backlog_ops.llm.claude_cli import MAX_ARGUMENT_BYTES, ClaudeCli
from backlog_ops.llm.types import AttemptError, Call, Outcome
from backlog_ops.llm.types import Reply as Answered
from tests.e2e.harness.stub_anthropic import Reply, StubServer, http_fault, text, tool
from tests.support.fake_claude import FakeClaude, fake_claude, result
from tests.support.llm import allowance, call, nobody
from tests.support.ollama_standin import refused_url

HAIKU = "claude-haiku-5-5"
KEY = "sk-test-0123456789"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}


def ask(claude: FakeClaude, asked: Call | None = None, seconds: float = 20) -> Answered:
    environ = {"PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": KEY}
    return ClaudeCli(str(claude.path), environ).call(asked or call(model=HAIKU), allowance(seconds), nobody)


def fails(claude: FakeClaude, asked: Call | None = None, seconds: float = 20) -> AttemptError:
    with pytest.raises(AttemptError) as raised:
        ask(claude, asked, seconds)
    return raised.value


def test_the_prompt_goes_in_on_stdin_and_the_system_prompt_in_a_file(tmp_path: Path) -> None:
    claude = fake_claude(tmp_path, result())
    ask(claude, call("my question", model=HAIKU, system="my rules"))
    seen = claude.seen
    assert (seen["stdin"], seen["system"]) == ("my question", "my rules")
    assert not {"my question", "my rules"} & set(seen["arguments"])


def test_it_runs_slim_in_an_empty_folder_and_as_our_child(tmp_path: Path) -> None:
    claude = fake_claude(tmp_path, result())
    ask(claude)
    seen = claude.seen
    assert seen["arguments"][seen["arguments"].index("--tools") + 1] == ""
    assert seen["arguments"][seen["arguments"].index("--model") + 1] == HAIKU
    assert seen["cwd"] == ["system.txt"]
    assert seen["environ"]["BACKLOG_CHILD"] == "1"


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    ask(fake_claude(tmp_path, result()))
    assert list(temporary.iterdir()) == []


def test_an_answer_is_read_with_its_counts(tmp_path: Path) -> None:
    reply = ask(fake_claude(tmp_path, result("hello")))
    assert reply.text == "hello"
    assert reply.spent.usage == Usage(4, cache_write_5m=30, cache_read=2, output=8)
    assert reply.spent.answered_model == HAIKU


def test_the_result_is_found_among_all_events(tmp_path: Path) -> None:
    events = f'[{{"type": "system"}}, {result("hello")}]'
    assert ask(fake_claude(tmp_path, events)).text == "hello"


def test_structured_output_is_the_answer(tmp_path: Path) -> None:
    claude = fake_claude(tmp_path, result("done", structured_output={"a": 1}, stop_reason="tool_use"))
    assert json.loads(ask(claude, call(model=HAIKU, schema=SCHEMA)).text) == {"a": 1}
    assert json.loads(claude.seen["arguments"][-1]) == SCHEMA


def test_a_schema_too_long_for_an_argument_is_told_in_words(tmp_path: Path) -> None:
    claude = fake_claude(tmp_path, result())
    ask(claude, call(model=HAIKU, schema={"enum": ["x" * MAX_ARGUMENT_BYTES]}))
    assert "--json-schema" not in claude.seen["arguments"]
    assert "JSON Schema" in claude.seen["system"]


def test_a_repaired_call_is_told_as_one_text(tmp_path: Path) -> None:
    claude = fake_claude(tmp_path, result())
    ask(claude, call("my question", model=HAIKU).repaired("my answer", "it is wrong"))
    told = claude.seen["stdin"]
    assert told.index("my question") < told.index("my answer") < told.index("it is wrong")


@pytest.mark.parametrize(
    ("fields", "outcome", "closes"),
    [
        ({"result": "Not logged in · Please run /login"}, Outcome.REJECTED, True),
        ({"result": "Invalid API key", "api_error_status": 401}, Outcome.REJECTED, True),
        ({"result": "API Error: 429", "api_error_status": 429}, Outcome.LIMITED, True),
        ({"result": "You've hit your usage limit · resets 3pm"}, Outcome.LIMITED, True),
        ({"result": "API Error: 529", "api_error_status": 529}, Outcome.BROKEN, False),
        ({"result": "API Error: 400", "api_error_status": 400}, Outcome.REJECTED, False),
        ({"result": "Prompt is too long", "terminal_reason": "prompt_too_long"}, Outcome.TOO_LARGE, False),
        ({"result": "can't help", "stop_reason": "refusal"}, Outcome.REFUSED, False),
        ({"result": "", "subtype": "error_max_structured_output_retries"}, Outcome.INVALID, False),
    ],
)
def test_an_error_is_told_apart(tmp_path: Path, fields: dict[str, Any], outcome: Outcome, closes: bool) -> None:
    found = fails(fake_claude(tmp_path, result(**{"is_error": True, **fields}), exit_code=1))
    assert (found.outcome, found.closes_endpoint) == (outcome, closes)


@pytest.mark.parametrize("stdout", ["", "Segmentation fault", "[]", '{"type": "other"}'])
def test_a_crash_is_broken_and_says_what_stderr_said(tmp_path: Path, stdout: str) -> None:
    found = fails(fake_claude(tmp_path, stdout, stderr="out of memory", exit_code=139))
    assert found.outcome is Outcome.BROKEN
    assert "out of memory" in found.detail


def test_neither_key_nor_prompt_stands_in_an_error(tmp_path: Path) -> None:
    prompt = "the secret recipe of the house"
    found = fails(fake_claude(tmp_path, "", stderr=f"{prompt} {KEY}", exit_code=1), call(prompt, model=HAIKU))
    assert "secret recipe" not in found.detail
    assert KEY not in found.detail


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    began = time.monotonic()
    found = fails(fake_claude(tmp_path, result(), seconds=60), seconds=1)
    assert found.outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 20


def test_a_program_that_does_not_start_is_unreachable(tmp_path: Path) -> None:
    program = tmp_path / "claude"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    with pytest.raises(AttemptError, match="CLAUDE_BIN") as raised:
        ClaudeCli(str(program), {}).call(call(model=HAIKU), allowance(), nobody)
    assert raised.value.outcome is Outcome.UNREACHABLE


# -- the real CLI


@pytest.fixture
def environ(own_environment: Path) -> dict[str, str]:
    """A user with settings of his own: a hook, rules, and a key that only the stub knows."""
    folder = own_environment / ".claude"
    folder.mkdir()
    hook = {"type": "command", "command": f"touch {own_environment}/hook-ran"}
    settings = {"hooks": {"UserPromptSubmit": [{"hooks": [hook]}]}, "verbose": True}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "CLAUDE.md").write_text("RULES-OF-THE-USER")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(own_environment),
        "ANTHROPIC_API_KEY": "dummy",
        "DISABLE_TELEMETRY": "1",
    }


def test_the_real_cli_answers_slim_and_untouched_by_the_users_settings(
    claude_bin: Path, environ: dict[str, str]
) -> None:
    with StubServer(lambda _: "pong") as api:
        claude = ClaudeCli(str(claude_bin), environ | {"ANTHROPIC_BASE_URL": api.base_url})
        reply = claude.call(call("ping", model=HAIKU, system="Be brief."), allowance(60), nobody)
    (request,) = api.calls
    assert reply.text == "pong"
    assert reply.spent.answered_model == HAIKU
    assert request.tools == {}
    assert "Be brief." in request.system
    assert "RULES-OF-THE-USER" not in request.raw.decode()
    assert len(request.raw) < 4_000
    assert not Path(environ["HOME"], "hook-ran").exists()


def test_the_real_cli_gives_structured_output(claude_bin: Path, environ: dict[str, str]) -> None:
    with StubServer(lambda _: tool("StructuredOutput", a=1)) as api:
        claude = ClaudeCli(str(claude_bin), environ | {"ANTHROPIC_BASE_URL": api.base_url})
        reply = claude.call(call(model=HAIKU, schema=SCHEMA), allowance(60), nobody)
    assert json.loads(reply.text) == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Reply([text("")], stop_reason="refusal"), Outcome.REFUSED),
        (http_fault(400, "prompt is too long: 9 tokens > 8 maximum"), Outcome.TOO_LARGE),
        (http_fault(401, "invalid x-api-key"), Outcome.REJECTED),
    ],
)
def test_the_real_clis_errors_are_told_apart(
    claude_bin: Path, environ: dict[str, str], answer: Any, outcome: Outcome
) -> None:
    with StubServer(lambda _: answer) as api:
        claude = ClaudeCli(str(claude_bin), environ | {"ANTHROPIC_BASE_URL": api.base_url})
        with pytest.raises(AttemptError) as raised:
            claude.call(call(model=HAIKU), allowance(60), nobody)
    assert raised.value.outcome is outcome


def test_the_real_cli_without_a_login_says_what_to_do(claude_bin: Path, environ: dict[str, str]) -> None:
    del environ["ANTHROPIC_API_KEY"]
    environ["ANTHROPIC_BASE_URL"] = refused_url()
    with pytest.raises(AttemptError, match="ANTHROPIC_API_KEY") as raised:
        ClaudeCli(str(claude_bin), environ).call(call(model=HAIKU), allowance(60), nobody)
    assert raised.value.outcome is Outcome.REJECTED
