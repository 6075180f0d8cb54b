"""Where a diagnosis is made, and how another program is asked there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backlog_ops.storage.locations import PLUGIN_ROOT


@dataclass(frozen=True)
class Place:
    folder: Path
    environ: Mapping[str, str]
    plugin_root: Path = PLUGIN_ROOT
    answer_seconds: float = 3.0  # another program may take so long to answer


class NoAnswerFromProgramError(Exception):
    """A program does not start, fails or takes too long: one line."""


def answer_of(place: Place, argv: Sequence[str]) -> str:
    """What a program prints. Raises NoAnswerFromProgramError."""
    environ = {**place.environ, "BACKLOG_CHILD": "1", "DISABLE_AUTOUPDATER": "1"}
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.sep,
            env=environ,
            start_new_session=True,
        )
    except OSError as error:
        raise NoAnswerFromProgramError(f"{argv[0]} does not start ({error.strerror})") from None
    try:
        said, _ = process.communicate(timeout=place.answer_seconds)
    except subprocess.TimeoutExpired:
        raise NoAnswerFromProgramError(f"{argv[0]} gives no answer within {place.answer_seconds:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever it started; it was only asked, it has nothing to lose
    if process.returncode != 0:
        raise NoAnswerFromProgramError(f"{argv[0]} ends with exit code {process.returncode}")
    return said.decode("utf-8", "replace")
