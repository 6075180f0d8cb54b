"""Bad words, tickets and settings: one clear line that names the place and the remedy, nothing changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run import closing
from backlog_ops.run.driver_lock import RUN, WORKER, driving
from backlog_ops.run.opening import open_run
from tests.support.lab import Lab, ticket_text
from tests.support.parent_session import Parent
from tests.support.refusals import refused


@pytest.fixture
def lab(tmp_path):
    return Parent.of(tmp_path / "repo").lab


@pytest.fixture
def fake_claude(tmp_path):
    """Says what it was asked; a run that gets so far has gone too far."""
    program = tmp_path / "claude"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    program.chmod(0o755)
    return str(program)


def bad_ticket(lab: Lab, text: str | bytes, *problems: str, name: str = "b.md") -> None:
    """A committed ticket with these problems: `start` and `run` list them, `validate` does too."""
    path = lab.top / "tickets" / "pending" / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    lab.commit("a ticket")
    listed = [f"tickets/pending/{problem}" for problem in problems]
    said = refused(lab, "start", details=listed)
    assert said == f"{len(listed)} problem(s) in the tickets; nothing was started"
    validated = lab.cli("validate", "tickets")
    assert (validated.returncode, validated.stdout.splitlines()) == (1, listed)


# -- the configuration


def test_no_configuration_names_the_command_that_writes_one(lab):
    lab.git.run("rm", "-q", "backlog.config.json")
    lab.commit("no configuration")
    for command in ("start", "validate", "next"):
        assert refused(lab, command, code=3) == (
            f"{lab.top}/backlog.config.json: there is no configuration: `backlog-ops init` (in Claude Code "
            "/backlog:init) writes one"
        )


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            '{"version": "1.0",\n "qualityGates": {"testComand": "x", "testCommand": "x"},\n "llmOps": {"routing": '
            '{"entryModelImplement": "free"}}}',
            [
                '2: qualityGates.testComand: unknown key; did you mean "testCommand"?',
                '3: llmOps.routing.entryModelImplement: "free" is a local model without tool use, and IMPLEMENT edits '
                'files: use "cheap" or above',
            ],
        ),
        (
            '{"version": "2.0"}',
            ["1: version: written for a newer version (2.0, this plugin reads 1.0): update the plugin"],
        ),
        ("{\n", ["2: not valid JSON at column 1: expected a key in double quotes, found the end of the file"]),
    ],
    ids=["two problems", "a newer version", "no JSON"],
)
def test_a_configuration_that_is_wrong_is_told_with_every_line(lab, text, problems):
    file = lab.write("backlog.config.json", text)
    lab.commit("wrong")
    said = refused(lab, "start", code=3, details=[f"{file}:{problem}" for problem in problems])
    assert said == f"{file}: the configuration is invalid"
    validated = lab.cli("validate")
    assert validated.returncode == 3
    assert validated.stdout.splitlines() == [f"backlog.config.json:{problem}" for problem in problems]


def test_a_folder_in_place_of_the_configuration(lab):
    lab.git.run("rm", "-q", "backlog.config.json")
    lab.write("backlog.config.json/file", "")
    lab.commit("a folder")
    assert refused(lab, "start", code=3) == f"{lab.top}/backlog.config.json: cannot be read: Is a directory"


# -- the tickets


def test_no_tickets(tmp_path):
    lab = Lab.make(tmp_path / "repo", {})
    assert refused(lab, "start") == "tickets/pending: no ticket (*.md) there; add one, or set backlog.dataDir"


def test_no_ticket_that_is_ready(tmp_path):
    lab = Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1", status="blocked")})
    said = refused(lab, "start", details=["T-1: blocked: its status says so"])
    assert said == "no ticket is ready"


def test_a_ticket_that_is_not_utf_8(lab):
    bad_ticket(lab, b"---\nid: T-2\ntitle: caf\xe9\n---\n", "b.md:3: is not UTF-8 (byte 0xe9): save the file as UTF-8")


def test_a_ticket_of_a_megabyte(lab):
    problem = "b.md:1: is larger than 262144 bytes (ticketValidation.maxBytes): split the ticket"
    bad_ticket(lab, ticket_text("T-2") + "x" * 1_000_000, problem)


def test_a_title_with_a_line_break(lab):
    bad_ticket(
        lab, ticket_text("T-2", title="a\nb"), 'b.md:3: `title`: "a\\nb" holds a line break or control character'
    )


@pytest.mark.parametrize("title", ["$(touch x) `touch x`; touch x '", '"; touch x; "', "--amend -m x"])
def test_a_title_may_be_any_line_and_nothing_of_it_is_executed(tmp_path, title):
    parent = Parent.of(tmp_path / "repo", title=title)
    assert parent.lab.cli("validate").stdout == "ok\n"
    assert parent.lab.cli("start", "--dry-run").returncode == 0
    parent.begin_at(Gate.IMPLEMENT)
    assert parent.lab.cli("show", "T-1").stdout.startswith(f"T-1  {title}\n")
    assert not list(tmp_path.rglob("x"))


def test_affected_files_outside_the_repository(lab):
    bad_ticket(
        lab,
        ticket_text("T-2", ("src/x", "../x", "/etc/passwd", "~/x", ".git/config")),
        'b.md:5: affected file "../x" must be written without ".."',
        'b.md:5: affected file "/etc/passwd" must be relative to the repository',
        'b.md:5: affected file "~/x" must be relative to the repository',
        'b.md:5: affected file ".git/config" belongs to git',
    )


@pytest.mark.parametrize(
    ("needs", "problem"),
    [
        ("T-99", 'depends on "T-99", which no ticket has as its id'),
        ("T-2", "T-2 depends on itself"),
        ("t-1", 'depends on "t-1", which no ticket has as its id; did you mean "T-1"?'),
    ],
)
def test_a_dependency_that_cannot_be_met(lab, needs, problem):
    bad_ticket(lab, ticket_text("T-2", depends_on=[needs]), f"b.md:6: {problem}")


def test_dependencies_in_a_circle(tmp_path):
    lab = Lab.make(tmp_path / "repo", {"a.md": ticket_text("T-1", depends_on=["T-2"])})
    text = ticket_text("T-2", depends_on=["T-1"])
    bad_ticket(lab, text, "a.md:6: circular dependency: T-1 → T-2 → T-1")


@pytest.mark.parametrize(
    ("ticket_id", "difference"), [("T-1", "is already used"), ("t-1", "differs only by case from T-1")]
)
def test_two_tickets_of_one_id(lab, ticket_id, difference):
    lab.git.run("mv", "tickets/pending/T-1.md", "tickets/pending/a.md")
    bad_ticket(lab, ticket_text(ticket_id), f"b.md:2: id {ticket_id} {difference} in tickets/pending/a.md")


# -- runs, actions, words


def test_a_second_run_is_told_about_the_first(lab, fake_claude):
    run = open_run(lab.context(), [], None)
    for args in (["start", "T-2"], ["start", "--max-usd", "1"], ["run", "T-1"], ["run", "--max-usd", "1"]):
        assert refused(lab, *args, CLAUDE_BIN=fake_claude) == (
            f"run {run.id} is open in this repository: `backlog-ops next` or `backlog-ops run` goes on with it, "
            "`backlog-ops abort` ends it"
        )
    assert not Path(fake_claude).with_name("asked").exists()


@pytest.mark.parametrize(("who", "command"), [(RUN, "run"), (RUN, "clean"), (WORKER, "clean")])
def test_a_run_that_is_driven_is_not_driven_twice(lab, fake_claude, who, command):
    ctx = lab.context()
    open_run(ctx, [], None)
    with driving(ctx.state_folder, who):
        assert refused(lab, command, CLAUDE_BIN=fake_claude) == (
            f"{who} (pid {os.getpid()}) is at work on this repository; wait for it or stop it first"
        )
    assert not Path(fake_claude).with_name("asked").exists()


@pytest.mark.parametrize("command", ["next", "resume", "status", "show T-1"])
def test_no_run_yet(lab, command):
    said = "no run yet: `backlog-ops start` or `backlog-ops run` begins one"
    assert refused(lab, *command.split()) == said


def test_nothing_to_abort(lab):
    assert refused(lab, "abort") == "no run is open: `backlog-ops start` or `backlog-ops run` begins one"


def test_an_unknown_ticket(lab):
    assert refused(lab, "start", "t-1", code=2) == (
        "t-1: no such ticket in tickets/pending (ids are matched case-exactly)"
    )
    assert refused(lab, "route", "T-9", "PLAN", code=2) == "T-9: no such ticket in tickets/pending"
    run = open_run(lab.context(), [], None)
    assert refused(lab, "show", "T-9") == f"ticket T-9: not part of run {run.id}"


def test_an_unknown_gate(lab):
    assert refused(lab, "route", "T-1", "GUESS", code=2) == (
        "GUESS: no such gate; one of CLASSIFY, WAVE_PLAN, INVESTIGATE, PLAN, DRAFT, IMPLEMENT, LINT, REVIEW, COMMIT, "
        "SUMMARY"
    )


@pytest.mark.parametrize("command", ["submit", "check"])
def test_an_unknown_action(lab, command):
    assert refused(lab, command, "a7") == "action a7: unknown; `backlog-ops status` lists the open ones"
    for word in ("T-1", "a1²", "a" + "9" * 30):
        assert refused(lab, command, word, code=2) == f"{word}: not an action; they look like a17"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["implement"], "argument COMMAND: invalid choice: 'implement'"),
        ([], "the following arguments are required: COMMAND"),
        (["start", "--fast"], "unrecognized arguments: --fast"),
        (["start", "--", "T-1"], "unrecognized arguments: T-1"),
        (["status", "--format", "xml"], "argument --format: invalid choice: 'xml'"),
        (["start", "--max-usd", "-1"], "argument --max-usd: -1: must be an amount in US dollars, such as 2.50"),
        (["start", "--max-usd", "abc"], "argument --max-usd: abc: must be an amount in US dollars, such as 2.50"),
        (["run", "--max-usd", "nan"], "argument --max-usd: nan: must be an amount in US dollars, such as 2.50"),
        (["run", "--jobs", "0"], "argument --jobs: 0: must be a number, 1 or more"),
        (["run", "--jobs", "many"], "argument --jobs: many: must be a number, 1 or more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_words_that_are_no_command(lab, args, said):
    line = refused(lab, *args, code=2)
    assert line.startswith(said)
    assert re.search(r"`backlog-ops( \w+)? --help` shows how$", line)


@pytest.mark.parametrize("command", ["start", "run"])
def test_nothing_to_spend(lab, fake_claude, command):
    said = refused(lab, command, "--max-usd", "0", code=6, CLAUDE_BIN=fake_claude)
    assert said == "--max-usd: nothing is left to spend; give an amount above 0"


def test_a_run_waits_for_the_worker_of_a_session(lab, fake_claude):
    ctx = lab.context()
    open_run(ctx, [], None)
    with driving(ctx.state_folder, WORKER):
        main = Path(__file__).resolve().parents[2] / "scripts" / "ops" / "backlog_ops" / "__main__.py"
        waiting = subprocess.Popen(
            [sys.executable, str(main), "run"],
            cwd=lab.top,
            env={**os.environ, "CLAUDE_BIN": str(fake_claude)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert waiting.stderr is not None
        assert waiting.stderr.readline().startswith(f"waiting for {WORKER} (pid {os.getpid()})")
        closing.abort(ctx)
    said = waiting.stderr.read()
    waiting.wait(20)
    assert "stop it first" not in said
