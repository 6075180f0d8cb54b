"""`--exit-zero`, for a command on a skill's preload line: Claude Code drops the whole skill where such a line fails.

All that the command has to say goes to stdout, problems too, and it ends with 0. Only commands that were given the
option by `add_exit_zero` know it: elsewhere it is an unknown option, and a mistake stays a mistake.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence

OPTION = "--exit-zero"


def add_exit_zero(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(OPTION, action="store_true", help="print problems as text and end with 0, for a skill's preload")


def asks_for_zero(words: Sequence[str], commands: Mapping[str, argparse.ArgumentParser]) -> bool:
    """Whether the command line `words` holds the option and names a command that knows it, mistaken or not."""
    own = words[: words.index("--")] if "--" in words else words
    named = commands.get(next((word for word in own if not word.startswith("-")), ""))
    return OPTION in own and named is not None and named.get_default("exit_zero") is not None


def ending_with_zero(run: Callable[[], int]) -> int:
    with contextlib.redirect_stderr(sys.stdout), contextlib.suppress(SystemExit):  # how argparse refuses a word
        run()
    return 0
