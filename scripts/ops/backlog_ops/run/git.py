"""Git, as an argv and never through a shell. All state changes of the repository go through here.

Every call carries an explicit environment: no prompt, no editor, and none of the caller's GIT_DIR-like variables.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from backlog_ops.domain.paths import normal_path
from backlog_ops.errors import RepositoryError, SurroundingsError, UnreachableError
from backlog_ops.run.belonging import is_ticket_worktree, lost_worktree, no_search_above, own_git_dir
from backlog_ops.run.processes import own_group, without_git_bindings
from backlog_ops.run.stale_locks import freed, is_shared, lock_in_the_way, still_locked
from backlog_ops.run.surroundings import git_problem
from backlog_ops.storage.locations import find_repository

# Whatever the user's settings make of a diff for their own eyes.
PLAIN_DIFF = (
    "--no-color",
    "--no-ext-diff",
    "--no-textconv",
    "--no-relative",
    "--ignore-submodules=none",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
BINARY_PROBE_BYTES = 8_000  # as git itself decides
LOCK_TRIES = 3
KEPT_OUTPUT_LINES = 80  # of a git that failed, its hooks included
MOST_NESTED = 100
_THE_MACHINES_SIGNALS: dict[int, str] = {
    signal.SIGKILL: "perhaps for want of memory; free some",
    signal.SIGXFSZ: "a file became too large; raise the limit (ulimit -f)",
}
# What may run the user's hooks may take long, and must not go on beside the next engine. `merge` is let finish: it
# changes the user's own checkout, and ended half-way it would leave that half changed.
_RUNS_HOOKS = frozenset({"checkout", "commit", "rebase"})
_COMMIT_HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg")
_OF_ALL_COMMITS = (*_COMMIT_HOOKS, "post-commit", "reference-transaction", "post-index-change")
# Whose words may stand among those of git.
_HOOKS_OF = {
    "commit": _OF_ALL_COMMITS,
    "rebase": (*_OF_ALL_COMMITS, "pre-rebase", "post-checkout", "post-rewrite"),
    "checkout": ("post-checkout", "post-index-change"),
    "worktree": ("post-checkout", "reference-transaction", "post-index-change"),
    "reset": ("reference-transaction", "post-index-change"),
    "update-ref": ("reference-transaction",),
    "merge": ("post-merge", "reference-transaction", "post-index-change"),
}
_GIT_ITSELF_DIED = 128
_COMMENTS_BY_DEFAULT = "#"
_OBJECT_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class GitError(RepositoryError):
    """git answered with a non-zero exit code; the message holds the first line it printed, `output` the last ones."""

    output = ""


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would redirect git or make it wait for somebody."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_EDITOR": "true"}
    quiet["LANGUAGE"] = "en"  # what git says is read; its hooks keep their locale
    return {**without_git_bindings(environ), **quiet}


@dataclass(frozen=True)
class Git:
    """git in one folder: the repository's top, or one of its worktrees."""

    folder: Path

    def at(self, folder: Path) -> Git:
        return Git(folder)

    def run(
        self,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `git ARGS`, at most `timeout` seconds; a lock that is in the way is waited for. It fails, and nothing is
        run, in a ticket's worktree that is none of this repository any more.

        Raises GitError on a non-zero exit (unless check=False) and when the time is up, UnreachableError without
        git, SurroundingsError where the machine is the trouble.
        """
        verb = next((arg for arg in args if not arg.startswith("-")), "")
        minded = verb in _RUNS_HOOKS or args[:2] == ("worktree", "add")
        lost = lost_worktree(self.folder)
        if lost is not None:
            if check:
                raise GitError(lost)
            return subprocess.CompletedProcess(args, _GIT_ITSELF_DIED, b"", f"fatal: {lost}".encode())
        done = self._once(args, minded, stdin, env, timeout)
        for _ in range(LOCK_TRIES):
            lock = lock_in_the_way(done, self.folder)
            if lock is None or not self._may_be_repeated(verb) or not freed(lock):
                break
            done = self._once(args, minded, stdin, env, timeout)
        if done.returncode != 0:
            self._blame_the_machine(verb, done, check)
            if check:
                raise _failed(verb, done)
        return done

    def _may_be_repeated(self, verb: str) -> bool:
        """A rebase that has begun cannot be begun again, and what hooks have done once they should not do twice."""
        return verb != "rebase" and not (verb == "commit" and self._has_hooks(_OF_ALL_COMMITS))

    def _once(
        self,
        args: Sequence[str],
        minded: bool,
        stdin: bytes | None,
        env: Mapping[str, str] | None,
        timeout: float | None,
    ) -> subprocess.CompletedProcess[bytes]:
        command = ["git", "-C", str(self.folder), *args]
        pipes = {
            "stdin": subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        own = {**environment(os.environ), **no_search_above(self.folder, os.environ), **(env or {})}
        try:
            with own_group(command, minded, env=own, **pipes) as process:
                stdout, stderr = process.communicate(stdin, timeout)
        except FileNotFoundError:
            raise UnreachableError("git: not found on the PATH; install git 2.25 or newer") from None
        except subprocess.TimeoutExpired:
            raise GitError(f"git {args[0]}: no end after {timeout:g} s; a hook or a passphrase that waits?") from None
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    def _blame_the_machine(self, verb: str, done: subprocess.CompletedProcess[bytes], check: bool) -> None:
        """Raise SurroundingsError where that is why git failed, GitError where git was ended before it could answer."""
        hooked = self._hooks_may_speak(verb, done.returncode)
        lock = lock_in_the_way(done, self.folder)
        if hooked and lock is not None and not lock.exists():
            lock = None
        found = find_repository(self.folder) if check else None
        said = "" if hooked else done.stderr.decode("utf-8", "replace")
        problem = git_problem(said, self.folder, [found[1], self.folder] if found else ())
        if check and problem is None and lock is not None and is_shared(lock):
            problem = still_locked(lock)
        if problem is None and -done.returncode in _THE_MACHINES_SIGNALS:
            problem = f"git {verb}: was ended, {_THE_MACHINES_SIGNALS[-done.returncode]}, then the same command goes on"
        if problem is not None:
            raise SurroundingsError(problem)
        if lock is not None and check:
            raise GitError(f"git {verb}: {still_locked(lock)}")
        if done.returncode < 0:
            raise GitError(f"git {verb}: ended by signal {-done.returncode}")

    def _hooks_may_speak(self, verb: str, returncode: int) -> bool:
        """Whether what was printed may be a hook's: none has run yet where git died before it had a work tree."""
        if verb in ("checkout", "worktree") and returncode == _GIT_ITSELF_DIED:
            return False
        return verb in _HOOKS_OF and self._has_hooks(_HOOKS_OF[verb])

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
        # Not --short: with a tag of the same name that prints `heads/main`.
        done = self.run("symbolic-ref", "--quiet", "HEAD", check=False)
        name = done.stdout.decode("utf-8", "replace").strip()
        return name.removeprefix("refs/heads/") if done.returncode == 0 else None

    def tracked_changes(self) -> list[str]:
        """Tracked paths that differ from HEAD, in the index or the work tree."""
        fields = self.run("status", "--porcelain", "-z", "--untracked-files=no").stdout.split(b"\0")
        return [field[3:].decode("utf-8", "replace") for field in fields if len(field) > 3]

    def paths_between(self, old: str, new: str, only: str = "") -> list[str]:
        """Paths that differ between two trees or commits; `only` is a --diff-filter such as `D`."""
        if _OBJECT_NAME.fullmatch(old) and _OBJECT_NAME.fullmatch(new):
            return list(_paths_between_objects(self, old, new, only))
        return self._paths_between(old, new, only)

    def _paths_between(self, old: str, new: str, only: str) -> list[str]:
        options = [f"--diff-filter={only}"] if only else []
        raw = self.run("diff", *PLAIN_DIFF, "--no-renames", "--name-only", "-z", *options, old, new).stdout
        return [path.decode("utf-8", "surrogateescape") for path in raw.split(b"\0") if path]

    def diff(self, old: str, new: str) -> str:
        """The patch between two trees for people to judge: new files are in it, unlike in `git diff` of a work tree,
        and text is shown as text whatever .gitattributes says. Binary files are named.
        """
        binary = [
            path for path in self.paths_between(old, new) if self._is_binary(old, path) or self._is_binary(new, path)
        ]
        excludes = [f":(top,exclude,literal){path}" for path in binary]
        patch = self.run(
            "diff", *PLAIN_DIFF, "--find-renames", "--text", old, new, "--", ":/", *excludes
        ).stdout.decode("utf-8", "replace")
        return patch + "".join(f"Binary file {path} differs; its content is not shown.\n" for path in binary)

    def changed_lines(self, old: str, new: str) -> list[bytes]:
        """What a change adds and removes, without where: the same before and after a rebase that merged nothing."""
        patch = self.run("diff", *PLAIN_DIFF, "-U0", "--no-renames", "--binary", old, new).stdout
        return [line for line in patch.split(b"\n") if not line.startswith((b"@@ ", b"index "))]

    def commit_template(self) -> str:
        """What `commit.template` puts into every message, without its comments; "" where there is none."""
        named = self.text("config", "--type=path", "--get", "commit.template", check=False)
        if not named:
            return ""
        try:
            lines = (self.folder / named).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""  # `git commit` itself would refuse; with a message of its own it does not look
        return "\n".join(line for line in lines if not line.startswith(self._comment_mark())).strip()

    def _comment_mark(self) -> str:
        """`auto` is git's to choose by a message that is already there; a template is written before that."""
        set_last = self.text("config", "--get-regexp", r"^core\.comment(char|string)$", check=False).rpartition("\n")[2]
        mark = set_last.partition(" ")[2]
        return _COMMENTS_BY_DEFAULT if mark in ("", "auto") else mark

    def _is_binary(self, tree: str, path: str) -> bool:
        return b"\0" in (self.file_at(tree, path) or b"")[:BINARY_PROBE_BYTES]

    def file_at(self, tree: str, path: str) -> bytes | None:
        done = self.run("cat-file", "blob", f"{tree}:{path}", check=False)
        return done.stdout if done.returncode == 0 else None

    def lines_at(self, tree: str, path: str) -> list[str] | None:
        """The lines of a file of a tree; None where there is none, and for what cannot be a file's name there."""
        try:
            data = self.file_at(tree, normal_path(path))
        except ValueError:
            return None
        return None if data is None else data.decode("utf-8", "replace").splitlines()

    def unmerged(self) -> list[str]:
        """The paths in which a merge or a rebase that has stopped met a conflict, for people to read."""
        fields = self.run("diff", *PLAIN_DIFF, "--name-only", "--diff-filter=U", "-z", check=False).stdout.split(b"\0")
        return [field.decode("utf-8", "replace") for field in fields if field]

    def is_ancestor(self, old: str, new: str) -> bool:
        return self.ok("merge-base", "--is-ancestor", old, new)

    # -- writing

    def snapshot_tree(self, leave_out: Sequence[str] = ()) -> str:
        """The hash of a tree object that holds the work tree as it is, new files included, ignored ones not.

        The real index is not touched; a copy of it saves hashing what has not changed. `leave_out` are paths that
        are there but belong to nobody's work (links).
        """
        with tempfile.TemporaryDirectory(prefix="backlog-ops-") as scratch:
            copy = Path(scratch) / "index"
            index = {"GIT_INDEX_FILE": str(copy)}
            try:
                own = own_git_dir(self.folder)
                held = own / "index" if own else self.folder / self.text("rev-parse", "--git-path", "index")
                shutil.copyfile(held, copy)
            except FileNotFoundError:
                self.run("read-tree", "HEAD", env=index)
            reached = [path for path in leave_out if not is_beyond_link(self.folder, path)]
            unseen = self.ignored(reached)  # git would complain of one that it ignores and that is named
            excludes = [f":(top,exclude,literal){path}" for path in reached if path not in unseen]
            self._add_all(excludes, index)
            return self.text("write-tree", env=index)

    def _add_all(self, excludes: Sequence[str], index: Mapping[str, str]) -> None:
        """Take the whole work tree into an index. The `.git` of a repository inside it that has no commit is removed,
        and nobody is told: tests make such ones, and git would not even look at the files in it. Never one that git
        ignores, nor one behind a link.
        """
        for _ in range(MOST_NESTED):
            try:
                self.run("add", "-A", "--", ":/", *excludes, env=index)
                return
            except GitError as error:
                nested = re.search(r"'(.+?)/?' does not have a commit checked out", error.message)
                if nested is None or not self._may_empty(f"{nested[1]}/.git"):
                    raise
                shutil.rmtree(self.folder / nested[1] / ".git")
        raise GitError(f"git add: more than {MOST_NESTED} repositories inside {self.folder}")

    def _may_empty(self, inner: str) -> bool:
        if is_beyond_link(self.folder, inner) or (self.folder / inner).is_symlink():
            return False
        return (self.folder / inner).is_dir() and not self.ignored([str(Path(inner).parent)])

    def restore(self, tree: str, paths: Sequence[str]) -> None:
        """Put files of the work tree back to what they are in `tree`, which may mean: not there."""
        if not paths:
            return
        held = set(self.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", tree).stdout.split(b"\0"))
        there = [path for path in paths if os.fsencode(path) in held]
        if there:
            listed = b"\0".join(os.fsencode(path) for path in there)
            names = ("--pathspec-from-file=-", "--pathspec-file-nul")
            self.run("--literal-pathspecs", "checkout", tree, *names, stdin=listed)
            self.run("--literal-pathspecs", "reset", "--quiet", *names, stdin=listed)
        for path in set(paths) - set(there):
            if is_beyond_link(self.folder, path):
                continue  # what lies there is not the work tree's
            target = self.folder / path
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def is_tracked(self, path: str) -> bool:
        return bool(self.run("ls-files", "-z", "--", f":(top,literal){path}").stdout)

    def ignored(self, paths: Sequence[str]) -> list[str]:
        """Those of `paths` that git does not track and is told to ignore: they would never be committed.

        Raises GitError for a path that leads through a link.
        """
        if not paths:
            return []
        listed = b"\0".join(os.fsencode(path) for path in paths)
        done = self.run("check-ignore", "-z", "--stdin", stdin=listed, check=False)
        if done.returncode not in (0, 1):
            raise _failed("check-ignore", done)
        return [os.fsdecode(path) for path in done.stdout.split(b"\0") if path]

    def has_commit_hooks(self) -> bool:
        """Whether hooks of the repository take part in a commit, wherever core.hooksPath says they are."""
        return self._has_hooks(_COMMIT_HOOKS)

    def _has_hooks(self, names: Sequence[str]) -> bool:
        done = self.run("rev-parse", "--git-path", "hooks", check=False)
        folder = self.folder / os.fsdecode(done.stdout).rstrip("\n")
        return done.returncode == 0 and any(os.access(folder / name, os.X_OK) for name in names)

    def move_ref(self, ref: str, new: str, old: str, why: str) -> None:
        """Compare-and-swap of a ref. Raises GitError when it no longer is `old` (40 zeros: must not exist)."""
        self.run("update-ref", "-m", why, ref, new, old)

    def worktrees(self) -> list[Path]:
        lines = self.text("worktree", "list", "--porcelain").splitlines()
        return [Path(line[len("worktree ") :]) for line in lines if line.startswith("worktree ")]


def is_beyond_link(top: Path, path: str) -> bool:
    """Whether `path` leads through a symbolic link in place of a folder below `top`."""
    return any((top / folder).is_symlink() for folder in PurePosixPath(path).parents)


def _failed(verb: str, done: subprocess.CompletedProcess[bytes]) -> GitError:
    said = _said(done).splitlines()
    error = GitError(f"git {verb}: {said[0] if said else f'exit {done.returncode}'}", said[1:6])
    error.output = "\n".join(said[-KEPT_OUTPUT_LINES:])
    return error


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stderr or done.stdout).decode("utf-8", "replace").strip()


def open_repository(start: Path) -> Git:
    """The repository that holds `start`. Raises RepositoryError when there is none, or it is bare. A ticket's worktree
    leads to the repository around it, whatever its tests have made of it.
    """
    if is_ticket_worktree(start):
        start = start.parents[3]
    done = Git(start).run("rev-parse", "--show-toplevel", check=False)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        if "not a git repository" in said:
            raise RepositoryError(f"{start}: not inside a git repository; run `git init` and commit, or cd into one")
        raise RepositoryError(f"{start}: git: {said}")  # a bare one, one of another owner: git says it best
    return Git(Path(done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")))


@functools.lru_cache(maxsize=256)  # the same trees are compared at every step of a ticket, and never change
def _paths_between_objects(git: Git, old: str, new: str, only: str) -> tuple[str, ...]:
    return tuple(git._paths_between(old, new, only))
