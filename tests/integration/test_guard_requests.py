"""`submit ACTION --request PATH`: an implementer asks to write a file beyond its plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run.requests import MOST_GRANTED
from backlog_ops.run.steps import Step
from tests.support.hook_events import Stage, finish, go_on, open_wave
from tests.support.lab import ticket_text
from tests.support.parent_session import Parent


@pytest.fixture
def stage(tmp_path):
    """T-1 is being implemented; git ignores `vendor/` and `*.log`."""
    stage = Stage.set(tmp_path, Gate.IMPLEMENT)
    (stage.parent.lab.top / ".git" / "info" / "exclude").write_text("vendor/\n*.log\n")
    return stage


def ask(stage, *paths):
    return stage.parent.lab.cli("submit", stage.action["id"], "--request", *map(str, paths))


def write_set(stage):
    (row,) = stage.parent.ctx.store.rows("SELECT write_set FROM action WHERE number = ?", int(stage.action["id"][1:]))
    return json.loads(row["write_set"])


def refused(done, code, *words):
    assert (done.returncode, done.stdout) == (code, "")
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stderr.count("\n") == 1


# -- granted


def test_what_nobody_else_may_write_is_granted(stage):
    done = ask(stage, "src/more.txt")
    assert (done.returncode, done.stdout) == (0, f"{stage.action['id']}: granted: src/more.txt\n")
    assert write_set(stage) == ["src/T-1.txt", "src/more.txt"]


def test_asking_hands_nothing_in(stage):
    ask(stage, "src/more.txt")
    assert stage.parent.ctx.store.action(int(stage.action["id"][1:])).state == "open"


def test_a_grant_is_said_to_the_person(stage):
    ask(stage, "src/more.txt", "docs/new.md")
    events = [event.text for event in stage.parent.ctx.store.events(stage.parent.run.id)]
    assert events[-1] == "may also write docs/new.md, src/more.txt, as it asked"


def test_several_are_granted_at_once_and_one_after_the_other(stage):
    ask(stage, "a.txt", "b.txt")
    ask(stage, "c.txt")
    assert write_set(stage) == ["a.txt", "b.txt", "c.txt", "src/T-1.txt"]


def test_a_folder_is_granted_with_all_below_it(stage):
    ask(stage, "docs/")
    assert write_set(stage) == ["docs", "src/T-1.txt"]
    assert ask(stage, "docs/deep/er.md").stdout == f"{stage.action['id']}: may be written already: docs/deep/er.md\n"


@pytest.mark.parametrize("path", ["src/T-1.txt", "./src/T-1.txt", "src//T-1.txt"])
def test_what_may_be_written_already_is_said_so(stage, path):
    done = ask(stage, path)
    assert (done.returncode, done.stdout) == (0, f"{stage.action['id']}: may be written already: src/T-1.txt\n")
    assert write_set(stage) == ["src/T-1.txt"]


def test_an_absolute_path_in_the_worktree_is_the_one_below_it(stage):
    ask(stage, stage.worktree / "src" / "more.txt")
    assert write_set(stage) == ["src/T-1.txt", "src/more.txt"]


def test_a_path_with_blanks_and_quotes_is_granted_as_it_is(stage):
    odd = 'src/it\'s a "file" [1].txt'
    ask(stage, odd)
    assert odd in write_set(stage)


def test_a_file_that_is_tracked_may_match_what_git_ignores(tmp_path):
    parent = Parent.of(tmp_path / "repo")
    parent.lab.write("src/kept.log", "kept\n")
    parent.lab.commit("a log that is kept")
    parent.lab.write(".gitignore", "*.log\n")
    parent.lab.commit("ignore logs")
    action = parent.begin_at(Gate.IMPLEMENT)
    assert parent.lab.cli("submit", action["id"], "--request", "src/kept.log").returncode == 0


def test_what_was_granted_is_kept_and_the_reviewer_is_told(stage):
    ask(stage, "src/more.txt")
    (stage.worktree / "src" / "more.txt").write_text("more\n")
    finish(stage.parent, stage.action)
    (review,) = go_on(stage.parent)
    assert review["gate"] == "REVIEW"
    brief = Path(review["prompt"].split()[1]).read_text()
    assert (
        "- src/more.txt" in brief.split("## Files beyond the plan, which the implementer asked for")[1].split("##")[0]
    )
    assert "+more" in brief


def test_what_was_granted_holds_for_the_next_attempt(stage):
    ask(stage, "src/more.txt")
    finish_broken(stage)
    (again,) = go_on(stage.parent)
    assert again["attempt"] == 2
    (row,) = stage.parent.ctx.store.rows("SELECT write_set FROM action WHERE number = ?", int(again["id"][1:]))
    assert json.loads(row["write_set"]) == ["src/T-1.txt", "src/more.txt"]


def finish_broken(stage):
    (stage.worktree / "src" / "T-1.txt").write_text("BROKEN\n")
    stage.parent.ctx.store.hand_in(stage.parent.ctx.store.action(int(stage.action["id"][1:])))


# -- refused


@pytest.mark.parametrize("path", ["vendor/lib.js", "vendor", "src/debug.log"])
def test_what_git_ignores_is_refused(stage, path):
    refused(ask(stage, path), 1, f"refused: {path} is ignored by git and would not be committed")
    assert write_set(stage) == ["src/T-1.txt"]


@pytest.mark.parametrize(
    "path",
    ["backlog.config.json", "tickets/pending/T-2.md", "tickets", "CLAUDE.md", ".claude/settings.json", ".mcp.json"],
)
def test_what_governs_the_gates_or_the_host_is_refused(stage, path):
    refused(ask(stage, path), 1, path, "governs the gates or the host")
    assert write_set(stage) == ["src/T-1.txt"]


def test_all_or_none_are_granted(stage):
    refused(ask(stage, "src/more.txt", "src/debug.log"), 1, "src/debug.log is ignored by git")
    assert write_set(stage) == ["src/T-1.txt"]


def test_more_than_a_ticket_may_get_is_refused(stage):
    many = [f"src/more-{number}.txt" for number in range(MOST_GRANTED)]
    assert ask(stage, *many).returncode == 0
    refused(ask(stage, "src/one-more.txt"), 1, f"T-1 may get {MOST_GRANTED} files beyond its plan; do without")
    assert len(write_set(stage)) == MOST_GRANTED + 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../outside.txt", 'must be written without ".."'),
        ("src/../../outside.txt", 'must be written without ".."'),
        ("/etc/hosts", "is not in the worktree"),
        ("~/.bashrc", "must be relative to the repository"),
        (".", "must name something inside the repository"),
        ("", "must name something inside the repository"),
        ("src/*.txt", "is a pattern"),
        ("src\\more.txt", "holds a backslash"),
        ("src/two\nlines.txt", "control character"),
        (".git/hooks/pre-commit", "belongs to git"),
        (".backlog-ops/x", "belongs to the engine"),
        ("x" * 2000, "is longer than"),
    ],
)
def test_a_path_that_cannot_be_meant_is_wrong_usage(stage, path, said):
    done = ask(stage, path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert write_set(stage) == ["src/T-1.txt"]


def test_the_persons_own_checkout_is_not_the_worktree(stage):
    done = ask(stage, stage.parent.lab.top / "src" / "more.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"is not in the worktree {stage.worktree}" in done.stderr


def test_a_reviewer_writes_one_file_and_gets_no_other(tmp_path):
    stage = Stage.set(tmp_path, Gate.REVIEW)
    refused(ask(stage, "src/more.txt"), 2, f"{stage.action['id']}: REVIEW writes one file, which its brief names")


def test_what_is_handed_in_gets_nothing_more(stage):
    stage.parent.lab.cli("submit", stage.action["id"])
    refused(ask(stage, "src/more.txt"), 1, f"{stage.action['id']}: already handed-in")


# -- what another ticket of the wave may write


@pytest.fixture
def two(tmp_path):
    """T-1 and T-2 are being implemented side by side; T-2 may write src/T-2.txt and all of lib."""
    parent = Parent.of(tmp_path / "repo", "T-1")
    parent.lab.write("tickets/pending/T-2.md", ticket_text("T-2", ("src/T-2.txt", "lib")))
    parent.lab.commit("a second ticket")
    return parent


def implementing(parent):
    for action in open_wave(parent):
        finish(parent, action)
    return {action["ticket"]: action for action in go_on(parent)}


def request(parent, action, path):
    return parent.lab.cli("submit", action["id"], "--request", path)


@pytest.mark.parametrize("path", ["src/T-2.txt", "SRC/t-2.TXT", "lib", "lib/deep/er.py", "src"])
def test_what_another_ticket_may_write_is_refused(two, path):
    done = request(two, implementing(two)["T-1"], path)
    refused(done, 1, f"refused: {path} belongs to T-2 in this wave; do without it, and say so")


def test_what_another_ticket_was_granted_is_refused_too(two):
    actions = implementing(two)
    assert request(two, actions["T-2"], "src/shared.txt").returncode == 0
    refused(request(two, actions["T-1"], "src/shared.txt"), 1, "src/shared.txt belongs to T-2")


def test_what_a_ticket_names_that_is_still_being_planned_is_refused(two):
    first, _second = sorted(open_wave(two), key=lambda action: action["ticket"])
    finish(two, first)
    (mine,) = [action for action in go_on(two) if action["gate"] == "IMPLEMENT"]
    refused(request(two, mine, "lib/deep/er.py"), 1, "lib/deep/er.py belongs to T-2")


def test_what_a_ticket_left_that_is_done_with_is_granted(two):
    actions = implementing(two)
    store = two.ctx.store
    store.update_ticket(store.ticket(two.run.id, "T-2"), step=Step.PARKED)
    assert request(two, actions["T-1"], "src/T-2.txt").returncode == 0
