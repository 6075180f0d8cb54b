"""Ends what an engine had in flight when the engine dies. A process of its own, which only `processes.py` starts.

    python -ISE minder.py < pipe          the engine holds the other end; the kernel closes it, however the engine ends

A line `+12` on the pipe: process group 12 is at work; `-12`: it is over. At the end of the pipe, groups that are
still at work get SIGTERM, so that git removes its lock files, and SIGKILL when they take too long over it.
"""

from __future__ import annotations

import os
import signal
import sys
import time

GRACE_SECONDS = 0.5
POLL_SECONDS = 0.01


def main() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end(at_work(sys.stdin.buffer.read()))


def at_work(said: bytes) -> set[int]:
    """The groups that are at work after the last line."""
    groups: set[int] = set()
    for line in said.splitlines():
        if line.startswith(b"+"):
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    return groups


def end(groups: set[int]) -> None:
    left = {group for group in groups if _signal(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        left = {group for group in left if _signal(group, 0)}
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Whether the group is still there to be signalled."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS answers the second for a group of zombies
        return False
    return True


if __name__ == "__main__":
    main()
