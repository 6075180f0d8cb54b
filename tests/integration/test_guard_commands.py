"""The command guard: what hook.sh decides about a Bash command while a run is open."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run.actions import LAUNCHER
from backlog_ops.storage.locations import PLUGIN_ROOT
from tests.support.hook_events import Host, Stage, apart

OURS = shlex.quote(str(LAUNCHER))


@pytest.fixture(scope="module")
def implementing(tmp_path_factory):
    """A sub-agent at work on the IMPLEMENT action of T-1; that of T-2, a3 or a4 as well, waits."""
    folder = tmp_path_factory.mktemp("implementing")
    with apart(folder / "home"):
        return Stage.set(folder, Gate.IMPLEMENT, "T-1", "T-2")


@pytest.fixture(scope="module")
def reviewing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviewing")
    with apart(folder / "home"):
        return Stage.set(folder, Gate.REVIEW)


def bash(stage, command, **asked):
    """The command of the run's own sub-agent, judged."""
    return stage.host.hook("bash", stage.agent.tool("Bash", command=spelled(stage, command), **asked))


def spelled(stage, command):
    """`OPS` stands for the launcher, `ACTION` for the sub-agent's own action, `OTHER` for T-2's."""
    other = "a3" if stage.action["id"] == "a4" else "a4"
    return command.replace("OPS", OURS).replace("ACTION", stage.action["id"]).replace("OTHER", other)


# -- a run's sub-agent


@pytest.mark.parametrize(
    "command",
    [
        "OPS check ACTION",
        "  OPS   check\tACTION  ",
        f'"{LAUNCHER}" check ACTION',
        f"'{LAUNCHER}' check ACTION",
        f"{PLUGIN_ROOT}/bin/../bin/backlog-ops check ACTION",
        "OPS check ACTION 2>&1",
        "OPS check ACTION | tail -20",
        "OPS check ACTION | tail -n 20",
        "OPS check ACTION | head",
        "OPS check ACTION 2>&1 | tail -n20",
        "OPS check ACTION -- -k login",
        "OPS check ACTION -- -k 'a or b[1]'",
        'OPS check ACTION -- -k "a and not b" tests/test_a.py 2>&1 | head -50',
        "OPS check ACTION -- -- -t 'it; does && not | run `this` or $(that) > there'",
        """OPS check ACTION -- -k "it's" """,
        "OPS check ACTION -- 'two\nlines'",
    ],
)
def test_the_check_of_its_own_action_is_allowed_with_the_time_that_it_may_need(implementing, command):
    said = bash(implementing, command, description="Run the checks")
    asked = {"command": spelled(implementing, command), "description": "Run the checks", "timeout": 600_000}
    assert said.decision == {"permissionDecision": "allow", "updatedInput": asked}


def test_a_check_never_goes_on_in_the_background(implementing):
    said = bash(implementing, "OPS check ACTION", run_in_background=True, timeout=1000)
    asked = {"command": spelled(implementing, "OPS check ACTION"), "timeout": 600_000}
    assert said.decision["updatedInput"] == asked


@pytest.mark.parametrize(
    "command",
    [
        "OPS submit ACTION",
        "OPS submit ACTION 2>&1",
        "OPS submit ACTION --request src/other.txt",
        "OPS submit ACTION --request 'src/it'\"'\"'s [a] file.txt' 'b c.txt'",
    ],
)
def test_handing_in_its_own_action_is_allowed_as_it_is(implementing, command):
    decision = bash(implementing, command).decision
    assert decision["permissionDecision"] == "allow"
    assert decision["updatedInput"]["command"] == spelled(implementing, command)


@pytest.mark.parametrize("command", ["OPS check ACTION", "OPS submit ACTION"])
def test_no_command_of_a_sub_agent_leaves_the_sandbox(implementing, command):
    said = bash(implementing, command, dangerouslyDisableSandbox=True)
    assert "dangerouslyDisableSandbox" not in said.decision["updatedInput"]


