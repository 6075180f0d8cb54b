"""The write guard: what hook.sh decides about Edit, Write, NotebookEdit and Read while a run is open."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run.actions import LAUNCHER
from tests.support.hook_events import Stage, apart

ODD = 'src/it\'s a "file".txt'
FILES = ("src/T-1.txt", "lib/deep", ODD)  # what T-1 may write; a folder stands for all below it


@pytest.fixture(scope="module")
def implementing(tmp_path_factory):
    """A sub-agent at work on the IMPLEMENT action of T-1, while T-10 waits for its own."""
    folder = tmp_path_factory.mktemp("implementing")
    with apart(folder / "home"):
        return Stage.set(folder, Gate.IMPLEMENT, "T-1", "T-10", files=FILES, complexity="medium")


@pytest.fixture(scope="module", params=[Gate.PLAN, Gate.REVIEW], ids=str)
def answering(request, tmp_path_factory):
    """A sub-agent whose whole work is one file."""
    folder = tmp_path_factory.mktemp("answering")
    with apart(folder / "home"):
        return Stage.set(folder, request.param)


def hook(stage, tool, path, **asked):
    key = "notebook_path" if tool == "NotebookEdit" else "file_path"
    return stage.host.hook("write", stage.agent.tool(tool, **{key: str(path), **asked}))


def requested(stage, denial):
    """The paths that a denial says how to ask for; the command is one that a shell reads as it is meant."""
    found = re.search(r"run `(.+)` first$", denial, re.DOTALL)
    assert found, denial
    launcher, submit, action, option, *paths = shlex.split(found[1])
    assert (launcher, submit, action, option) == (str(LAUNCHER), "submit", stage.action["id"], "--request")
    return paths


# -- in the write-set


@pytest.mark.parametrize("tool", ["Write", "Edit"])
@pytest.mark.parametrize(
    "path", ["src/T-1.txt", "./src/../src//T-1.txt", "lib/deep/a.py", "lib/deep/er/still/b.py", ODD]
)
def test_a_file_of_the_ticket_is_written_without_asking(implementing, tool, path):
    said = hook(implementing, tool, f"{implementing.worktree}/{path}", content="hello")
    assert said.decision == {"permissionDecision": "allow"}


def test_a_notebook_of_the_ticket_is_edited_without_asking(implementing):
    assert hook(implementing, "NotebookEdit", implementing.worktree / "lib/deep/a.ipynb").is_allowed


def test_a_notebook_of_nobody_is_denied(implementing):
    said = hook(implementing, "NotebookEdit", implementing.worktree / "a.ipynb")
    assert requested(implementing, said.denial) == ["a.ipynb"]


def test_a_link_into_the_worktree_is_the_file_that_it_leads_to(implementing, tmp_path):
    (tmp_path / "link").symlink_to(implementing.worktree)
    assert hook(implementing, "Write", tmp_path / "link" / "src" / "T-1.txt").is_allowed


def test_a_relative_path_is_one_of_the_folder_that_the_session_is_in(implementing):
    event = implementing.agent.tool("Write", file_path="src/T-1.txt")
    assert implementing.host.hook("write", {**event, "cwd": str(implementing.worktree)}).is_allowed
    assert not implementing.host.hook("write", event).is_allowed


# -- beside it


@pytest.mark.parametrize(
    "path",
    [
        "src/other.txt",
        "src/T-1.txt.bak",
        "lib/deeper.py",
        "lib",
        'a b/it\'s [one] $HOME `x` "of" those.txt',
        "two\nlines.txt",
        ".gitignore",
    ],
)
def test_another_file_of_the_worktree_is_denied_with_how_to_ask_for_it(implementing, path):
    denial = hook(implementing, "Write", implementing.worktree / path).denial
    assert denial.startswith(f"backlog: {path} is not among the files of T-1;")
    assert requested(implementing, denial) == [path]


def test_a_path_with_dots_is_the_file_that_it_leads_to(implementing):
    denial = hook(implementing, "Edit", f"{implementing.worktree}/lib/deep/../../src/other.txt").denial
    assert requested(implementing, denial) == ["src/other.txt"]


def test_dots_do_not_lead_out_of_the_worktree(implementing):
    denial = hook(implementing, "Edit", f"{implementing.worktree}/lib/deep/../../../T-10/src/T-10.txt").denial
    target = implementing.worktree.with_name("T-10") / "src" / "T-10.txt"
    assert denial == (f"backlog: {target} is outside this ticket's worktree; write {implementing.worktree} and below")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hosts",
        "/tmp/x",
        "~/.bashrc",
        "{worktree}",
        "{worktree}0/src/T-1.txt",
        "{worktrees}/T-10/src/T-10.txt",
        "{home}/.gitconfig",
        "{brief}",
    ],
)
def test_what_is_elsewhere_is_denied_with_where_to_write(implementing, path):
    named = path.format(
        worktree=implementing.worktree,
        worktrees=implementing.worktree.parent,
        home=implementing.host.home,
        brief=implementing.brief,
    )
    denial = hook(implementing, "Write", named).denial
    assert "is outside this ticket's worktree; write " in denial
    assert str(implementing.worktree) in denial.partition("; write ")[2]


@pytest.mark.parametrize("path", ["src/T-1.txt", "src/readme.txt", "backlog.config.json", "tickets/pending/T-1.md"])
def test_a_file_of_the_persons_own_checkout_is_denied_with_the_same_file_in_the_worktree(implementing, path):
    checkout = implementing.host.top / path
    denial = hook(implementing, "Edit", checkout).denial
    assert denial == (f"backlog: {checkout} is outside this ticket's worktree; write {implementing.worktree / path}")


def test_the_worktrees_link_to_its_repository_is_denied(implementing):
    assert hook(implementing, "Write", implementing.worktree / ".git").denial


def test_the_repository_itself_is_denied(implementing):
    assert hook(implementing, "Write", implementing.host.top / ".git" / "hooks" / "pre-commit").denial


def test_a_link_that_leads_into_the_checkout_is_denied_with_the_file_in_the_worktree(implementing):
    link = implementing.worktree / "lib" / "deep" / "out"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(implementing.host.top / "src")
    denial = hook(implementing, "Write", link / "readme.txt").denial
    assert denial.endswith(f"; write {implementing.worktree}/src/readme.txt")


@pytest.mark.parametrize("target", ["/etc/hosts", "/nowhere/at/all", "../../../../T-10/src/T-10.txt"])
def test_a_link_that_leads_out_is_denied_whether_there_is_something_or_not(implementing, target, tmp_path):
    link = implementing.worktree / "lib" / "deep" / "links" / tmp_path.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    assert "is outside this ticket's worktree" in hook(implementing, "Write", link).denial


def test_a_link_to_another_file_of_the_worktree_is_that_file(implementing):
    link = implementing.worktree / "lib" / "deep" / "readme"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("../../src/readme.txt")
    assert requested(implementing, hook(implementing, "Edit", link).denial) == ["src/readme.txt"]


def test_a_file_that_was_granted_on_request_is_written_without_asking(tmp_path):
    stage = Stage.set(tmp_path, Gate.IMPLEMENT)
    denial = hook(stage, "Write", stage.worktree / "src/more of it.txt").denial
    asked = requested(stage, denial)
    said = stage.host.hook("bash", stage.agent.tool("Bash", command=f"{denial.split('`')[1]}"))
    assert said.is_allowed
    done = stage.parent.lab.cli("submit", stage.action["id"], "--request", *asked)
    assert (done.returncode, done.stdout) == (0, f"{stage.action['id']}: granted: src/more of it.txt\n")
    assert hook(stage, "Write", stage.worktree / "src/more of it.txt").is_allowed


def test_nothing_more_is_written_when_the_action_is_over(tmp_path):
    stage = Stage.set(tmp_path, Gate.IMPLEMENT)
    assert stage.parent.lab.cli("submit", stage.action["id"]).returncode == 0
    denial = hook(stage, "Write", stage.worktree / "src/T-1.txt").denial
    assert denial == f"backlog: {stage.action['id']} is over; nothing more is to be written"


def test_what_is_no_path_is_left_to_the_host(implementing):
    for path in (None, 17, ["src/T-1.txt"], "src/\0.txt"):
        event = implementing.agent.tool("Write", file_path=path)
        assert implementing.host.hook("write", event).is_silent


# -- one whose work is one file


def test_the_file_to_hand_in_is_written_without_asking(answering):
    assert hook(answering, "Write", hand_in(answering)).decision == {"permissionDecision": "allow"}


@pytest.mark.parametrize("path", ["{worktree}/src/T-1.txt", "{folder}/brief.md", "{folder}/other.json", "/etc/hosts"])
def test_any_other_file_is_denied_with_the_one_to_write(answering, path):
    named = path.format(worktree=answering.worktree, folder=answering.brief.parent)
    assert hook(answering, "Write", named).denial == f"backlog: the only file to write is {hand_in(answering)}"


def hand_in(stage) -> Path:
    found = re.search(r"^(?:Answer|Verdict) file: (.+)$", stage.brief.read_text(), re.MULTILINE)
    assert found
    return Path(found[1])


def test_an_implementer_has_no_file_to_hand_in(implementing):
    assert hook(implementing, "Write", implementing.brief.with_name("answer.json")).denial


# -- reading


@pytest.mark.parametrize("path", ["{worktree}/src/readme.txt", "{worktree}/.git", "{brief}", "{worktree}/not/there"])
def test_the_worktree_and_the_brief_are_read_without_asking(implementing, path):
    named = path.format(worktree=implementing.worktree, brief=implementing.brief)
    assert hook(implementing, "Read", named).decision == {"permissionDecision": "allow"}


def test_a_reviewer_reads_the_worktree_without_asking(answering):
    assert hook(answering, "Read", answering.worktree / "src/readme.txt").is_allowed


@pytest.mark.parametrize(
    "path",
    ["/etc/hosts", "{top}/src/readme.txt", "{worktrees}/T-10/src/readme.txt", "{worktree}/../T-10/x", "~/.ssh/id"],
)
def test_reading_elsewhere_is_left_to_the_host(implementing, path):
    named = path.format(
        top=implementing.host.top, worktree=implementing.worktree, worktrees=implementing.worktree.parent
    )
    assert hook(implementing, "Read", named).is_silent


def test_reading_by_a_link_that_leads_out_is_left_to_the_host(implementing):
    link = implementing.worktree / "hosts"
    link.symlink_to("/etc/hosts")
    assert hook(implementing, "Read", link).is_silent


# -- everybody else


def others(implementing):
    """The main session, and a sub-agent of its own."""
    return implementing.host, implementing.host.sub_agent("Find all unused imports.")


@pytest.mark.parametrize("who", [0, 1], ids=["main session", "its own sub-agent"])
@pytest.mark.parametrize(
    ("tool", "path"),
    [
        ("Write", "{top}/src/readme.txt"),
        ("Write", "/etc/hosts"),
        ("Read", "{top}/src/readme.txt"),
        ("Read", "{worktree}/src/T-1.txt"),
    ],
)
def test_everybody_else_is_left_alone(implementing, who, tool, path):
    named = path.format(worktree=implementing.worktree, top=implementing.host.top)
    assert implementing.host.hook("write", others(implementing)[who].tool(tool, file_path=named)).is_silent


@pytest.mark.parametrize("who", [0, 1], ids=["main session", "its own sub-agent"])
@pytest.mark.parametrize("path", ["{worktree}/src/T-1.txt", "{top}/.backlog-ops/runs/verdict.json"])
def test_nobody_else_writes_what_a_sub_agent_of_the_run_is_to_hand_in(implementing, who, path):
    named = path.format(worktree=implementing.worktree, top=implementing.host.top)
    denial = implementing.host.hook("write", others(implementing)[who].tool("Write", file_path=named)).denial
    assert "only the sub-agent of an action writes there" in denial
    assert f"{shlex.quote(str(LAUNCHER))} next" in denial


def test_one_that_was_found_by_its_marker_alone_is_held_to_the_same(implementing):
    agent = implementing.host.sub_agent(implementing.action["prompt"])
    event = agent.tool("Write", file_path=str(implementing.worktree / "src/other.txt"))
    assert implementing.host.hook("write", event).denial


def test_a_workflows_agent_with_a_marker_is_held_to_the_same(implementing):
    agent = implementing.host.sub_agent(implementing.action["prompt"])
    folder = agent.meta.parent / "workflows" / "w1"
    folder.mkdir(parents=True)
    for path in (agent.meta, agent.transcript):
        path.rename(folder / path.name)
    event = agent.tool("Write", file_path=str(implementing.worktree / "src/other.txt"))
    assert implementing.host.hook("write", event).denial
