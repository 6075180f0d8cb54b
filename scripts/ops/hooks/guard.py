"""guard.py NAME DATABASE: judge one tool call, the PreToolUse event on stdin; print the decision, if there is one.

Standard library only and few imports: it runs on every tool call of a session in whose repository a run is open.
A guard that breaks decides nothing: the session goes on, and git and the receipts are looked at afterwards.
"""

import json
import os
import sys

HOOKS = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HOOKS, os.path.dirname(HOOKS)]  # under -I Python does not look beside the script

from guards import agent_calls, commands, writes  # noqa: E402
from guards.run_state import RunState  # noqa: E402

GUARDS = {"agent": agent_calls.judge, "write": writes.judge, "bash": commands.judge}
MOST_BYTES = 16_000_000  # of an event; a larger one is nobody's edit of a source file


def main(name: str, database: str) -> None:
    raw = sys.stdin.buffer.read(MOST_BYTES + 1)
    event = json.loads(raw) if len(raw) <= MOST_BYTES else None
    if not isinstance(event, dict) or not isinstance(event.get("tool_input"), dict):
        return
    decision = GUARDS[name](event, RunState(database))
    if decision is not None:
        print(json.dumps({"hookSpecificOutput": {"hookEventName": "PreToolUse", **decision}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
