"""What a ticket's change does to files beyond what its diff shows at a glance: emptied, shrunken, nested repositories."""

from __future__ import annotations

from collections.abc import Mapping

from backlog_ops.run.git import Git

Texts = Mapping[str, str | None]

SHRUNK_FROM_LINES = 50  # a shorter file shows in the diff as a whole
SHRUNK_TO_SHARE = 0.5
MOST_FILES = 500
MOST_BYTES = 1_000_000  # of one file; larger ones are data


def texts_between(git: Git, base: str, tree: str) -> tuple[Texts, Texts]:
    """(before, after) of the files that differ: path → text, None where there is none; binary and large ones left out."""
    before: dict[str, str | None] = {}
    after: dict[str, str | None] = {}
    for path in git.paths_between(base, tree)[:MOST_FILES]:
        old, new = git.file_at(base, path), git.file_at(tree, path)
        if any(data is not None and (len(data) > MOST_BYTES or b"\0" in data) for data in (old, new)):
            continue
        before[path] = None if old is None else old.decode("utf-8", "replace")
        after[path] = None if new is None else new.decode("utf-8", "replace")
    return before, after


def shrunken_files(before: Texts, after: Texts) -> list[str]:
    """One line for each file that loses more than half of its lines: a model may have left out "the rest"."""
    found = []
    for path, old in before.items():
        new = after.get(path)
        if old is None or new is None:
            continue
        lines, left = old.count("\n"), new.count("\n")
        if lines >= SHRUNK_FROM_LINES and left < lines * SHRUNK_TO_SHARE:
            found.append(f"{path}: {lines} lines before, {left} now")
    return found


def emptied_files(git: Git, base: str, tree: str) -> list[str]:
    """Files that had content and have none any more: deleted, whatever their names say."""
    changed = git.paths_between(base, tree, only="M")
    return [p for p in changed if not (git.file_at(tree, p) or b"").strip() and (git.file_at(base, p) or b"").strip()]


def touched_repositories(git: Git, base: str, tree: str) -> list[str]:
    """Submodules that would change, and repositories inside the worktree that would be committed as such."""
    raw = git.run("diff", "--raw", "--no-renames", "-z", "--no-abbrev", base, tree).stdout.split(b"\0")
    entries = zip(raw[::2], raw[1::2], strict=False)
    return [path.decode("utf-8", "surrogateescape") for modes, path in entries if b"160000" in modes[:15]]
