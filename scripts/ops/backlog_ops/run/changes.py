"""What a change does beyond what its diff shows at a glance: files emptied or shrunken, repositories nested."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from backlog_ops.run.blobs import contents
from backlog_ops.run.git import PLAIN_DIFF, Git

_GOVERNS = re.compile(
    r"(^|/)(backlog\.config\.json|\.secrets\.baseline|\.mcp\.json|CLAUDE(\.local)?\.md|\.claude/.+"
    r"|\.github/.+|\.gitlab-ci\.yml|\.pre-commit-config\.yaml|\.husky/.+|\.gitattributes|\.gitignore"
    r"|(GNU)?[Mm]akefile|[^/]+\.mk|[Jj]ustfile|package\.json|tsconfig[^/]*\.json|deno\.jsonc?"
    r"|(jest|vitest|vite|playwright|eslint|mocha|karma)[^/]*\.config\.\w+|\.(eslintrc|mocharc)[^/]*"
    r"|pyproject\.toml|setup\.(cfg|py)|tox\.ini|noxfile\.py|pytest\.ini|conftest\.py|\.flake8|mypy\.ini|ruff\.toml"
    r"|Cargo\.toml|build\.rs|go\.mod|Gemfile|Rakefile|\.rspec|phpunit\.xml[^/]*|composer\.json"
    r"|pom\.xml|build\.gradle(\.kts)?|CMakeLists\.txt|mix\.exs|Package\.swift)$"
)

Texts = Mapping[str, str | None]

SHRUNK_FROM_LINES = 50  # a shorter file shows in the diff as a whole
SHRUNK_TO_SHARE = 0.5
MOST_FILES = 500
BLANK_BYTES = 10_000  # no more white space than this is taken for an empty file
MOST_BYTES = 1_000_000  # of one file; larger ones are data


def texts_between(git: Git, base: str, tree: str) -> tuple[Texts, Texts]:
    """(before, after) of files that differ: path → text, None where there is none; without binary and large ones."""
    paths = git.paths_between(base, tree)[:MOST_FILES]
    old, new = contents(git, base, paths, MOST_BYTES), contents(git, tree, paths, MOST_BYTES)
    shown = [path for path in paths if all(path in side and b"\0" not in (side[path] or b"") for side in (old, new))]
    return {path: _text(old[path]) for path in shown}, {path: _text(new[path]) for path in shown}


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


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


def governing_files(paths: Iterable[str], more: Collection[str] = ()) -> list[str]:
    """One line for each changed file that decides what the gates, the host or the machines of the project do; `more`
    are the project's own, such as its rule files.
    """
    found = [path for path in paths if path in more or _GOVERNS.search(path)]
    return [f"{path}: decides what the checks, the host or the project's machines do" for path in found]


def emptied_files(git: Git, base: str, tree: str) -> list[str]:
    """Files that had content and have none any more: deleted, whatever their names say."""
    changed = git.paths_between(base, tree, only="M")
    blank = [p for p, data in contents(git, tree, changed, BLANK_BYTES).items() if not (data or b"").strip()]
    before = contents(git, base, blank, MOST_BYTES)
    return [path for path in blank if path not in before or (before[path] or b"").strip()]


def touched_repositories(git: Git, base: str, tree: str) -> list[str]:
    """Submodules that would change, and repositories inside the worktree that would be committed as such."""
    raw = git.run("diff", *PLAIN_DIFF, "--raw", "--no-renames", "-z", "--no-abbrev", base, tree).stdout.split(b"\0")
    entries = zip(raw[::2], raw[1::2], strict=False)
    return [path.decode("utf-8", "surrogateescape") for modes, path in entries if b"160000" in modes[:15]]