REFUSED = [
    # what a model tries first
    "pytest",
    "python -m pytest -q",
    "git diff",
    "git -C /tmp status",
    "npm test",
    "ls",
    "cat src/T-1.txt",
    "cat > src/T-1.txt <<'EOF'\nhello\nEOF",
    "sed -i s/a/b/ src/T-1.txt",
    "tee src/T-1.txt",
    "",
    "   ",
    # its own check, and something else with it
    "cd src && OPS check ACTION",
    "FOO=1 OPS check ACTION",
    "env OPS check ACTION",
    "sh -c 'OPS check ACTION'",
    "OPS check ACTION; touch x",
    "OPS check ACTION && touch x",
    "OPS check ACTION || touch x",
    "OPS check ACTION & touch x",
    "OPS check ACTION | tee x",
    "OPS check ACTION | tail -20 x",
    "OPS check ACTION | tail -20; touch x",
    "OPS check ACTION | sh",
    "OPS check ACTION $(touch x)",
    'OPS check ACTION -- "$(touch x)"',
    "OPS check ACTION -- \"'$(touch x)'\"",
    "OPS check ACTION -- \"'`touch x`'\"",
    "OPS check ACTION -- '\"'\"$(touch x)\"'\"'",
    'OPS check ACTION -- "a\\"; touch x; \\""',
    "OPS check ACTION -- \\'; touch x; \\'",
    "OPS check ACTION `touch x`",
    "OPS check ACTION -- $HOME",
    "OPS check ACTION -- ${HOME}",
    "OPS check ACTION -- *",
    "OPS check ACTION -- src/?",
    "OPS check ACTION -- {a,b}",
    "OPS check ACTION -- ~",
    "OPS check ACTION -- !!",
    "OPS check ACTION # and more",
    "OPS check ACTION > out",
    "OPS check ACTION >> out",
    "OPS check ACTION 2> out",
    "OPS check ACTION < in",
    "OPS check ACTION <(touch x)",
    "OPS check ACTION\ntouch x",
    "OPS check ACTION\r\ntouch x",
    "touch x\nOPS check ACTION",
    "OPS check ACTION 2>&1\ntouch x",
    "OPS check ACTION -- 'not closed",
    'OPS check ACTION -- "not closed 2>&1',
    "(OPS check ACTION)",
    "{ OPS check ACTION; }",
    "! OPS check ACTION",
    # its own program, for something else
    "OPS",
    "OPS check",
    "OPS check a999",
    "OPS check OTHER",
    "OPS check ACTIONx",
    "OPS submit OTHER",
    "OPS --debug check ACTION",
    "OPS next",
    "OPS abort",
    "OPS run",
    "OPS clean",
    "OPS park T-1",
    # another program
    "backlog-ops check ACTION",
    "bin/backlog-ops check ACTION",
    "./bin/backlog-ops check ACTION",
    "/usr/local/bin/backlog-ops check ACTION",
    f"{LAUNCHER}x check ACTION",
    f"{LAUNCHER}/../backlog check ACTION",
]


@pytest.mark.parametrize("command", REFUSED)
def test_any_other_command_is_denied_with_the_one_to_use(implementing, command):
    reason = bash(implementing, command).denial
    assert f"`{OURS} check {implementing.action['id']}`" in reason


@pytest.mark.parametrize("command", ["OPS check ACTION", "OPS submit ACTION", "cat /etc/hosts"])
def test_one_that_hands_in_a_file_needs_no_command_and_is_told_which_file(reviewing, command):
    hand_in = reviewing.brief.with_name("verdict.json")
    reason = bash(reviewing, command).denial
    assert reason == f"backlog: no command is needed here: write {hand_in}, then end with one line"


def test_a_command_that_is_no_text_is_left_to_the_host(implementing):
    event = implementing.agent.tool("Bash", command=["ls"])
    assert implementing.host.hook("bash", event).is_silent


def test_the_path_of_the_launcher_may_be_a_link_to_it(implementing, tmp_path):
    (tmp_path / "plugin").symlink_to(PLUGIN_ROOT)
    assert bash(implementing, f"{tmp_path}/plugin/bin/backlog-ops check ACTION").is_allowed


def test_another_program_of_the_same_name_is_not_the_launcher(implementing, tmp_path):
    other = tmp_path / "bin" / "backlog-ops"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert not bash(implementing, f"{other} check ACTION").is_allowed


def test_one_that_was_found_by_its_marker_alone_is_held_to_the_same(implementing):
    agent = implementing.host.sub_agent(implementing.action["prompt"])
    said = implementing.host.hook("bash", agent.tool("Bash", command="pytest"))
    assert f"check {implementing.action['id']}`" in said.denial


def test_a_marker_among_content_blocks_is_found_too(implementing):
    agent = implementing.host.sub_agent(implementing.action["prompt"])
    content = [{"type": "text", "text": "[Workflow harness]"}, {"type": "text", "text": implementing.action["prompt"]}]
    agent.transcript.write_text(json.dumps({"type": "user", "message": {"role": "user", "content": content}}) + "\n")
    assert implementing.host.hook("bash", agent.tool("Bash", command="pytest")).denial


# -- the main session, and everybody else


