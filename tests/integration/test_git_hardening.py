"""Git where a ticket's tests, hooks or the user's settings have left traps: nothing outside the worktree is changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.errors import FindingsError, SurroundingsError
from backlog_ops.run import worktrees
from backlog_ops.run.gates.implement import delete_planned
from backlog_ops.run.git import Git, GitError, open_repository
from backlog_ops.run.requests import request
from backlog_ops.run.stale_locks import lock_in_the_way
from backlog_ops.run.steps import Step
from backlog_ops.run.surroundings import git_problem
from tests.support.hand_driven import HandDriven, brief_of, hook, land, several
from tests.support.lab import Lab

LINKED = {"worktree": {"link": ["node_modules"]}}
LIBRARY = "node_modules/left/index.js"
NOT_OURS = "/.git is not the worktree's own any more"


def worktree_of(driven: HandDriven) -> Path:
    return driven.ctx.worktree_path(driven.state())


def to_be_reviewed(lab: Lab) -> HandDriven:
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.REVIEW)
    return driven


def with_library(folder: Path, pattern: str, **fields: object) -> Lab:
    """The user's node_modules, ignored under this spelling and linked into worktrees."""
    lab = several(folder, config=LINKED, **fields)
    lab.write(".gitignore", f"{pattern}\n")
    lab.commit("ignore")
    lab.write(LIBRARY, "the user's own\n")
    return lab


# -- a worktree that is none any more


def lose(worktree: Path) -> None:
    (worktree / ".git").unlink()


def replace_by_another(worktree: Path) -> None:
    lose(worktree)
    subprocess.run(["git", "init", "-q"], cwd=worktree, check=True)
    subprocess.run(["git", "commit", "-q", "--allow-empty", "-m", "theirs"], cwd=worktree, check=True)


def lead_home(worktree: Path) -> None:
    (worktree / ".git").write_text(f"gitdir: {worktree.parents[3] / '.git'}\n")


def link_home(worktree: Path) -> None:
    lose(worktree)
    (worktree / ".git").symlink_to(worktree.parents[3] / ".git")


@pytest.mark.parametrize("spoil", [lose, replace_by_another, lead_home, link_home])
def test_a_spoilt_worktree_parks_its_ticket_and_the_users_work_stays_as_it_is(tmp_path, spoil):
    lab = several(tmp_path)
    driven = to_be_reviewed(lab)
    spoil(worktree_of(driven))
    lab.write("mine.txt", "my own\n")
    mine = lab.commit("my own commit")
    lab.write("src/readme.txt", "staged\n")
    lab.git.run("add", "src/readme.txt")
    driven.play()
    assert driven.state().step is Step.PARKED
    assert NOT_OURS in driven.state().reason
    assert lab.git.commit_of("main") == mine
    assert lab.git.text("status", "--short") == "M  src/readme.txt"


def test_a_worktree_that_leads_to_another_tickets_is_not_used(tmp_path):
    driven = HandDriven.begin(several(tmp_path, "T-1", "T-2"))
    other = driven.ctx.worktree_path(driven.state("T-2"))
    (worktree_of(driven) / ".git").write_text((other / ".git").read_text())
    with pytest.raises(GitError, match=NOT_OURS):
        Git(worktree_of(driven)).run("status")


