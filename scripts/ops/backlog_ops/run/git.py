"""Git, as an argv and never through a shell. All state changes of the repository go through here.

Every call carries an explicit environment: no prompt, plain messages, and none of the caller's GIT_DIR-like
variables, which would silently redirect it to another repository (a user's git hook exports them).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backlog_ops.errors import RepositoryError, UnreachableError

# `git rev-parse --local-env-vars` names what binds git to one repository; these are all that matter to us.
_REDIRECTING = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
)
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


class GitError(RepositoryError):
    """git answered with a non-zero exit code; the message holds the first line it printed."""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would redirect or stop git."""
    kept = {key: value for key, value in environ.items() if key not in _REDIRECTING}
    return {
        **kept,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_EDITOR": "true",
    }


@dataclass(frozen=True)
class Git:
    """git in one folder: the repository's top, or one of its worktrees."""

    folder: Path

    def at(self, folder: Path) -> Git:
        return Git(folder)

    def run(
        self, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `git ARGS`. Raises GitError on a non-zero exit (unless check=False), UnreachableError without git."""
        try:
            done = subprocess.run(
                ["git", "-C", str(self.folder), *args],
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                check=False,
                env={**environment(os.environ), **(env or {})},
            )
        except FileNotFoundError:
            raise UnreachableError("git: not found on the PATH; install git 2.25 or newer") from None
        if check and done.returncode != 0:
            said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
            raise GitError(f"git {args[0]}: {said[0] if said else f'exit {done.returncode}'}", said[1:6])
        return done

    def text(self, *args: str, **options: object) -> str:
        """stdout of `git ARGS`, decoded, without the final newline."""
        return self.run(*args, **options).stdout.decode("utf-8", "replace").rstrip("\n")  # type: ignore[arg-type]

    def ok(self, *args: str) -> bool:
        return self.run(*args, check=False).returncode == 0

    # -- reading

    def commit_of(self, ref: str) -> str | None:
        done = self.run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", check=False)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def branch(self) -> str | None:
        """The checked-out branch; None when HEAD is detached."""
        done = self.run("symbolic-ref", "--quiet", "--short", "HEAD", check=False)
        return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None

    def tracked_changes(self) -> list[str]:
        """Tracked paths that differ from HEAD, in the index or the work tree."""
        fields = self.run("status", "--porcelain", "-z", "--untracked-files=no").stdout.split(b"\0")
        return [field[3:].decode("utf-8", "replace") for field in fields if len(field) > 3]

    def paths_between(self, old: str, new: str, only: str = "") -> list[str]:
        """Paths that differ between two trees or commits; `only` is a --diff-filter such as `D`."""
        options = [f"--diff-filter={only}"] if only else []
        raw = self.run("diff", "--no-renames", "--name-only", "-z", *options, old, new).stdout
        return [path.decode("utf-8", "surrogateescape") for path in raw.split(b"\0") if path]

    def diff(self, old: str, new: str) -> str:
        """The patch between two trees: new files are in it, unlike in `git diff` of a work tree."""
        options = ("--no-color", "--no-ext-diff", "--no-textconv", "--find-renames")
        return self.run("diff", *options, old, new).stdout.decode("utf-8", "replace")

    def file_at(self, tree: str, path: str) -> bytes | None:
        done = self.run("cat-file", "blob", f"{tree}:{path}", check=False)
        return done.stdout if done.returncode == 0 else None

    def is_ancestor(self, old: str, new: str) -> bool:
        return self.ok("merge-base", "--is-ancestor", old, new)

    # -- writing

    def snapshot_tree(self, leave_out: Sequence[str] = ()) -> str:
        """The hash of a tree object that holds the work tree as it is, new files included, ignored ones not.

        The real index is not touched. `leave_out` are paths that are there but belong to nobody's work (links).
        """
        with tempfile.TemporaryDirectory(prefix="backlog-ops-") as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self.run("read-tree", "HEAD", env=index)
            excludes = [f":(top,exclude,literal){path}" for path in leave_out]
            self.run("add", "-A", "--", ":/", *excludes, env=index)
            return self.text("write-tree", env=index)

    def move_ref(self, ref: str, new: str, old: str, why: str) -> None:
        """Compare-and-swap of a ref. Raises GitError when it no longer is `old` (40 zeros: must not exist)."""
        self.run("update-ref", "-m", why, ref, new, old)

    def worktrees(self) -> list[Path]:
        lines = self.text("worktree", "list", "--porcelain").splitlines()
        return [Path(line[len("worktree ") :]) for line in lines if line.startswith("worktree ")]


def open_repository(start: Path) -> Git:
    """The repository that holds `start`. Raises RepositoryError when there is none, or it is bare."""
    done = Git(start).run("rev-parse", "--show-toplevel", check=False)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        if "not a git repository" in said:
            raise RepositoryError(f"{start}: not inside a git repository; run `git init` and commit, or cd into one")
        raise RepositoryError(f"{start}: git: {said}")  # a bare one, one of another owner: git says it best
    return Git(Path(done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")))
