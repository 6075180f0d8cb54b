"""The command guard. Guards: Bash of a run's sub-agents, and `backlog-ops` in the main session.

A run's sub-agent may run `check` and `submit` of its own action, nothing else; a call is denied with the command to
use, so that it neither asks a person nor stops silently. In the main session the commands of the loop are allowed
without asking (a skill's grants end with its prompt), and `submit` is denied: who hands in is the one who was asked.
Any other command is never touched; `next --lost`, which takes work away, is a person's to allow.

Fails open: what cannot be judged is left to the host's own permissions. Only one plain command is ever allowed: no
operator, substitution or redirection but a final `2>&1` and `| tail -n 20` or `| head -n 20`.
"""

from __future__ import annotations

import os
import re
import shlex
import sqlite3

from guards import Decision, Event, allow, deny
from guards.run_state import LAUNCHER, NEXT, RunState

# What a shell acts upon, and the quotes inside which it does not. A quote that is left over has its pair inside
# others, as in "'$(x)'": what stands between them is not quoted the way it looks.
_SHELL = re.compile(r"[;&|<>`$(){}\n\r\\*?\[\]!#~'\"]")
_QUOTED = re.compile(r"""'[^']*'|"[^"$`\\]*\"""")
_SHORTENED = re.compile(r"(\s2>&1)?(\s{0,9}\|\s{0,9}(tail|head)(\s{1,9}-(n\s{0,9})?\d{1,4})?)?\Z")
_LOOP = frozenset({"start", "next", "resume", "status", "show", "route", "validate"})
_UNBOXED = "dangerouslyDisableSandbox"  # a key of the Bash tool: what it lets out, nobody may be spared to be asked
MOST_CHARACTERS = 100_000  # of a command; a longer one cannot even be started
_ANSWER = re.compile("submit q[0-9]{1,15} --answer (yes|no)")
MOST_MILLISECONDS = 600_000  # the host's own limit for a command


def judge(event: Event, state: RunState) -> Decision | None:
    command = event["tool_input"].get("command")
    if not isinstance(command, str):
        return None
    try:
        action = state.action_of(event) if event.get("agent_id") else None
    except sqlite3.Error:
        return None
    words = own_words(command)
    if action is not None:
        return _of_subagent(event, words, action)
    answers = bool(words and _ANSWER.fullmatch(" ".join(words)))  # a person's; the host may ask them once more
    if words and words[0] == "submit" and (event.get("agent_id") or not answers):
        return deny(f"the sub-agent of an action hands it in; `{NEXT}` says what is open")
    asks_nobody = words and words[0] in _LOOP and "--lost" not in words and not event["tool_input"].get(_UNBOXED)
    return allow() if asks_nobody and not event.get("agent_id") else None


def own_words(command: str) -> list[str] | None:
    """The arguments of a plain call of this plugin's backlog-ops; None for anything else."""
    if len(command) > MOST_CHARACTERS:
        return None
    plain = _SHORTENED.sub("", command.rstrip(), count=1)
    if _SHELL.search(_QUOTED.sub("", plain)):
        return None
    try:
        words = shlex.split(plain)
    except ValueError:
        return None
    return words[1:] if words and _is_ours(words[0]) else None


def _is_ours(program: str) -> bool:
    """By its full path: a bare name would be whatever comes first on the PATH."""
    return os.path.isabs(program) and os.path.realpath(program) == LAUNCHER


def _of_subagent(event: Event, words: list[str] | None, action: sqlite3.Row) -> Decision:
    name, launcher = f"a{action['number']}", shlex.quote(LAUNCHER)
    if action["hand_in"]:
        return deny(f"no command is needed here: write {action['hand_in']}, then end with one line")
    if action["state"] != "open":
        return deny(f"{name} is {action['state']}; nothing more is to be run, end with one line")
    if words and words[:2] in (["check", name], ["submit", name]):
        # The project's checks may take longer than the host's two minutes, and must not go on in the background.
        asked = {key: value for key, value in event["tool_input"].items() if key not in ("run_in_background", _UNBOXED)}
        return allow({**asked, "timeout": MOST_MILLISECONDS})
    return deny(
        f"the only command here is `{launcher} check {name}`, and `{launcher} submit {name}` at the end; arguments for "
        "the test command go after ` -- `. Read, Edit and Write do the rest, by absolute paths in the worktree"
    )
