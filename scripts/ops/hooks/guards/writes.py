"""The write-set guard. Guards: Edit, Write, NotebookEdit and Read of a run's sub-agents.

A file of the action's worktree that its write-set covers, or its own hand-in file, is allowed without asking;
any other write is denied with the way to ask for more. Reading in the worktree and beside the brief is allowed
without asking, reading elsewhere is the host's matter. Everybody else may not write into the run's own folder, where
verdicts and worktrees are (the skill's grant covers it); their other calls are never touched.

Fails open: what cannot be judged is left to the host's own permissions. It is a courtesy that saves an attempt;
the proof is git, which is compared with the write-set again when the sub-agent has ended.
"""

from __future__ import annotations

import json
import os
import shlex
import sqlite3

from backlog_ops.domain.write_set import outside
from guards import Decision, Event, allow, deny
from guards.run_state import LAUNCHER, NEXT, RunState

_OWN = f"only the sub-agent of an action writes there; `{NEXT}` says what is open"
WORK_FOLDER = f"{os.sep}.backlog-ops{os.sep}"


def judge(event: Event, state: RunState) -> Decision | None:
    asked = event["tool_input"]
    path = asked.get("file_path") or asked.get("notebook_path")
    if not isinstance(path, str) or "\0" in path:
        return None
    # All links followed, the last one too: what counts is the file that would change.
    target = os.path.realpath(os.path.join(str(event.get("cwd") or os.getcwd()), path))
    reads = event.get("tool_name") == "Read"
    try:
        action = state.action_of(event) if event.get("agent_id") else None
        if action is None:
            return None if reads or not state.is_in_work_folder(target) else deny(f"{target} is a run's own: {_OWN}")
    except sqlite3.Error:
        return None
    return _reading(action, target) if reads else _writing(action, target)


def _reading(action: sqlite3.Row, target: str) -> Decision | None:
    own_folders = (action["worktree"], os.path.dirname(action["brief"]))
    return allow() if any(target.startswith(os.path.realpath(own) + os.sep) for own in own_folders) else None


def _writing(action: sqlite3.Row, target: str) -> Decision:
    if action["state"] != "open":
        return deny(f"a{action['number']} is over; nothing more is to be written")
    if action["hand_in"]:
        own = os.path.realpath(action["hand_in"])
        return allow() if target == own else deny(f"the only file to write is {own}")
    worktree = os.path.realpath(action["worktree"])
    if not target.startswith(worktree + os.sep):
        return deny(_elsewhere(target, worktree))
    relative = os.path.relpath(target, worktree)
    if not outside([relative], json.loads(action["write_set"])):
        return allow()
    submit = f"{shlex.quote(LAUNCHER)} submit a{action['number']} --request {shlex.quote(relative)}"
    return deny(f"{relative} is not among the files of {action['ticket']}; if it needs it, run `{submit}` first")


def _elsewhere(target: str, worktree: str) -> str:
    """The same file in the worktree, where it is one of the user's own checkout."""
    top = worktree.partition(WORK_FOLDER)[0]
    inside = target.startswith(top + os.sep) and WORK_FOLDER not in target
    meant = os.path.join(worktree, os.path.relpath(target, top)) if inside else worktree
    return f"{target} is outside this ticket's worktree; write {meant}" + ("" if inside else " and below")
