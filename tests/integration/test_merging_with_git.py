"""What is the person's own in git holds for the engine's commits too: hooks, template, signature, submodules."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from backlog_ops.domain.gates import Gate
from backlog_ops.run.steps import Step
from backlog_ops.run.undoing import undo
from tests.support.hand_driven import HandDriven, brief_of, hook, land, several
from tests.support.lab import Lab, write_own_file

# -- commit hooks


def committed(lab: Lab) -> HandDriven:
    """T-1 after the first try to commit it."""
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.REVIEW)
    return driven.play()


def test_a_hook_that_refuses_is_a_failed_gate_and_its_words_are_passed_on(tmp_path):
    lab = several(tmp_path)
    hook(lab, "commit-msg", 'echo "no T-1 on Mondays" >&2; exit 1')
    driven = committed(lab)
    (action,) = driven.waiting()
    assert (action.gate, action.tier.value, driven.state().fails) == (Gate.IMPLEMENT, "balanced", 1)
    assert "`git commit` was refused by the repository's hooks:" in brief_of(action)
    assert "no T-1 on Mondays" in brief_of(action)


@pytest.mark.parametrize("source", ["/dev/tty", "/dev/stdin"])
def test_a_hook_that_asks_somebody_is_not_waited_for(tmp_path, source):
    lab = several(tmp_path)
    hook(lab, "pre-commit", f'echo "Sure?" >&2; read answer <{source} && exit 0; echo "nobody said yes" >&2; exit 1')
    assert "nobody said yes" in brief_of(committed(lab).waiting()[0])


def test_a_hook_that_does_not_end_is_ended(tmp_path):
    lab = several(tmp_path, config={"qualityGates": {"testCommand": ["true"], "timeoutSeconds": 2}})
    hook(lab, "pre-commit", "sleep 60")
    assert "git commit: no end after 2 s; a hook or a passphrase that waits?" in brief_of(committed(lab).waiting()[0])


def test_a_hook_that_formats_and_commits_at_once_is_judged_again(tmp_path):
    lab = several(tmp_path)
    hook(
        lab, "pre-commit", "grep -q formatted src/T-1.txt && exit 0; echo formatted >>src/T-1.txt; git add src/T-1.txt"
    )
    driven = committed(lab)
    assert (
        "COMMIT: a hook changed files (a commit hook changed the tree that was approved); checked and reviewed again"
        in driven.told
    )
    assert "+formatted" in brief_of(driven.waiting()[0])
    assert driven.play_all().state().step is Step.DONE
    assert (driven.state().attempt, driven.state().fails) == (1, 0)


def test_a_hook_that_never_leaves_a_file_alone_is_judged_again_once(tmp_path):
    lab = several(tmp_path)
    hook(lab, "pre-commit", "echo again >>src/T-1.txt; exit 1")
    driven = committed(lab)
    driven.play()  # the review of what the hook has made
    assert (len(driven.asked(Gate.REVIEW)), driven.state().fails, driven.waiting()[0].gate) == (2, 1, Gate.IMPLEMENT)


def test_what_a_hook_does_to_other_files_is_put_back(tmp_path):
    lab = several(tmp_path)
    hook(lab, "pre-commit", "echo changed >>src/readme.txt; echo new >new.txt; exit 1")
    driven = committed(lab)
    assert driven.state().fails == 1
    assert lab.git.at(driven.ctx.worktree_path(driven.state())).text("status", "--porcelain") == "?? src/T-1.txt"


def test_a_hook_may_add_to_the_message(tmp_path):
    lab = several(tmp_path)
    hook(lab, "prepare-commit-msg", 'echo "Change-Id: I1" >>"$1"')
    committed(lab)
    assert lab.git.text("log", "-1", "--format=%(trailers:only)", "main").splitlines() == [
        "Ticket: T-1",
        "Change-Id: I1",
    ]


def test_hooks_are_found_where_the_repository_says_they_are(tmp_path):
    lab = several(tmp_path)
    path = hook(lab, "pre-commit", "echo elsewhere >&2; exit 1")
    path.rename(tmp_path / "pre-commit")
    lab.git.run("config", "core.hooksPath", str(tmp_path))
    assert "elsewhere" in brief_of(committed(lab).waiting()[0])


def test_what_a_hook_smuggles_into_a_rebased_commit_does_not_land(tmp_path):
    lab = several(tmp_path)
    amend = "echo x >extra.txt && git add extra.txt && git commit -q --amend --no-edit"
    hook(lab, "post-rewrite", f'[ "$1" = rebase ] || exit 0; {amend}')
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.REVIEW)
    tip = land(lab, "src/later.txt", "later\n")
    driven.play_all()
    assert driven.state().reason == (
        "refused to merge: it would change extra.txt, which is not among the ticket's files"
    )
    assert lab.git.commit_of("main") == tip


# -- message and signature


def test_the_commit_template_is_kept_in_the_message(tmp_path):
    lab = several(tmp_path)
    template = tmp_path / "template"
    template.write_text("# say why\nReviewed-in: a meeting\n")
    lab.git.run("config", "commit.template", str(template))
    committed(lab)
    assert lab.git.text("log", "-1", "--format=%B", "main").strip() == (
        "feat(src): implement T-1\n\nReviewed-in: a meeting\n\nTicket: T-1"
    )


@pytest.fixture
def signing(tmp_path) -> Lab:
    """A repository whose commits are signed with a key of this test."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "signers").write_text(f"test@example.invalid {key.with_suffix('.pub').read_text()}")
    lab = several(tmp_path)
    for name, value in (
        ("gpg.format", "ssh"),
        ("user.signingKey", str(key)),
        ("commit.gpgSign", "true"),
        ("gpg.ssh.allowedSignersFile", str(tmp_path / "signers")),
    ):
        lab.git.run("config", name, value)
    return lab