@pytest.mark.parametrize(
    "command",
    [
        "OPS start",
        "OPS start T-1 --max-usd 5",
        "OPS next",
        "OPS next 2>&1 | tail -20",
        "OPS resume",
        "OPS status",
        "OPS show T-1",
        "OPS route T-1 IMPLEMENT",
        "OPS validate",
    ],
)
def test_the_commands_of_the_loop_are_allowed_in_the_main_session(implementing, command):
    event = implementing.host.tool("Bash", command=spelled(implementing, command))
    assert implementing.host.hook("bash", event).decision == {"permissionDecision": "allow"}


@pytest.mark.parametrize("command", ["OPS submit ACTION", "OPS submit ACTION --file verdict.json"])
@pytest.mark.parametrize("who", ["main session", "its own sub-agent"])
def test_nobody_else_hands_in(implementing, who, command):
    host = implementing.host
    caller = host if who == "main session" else host.sub_agent("Find all unused imports.")
    event = caller.tool("Bash", command=spelled(implementing, command))
    assert "the sub-agent of an action hands it in" in host.hook("bash", event).denial


def test_a_person_is_asked_before_a_command_leaves_the_sandbox(implementing):
    event = implementing.host.tool("Bash", command=spelled(implementing, "OPS next"), dangerouslyDisableSandbox=True)
    assert implementing.host.hook("bash", event).is_silent


@pytest.mark.parametrize(
    "command",
    [
        "OPS next --lost",
        "OPS check ACTION",
        "OPS abort",
        "OPS run",
        "OPS clean",
        "OPS init",
        "OPS hook settle",
        "OPS",
        "OPS next; rm -rf x",
        "OPS next -- \"'$(touch x)'\"",
        "cd src && OPS next",
        "backlog-ops next",
        "ls -la",
        "git status",
        "rm -rf build",
        "",
    ],
)
def test_any_other_command_of_the_main_session_is_left_to_the_host(implementing, command):
    event = implementing.host.tool("Bash", command=spelled(implementing, command))
    assert implementing.host.hook("bash", event).is_silent


@pytest.mark.parametrize("command", ["ls", "OPS check ACTION", "OPS next", "OPS abort", "rm -rf x"])
def test_sub_agents_that_are_not_the_runs_are_left_to_the_host(implementing, command):
    foreign = implementing.host.sub_agent("Find all unused imports.")
    event = foreign.tool("Bash", command=spelled(implementing, command))
    assert implementing.host.hook("bash", event).is_silent


@pytest.mark.parametrize("agent_id", ["a-nobody-knows", "../agent-x", "", 17, ["a"]])
def test_an_agent_without_files_is_nobodys_and_left_to_the_host(implementing, agent_id):
    event = {**implementing.host.tool("Bash", command="ls"), "agent_id": agent_id}
    assert implementing.host.hook("bash", event).is_silent


def test_a_sub_agent_of_another_session_in_the_repository_is_left_to_the_host(implementing):
    other = Host(implementing.host.top, implementing.host.home, "5e551000-0000-4000-9000-000000000000")
    event = other.sub_agent("Find all unused imports.").tool("Bash", command="pytest")
    assert other.hook("bash", event).is_silent


def test_after_the_run_its_sub_agents_are_left_to_the_host(tmp_path):
    stage = Stage.set(tmp_path, Gate.IMPLEMENT)
    stage.parent.lab.cli("abort")
    assert bash(stage, "pytest").is_silent


def test_a_very_long_command_is_judged_in_time(implementing):
    said = bash(implementing, "OPS check ACTION" + " " * 1_000_000 + "&& touch x")
    assert said.denial
    assert said.seconds < 8  # hooks.json gives it 10


# -- what is allowed is one call, with these words, whatever a shell makes of it

PIECES = ("'", '"', "\\", "$(touch x)", ";touch x;", " a")
MOST_PIECES = 5
RECORDER = "ops() { printf '%s\\0' call \"$@\"; }"  # stands where the launcher stands


@pytest.fixture
def own_words(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGIN_ROOT / "scripts" / "ops" / "hooks"))
    from guards.commands import own_words

    return own_words


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_what_counts_as_one_plain_call_is_one_to_a_shell_too(own_words, shell, tmp_path):
    script, expected = [RECORDER], []
    for number in range(MOST_PIECES + 1):
        for pieces in itertools.product(PIECES, repeat=number):
            rest = "".join(pieces)
            words = own_words(f"{OURS} check a1 {rest}")
            if words is not None:
                script.append(f"ops check a1 {rest}")
                expected += ["call", *words]
    done = subprocess.run([shell], input="\n".join(script), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\0")[:-1] == expected
    assert list(tmp_path.iterdir()) == []
    assert len(script) > 200
