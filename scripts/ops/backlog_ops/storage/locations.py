"""Where things live. Nothing outside the project and these folders is ever written.

state   $XDG_STATE_HOME/backlog-ops/<repository>/state.db   runs and receipts; survives `git clean -fdx`
        $XDG_STATE_HOME/backlog-ops/open/                    which work trees have an open run (open_runs.py)
cache   $XDG_CACHE_HOME/backlog-ops/                         may be deleted at any time
work    <repository>/.backlog-ops/                           worktrees, briefs, hand-ins; ignores itself
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

PLUGIN_ROOT = Path(__file__).resolve().parents[4]
CONFIG_FILE_NAME = "backlog.config.json"
WORK_FOLDER_NAME = ".backlog-ops"


def _base(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    # The XDG specification: a relative path in these variables is invalid and must be ignored.
    value = environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path(environ.get("HOME") or Path.home()) / fallback


def cache_folder(environ: Mapping[str, str]) -> Path:
    return _base(environ, "XDG_CACHE_HOME", ".cache") / "backlog-ops"


def state_base(environ: Mapping[str, str]) -> Path:
    return _base(environ, "XDG_STATE_HOME", ".local/state") / "backlog-ops"


def state_folder(environ: Mapping[str, str], git_common_dir: Path | None) -> Path:
    """The folder of one repository's database; all worktrees of a repository share it.

    `git_common_dir` is None outside any repository: calls made there share one ledger.
    """
    base = state_base(environ)
    if git_common_dir is None:
        return base / "no-repository"
    real = git_common_dir.resolve()
    name = re.sub(r"[^A-Za-z0-9._-]", "-", real.parent.name if real.name == ".git" else real.name)[:40]
    return base / f"{name}-{hashlib.sha256(str(real).encode()).hexdigest()[:12]}"


def database_path(environ: Mapping[str, str], git_common_dir: Path | None) -> Path:
    return state_folder(environ, git_common_dir) / "state.db"


def find_repository(start: Path) -> tuple[Path, Path] | None:
    """(top folder, common git dir) of the work tree that holds `start`, without running git.

    A linked worktree's `.git` is a file `gitdir: …`; its `commondir` leads to the repository's own folder.
    """
    for folder in (start, *start.parents):
        dot_git = folder / ".git"
        if dot_git.is_dir():
            return folder, dot_git
        if dot_git.is_file():
            line = dot_git.read_text(encoding="utf-8", errors="replace").strip()
            if not line.startswith("gitdir: "):
                return None
            private = (folder / line[len("gitdir: ") :]).resolve()
            common = private / "commondir"
            if common.is_file():
                return folder, (private / common.read_text(encoding="utf-8").strip()).resolve()
            return folder, private
    return None