def test_commits_are_signed_as_the_person_signs_them(signing):
    committed(signing)
    undo(signing.context(), "T-1")
    assert signing.git.text("log", "-2", "--format=%G? %s", "main").splitlines() == [
        "G revert: feat(src): implement T-1",
        "G feat(src): implement T-1",
    ]


def test_a_commit_that_is_put_on_a_moved_base_is_still_signed(signing):
    driven = HandDriven.begin(signing)
    driven.play_until(Gate.REVIEW)
    land(signing, "src/later.txt", "later\n")
    driven.play_all()
    assert signing.git.text("log", "-2", "--format=%G? %s", "main").splitlines() == [
        "G feat(src): implement T-1",
        "N land src/later.txt",
    ]


# -- submodules and nested repositories


def a_repository(lab: Lab, path: Path) -> str:
    """A new repository with a commit, whose id is returned."""
    path.mkdir(parents=True)
    git = lab.git.at(path)
    git.run("init", "-q")
    git.run("commit", "-q", "--allow-empty", "-m", "inner")
    return git.commit_of("HEAD") or ""


def test_a_submodule_stays_as_it_is(tmp_path):
    lab = several(tmp_path)
    inner = a_repository(lab, lab.top / "vendor" / "lib")
    lab.write(".gitmodules", '[submodule "lib"]\n\tpath = vendor/lib\n\turl = ../lib\n')
    lab.commit("a submodule")
    assert committed(lab).state().step is Step.DONE
    assert lab.git.text("ls-tree", "main", "vendor/lib") == f"160000 commit {inner}\tvendor/lib"
    assert (lab.top / "vendor/lib/.git").is_dir()


def test_a_repository_inside_the_ticket_s_files_is_refused(tmp_path):
    lab = several(tmp_path, affected_files=["src"])

    def implement(worktree: Path, ticket: str, attempt: int) -> None:
        write_own_file(worktree, ticket, attempt)
        a_repository(lab, worktree / "src" / "inner")

    lab.agents.implement = implement
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.IMPLEMENT)
    driven.play()
    assert "LINT failed: src/inner is a repository of its own" in driven.told
    stay = "Submodules and repositories inside the worktree must stay as they are:\n- src/inner"
    assert stay in brief_of(driven.waiting()[0])


def test_a_repository_elsewhere_in_the_worktree_is_put_back(tmp_path):
    lab = several(tmp_path)

    def implement(worktree: Path, ticket: str, attempt: int) -> None:
        write_own_file(worktree, ticket, attempt)
        a_repository(lab, worktree / "inner")

    lab.agents.implement = implement
    assert HandDriven.begin(lab).play_all().state().step is Step.DONE
    assert "inner" not in lab.git.text("ls-tree", "--name-only", "main")


def test_a_repository_without_a_commit_stands_in_nobodys_way(tmp_path):
    lab = several(tmp_path)

    def implement(worktree: Path, ticket: str, attempt: int) -> None:
        write_own_file(worktree, ticket, attempt)
        lab.git.run("init", "-q", str(worktree / "inner"))

    lab.agents.implement = implement
    assert HandDriven.begin(lab).play_all().state().step is Step.DONE


def test_a_repository_is_seen_though_the_person_wants_to_see_none(tmp_path):
    lab = several(tmp_path, affected_files=["src"])
    lab.git.run("config", "diff.ignoreSubmodules", "all")
    lab.agents.implement = lambda worktree, *_: a_repository(lab, worktree / "src" / "inner") and None
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.IMPLEMENT)
    assert "LINT failed: src/inner is a repository of its own" in driven.play().told


# -- never by force


FORCE = {"--no-verify", "-n", "--force", "-f", "--force-with-lease", "--no-gpg-sign", "-D"}
NAMES = ("commit", "rebase", "merge", "revert", "push", "branch", "update-ref", "cherry-pick")


def test_nothing_is_committed_or_moved_by_force_or_past_a_hook(tmp_path, monkeypatch):
    trace = tmp_path / "git-trace"
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(trace))
    lab = several(tmp_path)
    driven = HandDriven.begin(lab)
    driven.play_until(Gate.REVIEW)
    land(lab, "src/later.txt", "later\n")
    driven.play_all()
    undo(lab.context(), "T-1")
    events = [json.loads(line) for line in trace.read_text().splitlines()]
    calls = [event["argv"][1:] for event in events if event["event"] == "start"]
    moving = [call for call in calls if any(name in call[:3] for name in NAMES)]
    assert {name for name in NAMES if any(name in call[:3] for call in moving)} >= {
        "commit",
        "rebase",
        "merge",
        "revert",
    }
    assert [call for call in moving if FORCE & set(call)] == []