def test_a_question_to_a_spoilt_worktree_has_no_answer(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    lose(worktree_of(driven))
    assert Git(worktree_of(driven)).commit_of("HEAD") is None


def test_a_worktree_that_is_spoilt_at_the_last_instant_does_not_lead_git_upwards(tmp_path, monkeypatch):
    driven = HandDriven.begin(several(tmp_path))
    lose(worktree_of(driven))
    monkeypatch.setattr("backlog_ops.run.git.lost_worktree", lambda _folder: None)
    with pytest.raises(GitError, match="not a git repository"):
        Git(worktree_of(driven)).run("status")


def test_the_repair_that_the_line_names_mends_it(tmp_path):
    lab = several(tmp_path)
    driven = to_be_reviewed(lab)
    lose(worktree_of(driven))
    lab.git.run("worktree", "repair")
    driven.play()
    assert driven.state().step is Step.DONE


def test_a_command_in_a_spoilt_worktree_finds_the_repository_around_it(tmp_path):
    lab = several(tmp_path)
    driven = HandDriven.begin(lab)
    replace_by_another(worktree_of(driven))
    assert open_repository(worktree_of(driven)).folder == lab.top


# -- what git prints, and what only looks so

LOCKED = "Unable to create '/nowhere/x.lock': File exists."


def times_run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The arguments of every git that is really started from now on."""
    calls: list[tuple[str, ...]] = []
    once = Git._once

    def counted(self, args, *others):
        calls.append(args)
        return once(self, args, *others)

    monkeypatch.setattr(Git, "_once", counted)
    return calls


def failed(stderr: str, returncode: int = 128, stdout: str = "") -> subprocess.CompletedProcess[bytes]:
    return subprocess.CompletedProcess(["git"], returncode, stdout.encode(), stderr.encode())


def test_a_file_that_speaks_of_a_lock_is_read_once(tmp_path, monkeypatch):
    lab = several(tmp_path)
    lab.write("doc.txt", f"fatal: {LOCKED}\n")
    lab.commit("doc")
    calls = times_run(monkeypatch)
    lab.git.file_at("HEAD", "doc.txt")
    assert len(calls) == 1


def test_a_commit_that_succeeded_is_not_made_again_for_what_its_hook_printed(tmp_path):
    lab = several(tmp_path)
    hook(lab, "post-commit", f'echo "fatal: {LOCKED}" >&2')
    assert lab.run().state == "done"
    assert lab.states()["T-1"].step is Step.DONE


def test_a_commit_with_hooks_is_tried_once(tmp_path, monkeypatch):
    lab = several(tmp_path)
    hook(lab, "pre-commit", f'echo "fatal: {LOCKED}" >&2; exit 1')
    calls = times_run(monkeypatch)
    with pytest.raises(GitError):
        lab.git.run("commit", "--allow-empty", "-m", "x")
    assert [args[0] for args in calls].count("commit") == 1


@pytest.mark.parametrize(
    "done",
    [
        failed(f"fatal: {LOCKED}", returncode=0),
        failed("fatal: no", stdout=f"fatal: {LOCKED}"),
        failed(f"hook: {LOCKED}"),
    ],
    ids=["succeeded", "on stdout", "not git's own line"],
)
def test_no_lock_is_in_the_way_of(done, tmp_path):
    assert lock_in_the_way(done, tmp_path) is None


def test_a_lock_that_git_found_in_its_way_is_seen(tmp_path):
    said = f"fatal: update_ref failed for ref 'refs/heads/x': cannot lock ref 'refs/heads/x': {LOCKED}"
    assert lock_in_the_way(failed(said), tmp_path) == Path("/nowhere/x.lock")


MACHINES_WORDS = ["File too large: src/T-1.txt (limit 500 KB)", "Out of memory", "Too many open files", LOCKED]


@pytest.mark.parametrize("words", MACHINES_WORDS)
def test_a_hook_that_speaks_like_the_machine_is_a_failed_gate(tmp_path, words):
    lab = several(tmp_path)
    hook(lab, "pre-commit", f'echo "error: {words}" >&2; exit 1')
    driven = to_be_reviewed(lab).play()
    (action,) = driven.waiting()
    assert (action.gate, driven.state().fails) == (Gate.IMPLEMENT, 1)
    assert words in brief_of(action)


def test_a_checkout_hook_that_speaks_like_the_machine_does_not_stop_the_run(tmp_path):
    lab = several(tmp_path)
    hook(lab, "post-checkout", 'echo "error: File too large" >&2; exit 1')
    driven = HandDriven.begin(lab)
    assert driven.state().step is Step.PARKED


@pytest.mark.parametrize("name", ["", "pre-commit", "post-checkout"])
def test_gits_own_words_are_believed_where_no_hook_can_have_spoken(tmp_path, name, monkeypatch):
    lab = several(tmp_path)
    if name:
        hook(lab, name, "exit 0")
    said = failed("fatal: unable to write new index file: No space left on device")
    monkeypatch.setattr(Git, "_once", once_answering("worktree", said))
    with pytest.raises(SurroundingsError, match="No space left on device"):
        lab.git.run("worktree", "add", "x")


def once_answering(verb, done):
    once = Git._once
    return lambda self, args, *others: done if args[0] == verb else once(self, args, *others)


def test_without_words_only_the_places_to_be_written_answer(tmp_path):
    assert git_problem("", tmp_path, [tmp_path]) is None


# -- paths that are ignored, or lie behind a link


@pytest.mark.parametrize("pattern", ["node_modules", "node_modules/", "# nothing"])
def test_a_linked_folder_is_nobodys_work_however_it_is_ignored(tmp_path, pattern):
    lab = with_library(tmp_path, pattern) if pattern.startswith("node") else several(tmp_path, config=LINKED)
    lab.write(LIBRARY, "the user's own\n")
    lab.run()
    assert lab.states()["T-1"].step is Step.DONE
    assert "node_modules" not in lab.git.text("ls-tree", "--name-only", "main")


@pytest.mark.parametrize("path", [LIBRARY, "node_modules", "NODE_MODULES/left/index.js"])
def test_a_plan_may_not_name_what_is_linked(tmp_path, path):
    lab = with_library(tmp_path, "node_modules/", files=("src/T-1.txt",))
    lab.agents.plan_files = lambda _ticket: [("src/T-1.txt", "create"), (path, "modify")]
    lab.run()
    assert f"files: {path!r} lies behind a link out of the worktree" in lab.states()["T-1"].reason


def test_a_ticket_may_not_name_what_is_linked(tmp_path):
    lab = with_library(tmp_path, "node_modules/", files=(LIBRARY,))
    lab.run()
    assert "named by the ticket, but it lies behind a link out of the worktree" in lab.states()["T-1"].reason


def test_an_implementer_does_not_get_what_is_linked(tmp_path):
    driven = HandDriven.begin(with_library(tmp_path, "node_modules/"))
    action = driven.play_until(Gate.IMPLEMENT)
    with pytest.raises(FindingsError, match=f"refused: {LIBRARY} lies behind a link"):
        request(driven.ctx, action, [LIBRARY])


def test_what_git_cannot_answer_is_no_none(tmp_path):
    lab = several(tmp_path)
    (lab.top / "aside").symlink_to(tmp_path)
    with pytest.raises(GitError, match="beyond a symbolic link"):
        lab.git.ignored(["aside/x", "src/readme.txt"])


def test_nothing_is_deleted_behind_a_link_that_took_the_place_of_a_folder(tmp_path):
    lab = several(tmp_path, files=("src/T-1.txt", "src/old.txt"))
    lab.write("src/old.txt", "old\n")
    lab.commit("old")
    lab.agents.plan_files = lambda _ticket: [("src/T-1.txt", "create"), ("src/old.txt", "delete")]
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.IMPLEMENT)
    worktree = worktree_of(driven)
    os.rename(worktree / "src", worktree / "src-was")
    (worktree / "src").symlink_to(lab.top / "src")
    delete_planned(driven.ctx, driven.state())
    assert (lab.top / "src" / "old.txt").exists()


def test_nothing_is_put_back_behind_a_link_that_took_the_place_of_a_folder(tmp_path):
    lab = several(tmp_path)
    driven = HandDriven.begin(lab)
    kept = tmp_path / "aside"
    kept.mkdir()
    (kept / "new.txt").write_text("mine\n")
    (worktree_of(driven) / "more").symlink_to(kept)
    Git(worktree_of(driven)).restore("HEAD", ["more/new.txt"])
    assert (kept / "new.txt").exists()


# -- repositories inside the worktree that hold no commit


def empty_repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / "inside.txt").write_text("x\n")
    return folder / ".git"


def test_an_empty_repository_is_taken_as_a_folder_of_files(tmp_path):
    driven = HandDriven.begin(several(tmp_path))
    empty_repository(worktree_of(driven) / "fixture")
    tree = worktrees.snapshot(driven.ctx, worktree_of(driven))
    assert driven.ctx.git.file_at(tree, "fixture/inside.txt") == b"x\n"


def test_an_empty_repository_that_git_ignores_stays_as_it_is(tmp_path):
    lab = several(tmp_path)
    lab.write(".gitignore", "cache/\n")
    lab.commit("ignore")
    driven = HandDriven.begin(lab)
    inner = empty_repository(worktree_of(driven) / "cache" / "x")
    worktrees.snapshot(driven.ctx, worktree_of(driven))
    assert inner.is_dir()


def says_no_commit(name: str):
    """Git at `add`, about a repository of that name."""
    return once_answering("add", failed(f"error: '{name}/' does not have a commit checked out"))


@pytest.mark.parametrize("name", ["linked", "cache"])
def test_no_empty_repository_behind_a_link_or_ignored_loses_its_git_folder(tmp_path, name, monkeypatch):
    lab = several(tmp_path)
    lab.write(".gitignore", "cache/\n")
    lab.commit("ignore")
    driven = HandDriven.begin(lab)
    theirs = empty_repository(tmp_path / "theirs")
    (worktree_of(driven) / "linked").symlink_to(theirs.parent)
    inner = empty_repository(worktree_of(driven) / "cache")
    monkeypatch.setattr(Git, "_once", says_no_commit(name))
    with pytest.raises(GitError, match="does not have a commit"):
        worktrees.snapshot(driven.ctx, worktree_of(driven))
    assert theirs.is_dir() and inner.is_dir()


# -- the user's settings and names


@pytest.mark.parametrize(
    ("settings", "mark"),
    [
        ((), "#"),
        ((("core.commentChar", "auto"),), "#"),
        ((("core.commentChar", ";"),), ";"),
        ((("core.commentString", "//"),), "//"),
        ((("core.commentChar", ";"), ("core.commentString", "// >")), "// >"),
    ],
)
def test_the_comments_of_a_template_do_not_get_into_messages(tmp_path, settings, mark):
    lab = several(tmp_path)
    (tmp_path / "template").write_text(f"{mark} say why\nReviewed-in: a meeting\n")
    lab.git.run("config", "commit.template", str(tmp_path / "template"))
    for name, value in settings:
        lab.git.run("config", name, value)
    assert lab.git.commit_template() == "Reviewed-in: a meeting"


def test_a_conflict_names_its_file_as_the_user_does(tmp_path):
    lab = several(tmp_path)
    lab.write("src/grün.txt", "x\n")
    lab.commit("x")
    lab.agents.plan_files = lambda _ticket: [("src/grün.txt", "modify")]
    lab.agents.implement = lambda worktree, _ticket, _attempt: (worktree / "src/grün.txt").write_text("mine\n")
    driven = to_be_reviewed(lab)
    land(lab, "src/grün.txt", "theirs\n")
    driven.play()
    assert driven.state().reason.endswith("src/grün.txt")
