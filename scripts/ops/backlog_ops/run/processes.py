"""What every child process of the engine has in common: its environment, and how it is ended."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

from backlog_ops.errors import BacklogError

KILL_GRACE_SECONDS = 3.0

# What binds git to one repository or index (`git rev-parse --local-env-vars`) or changes what a pathspec means.
# A user's git hook exports some of them; inherited, they would redirect every git call below it.
_GIT_BINDINGS = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GLOB_PATHSPECS",
        "GIT_GRAFT_FILE",
        "GIT_ICASE_PATHSPECS",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_LITERAL_PATHSPECS",
        "GIT_NAMESPACE",
        "GIT_NOGLOB_PATHSPECS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)


class StoppedError(BacklogError):
    """The person stopped the run while something was at work: nothing was proven."""


def without_git_bindings(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment, fit for children that work in a worktree of their own."""
    return {key: value for key, value in environ.items() if key not in _GIT_BINDINGS}


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process started with its own session, and whatever it left behind in its group."""
    for number, grace in ((signal.SIGTERM, KILL_GRACE_SECONDS), (signal.SIGKILL, KILL_GRACE_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        except PermissionError:  # macOS answers so for a group of zombies
            break
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            continue
    process.poll()
