"""Opening what a command works on: the repository of the current folder, its settings, its store."""

from __future__ import annotations

import os
import time
from pathlib import Path

from backlog_ops.errors import RepositoryError, RunStateError
from backlog_ops.run.context import Context
from backlog_ops.run.git import Git, open_repository
from backlog_ops.run.rows import Run
from backlog_ops.run.store import Store
from backlog_ops.storage.config_file import load_prices, require_settings
from backlog_ops.storage.locations import WORK_FOLDER_NAME, find_repository, state_folder


def current_repository() -> Git:
    """Raises RepositoryError outside any, and in a folder that was removed under the shell's feet."""
    try:
        return open_repository(Path.cwd())
    except FileNotFoundError:
        raise RepositoryError("the current folder no longer exists; cd into the repository") from None


def open_context() -> Context:
    """The repository of the current folder, its settings and its store. A ticket's worktree leads to its owner."""
    git = current_repository()
    marker = f"{os.sep}{WORK_FOLDER_NAME}{os.sep}worktrees{os.sep}"
    if marker in str(git.folder):
        git = git.at(Path(str(git.folder).split(marker, 1)[0]))
    found = find_repository(git.folder)
    folder = state_folder(os.environ, found[1] if found else None)
    ctx = Context(
        git=git,
        store=Store(folder / "state.db", time.time),
        settings=require_settings(os.environ, git.folder),
        environ=dict(os.environ),
        prices=load_prices(os.environ),
        clock=time.time,
        state_folder=folder,
    )
    _at_home(ctx)
    return ctx


def _at_home(ctx: Context) -> None:
    """Linked worktrees of one repository share its runs; an open one is driven from where it was opened."""
    run = ctx.store.open_run()
    if run is not None and run.top != str(ctx.top) and Path(run.top).is_dir():
        raise RunStateError(f"run {run.id} is open in {run.top}: go there to go on with it or to abort it")


def latest_run(ctx: Context) -> Run:
    """The open run, else the last one. Raises RunStateError when there was none yet."""
    run = ctx.store.open_run() or ctx.store.last_run()
    if run is None:
        raise RunStateError("no run yet: `backlog-ops start` or `backlog-ops run` begins one")
    return run
