"""`llm_call.py` as people and scripts start it: flags, output, exit codes, ledger."""

from __future__ import annotations

import ast
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.stub_anthropic import Reply, StubServer, http_fault, text
from tests.support.fake_claude import fake_claude, result
from tests.support.llm import config
from tests.support.ollama_standin import Fault, OllamaStandin, refused_url

SCRIPT = Path(__file__).parents[2] / "scripts" / "ops" / "llm_call.py"
PROMPT = "What is the secret recipe of the house?"


class Shell:
    """Runs the command in a folder of its own, with nothing configured but an Ollama."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.json"
        self.environ = {"PATH": "/usr/bin:/bin", "HOME": str(folder / "home")}
        self.ollama(refused_url())

    def ollama(self, url: str, **llm_ops: Any) -> None:
        self.config.write_text(json.dumps(config(url, **llm_ops)))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(SCRIPT), "--config", str(self.config), *arguments]

    def run(self, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            env=self.environ,
            timeout=60,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("--model", "free", "--user", PROMPT, *arguments)

    def rows(self) -> list[dict[str, Any]]:
        """The ledger: calls made outside any repository share one."""
        path = self.folder / "home" / ".local/state/backlog-ops/no-repository/state.db"
        if not path.exists():
            return []
        with sqlite3.connect(path) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM ledger ORDER BY at, key")]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # another process is what we wait for


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def local(shell: Shell) -> Iterator[OllamaStandin]:
    """An Ollama that answers "local"; a test may set another `scenario`."""
    with OllamaStandin(lambda _: "local") as server:
        shell.ollama(server.base_url)
        yield server


@pytest.fixture
def remote(shell: Shell) -> Iterator[StubServer]:
    with StubServer(lambda _: "remote") as server:
        shell.environ |= {"ANTHROPIC_API_KEY": "sk-test-0123456789", "ANTHROPIC_BASE_URL": server.base_url}
        yield server


# -- the answer


def test_stdout_is_the_answer_and_nothing_else(shell: Shell, local: OllamaStandin) -> None:
    done = shell.ask()
    assert (done.returncode, done.stdout) == (0, "local\n")


def test_stderr_has_one_line_for_each_attempt(shell: Shell, local: OllamaStandin) -> None:
    (line,) = shell.ask().stderr.splitlines()
    assert line.startswith("llm_call: free ollama qwen3:8b: answered (")
    assert "tokens in" in line


def test_a_fallback_gives_its_reason(shell: Shell, remote: StubServer) -> None:
    done = shell.ask()
    assert (done.returncode, done.stdout) == (0, "remote\n")
    assert "fell back to cheap (anthropic) because of free ollama: unreachable" in done.stderr
    assert "Connection refused" in done.stderr


def test_no_fallback_asks_this_tier_only(shell: Shell, remote: StubServer) -> None:
    assert shell.ask("--no-fallback").returncode == 4
    assert remote.calls == []


def test_offline_asks_this_machine_only(shell: Shell, remote: StubServer) -> None:
    done = shell.ask("--offline")
    assert done.returncode == 4
    assert "--offline forbids it" in done.stderr
    assert remote.calls == []


def test_json_output_tells_everything(shell: Shell, remote: StubServer) -> None:
    told = json.loads(shell.ask("--output", "json").stdout)
    assert told["text"] == "remote"
    assert told["asked"] == {"tier": "free", "model": "qwen3:8b"}
    assert told["answered"] == {"tier": "cheap", "provider": "anthropic", "model": "claude-haiku-5-5"}
    assert told["usage"]["output"] > 0
    assert told["cost"]["nanousd"] == told["attempts"][-1]["cost"]["nanousd"] > 0
    assert [attempt["outcome"] for attempt in told["attempts"]] == ["unreachable", "answered"]


def test_streaming_gives_the_same_text(shell: Shell, local: OllamaStandin) -> None:
    local.scenario = lambda _: "a rather long answer\n"
    assert shell.ask("--stream").stdout == "a rather long answer\n"


def test_streamed_text_is_there_before_the_answer_is_complete(shell: Shell, local: OllamaStandin) -> None:
    local.scenario = lambda _: Fault("stall", after=5)
    command = shell.command("--model", "free", "--stream", "--user", "hi")
    with subprocess.Popen(command, cwd=shell.folder, env=shell.environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"cut of"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


def test_an_answer_that_breaks_off_while_it_is_shown_fails(
    shell: Shell, local: OllamaStandin, remote: StubServer
) -> None:
    local.scenario = lambda _: Fault("cut", after=3)
    done = shell.ask("--stream")
    assert done.returncode == 7
    assert remote.calls == []


def test_an_answer_is_utf8_whatever_the_locale(shell: Shell, remote: StubServer) -> None:
    remote.scenario = lambda _: "größer \ud800 ✓"
    shell.environ["LC_ALL"] = "C"
    assert shell.ask().stdout == "größer ? ✓\n"


def test_a_reader_that_leaves_is_no_error(shell: Shell, local: OllamaStandin) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        shell.command("--model", "free", "--user", "hi"),
        cwd=shell.folder,
        env=shell.environ,
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_schema_is_enforced(shell: Shell, local: OllamaStandin) -> None:
    schema = shell.folder / "schema.json"
    schema.write_text('{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
    local.scenario = lambda _: '{"n": 3}'
    assert json.loads(shell.ask("--json-schema", str(schema)).stdout) == {"n": 3}
    local.scenario = lambda _: '{"n": "three"}'
    done = shell.ask("--json-schema", str(schema))
    assert (done.returncode, done.stdout) == (5, "")


# -- where the prompt comes from


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_a_prompt_may_be_piped_in(shell: Shell, local: OllamaStandin, dash: list[str]) -> None:
    assert shell.run("--model", "free", *dash, stdin="größer?\n".encode()).returncode == 0
    assert local.chats[0]["messages"] == [{"role": "user", "content": "größer?\n"}]


def test_prompts_may_stand_in_files(shell: Shell, local: OllamaStandin) -> None:
    (shell.folder / "system").write_text("the rules")
    (shell.folder / "user").write_text("the question $(touch x) `y`")
    shell.run("--model", "free", "--system-file", "system", "--user-file", "user")
    assert [turn["content"] for turn in local.chats[0]["messages"]] == [
        "the rules",
        "the question $(touch x) `y`",
    ]


def test_a_pipe_is_not_read_where_a_prompt_is_given(shell: Shell, local: OllamaStandin) -> None:
    read, write = os.pipe()  # open and silent, as an agent's shell may leave it
    try:
        done = subprocess.run(
            shell.command("--model", "free", "--user", "given"),
            stdin=read,
            cwd=shell.folder,
            env=shell.environ,
            capture_output=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == 0
    assert local.chats[0]["messages"][0]["content"] == "given"


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        ([], None, "--model"),
        (["--model", "gratis", "--user", "x"], None, "--model"),
        (["--model", "free"], None, "empty"),
        (["--model", "free"], b" \n", "empty"),
        (["--model", "free"], b"\xff\xfe", "not UTF-8"),
        (["--model", "free", "--user", ""], None, "empty"),
        (["--model", "free", "--user", "a", "--user-file", "b"], None, "more than one prompt"),
        (["--model", "free", "--user", "a", "-"], b"b", "more than one prompt"),
        (["--model", "free", "--user-file", "missing.txt"], None, "missing.txt"),
        (["--model", "free", "--user", "a", "--system", "s", "--system-file", "f"], None, "--system-file"),
        (["--model", "free", "--usr", "a"], None, "--usr"),
        (["--model", "free", "--user", "a", "--max-tokens", "0"], None, "--max-tokens"),
        (["--model", "free", "--user", "a", "--max-tokens", "many"], None, "--max-tokens"),
        (["--model", "free", "--user", "a", "--timeout", "-1"], None, "--timeout"),
        (["--model", "free", "--user", "a", "--timeout", "nan"], None, "--timeout"),
        (["--model", "free", "--user", "a", "--temperature", "3"], None, "--temperature"),
        (["--model", "free", "--user", "a", "--tag", "kv"], None, "--tag"),
        (["--model", "free", "--user", "a", "--json-schema", "missing.json"], None, "missing.json"),
        (["--model", "free", "--user", "a", "--config", "missing.json"], None, "missing.json"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(shell: Shell, arguments: list[str], stdin: bytes | None, told: str) -> None:
    done = shell.run(*arguments, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert told in line


@pytest.mark.parametrize("content", ["{", "[]", '{"type": "nonsense"}', '{"$ref": "http://127.0.0.1:9/"}'])
def test_a_schema_that_is_none_is_wrong_usage(shell: Shell, local: OllamaStandin, content: str) -> None:
    (shell.folder / "schema.json").write_text(content)
    local.scenario = lambda _: "{}"
    assert shell.ask("--json-schema", "schema.json").returncode == 2


def test_a_misplaced_prompt_is_not_repeated(shell: Shell) -> None:
    done = shell.run("--model", "free", PROMPT, "--usr=" + PROMPT)
    assert done.returncode == 2
    assert "secret recipe" not in done.stderr


# -- exit codes


def test_nobody_there_is_exit_4_with_each_attempt_and_what_to_do(shell: Shell) -> None:
    done = shell.ask()
    assert (done.returncode, done.stdout) == (4, "")
    assert all(told in done.stderr for told in ("ollama serve", "set ANTHROPIC_API_KEY", "set CLAUDE_BIN"))


def test_an_invalid_configuration_is_exit_3_with_each_problem(shell: Shell) -> None:
    shell.config.write_text('{"version": "1.0", "llmOpps": {}}')
    done = shell.ask()
    assert (done.returncode, done.stdout) == (3, "")
    assert "llmOpps" in done.stderr


def test_a_refusal_is_exit_7(shell: Shell, remote: StubServer) -> None:
    remote.scenario = lambda _: Reply([text("")], stop_reason="refusal")
    done = shell.ask()
    assert (done.returncode, done.stdout) == (7, "")


def test_a_prompt_too_large_for_all_is_exit_8(shell: Shell, remote: StubServer) -> None:
    remote.scenario = lambda _: http_fault(413, "too large")
    done = shell.run("--model", "balanced", "--user", PROMPT)
    assert (done.returncode, done.stdout) == (8, "")


def test_an_interrupt_is_exit_130_at_once(shell: Shell, local: OllamaStandin) -> None:
    local.scenario = lambda _: Fault("hang")
    command = shell.command("--model", "free", "--user", "hi")
    with subprocess.Popen(command, cwd=shell.folder, env=shell.environ, stderr=subprocess.PIPE) as process:
        wait_until(lambda: local.chats)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_when_it_is_ended_the_claude_that_it_started_ends_too(shell: Shell) -> None:
    claude = fake_claude(shell.folder / "bin", result(), seconds=3600)
    environ = shell.environ | {"CLAUDE_BIN": str(claude.path)}
    command = shell.command("--model", "cheap", "--user", "hi")
    with subprocess.Popen(command, cwd=shell.folder, env=environ, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: claude.notes.exists() and claude.notes.read_text().endswith("}"))
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(claude.seen["pid"], 0)


# -- explain and the ledger


def test_explain_names_the_chain_and_calls_nobody(shell: Shell, local: OllamaStandin) -> None:
    done = shell.run("--model", "free", "--explain")
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["free", "ollama"],
        ["cheap", "anthropic"],
        ["cheap", "claude-cli"],
        ["balanced", "anthropic"],
        ["balanced", "claude-cli"],
    ]
    assert local.requests == []


def test_every_answer_has_a_row_in_the_ledger(shell: Shell, local: OllamaStandin) -> None:
    shell.ask("--ticket", "BUG-001", "--gate", "PLAN", "--tag", "team:core", "--tag", "n:1:2")
    (row,) = shell.rows()
    assert (row["source"], row["ticket"], row["gate"]) == ("llm_call", "BUG-001", "PLAN")
    assert (row["asked_tier"], row["asked_model"], row["provider"]) == ("free", "qwen3:8b", "ollama")
    assert (row["answered_model"], row["outcome"], row["cost_nanousd"]) == ("qwen3:8b", "answered", 0)
    assert json.loads(row["tags"]) == {"team": "core", "n": "1:2"}


def test_the_row_of_a_fallback_says_why(shell: Shell, remote: StubServer) -> None:
    shell.ask()
    (row,) = shell.rows()  # nobody was reached before, so there is nothing else to book
    assert row["asked_tier"] == "cheap"
    assert row["fallback_cause"].startswith("free ollama: unreachable: ")
    assert row["cost_nanousd"] > 0


def test_an_answer_that_was_not_used_is_booked_as_well(shell: Shell, local: OllamaStandin, remote: StubServer) -> None:
    local.scenario = lambda _: "null"
    shell.ask()
    assert [row["outcome"] for row in shell.rows()] == ["empty", "answered"]


def test_the_ledger_holds_no_prompt_and_no_answer(shell: Shell, local: OllamaStandin) -> None:
    local.scenario = lambda _: "the answer is salt"
    shell.ask()
    told = repr(shell.rows())
    assert "secret recipe" not in told
    assert "salt" not in told


def test_a_repository_has_a_ledger_of_its_own(shell: Shell, local: OllamaStandin) -> None:
    subprocess.run(["git", "init", "-q", str(shell.folder)], check=True, env=shell.environ)
    shell.ask()
    ledgers = list((shell.folder / "home/.local/state/backlog-ops").iterdir())
    assert [ledger.name.rpartition("-")[0] for ledger in ledgers] == [shell.folder.name]


@pytest.mark.parametrize("damage", ["a file in the way", "not a database"])
def test_a_ledger_that_cannot_be_written_costs_one_line_and_no_answer(
    shell: Shell, local: OllamaStandin, damage: str
) -> None:
    if damage == "a file in the way":
        state = shell.folder / "state"
        state.write_text("")
        shell.environ["XDG_STATE_HOME"] = str(state)
    else:
        folder = shell.folder / "home/.local/state/backlog-ops/no-repository"
        folder.mkdir(parents=True)
        (folder / "state.db").write_text("this is not a database, and long enough to be seen as such" * 40)
    done = shell.ask()
    assert (done.returncode, done.stdout) == (0, "local\n")
    assert len([line for line in done.stderr.splitlines() if "ledger" in line]) == 1


# -- the file that any Python may start


def test_it_can_be_read_by_python_3_6() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_help_is_for_people(shell: Shell) -> None:
    done = shell.run("--help")
    assert done.returncode == 0
    assert "example:" in done.stdout
